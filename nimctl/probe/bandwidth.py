"""How fast this machine's processors read its memory, measured in a tenth of a second.

Generating a token on a CPU reads every weight once, so this is what bounds it. `memchr` of the C
library does nothing but read, as wide as the processor can, and holds no lock of Python's.
"""

import ctypes
import mmap
import threading
import time
from statistics import median

from nimctl.core.units import MIB

MOST_THREADS = 32
"""Fewer than all cores of a large server already read as fast as its memory answers."""

_PASSES = 4
_LEAST_BYTES = 64 * MIB
_MOST_BYTES = 512 * MIB
_BYTES_PER_THREAD = 32 * MIB
"""What is read in one pass: more than caches hold, little enough to be there soon."""

_FREE_TIMES = 8
"""Nothing is measured where less than this many times the bytes read is free."""

_SYSTEMS = ("Linux", "Darwin")  # whose C library a process can name without its file


def count_read_bytes(threads: int) -> int:
    """Bytes of memory that a measurement with so many threads takes for its time."""
    return max(_LEAST_BYTES, min(_MOST_BYTES, threads * _BYTES_PER_THREAD))


def can_measure(system: str, threads: int, available_bytes: int | None) -> bool:
    """Whether this system has the means, and memory enough to spare."""
    wanted = _FREE_TIMES * count_read_bytes(threads)
    return system in _SYSTEMS and available_bytes is not None and available_bytes >= wanted


def measure_bandwidth(threads: int) -> float | None:
    """Bytes a second that `threads` threads together read from memory; None if it cannot be had.

    Each thread counts its own processor time, so that other programs on the same processors
    do not slow the figure down; those that use the memory itself do. The median of the passes.
    """
    size = count_read_bytes(threads) // threads
    reading = _Reading(threads, size)
    workers = [threading.Thread(target=reading.read, args=(n,)) for n in range(threads)]
    started = []
    try:
        for worker in workers:
            worker.start()
            started.append(worker)
    except RuntimeError:  # the limit of threads is reached
        reading.together.abort()
    for worker in started:
        worker.join()
    if reading.together.broken:
        return None
    return median(sum(size / spent_s for spent_s in spans) for spans in reading.spans_s)


class _Reading:
    """Threads that read their own memory side by side, pass by pass."""

    def __init__(self, threads: int, size: int) -> None:
        self.together = threading.Barrier(threads)
        self.spans_s = [[0.0] * threads for _ in range(_PASSES)]
        self._size = size
        self._find = ctypes.CDLL(None).memchr
        self._find.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)

    def read(self, number: int) -> None:
        """One thread's passes; ends early when another one could not begin."""
        try:
            memory = mmap.mmap(-1, self._size)
            address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
            # Memory never written is one page of zeros, which would be read from the cache.
            ctypes.memset(address, 0, self._size)
            for spans_s in self.spans_s:
                self.together.wait()
                begun_s = time.thread_time()
                self._find(address, 1, self._size)
                spans_s[number] = time.thread_time() - begun_s
        except OSError:  # no memory
            self.together.abort()
        except threading.BrokenBarrierError:
            return
