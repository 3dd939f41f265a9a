"""The `file://` source: a file or a folder on this machine."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nimctl.core.source import (
    ByteStream,
    Listing,
    RemoteFile,
    SourceChangedError,
    SourceUri,
    limit_listing,
)
from nimctl.errors import FetchError, NotFoundError
from nimctl.sources.access import SourceAccess
from nimctl.sources.pieces import read_pieces


class LocalSource:
    """Files of this machine; links to files are followed, links to folders and `.folders` not."""

    connections = 1
    listing_note = None

    def __init__(self, access: SourceAccess) -> None:
        del access

    def list_files(self, uri: SourceUri) -> Listing:
        """Every file below the path, or the file itself."""
        root = Path(uri.location)
        with _failures_in_words():
            paths = [root] if root.is_file() else sorted(limit_listing(uri, _walk(root)))
            files = tuple(_describe(path, _folder(root)) for path in paths)
        facts = "\n".join(f"{file.path}\0{file.version}" for file in files)
        revision = hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return Listing(uri=uri, revision=revision, files=files)

    @contextmanager
    def open(
        self,
        listing: Listing,
        file: RemoteFile,
        start_bytes: int,
        end_bytes: int | None = None,
    ) -> Iterator[ByteStream]:
        """Read a stretch of the file, as long as it was not changed."""
        path = _folder(Path(listing.uri.location)) / file.path
        with _failures_in_words():
            stream = path.open("rb")
        with stream:
            if _version(os.fstat(stream.fileno())) != file.version:
                raise SourceChangedError(f"{path} was changed since it was listed")
            chunks = _in_words(read_pieces(stream, start_bytes, end_bytes))
            yield ByteStream(start_bytes=start_bytes, chunks=chunks)

    def close(self) -> None:
        """Nothing is held."""


def _folder(root: Path) -> Path:
    return root.parent if root.is_file() else root


def _walk(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        raise NotFoundError(f"{root} is neither a file nor a folder")
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".")]
        yield from (path for name in files if (path := Path(folder, name)).is_file())


def _describe(path: Path, folder: Path) -> RemoteFile:
    facts = path.stat()
    return RemoteFile(
        path=path.relative_to(folder).as_posix(),
        size_bytes=facts.st_size,
        version=_version(facts),
    )


def _version(facts: os.stat_result) -> str:
    return f"{facts.st_ino}-{facts.st_size}-{facts.st_mtime_ns}"


def _in_words(pieces: Iterator[bytes]) -> Iterator[bytes]:
    with _failures_in_words():
        yield from pieces


@contextmanager
def _failures_in_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FetchError(f"{error.filename} cannot be read: {error.strerror}") from error
