"""The `pypi:` source: files inside a wheel, fetched by pip so that its own settings apply."""

import base64
import csv
import io
import re
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources.abc import Traversable
from pathlib import Path

from nimctl.core.source import (
    ByteStream,
    Listing,
    RemoteFile,
    SourceUri,
    limit_listing,
    parse_digest,
)
from nimctl.errors import (
    DiskFullError,
    FetchError,
    InputError,
    NotFoundError,
    UnreachableError,
)
from nimctl.sources.access import SourceAccess
from nimctl.sources.pieces import read_pieces
from nimctl.sources.scratch import Scratch

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")
_PIP = (
    *("-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"),
    *("--disable-pip-version-check", "--progress-bar=off", "--dest"),
)
# What pip and uv complain of, the first that is found: pip calls what it cannot ask for missing.
_KINDS: tuple[tuple[str, type[FetchError]], ...] = (
    ("after connection broken by", UnreachableError),
    ("error sending request", UnreachableError),
    ("No matching distribution found", NotFoundError),
    ("was not found in the package registry", NotFoundError),
)
_UV = ("pip", "install", "--no-deps", "--only-binary=:all:", "--quiet", "--target")


class PypiSource:
    """A package index as pip sees it, or uv where the interpreter has no pip.

    The package is neither installed into an environment nor run: it lies in the scratch folder
    until `close`, and its files are read from there.
    """

    connections = 1
    listing_note = "pip is fetching the whole package; it tells no progress until it is done"

    def __init__(self, access: SourceAccess) -> None:
        self._python = access.python
        self._uv = access.uv
        self._scratch_parent = access.scratch_folder
        self._scratch: Scratch | None = None
        self._packages: dict[SourceUri, Path] = {}

    def list_files(self, uri: SourceUri) -> Listing:
        """Fetch the package and read its record: files, sizes, sha256."""
        requirement = _requirement(uri)
        if uri not in self._packages:
            self._packages[uri] = self._fetch(requirement)
        with _damage_in_words(requirement):
            version, record = _read_record(_root(self._packages[uri]), requirement)
            files = tuple(limit_listing(uri, _described(record)))
        return Listing(uri=uri, revision=version, files=files)

    @contextmanager
    def open(
        self,
        listing: Listing,
        file: RemoteFile,
        start_bytes: int,
        end_bytes: int | None = None,
    ) -> Iterator[ByteStream]:
        """Read a file out of the fetched package."""
        requirement = _requirement(listing.uri)
        with _damage_in_words(requirement):
            stream = _root(self._packages[listing.uri]).joinpath(file.path).open("rb")
        with stream:
            chunks = _in_words(read_pieces(stream, start_bytes, end_bytes), requirement)
            yield ByteStream(start_bytes=start_bytes, chunks=chunks)

    def close(self) -> None:
        """Delete what was fetched."""
        self._packages.clear()
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None

    def _fetch(self, requirement: str) -> Path:
        """The wheel that pip fetched, or the folder that uv unpacked one into."""
        if self._scratch is None:
            self._scratch = Scratch(self._scratch_parent)
        folder = self._scratch.folder / requirement
        problem = self._run(self._scratch, str(self._python), *_PIP, str(folder), requirement)
        if problem is None:
            return next(folder.glob("*.whl"))
        if "No module named pip" not in problem:
            raise _failure("pip", requirement, problem)
        if self._uv is None:
            raise FetchError(
                f"{self._python} has no pip, which is needed to fetch the package {requirement}",
                hint=f"run {self._python} -m ensurepip, or put uv on PATH",
            )
        problem = self._run(
            self._scratch, str(self._uv), *_UV, str(folder), "--python", str(self._python),
            requirement,
        )  # fmt: skip
        if problem is not None:
            raise _failure("uv", requirement, problem)
        return folder

    def _run(self, scratch: Scratch, *command: str) -> str | None:
        """Run to the end, temporary files in the scratch folder; what it complained of, or None.

        The child holds the scratch folder's lock: if nimctl is killed, nobody deletes the folder
        under it.
        """
        result = subprocess.run(
            ["env", f"TMPDIR={scratch.folder}", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(scratch.descriptor,),
            text=True,
            errors="replace",
            check=False,
        )
        return None if result.returncode == 0 else result.stderr


def _requirement(uri: SourceUri) -> str:
    if not _NAME.fullmatch(uri.location):
        raise InputError(f"{uri.location!r} is not the name of a package")
    if uri.revision is None:
        return uri.location
    if not _VERSION.fullmatch(uri.revision):
        raise InputError(f"{uri.revision!r} is not a version of a package")
    return f"{uri.location}=={uri.revision}"


def _failure(program: str, requirement: str, complaint: str) -> FetchError:
    if "No space left on device" in complaint:
        return DiskFullError(f"the disk filled up while {program} was fetching {requirement}")
    lines = complaint.strip().splitlines() or ["it did not say why"]
    kind = next((kind for words, kind in _KINDS if words in complaint), FetchError)
    return kind(f"{program} could not fetch the package {requirement}: {lines[-1]}")


def _root(package: Path) -> Traversable:
    return zipfile.Path(package) if package.is_file() else package


def _read_record(root: Traversable, requirement: str) -> tuple[str, str]:
    """The version and the text of RECORD, which lists every file of a wheel."""
    for entry in root.iterdir():
        if entry.name.endswith(".dist-info"):
            version = entry.name.removesuffix(".dist-info").rpartition("-")[2]
            return version, entry.joinpath("RECORD").read_text("utf-8")
    raise FetchError(f"the package {requirement} holds no list of its files")


def _described(record: str) -> Iterator[RemoteFile]:
    for path, digest, size in csv.reader(io.StringIO(record)):
        algorithm, _, encoded = digest.partition("=")
        if algorithm == "sha256" and size:
            raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
            yield RemoteFile(
                path=path, size_bytes=int(size), digest=parse_digest(f"sha256:{raw.hex()}")
            )


def _in_words(pieces: Iterator[bytes], requirement: str) -> Iterator[bytes]:
    with _damage_in_words(requirement):
        yield from pieces


@contextmanager
def _damage_in_words(requirement: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, ValueError) as error:
        raise FetchError(f"the package {requirement} cannot be read: {error}") from error
