"""The files of an OCI image layout, in a folder or a tar: only what belongs there, never a link."""

import os
import re
import stat
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nimctl.core.model_signature import SIGNATURE_FILE
from nimctl.errors import DigestMismatchError, FetchError

INDEX, SIGNATURE = "index.json", SIGNATURE_FILE
MOST_MEMBERS = 200_000
_NAME = re.compile(r"oci-layout|index\.json|model\.sig|SHA256SUMS|blobs/sha256/[0-9a-f]{64}")
_FOLDERS = frozenset({"", ".", "blobs", "blobs/sha256"})
_BLOCK_BYTES = tarfile.BLOCKSIZE
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Where the bytes of one file lie: in an open file, from a place on."""

    descriptor: int
    start_bytes: int
    size_bytes: int


class BundleFiles(Protocol):
    """The files of one bundle."""

    def open(self, name: str) -> AbstractContextManager[Stretch]:
        """The bytes of a file, for as long as the `with` lasts.

        Raises:
            FileNotFoundError: the bundle has none of that name.
            FetchError: it is no regular file, or cannot be read.
        """
        ...


class FolderFiles:
    """A bundle that is a folder; what else lies there is not looked at."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def open(self, name: str) -> Iterator[Stretch]:
        """As `BundleFiles` says."""
        path = self._folder / name
        for parent in path.relative_to(self._folder).parents:
            if (self._folder / parent).is_symlink() and parent != Path():
                raise FetchError(f"{self._folder / parent} is a link; a bundle holds none")
        descriptor = _open(path)
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise FetchError(f"{path} is not a regular file; a bundle holds no others")
            yield Stretch(descriptor=descriptor, start_bytes=0, size_bytes=facts.st_size)
        finally:
            os.close(descriptor)


class TarFiles:
    """A bundle in one uncompressed tar; one member that does not belong there refuses it all."""

    def __init__(self, path: Path) -> None:
        """Read the headers.

        Raises:
            FetchError: it is no such tar, is cut, or holds what does not belong there.
        """
        self._path = path
        descriptor = _open(path)
        try:
            self._members = _read_members(path, descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def open(self, name: str) -> Iterator[Stretch]:
        """As `BundleFiles` says."""
        if name not in self._members:
            raise FileNotFoundError(name)
        start_bytes, size_bytes = self._members[name]
        descriptor = _open(self._path)
        try:
            yield Stretch(descriptor=descriptor, start_bytes=start_bytes, size_bytes=size_bytes)
        finally:
            os.close(descriptor)


def open_files(path: Path) -> BundleFiles:
    """The bundle at `path`.

    Raises:
        FetchError: there is none, or it cannot be trusted.
    """
    if path.is_dir():
        if not (path / "oci-layout").is_file():
            raise FetchError(f"{path} is not a bundle: it holds no file oci-layout")
        return FolderFiles(path)
    return TarFiles(path)


def _open(path: Path) -> int:
    try:
        return os.open(path, _OPEN_FLAGS)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FetchError(f"{path} cannot be read: {error.strerror}") from error


def _read_members(path: Path, descriptor: int) -> dict[str, tuple[int, int]]:
    """Start and size of each file, by name."""
    end_bytes, offset = os.fstat(descriptor).st_size, 0
    members: dict[str, tuple[int, int]] = {}
    while header := os.pread(descriptor, _BLOCK_BYTES, offset).rstrip(b"\0"):
        info = _parse_header(path, header)
        offset += _BLOCK_BYTES
        name = info.name.removeprefix("./").rstrip("/")
        if info.type == tarfile.DIRTYPE and name in _FOLDERS:
            continue
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or not _NAME.fullmatch(name):
            raise FetchError(f"{path} holds {info.name!r}, which no bundle holds; it is refused")
        if name in members or len(members) >= MOST_MEMBERS:
            raise FetchError(f"{path} holds {name!r} twice, or too many files; it is refused")
        if info.size < 0 or offset + info.size > end_bytes:
            raise DigestMismatchError(f"{path} ends in the middle of {name!r}; copy it again")
        members[name] = offset, info.size
        offset += -(-info.size // _BLOCK_BYTES) * _BLOCK_BYTES
    if INDEX not in members:
        raise FetchError(f"{path} is not a bundle: it holds no {INDEX}")
    return members


def _parse_header(path: Path, header: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(header.ljust(_BLOCK_BYTES, b"\0"), "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise FetchError(
            f"{path} is not an uncompressed tar of a bundle ({error})",
            hint="unpack it and give the folder",
        ) from error
