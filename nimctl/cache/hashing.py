"""Hashes a file while it arrives, block after block, and finds blocks that a power cut emptied."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from errno import EIO
from threading import Semaphore
from typing import Protocol

from blake3 import blake3

from nimctl.cache.blocks import BLOCK_BYTES, count_blocks
from nimctl.cache.dispatch import Dispatch
from nimctl.cache.intake import Intake
from nimctl.cache.part import Part
from nimctl.cache.read_buffer import make_read_buffer
from nimctl.core.source import Digest

STEP_BLOCKS = 4
"""Blocks that are hashed in one go: beside many connections each step waits for its turn."""


class Hasher(Protocol):
    """What every hash object of the standard library can do."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Take more bytes."""
        ...

    def hexdigest(self) -> str:
        """The hash of all bytes so far."""
        ...


def _begin_git_sha1(size_bytes: int) -> Hasher:
    return hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)


HASHERS: Mapping[str, Callable[[int], Hasher]] = {
    "sha256": lambda size_bytes: hashlib.sha256(),
    "blake3": lambda size_bytes: blake3(),
    "git-sha1": _begin_git_sha1,
}
"""By algorithm of a digest, what hashes a file of so many bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hashed:
    """What a whole file came to.

    Attributes:
        sha256: 64 hex digits.
        digest: By the algorithm of the expected digest; None where nothing was expected.
    """

    size_bytes: int
    sha256: str
    digest: Digest | None


def hash_arriving(dispatch: Dispatch, intake: Intake, turns: Semaphore) -> Hashed:
    """Hash the file of `intake` to its end, waiting for each block in turn.

    Blocks that an earlier owner left are compared with its journal and fetched again where they
    differ.

    Args:
        turns: Where an earlier owner left much, so many files are read again at once, so that the
            first ones are whole early, whatever happens then.

    Raises:
        FetchError: a block will not come.
        Stopped: the fetch was given up.
    """
    course = _Course(dispatch, intake)
    if course.is_next_kept:
        with turns:
            while course.is_next_kept and course.advance():
                pass
    while course.advance():
        pass
    return course.result()


class _Course:
    """How far the hashing of one file is."""

    def __init__(self, dispatch: Dispatch, intake: Intake) -> None:
        self._dispatch, self._intake = dispatch, intake
        self._buffer = make_read_buffer(STEP_BLOCKS * BLOCK_BYTES)
        self._hashers = {"sha256": HASHERS["sha256"](0)}
        expected = intake.file.digest
        if expected is not None and expected.algorithm not in self._hashers:
            begin = HASHERS[expected.algorithm]
            self._hashers[expected.algorithm] = begin(intake.file.size_bytes or 0)
        self._size_bytes = self._block = 0

    @property
    def is_next_kept(self) -> bool:
        """Whether an earlier owner left the next block."""
        return self._block in self._intake.part.kept

    def advance(self) -> bool:
        """Hash what is here of the next blocks, as soon as something is; False at the end."""
        intake, part = self._intake, self._intake.part
        if intake.size_bytes is not None and self._size_bytes >= intake.size_bytes:
            return False
        blocks = self._dispatch.wait_for_blocks(intake, self._block, STEP_BLOCKS)
        if not blocks:
            return False
        wanted_bytes = blocks * BLOCK_BYTES
        data = self._buffer[: part.read_into(self._buffer[:wanted_bytes], self._size_bytes)]
        if len(data) < min(wanted_bytes, (intake.size_bytes or 0) - self._size_bytes):
            raise OSError(EIO, "bytes that were written are gone", intake.file.path)
        damaged = _find_damaged(part, data, self._block)
        if damaged is not None:
            self._dispatch.want_again(intake, damaged)
            data = data[: (damaged - self._block) * BLOCK_BYTES]
        for hasher in self._hashers.values():
            hasher.update(data)
        self._size_bytes += len(data)
        self._block += count_blocks(len(data))
        return True

    def result(self) -> Hashed:
        """What it came to."""
        expected = self._intake.file.digest
        return Hashed(
            size_bytes=self._size_bytes,
            sha256=self._hashers["sha256"].hexdigest(),
            digest=expected
            and Digest(
                algorithm=expected.algorithm, hex=self._hashers[expected.algorithm].hexdigest()
            ),
        )


def _find_damaged(part: Part, data: memoryview, first: int) -> int | None:
    """The first block of `data`, which begins with block `first`, that is not as it was noted."""
    for block in range(first, first + count_blocks(len(data))):
        kept = part.kept.take(block)
        start = (block - first) * BLOCK_BYTES
        if kept is not None and blake3(data[start : start + BLOCK_BYTES]).digest() != kept:
            return block
    return None
