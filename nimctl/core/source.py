"""How published files are named, listed and hashed, and the seam through which bytes come."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol, TypeVar, runtime_checkable
from urllib.parse import parse_qsl, quote

from nimctl.errors import FetchError, UnreachableError

SCHEMES = ("hf", "ngc", "pypi", "https", "http", "file", "s3", "gs", "az", "modelscope", "oci")
DIGEST_LENGTHS = {"sha256": 64, "blake3": 64, "git-sha1": 40}
MAX_FILES = 100_000
"""A listing of more is refused; the largest models have some thousands."""

_Entry = TypeVar("_Entry")


def do_nothing() -> None:
    """Nothing is to be ended."""


class SourceSyntaxError(ValueError):
    """A source address, digest or path inside a listing is malformed or unsafe."""


class TemporaryFetchError(UnreachableError):
    """The place may answer later: a lost connection, a stall, a busy server.

    Attributes:
        retry_after_s: How long the place asked to be left alone; None if it did not say.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SourceChangedError(FetchError):
    """A file is no longer the one that was listed; a new listing is needed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Digest:
    """A content hash: `sha256`, `blake3`, or `git-sha1` (of git's blob header and the bytes)."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def parse_digest(text: str) -> Digest:
    """Read `sha256:<64 hex digits>` and its sisters.

    Raises:
        SourceSyntaxError: unknown algorithm, wrong length, or not hexadecimal.
    """
    algorithm, _, value = text.partition(":")
    length = DIGEST_LENGTHS.get(algorithm)
    if length is None:
        raise SourceSyntaxError(
            f"{text!r} is not a digest; write one of {', '.join(DIGEST_LENGTHS)} and ':' before it"
        )
    if len(value) != length or any(c not in "0123456789abcdef" for c in value):
        raise SourceSyntaxError(f"{text!r} needs {length} lower-case hexadecimal digits")
    return Digest(algorithm=algorithm, hex=value)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceUri:
    """The address of a set of files, e.g. `hf://org/name:revision` or `pypi:name==1.0?file=a/b`.

    Attributes:
        scheme: One of `SCHEMES`.
        location: What the scheme's own rules call the place: `org/name`, a package name, a path.
        revision: Branch, tag, commit or version; None is the source's default.
        file: One file inside; None is all of them.
    """

    scheme: str
    location: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        separator = "==" if self.scheme == "pypi" else ":"
        head = f"{self.scheme}:" if self.scheme == "pypi" else f"{self.scheme}://"
        revision = f"{separator}{self.revision}" if self.revision else ""
        file = f"?file={quote(self.file)}" if self.file else ""
        return f"{head}{self.location}{revision}{file}"


def parse_source_uri(text: str) -> SourceUri:
    """Read a source address.

    `hf://org/name[:revision][?file=path]`, `ngc://org[/team]/name:version[?file=path]`,
    `pypi:name==version[?file=path]`, `oci:///absolute/path[:model][?file=path]`,
    `https://host/path`, `file:///absolute/path`, or a plain absolute path, which means the same.

    Raises:
        SourceSyntaxError: unknown scheme, an empty part, or an unsafe file path.
    """
    if text.startswith("/"):
        return SourceUri(scheme="file", location=text)
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in SCHEMES:
        raise SourceSyntaxError(
            f"{text!r} is not a source; it must start with one of "
            + ", ".join("pypi:" if s == "pypi" else f"{s}://" for s in SCHEMES)
        )
    if scheme in ("https", "http"):
        return _parse_url(scheme, rest, text)
    rest, _, query = rest.partition("?")
    location, revision = _split_revision(scheme, rest.removeprefix("//"))
    if not location:
        raise SourceSyntaxError(f"{text!r} names no place after {scheme}:")
    file = dict(parse_qsl(query)).get("file")
    return SourceUri(
        scheme=scheme,
        location=location,
        revision=revision,
        file=None if file is None else check_relative_path(file),
    )


def _parse_url(scheme: str, rest: str, text: str) -> SourceUri:
    location = rest.removeprefix("//")
    if "/" not in location:
        raise SourceSyntaxError(f"{text!r} names no file")
    return SourceUri(scheme=scheme, location=location)


def _split_revision(scheme: str, rest: str) -> tuple[str, str | None]:
    if scheme == "file":
        return rest, None
    if scheme == "oci":
        # The path of a bundle and the name of a model inside it.
        path, _, model = rest.partition(":")
        return path, model or None
    location, _, revision = rest.partition("==" if scheme == "pypi" else ":")
    return location.strip("/"), revision or None


def check_relative_path(path: str) -> str:
    """Return `path` if it is a plain relative POSIX path that stays inside its folder.

    Raises:
        SourceSyntaxError: absolute, `..`, a drive or UNC path, backslashes, control characters,
            an empty part, or a part longer than 255 bytes.
    """
    parts = path.split("/")
    unsafe = (
        not path
        or path.startswith("/")
        or "\\" in path
        or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in path)
        or any(part in ("", ".", "..") for part in parts)
        or parts[0][1:2] == ":"
        or any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in parts)
    )
    if unsafe:
        raise SourceSyntaxError(f"the file name {path!r} could leave its folder; it is refused")
    return str(PurePosixPath(path))


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """One published file.

    Attributes:
        path: Relative POSIX path as published; the cache refuses one that could leave its folder.
        size_bytes: None where the source does not say before the transfer.
        digest: What the publisher says the content hashes to; None where it says nothing.
        version: What tells these bytes from later ones at the same path (an ETag, a time of
            change) where there is no digest; without either a cut transfer starts anew.
    """

    path: str
    size_bytes: int | None = None
    digest: Digest | None = None
    version: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PinnedFile:
    """A file whose size and content were fixed before anybody was asked, by a manifest."""

    path: str
    size_bytes: int
    digest: Digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """What a source holds at one resolved revision."""

    uri: SourceUri
    revision: str
    files: tuple[RemoteFile, ...]


def limit_listing(uri: SourceUri, entries: Iterable[_Entry]) -> Iterator[_Entry]:
    """The entries of a listing as they come, so that one without end is not collected first.

    Raises:
        FetchError: there are over `MAX_FILES` of them.
    """
    for count, entry in enumerate(entries):
        if count == MAX_FILES:
            raise FetchError(f"{uri} lists over {MAX_FILES} files; that is refused")
        yield entry


class Source(Protocol):
    """A place that holds published files.

    A source lists and streams. Splitting into ranges, retrying, resuming, verifying, locking and
    publishing live in the cache. `open` is called from several threads at once.
    """

    @property
    def connections(self) -> int:
        """How many streams at once, of one file or of several, are worth opening."""
        ...

    @property
    def listing_note(self) -> str | None:
        """What to tell the user before a `list_files` that takes long and shows no progress."""
        ...

    def list_files(self, uri: SourceUri) -> Listing:
        """Resolve `uri` to a fixed revision and its files.

        Raises:
            FetchError: the place refuses or has no such thing.
            TemporaryFetchError: the place cannot be reached now.
        """
        ...

    def open(
        self,
        listing: Listing,
        file: RemoteFile,
        start_bytes: int,
        end_bytes: int | None = None,
    ) -> AbstractContextManager["ByteStream"]:
        """Stream `file` from `start_bytes` up to `end_bytes`, which is not part of it.

        A place that has no ranges may start at 0 and send the whole file; the stream says so.
        The reader may leave at any time.

        Args:
            end_bytes: None is the end of the file.

        Raises:
            FetchError: the bytes cannot be had.
            TemporaryFetchError: now, or while iterating: the connection was lost.
            SourceChangedError: these are not the bytes that were listed.
        """
        ...

    def close(self) -> None:
        """Give back connections and temporary files."""
        ...


@runtime_checkable
class SignedSource(Protocol):
    """A source that keeps signatures of what it holds, apart from the files."""

    def read_signature(self, listing: Listing) -> bytes | None:
        """The signature of all files of a revision, after `nimctl.core.model_signature`; None
        where it is not signed.

        Raises:
            FetchError: it cannot be had.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ByteStream:
    """Bytes on their way.

    Attributes:
        start_bytes: Where the stream really starts: the asked offset, or 0 where the place
            cannot start in the middle.
        chunks: The bytes from there on, in pieces of at most a few hundred kilobytes.
        cancel: Ends the stream from another thread: a read that waits fails at once.
        is_end_sure: Its end is told from a connection that was cut off.
    """

    start_bytes: int
    chunks: Iterator[bytes]
    cancel: Callable[[], None] = do_nothing
    is_end_sure: bool = True
