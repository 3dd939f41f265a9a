"""Real processes that fetch at the same time, are killed, interrupted, or run out of room."""

import hashlib
import random
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cache_stock import wait_until
from fake_hub import FakeHub, Fault
from forked_program import ForkedChild

from nimctl.cache import BLOCK_BYTES, Cache, FetchRequest
from nimctl.core.source import Digest, PinnedFile, parse_source_uri
from nimctl.sources import SourceAccess, open_source

SIZE_BYTES = 3 * BLOCK_BYTES + 5
WEIGHTS = random.Random(3).randbytes(SIZE_BYTES)
NAME = "model.safetensors"
Spawn = Callable[..., ForkedChild]


def kept_bytes(tmp_path: Path) -> int:
    """What is on disk of the file, by its journal."""
    digest = Digest(algorithm="sha256", hex=hashlib.sha256(WEIGHTS).hexdigest())
    pinned = PinnedFile(path=NAME, size_bytes=SIZE_BYTES, digest=digest)
    request = FetchRequest(uri=parse_source_uri("hf://acme/toy"), pinned=(pinned,))
    access = SourceAccess(scratch_folder=tmp_path, python=Path(sys.executable))
    with closing(open_source(request.uri, access)) as nobody_asked:
        return Cache(tmp_path / "cache").plan_fetch(request, nobody_asked).kept_bytes


def parts(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache" / "partial").glob("*.part"))


def result(child: ForkedChild) -> tuple[int, str]:
    """Exit status and last line."""
    output, _ = child.communicate(timeout=60)
    return child.returncode, output.strip().splitlines()[-1]


def brought(child: ForkedChild) -> bytes:
    status, line = result(child)
    assert status == 0, line
    return (Path(line) / NAME).read_bytes()


def test_a_killed_fetch_goes_on_where_it_was(hub: FakeHub, tmp_path: Path, spawn: Spawn) -> None:
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    for blocks in (1, 2):
        kept = blocks * BLOCK_BYTES
        hub.add_fault(NAME, Fault(kind="stall", at_byte=kept))
        child = spawn()
        wait_until(lambda kept=kept: kept_bytes(tmp_path) == kept, f"{kept} bytes on disk")
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert not list((tmp_path / "cache" / "blobs").rglob("??/*"))
    assert brought(spawn()) == WEIGHTS
    assert hub.served("acme/toy", NAME) == SIZE_BYTES
    assert parts(tmp_path) == []


def test_ctrl_c_tells_what_is_kept(hub: FakeHub, tmp_path: Path, spawn: Spawn) -> None:
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    hub.add_fault(NAME, Fault(kind="stall", at_byte=BLOCK_BYTES))
    child = spawn()
    wait_until(lambda: kept_bytes(tmp_path) == BLOCK_BYTES, "a block on disk")
    child.send_signal(signal.SIGINT)
    status, line = result(child)
    assert status == 130
    assert "262.1 kB of 786.4 kB of hf://acme/toy are kept" in line
    assert brought(spawn()) == WEIGHTS
    assert hub.served("acme/toy", NAME) == SIZE_BYTES


def test_two_processes_bring_it_once(hub: FakeHub, tmp_path: Path, spawn: Spawn) -> None:
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    hub.add_fault(NAME, Fault(kind="stall", at_byte=BLOCK_BYTES))
    first, second = spawn(), spawn()
    assert hub.stalled.wait(30)
    waiting = {line for child in (first, second) for line in _read_until_waiting(child, hub)}
    assert "event Waiting" in waiting
    hub.released.set()
    assert brought(first) == brought(second) == WEIGHTS
    assert hub.served("acme/toy", NAME) == SIZE_BYTES


def _read_until_waiting(child: ForkedChild, hub: FakeHub) -> list[str]:
    """What the child said: up to `Waiting`, or up to where the stalled one got to."""
    lines: list[str] = []
    assert child.stdout is not None
    while not lines or lines[-1] not in ("event Waiting", "event FileStarted"):
        lines.append(child.stdout.readline().strip())
    return lines


@pytest.mark.parametrize("count", [3, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize("flock", ["flock", "no-flock"])
def test_many_processes_bring_it_once_whatever_the_kernels_locks_do(
    hub: FakeHub, tmp_path: Path, spawn: Spawn, flock: str, count: int
) -> None:
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    hub.add_fault(NAME, Fault(kind="stall", at_byte=BLOCK_BYTES))
    children = [spawn(flock) for _ in range(count)]
    wait_until(lambda: len(parts(tmp_path)) == 1, "one of them began")
    hub.released.set()
    assert [brought(child) for child in children] == [WEIGHTS] * count
    assert hub.served("acme/toy", NAME) == SIZE_BYTES


@pytest.mark.parametrize("flock", ["flock", "no-flock"])
def test_a_killed_owner_holds_nobody_up(
    hub: FakeHub, tmp_path: Path, spawn: Spawn, flock: str
) -> None:
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    hub.add_fault(NAME, Fault(kind="stall", at_byte=BLOCK_BYTES))
    first = spawn(flock)
    wait_until(lambda: kept_bytes(tmp_path) == BLOCK_BYTES, "a block on disk")
    second = spawn(flock)
    assert "event Waiting" in _read_until_waiting(second, hub)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert brought(second) == WEIGHTS
    assert hub.served("acme/toy", NAME) == SIZE_BYTES


def test_a_disk_that_fills_up_is_told_and_gone_on_with(
    hub: FakeHub, tmp_path: Path, spawn: Spawn
) -> None:
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    status, line = result(spawn("limit=400000"))
    assert status == 10
    assert line.startswith("disk-full: the disk of the cache is full")
    assert hub.served("acme/toy", NAME) == 0
    assert parts(tmp_path) == []
    assert brought(spawn()) == WEIGHTS


def test_a_complete_model_needs_no_socket(hub: FakeHub, tmp_path: Path, spawn: Spawn) -> None:
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    status, line = result(spawn("offline", "no-sockets"))
    assert (status, line.partition(":")[0]) == (9, "unreachable")
    assert brought(spawn()) == WEIGHTS
    assert brought(spawn("offline", "no-sockets")) == WEIGHTS
