"""What the cache holds of a repository, as a source that asks nobody."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from nimctl.cache import Cache, CacheEntry, ignore_progress
from nimctl.cache.layout import Layout
from nimctl.cache.verifying import check_entry
from nimctl.core.source import ByteStream, Digest, Listing, RemoteFile, Source, SourceUri
from nimctl.errors import FetchError, InputError, UnreachableError
from nimctl.sources.pieces import read_pieces


class CachedFiles:
    """The files of one repository at one revision, as far as they were brought before."""

    connections = 1
    listing_note = None

    def __init__(self, entries: Iterable[CacheEntry]) -> None:
        self._entries = tuple(entries)

    def list_files(self, uri: SourceUri) -> Listing:
        """Everything of that repository which is complete here.

        Raises:
            FetchError: nothing is.
            InputError: several revisions are, and `uri` names none of them.
        """
        entries = self._find(uri)
        revisions = sorted({entry.revision for entry in entries})
        if not revisions:
            raise UnreachableError(
                f"{uri} is not in the cache, and offline nobody may be asked",
                hint="run the same command once with a network",
            )
        if len(revisions) > 1:
            raise InputError(
                f"the cache holds {len(revisions)} revisions of {uri}, and offline nobody can be "
                "asked which is meant",
                hint=f"name one: {uri.scheme}://{uri.location}:{revisions[-1]}",
            )
        files = {
            file.path: RemoteFile(
                path=file.path,
                size_bytes=file.size_bytes,
                digest=Digest(algorithm="sha256", hex=file.sha256),
            )
            for entry in entries
            for file in entry.files
        }
        return Listing(uri=uri, revision=revisions[0], files=tuple(files.values()))

    @contextmanager
    def open(
        self,
        listing: Listing,
        file: RemoteFile,
        start_bytes: int,
        end_bytes: int | None = None,
    ) -> Iterator[ByteStream]:
        """Read a stretch of a file of the listing."""
        path = next(
            entry.path / file.path
            for entry in self._find(listing.uri)
            if any(one.path == file.path for one in entry.files)
        )
        with _stream(path, start_bytes, end_bytes) as stream:
            yield stream

    def close(self) -> None:
        """Nothing is held."""

    def _find(self, uri: SourceUri) -> list[CacheEntry]:
        return [
            entry
            for entry in self._entries
            if (entry.uri.scheme, entry.uri.location) == (uri.scheme, uri.location)
            and uri.revision in (None, entry.revision)
        ]


class ReadHereFirst:
    """A source of which what was brought before is read on this disk."""

    listing_note = None

    def __init__(self, source: Source, cache_dir: Path) -> None:
        """Look below `cache_dir`; the rest comes from `source`, which whoever made it closes."""
        self._source = source
        self._cache_dir = cache_dir
        self._paths: dict[str, Path] = {}
        self.connections = source.connections

    def list_files(self, uri: SourceUri) -> Listing:
        """What the source lists; what of it is here, and unchanged since it was verified."""
        listing = self._source.list_files(uri)
        layout = Layout(root=self._cache_dir)
        sizes = {file.path: file.size_bytes for file in listing.files}
        for entry in Cache(self._cache_dir).entries():
            here = (entry.uri.scheme, entry.uri.location, entry.revision)
            if here != (uri.scheme, uri.location, listing.revision):
                continue
            damaged = check_entry(layout, entry, ignore_progress)
            self._paths |= {
                file.path: entry.path / file.path
                for file in entry.files
                if file not in damaged and sizes.get(file.path) == file.size_bytes
            }
        return listing

    def open(
        self,
        listing: Listing,
        file: RemoteFile,
        start_bytes: int,
        end_bytes: int | None = None,
    ) -> AbstractContextManager[ByteStream]:
        """A stretch of the file, from here or from the source."""
        path = self._paths.get(file.path)
        if path is None:
            return self._source.open(listing, file, start_bytes, end_bytes)
        return _stream(path, start_bytes, end_bytes)

    def close(self) -> None:
        """Nothing is held."""


@contextmanager
def _stream(path: Path, start_bytes: int, end_bytes: int | None) -> Iterator[ByteStream]:
    try:
        with path.open("rb") as stream:
            chunks = read_pieces(stream, start_bytes, end_bytes)
            yield ByteStream(start_bytes=start_bytes, chunks=chunks)
    except OSError as error:
        raise FetchError(f"{path} cannot be read: {error.strerror}") from error
