"""Reads a stretch of an open file piece by piece."""

from collections.abc import Iterator
from typing import IO

PIECE_BYTES = 256 * 1024


def read_pieces(stream: IO[bytes], start_bytes: int, end_bytes: int | None) -> Iterator[bytes]:
    """The bytes from `start_bytes` up to `end_bytes` or the end, at most `PIECE_BYTES` at once.

    Raises:
        OSError: the file cannot be read.
    """
    stream.seek(start_bytes)
    left_bytes = None if end_bytes is None else end_bytes - start_bytes
    while piece := stream.read(PIECE_BYTES if left_bytes is None else min(PIECE_BYTES, left_bytes)):
        yield piece
        if left_bytes is not None:
            left_bytes -= len(piece)
