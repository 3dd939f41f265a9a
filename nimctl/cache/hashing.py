"""Hashes a file while it arrives, block after block, and finds blocks that a power cut emptied."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from errno import EIO
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


def hash_arriving(dispatch: Dispatch, intake: Intake) -> Hashed:
    """Hash the file of `intake` to its end, waiting for each block in turn.

    Blocks that an earlier owner left are compared with its journal and fetched again where they
    differ.

    Raises:
        FetchError: a block will not come.
        Stopped: the fetch was given up.
    """
    part, expected = intake.part, intake.file.digest
    hashers = {"sha256": HASHERS["sha256"](0)}
    if expected is not None and expected.algorithm not in hashers:
        hashers[expected.algorithm] = HASHERS[expected.algorithm](intake.file.size_bytes or 0)
    buffer = make_read_buffer(STEP_BLOCKS * BLOCK_BYTES)
    size_bytes = block = 0
    while intake.size_bytes is None or size_bytes < intake.size_bytes:
        blocks = dispatch.wait_for_blocks(intake, block, STEP_BLOCKS)
        if not blocks:
            break
        data = buffer[: part.read_into(buffer[: blocks * BLOCK_BYTES], size_bytes)]
        if len(data) < min(blocks * BLOCK_BYTES, (intake.size_bytes or 0) - size_bytes):
            raise OSError(EIO, "bytes that were written are gone", intake.file.path)
        damaged = _find_damaged(part, data, block)
        if damaged is not None:
            dispatch.want_again(intake, damaged)
            data = data[: (damaged - block) * BLOCK_BYTES]
        for hasher in hashers.values():
            hasher.update(data)
        size_bytes += len(data)
        block += count_blocks(len(data))
    return Hashed(
        size_bytes=size_bytes,
        sha256=hashers["sha256"].hexdigest(),
        digest=expected
        and Digest(algorithm=expected.algorithm, hex=hashers[expected.algorithm].hexdigest()),
    )


def _find_damaged(part: Part, data: memoryview, first: int) -> int | None:
    """The first block of `data`, which begins with block `first`, that is not as it was noted."""
    for block in range(first, first + count_blocks(len(data))):
        kept = part.kept.take(block)
        start = (block - first) * BLOCK_BYTES
        if kept is not None and blake3(data[start : start + BLOCK_BYTES]).digest() != kept:
            return block
    return None
