"""Mirrors: bytes from another place, while what they must hash to comes from the publisher."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from threading import Lock
from urllib.parse import quote, unquote

from nimctl.cache import FetchRequest
from nimctl.core.source import (
    ByteStream,
    Listing,
    RemoteFile,
    SignedSource,
    Source,
    SourceSyntaxError,
    SourceUri,
    parse_source_uri,
)
from nimctl.errors import FetchError, InputError, NotFoundError
from nimctl.sources import SourceAccess, open_source

MIRRORED_SCHEMES = ("hf", "ngc", "modelscope")
_API_SCHEMES = ("https", "http")


def find_mirror(uri: SourceUri, mirrors: Iterable[str]) -> str | None:
    """Where the files of `uri` come from instead: the mirror of the longest prefix of it.

    Args:
        mirrors: `PREFIX=ADDRESS`, or `ADDRESS` for all that a model's publisher serves.
    """
    found: dict[str, str] = {}
    for mirror in mirrors:
        prefix, _, address = mirror.rpartition("=")
        if str(uri).startswith(prefix) and (prefix or uri.scheme in MIRRORED_SCHEMES):
            found.setdefault(prefix, address)
    return found[max(found, key=len)] if found else None


def open_mirror(
    uri: SourceUri,
    address: str,
    access: SourceAccess,
    pinned: FetchRequest | None,
    tell: Callable[[str], None],
) -> Source:
    """The source that takes the bytes of `uri` from `address` and what they must be from its own.

    A mirror at https speaks like the publisher's own server. One of files holds a folder for each
    model (`org/name`, or `org/name/revision`), or, as NIM has it, one flat folder of files named
    by their quoted addresses. No mirror is sent a token.

    Args:
        pinned: What will be asked of it; files that are pinned need no listing.
        tell: Takes the sentence about what cannot be checked.

    Raises:
        InputError: nothing can be fetched from such an address.
    """
    without_keys = replace(access, hf_token=None, ngc_key=None)
    origin = open_source(uri, access)
    if address.startswith(("https://", "http://")):
        endpoint = address.rstrip("/")
        there = replace(without_keys, hf_endpoint=endpoint, ngc_endpoint=endpoint)
        return _Mirrored(origin, open_source(uri, there), address, pinned, tell)
    try:
        folder = parse_source_uri(address.rstrip("/"))
    except SourceSyntaxError as error:
        raise InputError(f"the mirror {address} cannot be used: {error}") from error
    files = _FolderMirror(open_source(folder, without_keys), folder)
    return _Mirrored(origin, files, address, pinned, tell)


class _Mirrored:
    """The publisher's listing, a mirror's bytes."""

    def __init__(
        self,
        origin: Source,
        mirror: Source,
        address: str,
        pinned: FetchRequest | None,
        tell: Callable[[str], None],
    ) -> None:
        self._origin = origin
        self._mirror = mirror
        self._address = address
        self._pinned = pinned
        self._tell = tell
        self.connections = mirror.connections
        self.listing_note = f"the bytes come from {address}"

    def list_files(self, uri: SourceUri) -> Listing:
        """What is pinned, else what the publisher lists, else, told so, what the mirror lists."""
        files = None if self._pinned is None else self._pinned.pinned_only
        if files is not None and uri.revision is not None:
            return Listing(uri=uri, revision=uri.revision, files=files)
        try:
            return self._origin.list_files(uri)
        except FetchError as error:
            listing = self._mirror.list_files(uri)
            pins = len(self._pinned.pinned) if self._pinned else 0
            self._tell(
                f"{error.message}; so {f'{pins} pinned files' if pins else 'no files'} of {uri} "
                f"are checked against published digests, all others only against what "
                f"{self._address} says of itself"
            )
            return listing

    def open(
        self,
        listing: Listing,
        file: RemoteFile,
        start_bytes: int,
        end_bytes: int | None = None,
    ) -> AbstractContextManager[ByteStream]:
        """A stretch of the file, from the mirror."""
        return self._mirror.open(listing, file, start_bytes, end_bytes)

    def read_signature(self, listing: Listing) -> bytes | None:
        """The signature, wherever it is kept: who made it is told by the key alone."""
        for place in (self._mirror, self._origin):
            kept = place.read_signature(listing) if isinstance(place, SignedSource) else None
            if kept is not None:
                return kept
        return None

    def close(self) -> None:
        """Close both places."""
        self._origin.close()
        self._mirror.close()


class _FolderMirror:
    """A place of plain files that holds those of models."""

    listing_note = None

    def __init__(self, source: Source, root: SourceUri) -> None:
        self._source = source
        self._root = root
        self._lock = Lock()
        self._found: tuple[Listing, dict[str, RemoteFile]] | None = None
        self.connections = source.connections

    def list_files(self, uri: SourceUri) -> Listing:
        """The files of the model, as the mirror has them."""
        listing, files = self._find(uri)
        named = tuple(replace(file, path=path) for path, file in files.items())
        return Listing(uri=uri, revision=uri.revision or listing.revision, files=named)

    def open(
        self,
        listing: Listing,
        file: RemoteFile,
        start_bytes: int,
        end_bytes: int | None = None,
    ) -> AbstractContextManager[ByteStream]:
        """A stretch of the mirror's file of that name."""
        there, files = self._find(listing.uri)
        if file.path not in files:
            raise NotFoundError(f"the mirror {self._root} has no {file.path} of {listing.uri}")
        return self._source.open(there, files[file.path], start_bytes, end_bytes)

    def close(self) -> None:
        """Close the place."""
        self._source.close()

    def _find(self, uri: SourceUri) -> tuple[Listing, dict[str, RemoteFile]]:
        """The mirror's listing and, by published path, its files of `uri`; looked up once."""
        with self._lock:
            if self._found is None:
                self._found = self._look_up(uri)
            return self._found

    def _look_up(self, uri: SourceUri) -> tuple[Listing, dict[str, RemoteFile]]:
        if self._root.scheme == "file":
            root = Path(self._root.location)
            models = [root / uri.location / (uri.revision or "."), root / uri.location]
            for folder in models:
                if folder.is_dir():
                    place = SourceUri(scheme="file", location=str(folder))
                    listing = self._source.list_files(place)
                    return listing, {file.path: file for file in listing.files}
        listing = self._source.list_files(self._root)
        return listing, _find_quoted(uri, listing) or _find_below(uri, listing)


def _find_quoted(uri: SourceUri, listing: Listing) -> dict[str, RemoteFile]:
    """The files whose keys are quoted addresses, e.g. `nim%2Fmeta%2Fllama3%3Ahf%3Ffile%3Da.json`,
    which is what NIM_REPOSITORY_OVERRIDE=s3://... expects.
    """
    head = f"{uri.location}:{uri.revision}" if uri.revision else uri.location
    return {
        unquote(file.path).partition("?file=")[2]: file
        for file in listing.files
        if file.path.startswith(quote(f"{head}?file=", safe=""))
    }


def _find_below(uri: SourceUri, listing: Listing) -> dict[str, RemoteFile]:
    for head in (f"{uri.location}/{uri.revision}/", f"{uri.location}/"):
        found = {
            file.path.removeprefix(head): file
            for file in listing.files
            if file.path.startswith(head)
        }
        if found:
            return found
    raise NotFoundError(f"the mirror {listing.uri} has no files of {uri}")
