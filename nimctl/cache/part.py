"""A file on its way: blocks in any order, continued after a crash, published in one step.

Beside the bytes (`.part`) lies a journal of the blocks that are there (`.blocks`).
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

from nimctl.cache.journal import Journal, NotedBlocks, journal_of, read_journal
from nimctl.cache.layout import sync_folder
from nimctl.errors import FetchError


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
        self.kept = read_journal(journal_of(path), size_bytes) if size_bytes else NotedBlocks()
        self._has_blocks = bool(self.kept)
        self._descriptor = open_to_write(path)
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
        self._journal = Journal(journal_of(self._path), size_bytes)

    @property
    def is_worth_keeping(self) -> bool:
        """Whether some block of it is on disk, and the disk never failed to take one."""
        return self._has_blocks and self._failed_flush is None

    def _leave(self) -> None:
        """Of a part that cannot be used nothing stays but blocks that are there already."""
        os.close(self._descriptor)
        if not self.is_worth_keeping:
            self._path.unlink(missing_ok=True)
            journal_of(self._path).unlink(missing_ok=True)

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
            FetchError: the part was removed, or another process took this one for dead and goes
                on with it, or something else is in the place of the blob.
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
            raise self._lost() from None
        except IsADirectoryError:
            raise FetchError(f"{blob} should be a file of the cache but is a folder") from None
        sync_folder(blob.parent)
        self._delete_journal()

    def reject(self, quarantine: Path) -> None:
        """Move the bytes to `quarantine`; the part is of no use afterwards.

        Raises:
            FetchError: the part was removed, or another process has it.
        """
        try:
            self._path.replace(quarantine)
        except FileNotFoundError:
            raise self._lost() from None
        self._delete_journal()

    def _lost(self) -> FetchError:
        return FetchError(
            f"{self._path.name} was removed, or another process goes on with it, for this one was "
            "silent too long",
            hint="run the same command again; it takes what the other one brought",
        )

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


def open_to_write(path: Path) -> int:
    """Open or create the bytes of a part; no link in their place is followed."""
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
