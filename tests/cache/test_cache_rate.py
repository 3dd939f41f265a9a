"""The rate limit: what all connections together may take."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from nimctl.cache.rate import SAVED_UP_S, RateLimit


@pytest.mark.parametrize(("threads", "chunk_bytes"), [(1, 262_144), (8, 262_144), (8, 1000)])
def test_all_connections_together_keep_to_the_rate(threads: int, chunk_bytes: int) -> None:
    rate, seconds = 8_000_000, 1.2
    limit = RateLimit(rate)
    began_s = time.monotonic()

    def receive() -> int:
        received = 0
        for piece in limit.pace(iter(lambda: bytes(chunk_bytes), b"")):
            received += len(piece)
            if time.monotonic() - began_s >= seconds:
                return received
        raise AssertionError

    with ThreadPoolExecutor(threads) as pool:
        received = sum(future.result() for future in [pool.submit(receive) for _ in range(threads)])
    took_s = time.monotonic() - began_s
    assert received <= rate * (took_s + SAVED_UP_S) + threads * chunk_bytes
    assert received >= rate * took_s / 2  # a busy machine may be late, never early


def test_no_byte_is_lost_or_moved() -> None:
    chunks = [bytes([number]) * 10_000 for number in range(10)]
    assert b"".join(RateLimit(50_000_000).pace(chunks)) == b"".join(chunks)
