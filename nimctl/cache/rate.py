"""Holds all connections of a fetch together to one rate."""

import time
from collections.abc import Iterable, Iterator
from threading import Lock

PIECE_S = 0.02
"""What one connection may take at a time, in seconds of the whole rate; the others take turns."""

LEAST_PIECE_BYTES = 4096
SAVED_UP_S = 0.1
"""How much of an idle while may be caught up at once."""


class RateLimit:
    """So many bytes a second; threads share it, and each gets its turn."""

    def __init__(self, bytes_per_s: int) -> None:
        self.bytes_per_s = bytes_per_s
        self._lock = Lock()
        self._free_s = time.monotonic()

    def pace(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same bytes, each as soon as the rate allows it."""
        most_bytes = max(int(self.bytes_per_s * PIECE_S), LEAST_PIECE_BYTES)
        for chunk in chunks:
            for start in range(0, len(chunk), most_bytes):
                piece = chunk[start : start + most_bytes]
                time.sleep(self._reserve(len(piece)))
                yield piece

    def _reserve(self, count_bytes: int) -> float:
        """Book the next turn; the seconds until it begins."""
        with self._lock:
            now_s = time.monotonic()
            self._free_s = max(self._free_s, now_s - SAVED_UP_S) + count_bytes / self.bytes_per_s
            return max(self._free_s - now_s, 0.0)
