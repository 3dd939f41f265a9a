"""The blocks a file arrives in: where they lie, and which runs of them are missing."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

BLOCK_BYTES = 256 * 1024
"""The unit that is hashed and remembered: what a cut-off connection may lose of its work."""


class BlockSet:
    """Numbers of blocks. It takes a byte for each block of a file, where a set takes sixty."""

    def __init__(self, blocks: Iterable[int] = ()) -> None:
        """Begin with `blocks`."""
        self._flags = bytearray()
        self._count = 0
        for block in blocks:
            self.add(block)

    def __contains__(self, block: int) -> bool:
        return block < len(self._flags) and self._flags[block] == 1

    def __len__(self) -> int:
        return self._count

    def add(self, block: int) -> None:
        """Have a block in it."""
        if block >= len(self._flags):
            self._flags.extend(bytes(block + 1 - len(self._flags)))
        self._count += not self._flags[block]
        self._flags[block] = 1

    def discard(self, block: int) -> None:
        """Have a block in it no more."""
        if block in self:
            self._count -= 1
            self._flags[block] = 0

    def clear(self) -> None:
        """Have none in it."""
        self._flags.clear()
        self._count = 0

    def first_within(self, block: int) -> int | None:
        """The first one from `block` on that is in it, if any."""
        found = self._flags.find(1, block)
        return None if found < 0 else found

    def first_without(self, block: int) -> int:
        """The first one from `block` on that is not in it."""
        found = self._flags.find(0, block)
        return max(block, len(self._flags)) if found < 0 else found


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Bytes of a file from `start_bytes` up to `end_bytes`, which is not part of it.

    Attributes:
        end_bytes: None where the size of the file is not known.
    """

    start_bytes: int
    end_bytes: int | None


def count_blocks(size_bytes: int) -> int:
    """How many blocks a file of that size has; the last may be short."""
    return -(-size_bytes // BLOCK_BYTES)


def span_of_block(block: int, size_bytes: int) -> Span:
    """Where a block of a file of that size lies."""
    start_bytes = block * BLOCK_BYTES
    return Span(start_bytes=start_bytes, end_bytes=min(start_bytes + BLOCK_BYTES, size_bytes))


def list_missing(present: BlockSet, size_bytes: int) -> Iterator[Span]:
    """The bytes of all blocks that are not `present`, in order, neighbours in one span."""
    blocks = count_blocks(size_bytes)
    first = present.first_without(0)
    while first < blocks:
        end = present.first_within(first) or blocks
        end_bytes = min(end * BLOCK_BYTES, size_bytes)
        yield Span(start_bytes=first * BLOCK_BYTES, end_bytes=end_bytes)
        first = present.first_without(end)
