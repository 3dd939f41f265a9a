"""A file on its way: blocks in any order, continued after a crash, published in one step.

Beside the bytes (`.part`) lies a journal of the blocks that are there (`.blocks`). A part that
lost its owner is adopted by renaming it, which only one process can do.
"""

import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from nimctl.cache.journal import Journal, NotedBlocks, read_journal
from nimctl.cache.layout import Layout, sync_folder
from nimctl.cache.owners import name_machine
from nimctl.errors import FetchError

OWNER_LOST_S = 600.0
"""Silence after which a part is taken over where no lock tells whether its owner lives."""

_JOURNAL_SUFFIX = ".blocks"


class Part:
    """The open part; several threads may write it.

    Attributes:
        kept: BLAKE3 of the blocks an earlier owner left. A power cut may have emptied them: they
            count only once they were read and hash to this.
    """

    def __init__(self, path: Path, size_bytes: int | None) -> None:
        """Open or create the part at `path`; without a size there is no journal.

        Raises:
            OSError: it cannot be written, or the disk has no room for all of it.
        """
        self._path = path
        self.kept = read_journal(_journal_of(path), size_bytes) if size_bytes else NotedBlocks()
        self._has_blocks = bool(self.kept)
        self._descriptor = _open(path)
        self._closing = Lock()
        # The kernel lets one thread write a file at a time, and those that wait there spin.
        self._writing = Lock()
        self._is_closed = False
        self._failed_flush: OSError | None = None
        self._journal: Journal | None = None
        if size_bytes:
            try:
                self._begin(size_bytes)
            except OSError:
                self._leave()
                raise

    def _begin(self, size_bytes: int) -> None:
        """Take the room for the whole file now, so that a full disk is told before the bytes."""
        # An owner before may have been told another size; what lies beyond is not of this file.
        if os.fstat(self._descriptor).st_size > size_bytes:
            os.ftruncate(self._descriptor, size_bytes)
        os.posix_fallocate(self._descriptor, 0, size_bytes)
        self._journal = Journal(_journal_of(self._path), size_bytes)

    @property
    def is_worth_keeping(self) -> bool:
        """Whether some block of it is on disk, and the disk never failed to take one."""
        return self._has_blocks and self._failed_flush is None

    def _leave(self) -> None:
        """Of a part that cannot be used nothing stays but blocks that are there already."""
        os.close(self._descriptor)
        if not self.is_worth_keeping:
            self._path.unlink(missing_ok=True)
            _journal_of(self._path).unlink(missing_ok=True)

    def write(self, start_bytes: int, data: memoryview) -> None:
        """Put bytes in their place.

        Raises:
            OSError: the disk is full or gone; what was written before stays.
        """
        if self._failed_flush is not None:
            raise self._failed_flush
        while data:
            with self._writing:
                written = os.pwrite(self._descriptor, data, start_bytes)
            start_bytes += written
            data = data[written:]

    def read_into(self, buffer: memoryview, start_bytes: int) -> int:
        """Fill `buffer` from a place on; gives how many bytes that were, fewer at the end."""
        return os.preadv(self._descriptor, [buffer], start_bytes)

    def flush(self) -> None:
        """Have what was written put on the disk now, so that `publish` has little to wait for.

        The kernel tells a failure to write only once, so it is kept for `publish` to raise. It
        also takes what was not written for written: the bytes still read right until memory is
        short, and no later sync would tell, so the part is of no use any more.
        """
        with self._closing, suppress(OSError):
            if not self._is_closed:
                self._sync(getattr(os, "fdatasync", os.fsync))

    def _sync(self, sync: Callable[[int], None]) -> None:
        try:
            sync(self._descriptor)
        except OSError as error:
            self._failed_flush = error
            raise

    def record(self, block: int, blake3: bytes) -> None:
        """Note that a block is there and what it hashes to."""
        if self._journal is not None:
            self._journal.record(block, blake3)
            self._has_blocks = True

    def publish(self, blob: Path, size_bytes: int) -> None:
        """Make its first `size_bytes` a whole, read-only file named `blob`, on disk before this
        returns.

        Raises:
            FetchError: another process took this one for dead and goes on with the part, or
                something else is in the place of the blob.
            OSError: the disk did not take the bytes.
        """
        if self._failed_flush is not None:
            raise self._failed_flush
        os.ftruncate(self._descriptor, size_bytes)
        os.fchmod(self._descriptor, 0o444)
        self._sync(os.fsync)
        try:
            self._path.replace(blob)
        except FileNotFoundError:
            raise FetchError(
                f"another process goes on with {self._path.name}, for this one was silent too long",
                hint="run the same command again; it takes what the other one brought",
            ) from None
        except IsADirectoryError:
            raise FetchError(f"{blob} should be a file of the cache but is a folder") from None
        sync_folder(blob.parent)
        self._delete_journal()

    def reject(self, quarantine: Path) -> None:
        """Move the bytes to `quarantine`; the part is of no use afterwards."""
        self._path.replace(quarantine)
        self._delete_journal()

    def discard(self) -> None:
        """Delete the bytes."""
        self._path.unlink(missing_ok=True)
        self._delete_journal()

    def close(self) -> None:
        """Close the files."""
        with self._closing:
            self._is_closed = True
            os.close(self._descriptor)
        if self._journal is not None:
            self._journal.close()

    def _delete_journal(self) -> None:
        if self._journal is not None:
            self._journal.delete()


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except PermissionError:
        _make_writable(path)
        return os.open(path, flags, 0o600)


def _make_writable(path: Path) -> None:
    """An owner was killed when the part was whole and read-only, and had no final name yet."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _journal_of(path: Path) -> Path:
    return path.with_suffix(_JOURNAL_SUFFIX)


@contextmanager
def open_part(
    layout: Layout, key: str, size_bytes: int | None, *, lock_is_certain: bool
) -> Iterator[Part]:
    """The part of `key`: the fullest abandoned one if there is any, else a new one.

    Args:
        lock_is_certain: No process of this machine that held the lock of `key` is still at work.
    """
    path = layout.partial / f"{key}.{name_machine()}-{secrets.token_hex(4)}.part"
    abandoned = [part for part in find_parts(layout, key) if _is_abandoned(part, lock_is_certain)]
    abandoned.sort(key=lambda part: count_kept_blocks(part, size_bytes or 0))
    for index, other in enumerate(reversed(abandoned)):
        with suppress(FileNotFoundError):  # another process was quicker
            if index == 0:
                _adopt(other, path)
            else:
                other.unlink()
                _journal_of(other).unlink()
    part = Part(path, size_bytes)
    try:
        yield part
    finally:
        part.close()
        if not part.is_worth_keeping:
            part.discard()


def _adopt(abandoned: Path, path: Path) -> None:
    journal = _journal_of(abandoned)
    is_journal = _is_ours(journal)
    abandoned.rename(path)
    with suppress(FileNotFoundError):  # its owner died before the first block
        if is_journal:
            journal.rename(_journal_of(path))
        else:
            journal.unlink()


def find_parts(layout: Layout, key: str) -> tuple[Path, ...]:
    """The parts of `key` that may be continued; links and files of others are passed over."""
    return tuple(path for path in layout.partial.glob(f"{key}.*.part") if _is_ours(path))


def count_kept_blocks(part: Path, size_bytes: int) -> int:
    """How many blocks of a part its journal notes."""
    return len(read_journal(_journal_of(part), size_bytes))


def count_room(part: Path) -> int:
    """The disk a part takes, in bytes, with what is reserved for blocks to come; 0 for one that
    has just been finished or taken over.
    """
    try:
        return part.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0


def delete_older(layout: Layout, age_s: float) -> None:
    """Delete what was left in the cache on its way for longer than `age_s` seconds."""
    oldest = time.time() - age_s
    for folder in (layout.partial, layout.quarantine):
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode) and facts.st_mtime < oldest:
                    path.unlink()
    for path in layout.scratch.iterdir() if layout.scratch.is_dir() else ():
        with suppress(FileNotFoundError):
            if path.lstat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)


def _is_ours(path: Path) -> bool:
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid() and facts.st_nlink == 1


def _is_abandoned(path: Path, lock_is_certain: bool) -> bool:
    """Whether its owner is gone: of this machine a lock tells, of others only long silence."""
    if lock_is_certain and path.name.rpartition("-")[0].endswith(f".{name_machine()}"):
        return True
    try:
        return time.time() - path.lstat().st_mtime > OWNER_LOST_S
    except FileNotFoundError:  # its owner has just finished
        return False
