"""Locks that keep two processes from doing the same work; what is right never rests on them.

A lock is a file that only one process can create, with the name of that process in it. Whoever
finds one looks whether its owner lives: by the number of the process on the same machine, else by
the kernel's own lock on the file, else by how long nothing was heard of it. So a killed owner
holds nobody up, and file systems that only pretend to lock do as well.
"""

import fcntl
import os
import secrets
from contextlib import suppress
from errno import EAGAIN, EWOULDBLOCK
from pathlib import Path
from threading import Event, Thread
from types import TracebackType

from nimctl.cache.owners import (
    Owner,
    measure_silence_s,
    name_machine,
    parse_owner,
    this_process,
)
from nimctl.cache.patience import Stopped
from nimctl.cache.progress import OnProgress, Waiting

POLL_S = 0.2
BEAT_S = 20.0
SILENCE_S = 120.0
"""Silence after which an owner that cannot be seen counts as gone; it beats every `BEAT_S`."""

GRACE_S = 5.0
"""How long the maker of a file has to put its name into it."""


class WorkLock:
    """A lock for as long as a `with` lasts; another holder is waited for.

    Attributes:
        is_certain: No owner before may still be at work: none was only silent.
    """

    def __init__(self, path: Path, what: str, on_progress: OnProgress, stop: Event) -> None:
        """Prepare a lock on `path`; whoever waits is told about `what`, until `stop` is set."""
        self._path = path
        self._what = what
        self._on_progress = on_progress
        self._stop = stop
        self._descriptor = -1
        self._left = Event()
        self.is_certain = True

    def __enter__(self) -> "WorkLock":
        told = False
        while not self._create():
            if self._take_from_the_gone():
                continue
            if not told:
                self._on_progress(Waiting(what=self._what))
                told = True
            if self._stop.wait(POLL_S):
                raise Stopped
        Thread(target=self._beat, args=(os.dup(self._descriptor),), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        with suppress(OSError):
            if os.path.samestat(os.fstat(self._descriptor), self._path.lstat()):
                self._path.unlink()
        os.close(self._descriptor)

    def _create(self) -> bool:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self._path, flags, 0o600)
        except FileExistsError:
            return False
        try:
            # Others who may write this folder must be able to see whose the lock is.
            os.fchmod(self._descriptor, self._path.parent.stat().st_mode & 0o666)
            _try_flock(self._descriptor)
            os.write(self._descriptor, f"{this_process()}\n".encode())
        except OSError:
            os.close(self._descriptor)
            self._path.unlink(missing_ok=True)
            raise
        return True

    def _take_from_the_gone(self) -> bool:
        """Whether the lock is free to be created now: its owner is gone, or has just left."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            owner = _read_owner(descriptor)
            if owner is None or owner.machine != name_machine():
                self.is_certain = False
            return not _shows_life(self._path, descriptor, owner) and self._remove(descriptor)
        except FileNotFoundError:  # its owner has just left
            return True
        finally:
            os.close(descriptor)

    def _remove(self, descriptor: int) -> bool:
        """Remove the file that was judged, and no other that came in its place meanwhile."""
        aside = self._path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            self._path.rename(aside)
        except FileNotFoundError:
            return True
        is_judged = os.path.samestat(os.fstat(descriptor), aside.lstat())
        if not is_judged:
            with suppress(OSError):
                self._path.hardlink_to(aside)
        aside.unlink()
        return is_judged

    def _beat(self, descriptor: int) -> None:
        """Give a sign of life to those who cannot see this process."""
        while not self._left.wait(BEAT_S):
            with suppress(OSError):
                os.utime(descriptor)
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether somebody may be at work under the lock at `path`, which stays as it is."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _shows_life(path, descriptor, _read_owner(descriptor))
    except FileNotFoundError:  # its owner has just left
        return False
    finally:
        os.close(descriptor)


def _read_owner(descriptor: int) -> Owner | None:
    return parse_owner(os.pread(descriptor, 200, 0).decode(errors="replace").strip())


def _shows_life(path: Path, descriptor: int, owner: Owner | None) -> bool:
    """Whether the owner of a lock is there, or was heard of not long ago."""
    lives = None if owner is None else owner.lives
    if lives is not None:
        return lives
    if owner is not None and owner.machine == name_machine():
        return not _is_left(path, descriptor)
    return measure_silence_s(path) < (SILENCE_S if owner else GRACE_S)


def _is_left(path: Path, descriptor: int) -> bool:
    """Whether the kernel, which knows every lock of this machine, sees nobody hold this one."""
    if not _try_flock(descriptor):
        return False
    second = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        only_pretends = _try_flock(second)
    finally:
        os.close(second)
    return measure_silence_s(path) > SILENCE_S if only_pretends else True


def _try_flock(descriptor: int) -> bool:
    """Take the kernel's lock if nobody has it; a file system without locks gives it to all."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (EAGAIN, EWOULDBLOCK)
    return True
