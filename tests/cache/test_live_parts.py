"""What a running fetch is at work on, beside other processes, other hosts, and clocks that jump."""

import fcntl
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cache_stock import wait_until
from fake_hub import FakeHub, Fault
from forked_program import ForkedChild

from nimctl.cache import BLOCK_BYTES, Cache
from nimctl.cache.fetching import FILES_AT_ONCE
from nimctl.cache.leases import read_leases
from nimctl.cache.locks import POLL_S, SILENCE_S
from nimctl.cache.upkeep import PruneRequest, Upkeep

SIZE_BYTES = 3 * BLOCK_BYTES + 5
WEIGHTS = random.Random(3).randbytes(SIZE_BYTES)
OTHER = {"other.safetensors": WEIGHTS[:5000]}
NAME = "model.safetensors"
HOUR_S = 3600
WEEK_AND_DAY_S = 8 * 24 * HOUR_S
Spawn = Callable[..., ForkedChild]


def upkeep(tmp_path: Path) -> Upkeep:
    return Upkeep(Cache(tmp_path / "cache"))


def partial(tmp_path: Path) -> set[Path]:
    return set((tmp_path / "cache" / "partial").iterdir())


def begin(hub: FakeHub, tmp_path: Path, spawn: Spawn, *options: str) -> ForkedChild:
    """A child that has one block and waits for the next one."""
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    hub.add_fault(NAME, Fault(kind="stall", at_byte=BLOCK_BYTES))
    child = spawn(*options)
    wait_until(
        lambda: [p.kept_bytes for p in upkeep(tmp_path).list_parts()] == [BLOCK_BYTES],
        "a block on disk",
    )
    return child


def fall_silent(tmp_path: Path) -> None:
    """Nothing was heard for long of whoever is at work."""
    then_s = time.time() - SILENCE_S - 60
    for path in partial(tmp_path):
        os.utime(path, (then_s, then_s))


def result(child: ForkedChild) -> tuple[int, str]:
    """Exit code and last line; a traceback is a bug."""
    output, errors = child.communicate(timeout=60)
    assert "Traceback" not in errors, errors
    return child.wait(), (output.strip().splitlines() or [""])[-1]


def brought(child: ForkedChild) -> dict[str, bytes]:
    """What a child fetched."""
    code, line = result(child)
    assert code == 0, line
    return {path.name: path.read_bytes() for path in Path(line).iterdir()}


def check_nothing_was_lost(hub: FakeHub, child: ForkedChild) -> None:
    """The child goes on with all that it had."""
    hub.release()
    assert brought(child) == {NAME: WEIGHTS}
    assert hub.served("acme/toy", NAME) == SIZE_BYTES


def fetch_other(hub: FakeHub, spawn: Spawn, *options: str) -> None:
    hub.add_model("acme/other", OTHER)
    assert brought(spawn(*options, uri="hf://acme/other")) == OTHER


@pytest.mark.parametrize("flock", ["flock", "no-flock"])
def test_a_clock_that_jumps_ahead_deletes_nothing_that_is_being_written(
    hub: FakeHub, tmp_path: Path, spawn: Spawn, flock: str
) -> None:
    child = begin(hub, tmp_path, spawn, flock)
    live = partial(tmp_path)
    fetch_other(hub, spawn, f"clock={WEEK_AND_DAY_S}")
    assert partial(tmp_path) == live
    check_nothing_was_lost(hub, child)


def test_what_was_left_for_a_week_goes(hub: FakeHub, tmp_path: Path, spawn: Spawn) -> None:
    child = begin(hub, tmp_path, spawn)
    child.kill()
    child.wait()
    fetch_other(hub, spawn, f"clock={WEEK_AND_DAY_S - 2 * 24 * 3600}")
    assert len(upkeep(tmp_path).list_parts()) == 1
    hub.add_model("acme/other", {**OTHER, "more": WEIGHTS[:6000]})
    assert len(brought(spawn(f"clock={WEEK_AND_DAY_S}", uri="hf://acme/other"))) == 2
    assert partial(tmp_path) == set()


@pytest.mark.parametrize("flock", ["flock", "no-flock"])
@pytest.mark.parametrize("machine", ["here", "machine=0badcafe"])
def test_pruning_leaves_what_is_being_written(
    hub: FakeHub, tmp_path: Path, spawn: Spawn, flock: str, machine: str
) -> None:
    child = begin(hub, tmp_path, spawn, flock, machine)
    live = partial(tmp_path)
    assert [part.is_live for part in upkeep(tmp_path).list_parts()] == [True]
    assert upkeep(tmp_path).prune(PruneRequest(partials=True)).leftovers == ()
    assert partial(tmp_path) == live
    check_nothing_was_lost(hub, child)


def test_the_folder_of_a_source_at_work_stays(hub: FakeHub, tmp_path: Path, spawn: Spawn) -> None:
    fetch_other(hub, spawn)
    scratch = Cache(tmp_path / "cache").scratch_folder
    for name in ("live", "left"):
        (scratch / name).mkdir(parents=True)
        os.utime(scratch / name, (1, 1))
    descriptor = os.open(scratch / "live", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        upkeep(tmp_path).prune(PruneRequest(partials=True))
        assert [path.name for path in scratch.iterdir()] == ["live"]
        (scratch / "left").mkdir()
        os.utime(scratch / "left", (1, 1))
        hub.add_model("acme/other", {**OTHER, "more": WEIGHTS[:6000]})
        assert len(brought(spawn(uri="hf://acme/other"))) == 2
        assert [path.name for path in scratch.iterdir()] == ["live"]
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("ahead_s", [HOUR_S, -HOUR_S])
def test_a_host_whose_clock_is_wrong_takes_nothing_from_one_that_lives(
    hub: FakeHub, tmp_path: Path, spawn: Spawn, ahead_s: int
) -> None:
    first = begin(hub, tmp_path, spawn, "machine=0badcafe", "no-flock")
    second = spawn("no-flock", f"clock={ahead_s}")
    assert "event Waiting\n" in iter(second.stdout.readline, "")
    time.sleep(3 * POLL_S)  # meanwhile it looks again, and must take nothing
    check_nothing_was_lost(hub, first)
    assert brought(second) == {NAME: WEIGHTS}


@pytest.mark.parametrize("ahead_s", [HOUR_S, -HOUR_S])
def test_a_wrong_clock_waits_for_no_host_that_is_gone(
    hub: FakeHub, tmp_path: Path, spawn: Spawn, ahead_s: int
) -> None:
    first = begin(hub, tmp_path, spawn, "machine=0badcafe", "no-flock")
    first.kill()
    first.wait()
    fall_silent(tmp_path)
    check_nothing_was_lost(hub, spawn("no-flock", f"clock={ahead_s}"))


def test_what_a_machine_left_is_gone_on_with_when_it_was_started_again(
    hub: FakeHub, tmp_path: Path, spawn: Spawn
) -> None:
    """It has another name then, and nothing was heard of the one before while it started."""
    first = begin(hub, tmp_path, spawn, "machine=0badcafe")
    first.kill()
    first.wait()
    fall_silent(tmp_path)
    check_nothing_was_lost(hub, spawn())
    assert partial(tmp_path) == set()


@pytest.mark.parametrize("folder", ["", "partial"])
@pytest.mark.parametrize("files_more", [0, 6])
def test_a_cache_that_is_deleted_under_a_fetch_is_told_and_fetched_anew(
    hub: FakeHub, tmp_path: Path, spawn: Spawn, folder: str, files_more: int
) -> None:
    """More files than are brought at once: the last ones begin when it is gone."""
    more = {f"{n}.safetensors": WEIGHTS[n : n + 9000] for n in range(files_more)}
    files = {NAME: WEIGHTS, **more}
    hub.add_model("acme/toy", files)
    for path in files:
        hub.add_fault(path, Fault(kind="stall", at_byte=5000))
    child = spawn()
    begun = min(len(files), FILES_AT_ONCE)
    wait_until(lambda: len(upkeep(tmp_path).list_parts()) == begun, "what is brought at once")
    assert hub.stalled.wait(30)
    shutil.rmtree(tmp_path / "cache" / folder)
    hub.release()
    code, line = result(child)
    assert (code, line.partition(":")[0]) == (4, "fetch-failed")
    if not folder:
        assert line.endswith("cache was removed while files were fetched into it")
    assert brought(spawn()) == files


@pytest.mark.parametrize("flock", ["flock", "no-flock"])
def test_processes_that_want_different_models_bring_what_these_share_once(
    hub: FakeHub, tmp_path: Path, spawn: Spawn, flock: str
) -> None:
    models = {
        "acme/one": {"shared.safetensors": WEIGHTS, "one.safetensors": WEIGHTS[1:]},
        "acme/two": {"shared.safetensors": WEIGHTS, "two.safetensors": WEIGHTS[2:]},
    }
    for name, files in models.items():
        hub.add_model(name, files)
    hub.add_fault("shared.safetensors", Fault(kind="stall", at_byte=BLOCK_BYTES))
    children = [(spawn(flock, uri=f"hf://{name}"), name) for name in [*models, *models]]
    layout = Cache(tmp_path / "cache").layout
    wait_until(lambda: len(read_leases(layout)) == len(children), "all of them fetch")
    assert hub.stalled.wait(30)
    hub.release()
    for child, name in children:
        assert brought(child) == models[name]
    assert sum(hub.served(name, "shared.safetensors") for name in models) == SIZE_BYTES
    assert hub.served("acme/one", "one.safetensors") == SIZE_BYTES - 1


@pytest.mark.parametrize("faults", [[], [Fault(kind="corrupt", at_byte=2 * BLOCK_BYTES + 7)]])
def test_a_host_that_wakes_up_writes_nothing_into_what_another_went_on_with(
    hub: FakeHub, tmp_path: Path, spawn: Spawn, faults: list[Fault]
) -> None:
    first = begin(hub, tmp_path, spawn, "machine=0badcafe", "no-flock")
    first.send_signal(signal.SIGSTOP)
    fall_silent(tmp_path)
    second = brought(spawn("no-flock"))
    assert second == {NAME: WEIGHTS}
    assert hub.served("acme/toy", NAME) == SIZE_BYTES
    hub.faults[NAME] = list(faults)
    hub.release()
    first.send_signal(signal.SIGCONT)
    code, line = result(first)
    assert (code, line.partition(":")[0]) == (4, "fetch-failed")
    assert "this one was silent too long" in line
    assert upkeep(tmp_path).verify(deep=True).faults == ()
    assert brought(spawn("offline", "no-sockets")) == second
    assert partial(tmp_path) == set()
