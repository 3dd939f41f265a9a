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


def list_missing(present: Container[int], size_bytes: int, most_bytes: int) -> Iterator[Span]:
    """The bytes of all blocks that are not `present`, in order, in spans of at most `most_bytes`.

    Args:
        most_bytes: A multiple of `BLOCK_BYTES`.
    """
    start_bytes: int | None = None
    for block in range(count_blocks(size_bytes) + 1):
        here = span_of_block(block, size_bytes)
        is_missing = block not in present and here.start_bytes < size_bytes
        if start_bytes is not None and (
            not is_missing or here.start_bytes - start_bytes >= most_bytes
        ):
            yield Span(start_bytes=start_bytes, end_bytes=min(here.start_bytes, size_bytes))
            start_bytes = None
        if is_missing and start_bytes is None:
            start_bytes = here.start_bytes
