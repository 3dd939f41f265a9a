"""The guard: whatever happens to nimctl, the engine and all its children end."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from nimctl.server import guard

GUARD = (sys.executable, "-P", "-S", guard.__file__)

# Starts a child of its own, tells both pids, and then sleeps; stubborn ones ignore SIGTERM.
ENGINE = textwrap.dedent("""
    import os, signal, subprocess, sys, time
    if "stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    own_session = "daemon" in sys.argv
    child = subprocess.Popen(["sleep", "600"], start_new_session=own_session)
    print(os.getpid(), child.pid, flush=True)
    time.sleep(600)
""")


def is_alive(pid):
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(*pids, timeout_s=30):
    deadline = time.monotonic() + timeout_s
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, f"still alive: {[p for p in pids if is_alive(p)]}"
        time.sleep(0.02)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "engine.log"


@pytest.fixture
def start(log):
    started = []

    def run(*command, options=()):
        process = subprocess.Popen(
            [*GUARD, "--log", str(log), *options, "--", *command], stdin=subprocess.PIPE
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.stdin.close()
        process.wait(30)


def read_lines(log):
    """What the engine printed, without the guard's own lines."""
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    return [line for line in lines if line.endswith("\n") and not line.startswith("---")]


def wait_for_line(log):
    deadline = time.monotonic() + 30
    while not (lines := read_lines(log)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return lines[0]


def start_engine(start, log, *arguments, options=()):
    process = start(sys.executable, "-c", ENGINE, *arguments, options=options)
    return process, [int(word) for word in wait_for_line(log).split()]


def test_the_exit_code_of_the_engine_is_passed_on(start):
    assert start("sh", "-c", "exit 7").wait(30) == 7


def test_a_signal_becomes_128_and_its_number(start):
    assert start("sh", "-c", "kill -9 $$").wait(30) == 137


def test_a_program_that_is_not_there_is_said(start, log):
    assert start("/nowhere/engine").wait(30) == 127
    assert "cannot start /nowhere/engine" in log.read_text()


@pytest.mark.parametrize("kind", ["plain", "daemon"])
def test_everything_ends_when_nimctl_closes_the_pipe(start, log, kind):
    process, pids = start_engine(start, log, kind)
    process.stdin.close()
    wait_until_gone(process.pid, *pids)
    process.stdin = open(os.devnull, "rb")  # noqa: PTH123, SIM115 - the fixture closes it again


def test_everything_ends_on_sigterm(start, log):
    process, pids = start_engine(start, log, "plain")
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    wait_until_gone(*pids)


def test_a_stubborn_engine_is_ended_at_once_when_there_is_a_hurry(start, log):
    process, pids = start_engine(start, log, "stubborn")
    process.send_signal(signal.SIGTERM)
    began_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 137
    assert time.monotonic() - began_s < guard.GRACE_S / 2
    wait_until_gone(*pids)


def test_an_engine_that_stands_still_is_ended_too(start, log):
    process, pids = start_engine(start, log, "plain")
    os.kill(pids[0], signal.SIGSTOP)
    while b") T " not in Path(f"/proc/{pids[0]}/stat").read_bytes():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) in (137, 143)  # whichever of the two signals it hears first
    wait_until_gone(*pids)


def test_children_end_with_an_engine_that_dies(start, log):
    process, pids = start_engine(start, log, "daemon")
    os.kill(pids[0], signal.SIGKILL)
    assert process.wait(30) == 137
    wait_until_gone(*pids)


def test_daemons_of_daemons_end_too(start, log):
    """Each leaves its group and its parent; the last one is adopted by the guard in the end."""
    nested = "setsid sh -c 'setsid sleep 600 & echo $!; wait' & wait"
    process = start("sh", "-c", nested)
    pid = int(wait_for_line(log))
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    wait_until_gone(pid)


def test_processes_left_to_the_guard_do_not_stay_as_zombies(start, log):
    process = start("sh", "-c", "(setsid sh -c 'exit 0' &); echo up; sleep 600")
    wait_for_line(log)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 30
    while len(children.read_text().split()) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_engine_ends_when_the_guard_itself_is_killed(start, log):
    process, pids = start_engine(start, log, "plain")
    process.kill()
    process.wait(30)
    wait_until_gone(pids[0])
    os.kill(pids[1], signal.SIGKILL)  # out of reach of the kernel's signal: nimctl ends such


def test_a_chatty_engine_keeps_its_newest_lines_only(start, log):
    chatter = "for i in $(seq 20000); do echo line $i of many; done"
    options = ("--log-bytes", "50000")
    assert start("sh", "-c", chatter, options=options).wait(30) == 0
    files = sorted(log.parent.glob("engine.log*"))
    assert [file.name for file in files] == ["engine.log", "engine.log.1", "engine.log.2"]
    assert all(file.stat().st_size <= 50_000 for file in files)
    kept = [line for file in reversed(files) for line in file.read_text().splitlines()]
    numbers = [int(line.split()[1]) for line in kept]
    assert numbers == list(range(numbers[0], 20001))


def test_a_full_disk_loses_lines_and_stops_nobody(start, tmp_path):
    full = tmp_path / "full.log"
    full.symlink_to("/dev/full")
    chatter = "for i in $(seq 100000); do echo line $i of many; done; exit 4"
    assert start("sh", "-c", chatter, options=("--log", str(full))).wait(30) == 4


def test_what_a_full_disk_lost_is_told_afterwards(tmp_path):
    log = guard.RotatingLog(str(tmp_path / "engine.log"))
    fd, log._fd = log._fd, os.open("/dev/full", os.O_WRONLY)
    log.write(b"nobody reads this\n")
    os.close(log._fd)
    log._fd = fd
    log.write(b"the disk has room again\n")
    assert (tmp_path / "engine.log").read_text() == (
        "\n--- nimctl: 18 bytes are missing, the disk was full\nthe disk has room again\n"
    )
    os.close(fd)


def test_the_state_folder_is_removed(start, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    (state / "engine.sock").touch()
    assert start("true", options=("--cleanup", str(state))).wait(30) == 0
    assert not state.exists()


def test_nothing_survives_nimctl_killed_with_sigkill(tmp_path):
    """The parent of the guard is killed; only the closed pipe tells the guard."""
    log = tmp_path / "engine.log"
    command = [*GUARD, "--log", str(log), "--", sys.executable, "-c", ENGINE]
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(f"""
            import subprocess, sys, time
            guard = subprocess.Popen({command!r},
                                     stdin=subprocess.PIPE, start_new_session=True)
            print(guard.pid, flush=True)
            time.sleep(600)
        """)],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    guard = int(parent.stdout.readline())
    pids = [int(word) for word in wait_for_line(log).split()]
    assert all(map(is_alive, [guard, *pids]))
    parent.kill()
    parent.wait(30)
    wait_until_gone(guard, *pids)
    parent.stdout.close()
