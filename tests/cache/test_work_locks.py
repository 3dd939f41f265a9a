"""Who has a lock, and whether he still lives: his process, the kernel's lock, or his silence."""

import fcntl
import os
import subprocess
import sys
import time
from dataclasses import replace
from threading import Event, Thread

import pytest

from nimctl.cache.locks import SILENCE_S, WorkLock
from nimctl.cache.owners import parse_owner, this_process
from nimctl.cache.patience import Stopped
from nimctl.cache.progress import Waiting, ignore_progress


@pytest.fixture
def path(tmp_path):
    return tmp_path / "key.lock"


def lock(path, stop=None, on_progress=ignore_progress):
    return WorkLock(path, "model.safetensors", on_progress, stop or Event())


def gone_process():
    """The owner that a process of this machine was which has ended."""
    code = "from nimctl.cache.owners import this_process; print(this_process())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return parse_owner(ran.stdout.strip())


def waits(path):
    """Whether somebody who comes now has to wait."""
    stop, told = Event(), []

    def try_it():
        try:
            with lock(path, stop, told.append):
                pass
        except Stopped:
            pass

    thread = Thread(target=try_it)
    thread.start()
    end_s = time.monotonic() + 10
    while thread.is_alive() and not told and time.monotonic() < end_s:
        time.sleep(0.005)
    stop.set()
    thread.join()
    return bool(told) and isinstance(told[0], Waiting)


def test_an_owner_is_read_back_as_it_was_written():
    assert parse_owner(str(this_process())) == this_process()
    assert this_process().lives
    assert parse_owner("something else") is None


def test_one_has_it_and_leaves_nothing(path):
    with lock(path) as held:
        assert held.is_certain
        assert waits(path)
    assert not path.exists()
    assert list(path.parent.iterdir()) == []


def test_a_process_that_ended_has_nothing(path):
    path.write_text(f"{gone_process()}\n")
    with lock(path) as held:
        assert held.is_certain
        assert parse_owner(path.read_text().strip()) == this_process()


def test_a_number_that_another_process_has_now_is_not_taken_for_the_owner(path):
    path.write_text(f"{replace(this_process(), started='1')}\n")
    assert not waits(path)


@pytest.mark.parametrize("kernel_lock", [True, False])
def test_in_another_container_of_this_machine_the_kernel_knows(path, kernel_lock):
    path.write_text(f"{replace(this_process(), namespace='pid:[1]')}\n")
    descriptor = os.open(path, os.O_RDWR)
    if kernel_lock:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert waits(path) is kernel_lock
    os.close(descriptor)


@pytest.mark.parametrize(("silence_s", "expected"), [(SILENCE_S / 2, True), (SILENCE_S + 1, False)])
def test_an_owner_on_another_machine_is_believed_until_long_silence(path, silence_s, expected):
    path.write_text(f"{replace(this_process(), machine='00000000')}\n")
    then_s = time.time() - silence_s
    os.utime(path, (then_s, then_s))
    assert waits(path) is expected


def test_what_was_taken_from_a_silent_owner_is_not_certain(path):
    path.write_text(f"{replace(this_process(), machine='00000000')}\n")
    os.utime(path, (1, 1))
    with lock(path) as held:
        assert not held.is_certain


def test_a_file_that_its_maker_has_not_signed_yet_is_left_for_a_moment(path):
    path.touch()
    assert waits(path)
    os.utime(path, (1, 1))
    assert not waits(path)


def test_a_lock_that_was_taken_away_is_not_removed_from_its_new_owner(path):
    first = lock(path)
    with first:
        path.unlink()
        path.write_text(f"{this_process()}\n")
    assert path.exists()


def test_a_link_in_its_place_is_not_followed(path):
    victim = path.with_name("victim")
    victim.write_text("mine")
    path.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"), lock(path):
        pass
    assert victim.read_text() == "mine"
