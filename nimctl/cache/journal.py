"""Which blocks of a part are on disk, and what they hash to: a file that is only appended to.

A header names the format and the size of the whole file; each record is a block's number and its
BLAKE3. A record is written after its block, but no order survives a power cut: whoever reads a
journal checks every block against its record before it counts.
"""

import errno
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from nimctl.cache.blocks import BLOCK_BYTES, BlockSet, count_blocks

_HEADER = struct.Struct("<16sQQ")
_RECORD = struct.Struct("<I32s")
_MAGIC = b"nimctl-blocks-1\n"
_DIGEST_BYTES = 32
_RECORDS_AT_ONCE = 1024


def journal_of(part: Path) -> Path:
    """Where the journal of a part lies."""
    return part.with_suffix(".blocks")


class NotedBlocks:
    """The BLAKE3 of blocks by their number, in little memory: a file of 100 GB has 400,000."""

    def __init__(self) -> None:
        """Begin with none."""
        self._numbers = BlockSet()
        self._digests = bytearray()

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, block: int) -> bool:
        return block in self._numbers

    def __iter__(self) -> Iterator[int]:
        """Their numbers, in order."""
        block = self._numbers.first_within(0)
        while block is not None:
            yield block
            block = self._numbers.first_within(block + 1)

    def note(self, block: int, digest: bytes) -> None:
        """Have `digest`, 32 bytes, for a block, whatever it had before."""
        start = block * _DIGEST_BYTES
        if start >= len(self._digests):
            self._digests.extend(bytes(start + _DIGEST_BYTES - len(self._digests)))
        self._digests[start : start + _DIGEST_BYTES] = digest
        self._numbers.add(block)

    def take(self, block: int) -> bytes | None:
        """What was noted of a block, once."""
        if block not in self._numbers:
            return None
        self._numbers.discard(block)
        return bytes(self._digests[block * _DIGEST_BYTES : (block + 1) * _DIGEST_BYTES])


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


def read_journal(path: Path, size_bytes: int) -> NotedBlocks:
    """What was noted of the blocks of a file of that size; nothing where there is no journal."""
    noted = NotedBlocks()
    try:
        # A pipe in its place would be waited for.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags)
    except OSError:
        return noted
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return noted
    blocks = count_blocks(size_bytes)
    with os.fdopen(descriptor, "rb") as stream:
        if stream.read(_HEADER.size) == _HEADER.pack(_MAGIC, size_bytes, BLOCK_BYTES):
            for _ in range(0, 2 * blocks, _RECORDS_AT_ONCE):
                records = stream.read(_RECORDS_AT_ONCE * _RECORD.size)
                whole = records[: len(records) - len(records) % _RECORD.size]
                for block, digest in _RECORD.iter_unpack(whole):
                    if block < blocks:
                        noted.note(block, digest)
    return noted
