"""What is removed is really gone, what others need stays, and nobody loses what is in use."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import pytest
from cache_stock import HOURS_S, QUICK, SHARED, WEIGHTS, Stock, make_older, read_files, sha256_of
from fake_hub import FakeHub
from forked_program import ForkedChild, ForkedProgram
from hypothesis import given, settings
from hypothesis import strategies as st

from nimctl.cache import Cache, CachedFile, ignore_progress, pruning, removal
from nimctl.cache.layout import Layout
from nimctl.cache.leases import SILENCE_S, read_leases
from nimctl.cache.locks import WorkLock, is_held
from nimctl.cache.upkeep import PruneRequest, Removal
from nimctl.errors import FetchError

REMOVER = Path(__file__).with_name("remover_child.py")
TOY = {"model.safetensors": WEIGHTS, "tokenizer.json": SHARED}
OTHER = {"other.safetensors": WEIGHTS[::-1], "tokenizer.json": SHARED}


@pytest.fixture
def stock(hub: FakeHub, tmp_path: Path) -> Stock:
    stock = Stock(hub=hub, cache=Cache(tmp_path / "cache", patience=QUICK))
    stock.add("acme/toy", TOY)
    stock.add("acme/other", OTHER)
    return stock


def list_files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def test_a_model_is_removed_with_all_that_only_it_held(stock: Stock) -> None:
    root, other = stock.cache.root, stock.fetch("acme/other")
    removal = stock.upkeep.remove({stock.key("acme/toy")})
    assert removal.blobs == (sha256_of(WEIGHTS),)
    assert removal.freed_bytes == removal.blob_bytes == len(WEIGHTS)
    assert read_files(other) == OTHER
    assert stock.cache.entries() == (other,)
    left = list_files(root)
    assert not any("toy" in name or sha256_of(WEIGHTS) in name for name in left)
    assert not any(name.startswith(("trash/", "quarantine/", "leases/")) for name in left)
    stock.upkeep.remove({stock.key("acme/other")})
    assert {name.partition("/")[0] for name in list_files(root)} == {"VERSION", "CACHEDIR.TAG"}
    assert read_files(stock.fetch("acme/toy")) == TOY


def test_a_plan_tells_what_a_removal_frees(stock: Stock) -> None:
    keys = {stock.key("acme/toy")}
    plan = stock.upkeep.plan_removal(keys)
    assert list_files(stock.cache.root) >= {f"models/{key}.json" for key in keys}
    assert stock.upkeep.remove(keys) == plan


def test_files_that_are_linked_from_elsewhere_are_not_freed(stock: Stock, tmp_path: Path) -> None:
    (tmp_path / "view").hardlink_to(stock.blob(WEIGHTS))
    removal = stock.upkeep.remove({stock.key("acme/toy")})
    assert (removal.blob_bytes, removal.freed_bytes) == (len(WEIGHTS), 0)
    assert (tmp_path / "view").read_bytes() == WEIGHTS


def test_a_workspace_goes_with_what_it_leads_to(stock: Stock) -> None:
    root = stock.cache.root
    for name in ("acme/toy", "acme/other"):
        link = root / "workspaces" / name.replace("/", "") / "deep" / "tokenizer.json"
        link.parent.mkdir(parents=True)
        link.symlink_to(os.path.relpath(stock.fetch(name).path / "tokenizer.json", link.parent))
    assert stock.upkeep.usage().workspace_bytes > 0
    stock.upkeep.remove({stock.key("acme/toy")})
    assert [path.name for path in (root / "workspaces").iterdir()] == ["acmeother"]


def test_what_is_served_stays(stock: Stock) -> None:
    entry = stock.fetch("acme/toy")
    request = PruneRequest(max_bytes=0, unused_s=0.0)
    with stock.cache.lease(entry.path, entry.files, "nimctl serve acme/toy"):
        (held,) = (one for one in stock.upkeep.list_held() if one.users)
        assert held.entry == entry
        assert str(held.users[0]).startswith(f"nimctl serve acme/toy (process {os.getpid()} on ")
        assert stock.upkeep.remove({stock.key("acme/toy")}).records == ()
        pruning = stock.upkeep.prune(request)
        assert [record.entry.uri.location for record in pruning.removal.records] == ["acme/other"]
        assert read_files(entry) == TOY
    assert len(stock.upkeep.prune(request).removal.records) == 1
    assert stock.cache.entries() == ()


def test_a_workspace_that_is_served_keeps_its_entries(stock: Stock) -> None:
    entry = stock.fetch("acme/toy")
    folder = stock.cache.root / "workspaces" / "one"
    folder.mkdir(parents=True)
    (folder / "w").symlink_to(os.path.relpath(entry.path / "model.safetensors", folder))
    file = CachedFile(path="w", size_bytes=len(WEIGHTS), sha256=sha256_of(WEIGHTS))
    with stock.cache.lease(folder, [file], "a test"):
        assert stock.upkeep.remove({stock.key("acme/toy")}).records == ()
    assert len(stock.upkeep.remove({stock.key("acme/toy")}).records) == 1


def test_what_was_removed_just_before_cannot_be_leased(stock: Stock) -> None:
    entry = stock.fetch("acme/toy")
    stock.upkeep.remove({stock.key("acme/toy")})
    with (
        pytest.raises(FetchError, match="was removed"),
        stock.cache.lease(entry.path, entry.files, "a test"),
    ):
        pass


def test_what_is_fetched_anew_while_it_goes_stays_whole(
    stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process fetches between the taking of the record and that of the folder."""
    path, fetched, real = stock.fetch("acme/toy").path, [], removal.discard

    def discard(layout: Layout, name: Path) -> Path | None:
        if name == path and not fetched:
            fetched.append(stock.fetch("acme/toy"))
        return real(layout, name)

    monkeypatch.setattr(removal, "discard", discard)
    stock.upkeep.remove({stock.key("acme/toy")})
    (entry,) = fetched
    assert read_files(entry) == TOY
    assert stock.fetch("acme/toy", offline=True) == entry
    assert stock.upkeep.verify().faults == ()


HOLDER = """
import sys, time
from pathlib import Path
from nimctl.cache import Cache
cache = Cache(Path(sys.argv[1]))
entry = next(one for one in cache.entries() if one.uri.location == "acme/toy")
if "no-flock" in sys.argv:
    import fcntl
    fcntl.flock = lambda descriptor, operation: None
with cache.lease(entry.path, entry.files, "a server"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("option", ["flock", "no-flock"])
def test_the_lease_of_a_killed_process_is_ignored(stock: Stock, option: str) -> None:
    command = [sys.executable, "-c", HOLDER, str(stock.cache.root), option]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            assert len(read_leases(Layout(root=stock.cache.root))) == 1
            assert stock.upkeep.remove({stock.key("acme/toy")}).records == ()
        finally:
            holder.kill()
    assert read_leases(Layout(root=stock.cache.root)) == ()
    assert len(stock.upkeep.remove({stock.key("acme/toy")}).records) == 1
    stock.upkeep.prune(PruneRequest())
    assert not any((stock.cache.root / "leases").iterdir())


@pytest.mark.parametrize("ahead_s", [HOURS_S, 0.0, -HOURS_S])
def test_a_server_on_another_machine_keeps_its_entry_until_long_silence(
    stock: Stock, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    """Whatever the clock here says: the disk knows how long nothing was heard."""
    entry, leases = stock.fetch("acme/toy"), stock.cache.root / "leases"
    with stock.cache.lease(entry.path, entry.files, "a server"):
        (path,) = leases.iterdir()
        lease = json.loads(path.read_text())
    path.write_text(json.dumps(lease | {"machine": "0badcafe", "host": "elsewhere"}))
    now_s, request = time.time(), PruneRequest(max_bytes=0, unused_s=0.0)
    monkeypatch.setattr(time, "time", lambda: now_s + 60.0 + ahead_s)
    stock.upkeep.prune(request)
    assert stock.cache.entries() == (entry,)
    make_older(path, SILENCE_S + 1.0)
    stock.upkeep.prune(request)
    assert stock.cache.entries() == ()
    assert not any(leases.iterdir())


def test_the_one_used_longest_ago_goes_first_and_pins_hold(stock: Stock) -> None:
    third = stock.add("acme/third", {"third.safetensors": WEIGHTS[1:]})
    records = stock.cache.root / "models"
    for days, name in ((9, "acme/toy"), (5, "acme/other")):
        make_older(records / f"{stock.key(name)}.json", days * 24 * HOURS_S)
    stock.upkeep.pin(stock.key("acme/toy"))
    total_bytes = stock.upkeep.usage().blob_bytes
    pruning = stock.upkeep.prune(PruneRequest(max_bytes=total_bytes - 1))
    assert [record.entry.uri.location for record in pruning.removal.records] == ["acme/other"]
    assert pruning.kept_bytes == stock.upkeep.usage().blob_bytes == total_bytes - len(WEIGHTS)
    assert read_files(stock.fetch("acme/toy")) == TOY
    assert third in stock.cache.entries()
    stock.upkeep.unpin(stock.key("acme/toy"))
    assert stock.upkeep.prune(PruneRequest(unused_s=24 * HOURS_S)).removal.records == ()
    make_older(records / f"{stock.key('acme/toy')}.json", 9 * 24 * HOURS_S)
    assert len(stock.upkeep.prune(PruneRequest(unused_s=24 * HOURS_S)).removal.records) == 1
    assert stock.cache.entries() == (third,)


def test_a_hit_is_noted_once_a_day(stock: Stock) -> None:
    record = stock.cache.root / "models" / f"{stock.key('acme/toy')}.json"
    make_older(record, 3 * 24 * HOURS_S)
    stock.fetch("acme/toy")
    (held,) = (one for one in stock.upkeep.list_held() if one.entry.uri.location == "acme/toy")
    assert time.time() - held.used_at_s < HOURS_S


def test_leftovers_go_and_what_may_be_of_use_stays(stock: Stock) -> None:
    root = stock.cache.root
    orphan, young = WEIGHTS[:999], WEIGHTS[:998]
    for content in (orphan, young):
        stock.blob(content).parent.mkdir(exist_ok=True)
        stock.blob(content).write_bytes(content)
    make_older(stock.blob(orphan), 2 * HOURS_S)
    (root / "quarantine" / "sha256-ff.1").write_bytes(b"wrong")
    make_older(root / "quarantine" / "sha256-ff.1", 25 * HOURS_S)
    (root / "partial" / "sha256-ff.00000000-00000000.part").write_bytes(b"half")
    (root / "trash").mkdir()
    (root / "trash" / "0123456789abcdef.gone").write_bytes(b"gone")
    stray = root / "snapshots" / "hf" / "gone" / "1" / "model.gguf"
    stray.parent.mkdir(parents=True)
    stray.hardlink_to(stock.blob(orphan))
    make_older(stray.parent, 2 * HOURS_S)
    before = list_files(root)
    plan = stock.upkeep.plan_pruning(PruneRequest())
    assert list_files(root) == before
    pruning = stock.upkeep.prune(PruneRequest())
    assert (pruning.orphans, pruning.freed_bytes) == (plan.orphans, plan.freed_bytes)
    assert pruning.orphans == (sha256_of(orphan),)
    assert pruning.freed_bytes == len(orphan) + len(b"wrong")
    left = list_files(root)
    assert before - left == {
        str(stock.blob(orphan).relative_to(root)),
        "quarantine/sha256-ff.1",
        "trash/0123456789abcdef.gone",
        str(stray.relative_to(root)),
    }
    stock.upkeep.prune(PruneRequest(partials=True))
    assert "partial/sha256-ff.00000000-00000000.part" in left
    make_older(root / "partial" / "sha256-ff.00000000-00000000.part", HOURS_S)
    stock.upkeep.prune(PruneRequest(partials=True))
    assert not any(name.startswith("partial/") for name in list_files(root))


def test_a_lock_that_is_taken_while_a_cache_is_pruned_stays(
    stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody held it when it was planned what goes; a fetch takes it before that is done."""
    path, real = stock.cache.root / "partial" / "sha256-ff.lock", pruning.remove_entries
    path.write_text("")
    make_older(path, 2 * HOURS_S)
    taken = WorkLock(path, "model.safetensors", ignore_progress, Event())

    def remove_entries(layout: Layout, keys: Collection[str]) -> Removal:
        taken.__enter__()
        return real(layout, keys)

    monkeypatch.setattr(pruning, "remove_entries", remove_entries)
    try:
        assert path in stock.upkeep.prune(PruneRequest()).leftovers
        assert is_held(path)
    finally:
        taken.__exit__(None, None, None)
    assert not path.exists()


def test_a_lease_that_is_just_being_written_stays(stock: Stock) -> None:
    leases = stock.cache.root / "leases"
    for name in ("begun", "left"):
        (leases / f"{name}.tmp").write_text("{")
    make_older(leases / "left.tmp", SILENCE_S + 1.0)
    stock.upkeep.prune(PruneRequest())
    assert [path.name for path in leases.iterdir()] == ["begun.tmp"]


def test_what_a_record_of_another_nimctl_needs_stays(stock: Stock) -> None:
    foreign = stock.cache.root / "models" / "hf" / "new.json"
    foreign.write_text(f'{{"schema": "nimctl-cache-entry/9", "sha256:{sha256_of(WEIGHTS)}": 1}}')
    assert stock.upkeep.remove({stock.key("acme/toy")}).blobs == ()
    assert stock.blob(WEIGHTS).exists()


def test_a_blob_in_the_trash_that_is_needed_comes_back(stock: Stock) -> None:
    trash = stock.cache.root / "trash"
    trash.mkdir()
    stock.blob(SHARED).rename(trash / f"0123456789abcdef.blob.{sha256_of(SHARED)}")
    stock.upkeep.prune(PruneRequest())
    assert stock.blob(SHARED).read_bytes() == SHARED
    assert list(trash.iterdir()) == []


@pytest.mark.parametrize("place", ["snapshots/hf/acme", "models/hf/acme", "blobs/sha256", "trash"])
def test_nothing_behind_a_planted_link_is_touched(stock: Stock, tmp_path: Path, place: str) -> None:
    root, elsewhere = stock.cache.root, tmp_path / "elsewhere"
    keys = {stock.key("acme/toy"), stock.key("acme/other")}
    (root / "trash").mkdir(exist_ok=True)
    (root / "trash" / "old").write_bytes(b"old")
    (root / place).rename(elsewhere)
    (root / place).symlink_to(elsewhere)
    before = {path: path.lstat().st_ctime_ns for path in elsewhere.rglob("*")}
    with suppress(FetchError):
        stock.upkeep.remove(keys)
    with suppress(FetchError):
        stock.upkeep.prune(PruneRequest(max_bytes=0, unused_s=0.0, partials=True))
    stock.upkeep.verify(deep=True)
    after = {path: path.lstat().st_ctime_ns for path in elsewhere.rglob("*")}
    assert after.keys() == before.keys()


MODELS = {f"acme/m{i}": {"a.gguf": WEIGHTS[i : i + 5000], "shared": SHARED} for i in range(3)}
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["fetch", "remove", "prune", "edit", "lose blob", "lose name", "orphan"]),
        st.sampled_from(sorted(MODELS)),
    ),
    max_size=10,
)


@pytest.mark.parametrize("examples", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_any_order_of_steps_keeps_what_is_needed(
    hub: FakeHub, tmp_path: Path, examples: int
) -> None:
    @settings(max_examples=examples)
    @given(steps=STEPS)
    def law(steps: list[tuple[str, str]]) -> None:
        with TemporaryDirectory(dir=tmp_path) as folder:
            check_any_order(hub, Path(folder, "cache"), steps)

    law()


def check_any_order(hub: FakeHub, root: Path, steps: list[tuple[str, str]]) -> None:
    stock = Stock(hub=hub, cache=Cache(root, patience=QUICK))
    for name, files in MODELS.items():
        hub.add_model(name, files)
    for step, name in steps:
        blob = stock.blob(MODELS[name]["a.gguf"])
        path = root / "snapshots" / stock.key(name) / "a.gguf"
        match step:
            case "fetch":
                assert read_files(stock.fetch(name)) == MODELS[name]
            case "remove":
                stock.upkeep.remove({stock.key(name)})
            case "prune":
                stock.upkeep.prune(PruneRequest(max_bytes=60_000))
            case "edit" if blob.exists():
                blob.chmod(0o600)
                blob.write_bytes(bytes(5000))
            case "lose blob":
                blob.unlink(missing_ok=True)
            case "lose name":
                path.unlink(missing_ok=True)
            case "orphan" if blob.exists():
                make_older(blob, 5 * HOURS_S)
    for name, files in MODELS.items():
        assert read_files(stock.fetch(name)) == files
    assert stock.upkeep.verify(deep=True).faults == ()
    for name in MODELS:
        stock.upkeep.remove({stock.key(name)})
    assert stock.upkeep.usage().blob_bytes == 0


def test_removing_and_fetching_at_once_ends_in_whole_files(
    program: ForkedProgram, hub: FakeHub, tmp_path: Path
) -> None:
    """Two processes remove what two threads fetch: nobody ever gets a wrong or a half model."""
    stock = Stock(hub=hub, cache=Cache(tmp_path / "cache", patience=QUICK))
    for name, files in MODELS.items():
        hub.add_model(name, files)
    words = [str(REMOVER), str(stock.cache.root), *(stock.key(name) for name in MODELS)]
    removed: list[str] = []
    wrong: list[object] = []

    def listen(remover: ForkedChild) -> None:
        removed.extend(remover.stdout)

    def fetch_all(name: str) -> None:
        while len(removed) < 10 and not wrong:
            try:
                entry = stock.fetch(name)
                with stock.cache.lease(entry.path, entry.files, "a test"):
                    if read_files(entry) != MODELS[name]:
                        wrong.append(name)
            except FetchError as error:
                if "removed" not in error.message:
                    wrong.append(error)

    stock.fetch("acme/m0")
    with ExitStack() as ends, ThreadPoolExecutor() as threads:
        starts = (program.start(words, os.environ, tmp_path) for _ in range(2))
        removers = [ends.enter_context(closing(remover)) for remover in starts]
        for remover in removers:
            threads.submit(listen, remover)
        try:
            for fetching in [threads.submit(fetch_all, name) for name in sorted(MODELS)[:2]]:
                fetching.result()
        finally:
            for remover in removers:
                remover.send_signal(signal.SIGTERM)
        assert [remover.wait() for remover in removers] == [0, 0]
    assert wrong == []
    for name, files in MODELS.items():
        assert read_files(stock.fetch(name)) == files
