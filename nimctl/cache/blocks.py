"""The blocks a file arrives in: where they lie, and which runs of them are missing."""

from collections.abc import Container, Iterator
from dataclasses import dataclass

BLOCK_BYTES = 1024 * 1024
"""The unit that is hashed and remembered: what a cut-off connection may lose of its work."""


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


def list_missing(present: Container[int], size_bytes: int) -> Iterator[Span]:
    """The bytes of all blocks that are not `present`, in order, neighbours in one span."""
    first: int | None = None
    blocks = count_blocks(size_bytes)
    for block in range(blocks + 1):
        is_missing = block < blocks and block not in present
        if is_missing and first is None:
            first = block
        elif not is_missing and first is not None:
            end_bytes = min(block * BLOCK_BYTES, size_bytes)
            yield Span(start_bytes=first * BLOCK_BYTES, end_bytes=end_bytes)
            first = None
