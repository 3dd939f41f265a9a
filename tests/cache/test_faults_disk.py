"""A fetch killed at every step, and on a disk that is full or broken: nothing wrong ever shows."""

import errno
import hashlib
import os
import random
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Semaphore

import pytest
from blake3 import blake3
from cache_stock import Stock, read_files
from fake_hub import FakeHub, Fault
from forked_program import WARNINGS_ARE_ERRORS, ForkedProgram
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nimctl.cache import BLOCK_BYTES, Cache, RetryPolicy, ignore_progress
from nimctl.cache.abandoned import count_kept_blocks
from nimctl.cache.dispatch import Dispatch
from nimctl.cache.hashing import hash_arriving
from nimctl.cache.owners import name_machine
from nimctl.cache.part import Part
from nimctl.cache.patience import Patience
from nimctl.core.source import RemoteFile
from nimctl.errors import FetchError

CHILD = Path(__file__).with_name("faulty_child.py")
SIZE_BYTES = 3 * BLOCK_BYTES + 99
WEIGHTS = random.Random(8).randbytes(SIZE_BYTES)
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
NAME = "model.safetensors"
KEY = f"sha256-{SHA256}"

Run = Callable[..., tuple[int, str]]

STEPS = (
    *("write.lock", "write.lock+", "fallocate", "fallocate+", "write.blocks", "write.blocks+"),
    *("pwrite", "pwrite+", "write.blocks~", "fchmod.444", "fchmod.444+", "fsync.part"),
    *("fsync.part+", "replace.blobs", "replace.blobs+", "link", "link+", "replace.models"),
    *("replace.models+", "replace.refs"),
)

ONE_AFTER_THE_OTHER = (
    *("fallocate+", "write.blocks~", "pwrite+", "fsync.part", "replace.blobs", "replace.blobs+"),
    *("link+", "replace.models"),
)


@pytest.fixture
def run(program: ForkedProgram, hub: FakeHub, tmp_path: Path) -> Run:
    """Fetches in a process of its own; gives how it ended and its last words."""
    hub.add_model("acme/toy", {NAME: WEIGHTS})

    def start(
        step: str = "never", kind: str = "SIGKILL", *, count: int = 1, root: Path | None = None
    ) -> tuple[int, str]:
        words = [str(CHILD), step, str(count), kind]
        words += [str(root or tmp_path / "cache"), hub.url, "hf://acme/toy"]
        done = program.run(words, os.environ, tmp_path, prelude=WARNINGS_ARE_ERRORS)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, (done.stdout.strip().splitlines() or [""])[-1]

    return start


def partial(tmp_path: Path, suffix: str) -> list[Path]:
    return list((tmp_path / "cache" / "partial").glob(f"*{suffix}"))


def check_what_shows(root: Path) -> None:
    """Whatever has a final name is whole."""
    for top in ("blobs", "snapshots"):
        for path in (root / top).rglob("*"):
            assert path.is_dir() or path.read_bytes() == WEIGHTS


def check_brought(result: tuple[int, str]) -> None:
    status, line = result
    assert status == 0, line
    assert (Path(line) / NAME).read_bytes() == WEIGHTS


def test_killed_at_every_step_it_ends_in_the_same_bytes(
    hub: FakeHub, tmp_path: Path, run: Run
) -> None:
    hub.rate_bytes_s = 40 * BLOCK_BYTES
    for step in ONE_AFTER_THE_OTHER:
        assert run(step)[0] == -9, step
        check_what_shows(tmp_path / "cache")
        assert len(partial(tmp_path, ".part")) <= 1
    check_brought(run())
    assert hub.served("acme/toy", NAME) <= SIZE_BYTES + 4 * BLOCK_BYTES
    assert partial(tmp_path, ".part") == []


@pytest.mark.slow
def test_any_order_of_kills_and_faults_ends_in_the_same_bytes(
    hub: FakeHub, tmp_path: Path, run: Run
) -> None:
    kills = st.tuples(st.sampled_from(STEPS), st.integers(1, 4))
    kinds = st.sampled_from(["drop", "reset", "corrupt", "ignore-range", "half", "overrun"])
    wires = st.builds(Fault, kind=kinds, at_byte=st.integers(0, SIZE_BYTES - 1))
    strikes = st.tuples(kills, st.lists(wires, max_size=2), st.booleans())

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strikes=st.lists(strikes, max_size=6))
    def law(strikes: list[tuple[tuple[str, int], list[Fault], bool]]) -> None:
        with TemporaryDirectory(dir=tmp_path) as folder, ThreadPoolExecutor() as others:
            root, served = Path(folder, "cache"), hub.served("acme/toy", NAME)
            processes = 1
            for (step, count), faults, has_company in strikes:
                for fault in faults:
                    hub.add_fault(NAME, replace(fault))
                company = [others.submit(run, root=root)] if has_company else []
                assert run(step, count=count, root=root)[0] in (-9, 0, 9, 11)
                assert all(other.result()[0] in (0, 9, 11) for other in company)
                processes += 1 + has_company
                check_what_shows(root)
            hub.faults.clear()
            check_brought(run(root=root))
            # A file of three blocks is in the buffers of its connections as soon as it is asked
            # for, and one that arrived damaged is brought again.
            most_bytes = SIZE_BYTES * (processes + 2 * sum(len(f) for _, f, _ in strikes))
            assert hub.served("acme/toy", NAME) - served <= most_bytes

    law()


@pytest.mark.slow
def test_ctrl_c_at_every_step_ends_in_the_same_bytes(tmp_path: Path, run: Run) -> None:
    for number, step in enumerate(STEPS):
        if step.endswith("~"):
            continue
        root = tmp_path / str(number)
        status, line = run(step, "SIGINT", root=root)
        assert (status, line.partition(":")[0]) == (130, "interrupted") or status == 0, (step, line)
        check_what_shows(root)
        check_brought(run(root=root))


@pytest.mark.parametrize(
    ("step", "kind", "count", "slug"),
    [
        ("write.lock", "ENOSPC", 1, "disk-full"),
        ("fallocate", "EDQUOT", 1, "disk-full"),
        ("write.blocks", "ENOSPC", 2, "disk-full"),
        ("pwrite", "ENOSPC", 4, "disk-full"),
        ("preadv", "EIO", 1, "fetch-failed"),
        pytest.param("fallocate", "ENOSPC", 1, "disk-full", marks=pytest.mark.slow),
        pytest.param("write.blocks", "ENOSPC", 1, "disk-full", marks=pytest.mark.slow),
        pytest.param("pwrite", "ENOSPC", 1, "disk-full", marks=pytest.mark.slow),
        pytest.param("pwrite", "EDQUOT", 2, "disk-full", marks=pytest.mark.slow),
        pytest.param("pwrite", "EIO", 3, "fetch-failed", marks=pytest.mark.slow),
        pytest.param("replace.models", "EDQUOT", 1, "disk-full", marks=pytest.mark.slow),
        pytest.param("replace.blobs", "EROFS", 1, "fetch-failed", marks=pytest.mark.slow),
    ],
)
def test_a_full_or_broken_disk_is_told_and_the_fetch_goes_on_later(
    hub: FakeHub, tmp_path: Path, run: Run, step: str, kind: str, count: int, slug: str
) -> None:
    check_told(run(step, kind, count=count), slug)
    check_what_shows(tmp_path / "cache")
    assert partial(tmp_path, ".lock") == []
    if step in ("write.lock", "fallocate"):
        assert partial(tmp_path, ".part") + partial(tmp_path, ".blocks") == []
    kept = partial(tmp_path, ".part")
    kept_blocks = count_kept_blocks(kept[0], SIZE_BYTES) if kept else 0
    served = hub.served("acme/toy", NAME)
    check_brought(run())
    if kept:
        again_bytes = hub.served("acme/toy", NAME) - served
        assert again_bytes == max(SIZE_BYTES - kept_blocks * BLOCK_BYTES, 0)


def check_told(result: tuple[int, str], slug: str) -> None:
    status, line = result
    assert (status, line.partition(":")[0]) == ({"disk-full": 10, "fetch-failed": 4}[slug], slug)
    assert "cache" in line


@pytest.mark.parametrize("kind", ["EIO", "ENOSPC"])
def test_what_a_sync_failed_to_write_is_never_used(
    hub: FakeHub, tmp_path: Path, run: Run, kind: str
) -> None:
    """The kernel drops it and tells once: the next process would read it, and sync it, well."""
    check_told(run("fsync.part", kind), {"EIO": "fetch-failed", "ENOSPC": "disk-full"}[kind])
    assert partial(tmp_path, ".part") + partial(tmp_path, ".blocks") == []
    check_what_shows(tmp_path / "cache")
    served = hub.served("acme/toy", NAME)
    check_brought(run())
    assert hub.served("acme/toy", NAME) - served == SIZE_BYTES


@pytest.fixture
def stock(hub: FakeHub, tmp_path: Path) -> Stock:
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    patience = RetryPolicy(attempts=4, first_wait_s=0.01)
    stock = Stock(hub=hub, cache=Cache(tmp_path / "cache", patience=patience))
    (stock.cache.root / "partial").mkdir(parents=True)
    return stock


def leave_a_part(stock: Stock) -> tuple[Path, Path]:
    """A part and its journal, as a process killed after two blocks leaves them."""
    part = stock.cache.root / "partial" / f"{KEY}.{name_machine()}-0badc0de.part"
    part.write_bytes(WEIGHTS[: 2 * BLOCK_BYTES] + bytes(SIZE_BYTES - 2 * BLOCK_BYTES))
    journal = part.with_suffix(".blocks")
    blocks = [WEIGHTS[:BLOCK_BYTES], WEIGHTS[BLOCK_BYTES : 2 * BLOCK_BYTES]]
    records = b"".join(struct.pack("<I32s", i, blake3(b).digest()) for i, b in enumerate(blocks))
    journal.write_bytes(struct.pack("<16sQQ", b"nimctl-blocks-1\n", SIZE_BYTES, BLOCK_BYTES))
    with journal.open("ab") as stream:
        stream.write(records)
    return part, journal


def check_goes_on(stock: Stock, kept_blocks: int) -> None:
    """The model is brought, with so many blocks of a part that was left."""
    assert read_files(stock.fetch("acme/toy")) == {NAME: WEIGHTS}
    served = stock.hub.served("acme/toy", NAME)
    assert served == SIZE_BYTES - kept_blocks * BLOCK_BYTES
    assert [path.suffix for path in (stock.cache.root / "partial").iterdir()] == []


HEADER_BYTES, RECORD_BYTES = 32, 36


@pytest.mark.parametrize(
    ("place", "data", "kept_blocks"),
    [
        pytest.param(None, b"", 2, id="untouched"),
        pytest.param(HEADER_BYTES + RECORD_BYTES + 10, None, 1, id="torn record"),
        pytest.param(HEADER_BYTES, None, 0, id="no records"),
        pytest.param(7, None, 0, id="torn header"),
        pytest.param(0, b"", 0, id="emptied"),
        pytest.param(0, b"\0" * 16, 0, id="header lost"),
        pytest.param(HEADER_BYTES, b"\xff" * 4, 1, id="a block far outside"),
        pytest.param(HEADER_BYTES + 4, b"\0" * 32, 1, id="hash lost"),
        pytest.param(HEADER_BYTES, b"\1", 1, id="two records of one block"),
        pytest.param(HEADER_BYTES, random.Random(1).randbytes(5000), 0, id="garbage"),
    ],
)
def test_a_journal_that_a_power_cut_left(
    stock: Stock, place: int | None, data: bytes | None, kept_blocks: int
) -> None:
    _, journal = leave_a_part(stock)
    if place is not None:
        with journal.open("r+b") as stream:
            stream.seek(place)
            if data:
                stream.write(data)
            else:
                stream.truncate()
    check_goes_on(stock, kept_blocks)


@pytest.mark.parametrize("kind", ["link", "pipe", "second name"])
def test_something_else_in_the_place_of_a_journal(stock: Stock, tmp_path: Path, kind: str) -> None:
    _, journal = leave_a_part(stock)
    victim = tmp_path / "victim"
    victim.write_bytes(journal.read_bytes())
    before = victim.read_bytes()
    journal.unlink()
    if kind == "link":
        journal.symlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(journal)
    else:
        journal.hardlink_to(victim)
    check_goes_on(stock, 0)
    assert victim.read_bytes() == before


def test_a_part_of_another_size_is_cut(stock: Stock) -> None:
    """A mirror had lied about the size."""
    part, _ = leave_a_part(stock)
    with part.open("ab") as stream:
        stream.write(b"x" * BLOCK_BYTES)
    check_goes_on(stock, 2)


def test_a_link_in_the_place_of_a_lock_is_an_error(stock: Stock, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (stock.cache.root / "partial" / f"{KEY}.lock").symlink_to(victim)
    with pytest.raises(FetchError, match="the cache cannot be used"):
        stock.fetch("acme/toy")
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["partial", "blobs", "models", "snapshots", "quarantine"])
def test_a_file_in_the_place_of_a_folder_is_an_error(stock: Stock, name: str) -> None:
    place = stock.cache.root / name
    if name == "partial":
        place.rmdir()
    place.write_text("in the way")
    with pytest.raises(FetchError, match="should be a folder"):
        stock.fetch("acme/toy")


def test_a_folder_in_the_place_of_a_blob_is_an_error(stock: Stock) -> None:
    stock.blob(WEIGHTS).mkdir(parents=True)
    with pytest.raises(FetchError, match="but is a folder"):
        stock.fetch("acme/toy")


def test_bytes_that_vanish_from_a_part_are_no_shorter_file(stock: Stock) -> None:
    """Where there is no digest nothing but the size tells."""
    path, _ = leave_a_part(stock)
    dispatch, part = Dispatch(1, 30.0), Part(path, SIZE_BYTES)
    patience = Patience(RetryPolicy(), NAME, ignore_progress, Event())
    file = RemoteFile(path=NAME, size_bytes=SIZE_BYTES, version="1")
    intake = dispatch.add(file, part, patience, is_fixed=True)
    os.truncate(path, BLOCK_BYTES // 2)
    with closing(part), pytest.raises(OSError, match="gone"):
        hash_arriving(dispatch, intake, Semaphore())


def test_a_disk_that_fails_while_bytes_arrive_is_told_though_it_takes_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells such a failure once, and the sync at the end knows nothing of it."""

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    part = Part(tmp_path / "x.part", SIZE_BYTES)
    part.write(0, memoryview(WEIGHTS[:BLOCK_BYTES]))
    part.record(0, blake3(WEIGHTS[:BLOCK_BYTES]).digest())
    assert part.is_worth_keeping
    monkeypatch.setattr(os, "fdatasync", fail)
    part.flush()
    monkeypatch.undo()
    with pytest.raises(OSError, match="Input/output"):
        part.write(BLOCK_BYTES, memoryview(WEIGHTS[BLOCK_BYTES:]))
    with pytest.raises(OSError, match="Input/output"):
        part.publish(tmp_path / "blob", SIZE_BYTES)
    assert not part.is_worth_keeping
    part.close()
    part.flush()
    assert not (tmp_path / "blob").exists()
