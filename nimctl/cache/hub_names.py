"""What a Hugging Face hub calls the files of an entry: git's digest of small ones, else sha256."""

import hashlib
from pathlib import Path

from nimctl.cache.entry import CachedFile
from nimctl.cache.hashing import HASHERS
from nimctl.cache.layout import Layout, is_whole
from nimctl.core.source import Digest

MOST_GIT_BYTES = 16 * 1024**2
"""Larger files are in no git repository of a hub; they are in its large file storage."""


def find_published_digest(layout: Layout, file: CachedFile) -> Digest:
    """Git's sha1 of a file that was listed by it when it came, else its sha256."""
    if file.size_bytes <= MOST_GIT_BYTES:
        sha1 = read_git_sha1(layout.blob(file.sha256))
        if is_whole(layout.partial / f"git-sha1-{sha1}.known", None):
            return Digest(algorithm="git-sha1", hex=sha1)
    return Digest(algorithm="sha256", hex=file.sha256)


def read_git_sha1(path: Path) -> str:
    """What git calls the content of a small file.

    Raises:
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    hasher = HASHERS["git-sha1"](len(content))
    hasher.update(content)
    return hasher.hexdigest()


def pointer_size_bytes(file: CachedFile) -> int:
    """How long the file is that stands in git for one in large file storage.

    Source: the Git LFS specification, "The Pointer".
    """
    return len(_pointer(file))


def pointer_sha1(file: CachedFile) -> str:
    """What git calls that pointer."""
    pointer = _pointer(file)
    header = b"blob %d\0" % len(pointer)
    return hashlib.sha1(header + pointer, usedforsecurity=False).hexdigest()


def _pointer(file: CachedFile) -> bytes:
    return (
        "version https://git-lfs.github.com/spec/v1\n"
        f"oid sha256:{file.sha256}\nsize {file.size_bytes}\n"
    ).encode()
