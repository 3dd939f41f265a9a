"""What running processes use: a locked file for as long as each lives, ignored once it is dead."""

import fcntl
import json
import os
import platform
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread

from nimctl.cache.layout import Layout, read_text, walk_files
from nimctl.cache.owners import measure_silence_s, name_machine, name_process

BEAT_S = 60.0
SILENCE_S = 600.0
"""After which an owner on another machine, whose lock cannot be seen here, counts as dead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """What one process uses.

    Attributes:
        what: What the process does, for people.
        machine: Names the machine until it is started again.
        process: Names the process on its machine: when it was started, in the kernel's count.
        started_at_s: Seconds since 1970.
        folders: What it has open, relative to the root; empty for a fetch.
        blobs: Their contents, by sha256.
    """

    what: str
    host: str
    pid: int
    machine: str
    process: str
    started_at_s: float
    folders: tuple[str, ...]
    blobs: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.what} (process {self.pid} on {self.host})"


@contextmanager
def hold_lease(
    layout: Layout, what: str, *, folders: tuple[str, ...] = (), blobs: tuple[str, ...] = ()
) -> Iterator[None]:
    """Keep folders and blobs from being removed for as long as a `with` lasts.

    In a cache that may not be written there is nobody to be kept from it, and nothing is done.
    """
    lease = Lease(
        what=what,
        host=platform.node(),
        pid=os.getpid(),
        machine=name_machine(),
        process=name_process(os.getpid()),
        started_at_s=time.time(),
        folders=folders,
        blobs=blobs,
    )
    path = layout.leases / f"{secrets.token_hex(8)}.json"
    try:
        descriptor = _write_locked(layout, path, lease)
    except OSError:
        yield
        return
    ended = Event()
    beat = Thread(target=_beat, args=(descriptor, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _write_locked(layout: Layout, path: Path, lease: Lease) -> int:
    """Nobody sees the file before it is whole and locked."""
    layout.make_folder(path.parent)
    hidden = path.with_suffix(".tmp")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(hidden, flags, 0o600)
    try:
        os.fchmod(descriptor, layout.file_mode())
        os.write(descriptor, json.dumps(asdict(lease)).encode())
        with suppress(OSError):  # a file system without locks: the beat tells
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hidden.rename(path)
    except OSError:
        os.close(descriptor)
        hidden.unlink(missing_ok=True)
        raise
    return descriptor


def _beat(descriptor: int, ended: Event) -> None:
    while not ended.wait(BEAT_S):
        with suppress(OSError):
            os.utime(descriptor)


def read_leases(layout: Layout) -> tuple[Lease, ...]:
    """The leases of processes that live, or may live on another machine."""
    read = (_read_lease(path) for path in walk_files(layout.leases) if path.suffix == ".json")
    return tuple(lease for lease in read if lease is not None)


def list_dead_leases(layout: Layout) -> tuple[Path, ...]:
    """The files of leases whose owner is gone."""
    return tuple(path for path in walk_files(layout.leases) if _is_dead(path))


def _is_dead(path: Path) -> bool:
    if path.suffix == ".json":
        return _read_lease(path) is None
    try:
        return measure_silence_s(path) > SILENCE_S
    except FileNotFoundError:  # it has just become a lease
        return False


def _read_lease(path: Path) -> Lease | None:
    text = read_text(path)
    try:
        document = json.loads(text or "")
        lists = {name: tuple(map(str, document[name])) for name in ("folders", "blobs")}
        lease = Lease(**{**document, **lists})
        return lease if is_locked(path) or _may_live(lease, path) else None
    except (ValueError, KeyError, TypeError, OSError):
        return None


def is_locked(path: Path) -> bool:
    """Whether a process of this machine, or of one whose locks reach here, has `path` locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _may_live(lease: Lease, path: Path) -> bool:
    """Where no lock is seen: the process is there all the same, or was heard of not long ago."""
    if lease.machine == name_machine():
        return bool(lease.process) and name_process(lease.pid) == lease.process
    return measure_silence_s(path) < SILENCE_S
