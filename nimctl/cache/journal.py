"""Which blocks of a part are on disk, and what they hash to: a file that is only appended to.

A header names the format and the size of the whole file; each record is a block's number and its
BLAKE3. A record is written after its block, but no order survives a power cut: whoever reads a
journal checks every block against its record before it counts.
"""

import errno
import os
import stat
import struct
from pathlib import Path

from nimctl.cache.blocks import BLOCK_BYTES, count_blocks

_HEADER = struct.Struct("<16sQQ")
_RECORD = struct.Struct("<I32s")
_MAGIC = b"nimctl-blocks-1\n"


class Journal:
    """The open journal of one part."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        """Open or begin the journal at `path` of a file of `size_bytes`.

        One of another size or format is begun anew.

        Raises:
            OSError: it cannot be read or written; a link in its place is not followed.
        """
        self._path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        header = _HEADER.pack(_MAGIC, size_bytes, BLOCK_BYTES)
        try:
            if os.pread(self._descriptor, _HEADER.size, 0) != header:
                os.ftruncate(self._descriptor, 0)
                self._append(header)
            self._cut_torn_record()
        except OSError:
            os.close(self._descriptor)
            raise

    def _append(self, data: bytes) -> None:
        if os.write(self._descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def _cut_torn_record(self) -> None:
        """A record that was half written must not shift those that follow it."""
        size = os.fstat(self._descriptor).st_size
        os.ftruncate(self._descriptor, size - (size - _HEADER.size) % _RECORD.size)

    def record(self, block: int, digest: bytes) -> None:
        """Note that `block` is written and hashes to `digest`, 32 bytes; any thread may call.

        Raises:
            OSError: the disk is full.
        """
        self._append(_RECORD.pack(block, digest))

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def move(self, path: Path) -> None:
        """Give it another name."""
        self._path.rename(path)
        self._path = path

    def delete(self) -> None:
        """Delete the file."""
        self._path.unlink(missing_ok=True)


def read_journal(path: Path, size_bytes: int) -> dict[int, bytes]:
    """The BLAKE3 of every block that was noted, by number; empty where there is no journal of
    a file of that size.
    """
    try:
        # A pipe in its place would be waited for.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags)
    except OSError:
        return {}
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return {}
    with os.fdopen(descriptor, "rb") as stream:
        header = stream.read(_HEADER.size)
        if header != _HEADER.pack(_MAGIC, size_bytes, BLOCK_BYTES):
            return {}
        records = stream.read(2 * count_blocks(size_bytes) * _RECORD.size)
    whole = records[: len(records) - len(records) % _RECORD.size]
    blocks = count_blocks(size_bytes)
    return {block: digest for block, digest in _RECORD.iter_unpack(whole) if block < blocks}
