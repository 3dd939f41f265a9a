"""The `oci://` source: models in a bundle that `nimctl cache export` wrote, a folder or a tar."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from nimctl.core.source import (
    ByteStream,
    Digest,
    Listing,
    RemoteFile,
    SourceUri,
    check_relative_path,
    parse_digest,
    parse_source_uri,
)
from nimctl.errors import DigestMismatchError, FetchError, InputError, NotFoundError
from nimctl.sources.access import SourceAccess
from nimctl.sources.oci_files import INDEX, SIGNATURE, BundleFiles, Stretch, open_files
from nimctl.sources.pieces import PIECE_BYTES

ENTRY_TYPE = "application/vnd.nimctl.entry.v1+json"
TITLE = "org.opencontainers.image.title"
REF_NAME = "org.opencontainers.image.ref.name"
_MODEL = re.compile(r"[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*")
MOST_DOCUMENT_BYTES = 64 * 1024**2


@dataclass(frozen=True, kw_only=True, slots=True)
class BundledManifest:
    """What describes a model of the catalogue on the machine that exported it.

    Attributes:
        model: `publisher/name`.
        is_own: Not all of it came with nimctl.
        layers: The texts of its files, the strongest last.
    """

    model: str
    is_own: bool
    layers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class BundledModel:
    """One model of a bundle.

    Attributes:
        name: Its name inside the bundle.
        uri: Where it was published, as it was asked for when it was fetched.
        is_whole: It is all that its source publishes; else a choice.
        moving: Revisions that meant this one when it was exported; None is the default.
        manifests: The models of the catalogue that are made of it.
        signature: Its publisher's; None where none was checked before it was exported.
    """

    name: str
    uri: SourceUri
    revision: str
    is_whole: bool
    moving: tuple[str | None, ...]
    files: tuple[RemoteFile, ...]
    manifests: tuple[BundledManifest, ...]
    signature: str | None


class Bundle:
    """An open bundle; every document is checked against the digest that names it."""

    def __init__(self, path: Path) -> None:
        """Read what the bundle says it holds.

        Raises:
            FetchError: there is no bundle, or it cannot be trusted.
            DigestMismatchError: a document is not the one that was exported.
        """
        self.path = path
        with _failures_in_words(path):
            self._files: BundleFiles = open_files(path)
            self.index = self._read_document(INDEX)
            self.models = tuple(self._read_model(one) for one in _list_manifests(self.index))
        names = [model.name for model in self.models]
        if len(set(names)) != len(names):
            raise FetchError(f"{path} holds two models of one name; it is refused")

    def read_signature(self) -> bytes | None:
        """The signature of its files, the index among them; None where the bundle is not signed."""
        try:
            with self._files.open(SIGNATURE) as stretch:
                return _read_all(stretch, MOST_DOCUMENT_BYTES)
        except FileNotFoundError:
            return None

    def list_blobs(self) -> frozenset[str]:
        """The sha256 of every file of every model."""
        return frozenset(
            file.digest.hex for model in self.models for file in model.files if file.digest
        )

    def read_blob(self, sha256_hex: str, start_bytes: int, end_bytes: int) -> Iterator[bytes]:
        """The bytes of a blob from `start_bytes` up to `end_bytes`, in small pieces.

        Raises:
            FetchError: the bundle is only the difference to another one, or is cut.
        """
        with _failures_in_words(self.path), self._open_blob(sha256_hex) as stretch:
            end_bytes = min(end_bytes, stretch.size_bytes)
            while start_bytes < end_bytes:
                count = min(PIECE_BYTES, end_bytes - start_bytes)
                place = stretch.start_bytes + start_bytes
                piece = os.pread(stretch.descriptor, count, place)
                if not piece:
                    raise FetchError(f"{self.path} was cut while it was read")
                yield piece
                start_bytes += len(piece)

    @contextmanager
    def _open_blob(self, sha256_hex: str) -> Iterator[Stretch]:
        try:
            with self._files.open(f"blobs/sha256/{sha256_hex}") as stretch:
                yield stretch
        except FileNotFoundError as error:
            raise FetchError(
                f"{self.path} does not hold sha256:{sha256_hex}, which it names",
                hint="it is the difference to an earlier bundle; import that one first",
            ) from error

    def _read_document(self, name: str) -> bytes:
        with self._files.open(name) as stretch:
            return _read_all(stretch, MOST_DOCUMENT_BYTES)

    def _read_named(self, descriptor: Any) -> Any:
        """The document a descriptor names, checked against its size and digest."""
        digest = parse_digest(descriptor["digest"])
        if digest.algorithm != "sha256":
            raise FetchError(f"{self.path} names a document by {digest.algorithm}")
        data = self._read_document(f"blobs/sha256/{digest.hex}")
        if len(data) != descriptor["size"] or sha256(data).hexdigest() != digest.hex:
            raise DigestMismatchError(
                f"{self.path} was changed: blobs/sha256/{digest.hex} is not what its name says"
            )
        return json.loads(data)

    def _read_model(self, descriptor: Any) -> BundledModel:
        manifest = self._read_named(descriptor)
        if manifest["config"]["mediaType"] != ENTRY_TYPE:
            raise FetchError(f"{self.path} was not written by `nimctl cache export`")
        entry = self._read_named(manifest["config"])
        return BundledModel(
            name=str(descriptor["annotations"][REF_NAME]),
            uri=parse_source_uri(entry["uri"]),
            revision=str(entry["revision"]),
            is_whole=entry["is_whole"] is True,
            moving=tuple(None if one is None else str(one) for one in entry["moving"]),
            files=tuple(_parse_layer(layer) for layer in manifest["layers"]),
            manifests=tuple(_parse_manifest(one) for one in entry.get("manifests", ())),
            signature=None if entry.get("signature") is None else str(entry["signature"]),
        )


class OciSource:
    """A bundle as a source: `oci:///path/of/it[:model]`."""

    connections = 4
    listing_note = None

    def __init__(
        self,
        access: SourceAccess | None = None,
        *,
        bundle: Bundle | None = None,
        model: BundledModel | None = None,
    ) -> None:
        """Bytes come from `bundle`; without it from the one that an `oci://` address names.

        Args:
            model: What every address means; without it the address tells.
        """
        del access
        self._bundle = bundle
        self._model = model

    def list_files(self, uri: SourceUri) -> Listing:
        """The files of the model that `uri` means.

        Raises:
            FetchError: the bundle has no such model, or cannot be trusted.
            InputError: it has several, and `uri` names none of them.
        """
        if self._bundle is None:
            self._bundle = Bundle(Path(uri.location))
        model = self._model or _find_model(self._bundle, uri)
        is_own = uri.scheme == "oci"
        revision = f"{model.name}@{model.revision}" if is_own else model.revision
        return Listing(uri=uri, revision=revision, files=model.files)

    @contextmanager
    def open(
        self,
        listing: Listing,
        file: RemoteFile,
        start_bytes: int,
        end_bytes: int | None = None,
    ) -> Iterator[ByteStream]:
        """Read a stretch of the file."""
        if self._bundle is None:
            self._bundle = Bundle(Path(listing.uri.location))
        if file.digest is None or file.size_bytes is None:
            raise NotFoundError(f"{self._bundle.path} holds no file {file.path!r}")
        end = file.size_bytes if end_bytes is None else end_bytes
        chunks = self._bundle.read_blob(file.digest.hex, start_bytes, end)
        yield ByteStream(start_bytes=start_bytes, chunks=chunks)

    def close(self) -> None:
        """Nothing is held."""


def _find_model(bundle: Bundle, uri: SourceUri) -> BundledModel:
    def is_meant(model: BundledModel) -> bool:
        fixed = f"{model.name}@{model.revision}"
        return uri.revision in (None, model.name, model.name.rpartition("/")[2], fixed)

    found = [model for model in bundle.models if is_meant(model)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(model.name for model in bundle.models) or "nothing"
    if not found:
        raise NotFoundError(f"{bundle.path} holds no {uri}; it holds {names}")
    raise InputError(
        f"{bundle.path} holds {len(found)} models that {uri} could mean: {names}",
        hint=f"name one: oci://{bundle.path}:{found[0].name}",
    )


def _list_manifests(index: bytes) -> list[Any]:
    return list(json.loads(index)["manifests"])


def _parse_layer(layer: Any) -> RemoteFile:
    digest: Digest = parse_digest(layer["digest"])
    size_bytes = layer["size"]
    if digest.algorithm != "sha256" or not isinstance(size_bytes, int) or size_bytes < 0:
        raise ValueError(layer)
    path = check_relative_path(layer["annotations"][TITLE])
    return RemoteFile(path=path, size_bytes=size_bytes, digest=digest)


def _parse_manifest(document: Any) -> BundledManifest:
    model = str(document["model"])
    if not _MODEL.fullmatch(model):
        raise ValueError(model)
    return BundledManifest(
        model=model,
        is_own=document["is_own"] is True,
        layers=tuple(map(str, document["layers"])),
    )


def _read_all(stretch: Stretch, most_bytes: int) -> bytes:
    if stretch.size_bytes > most_bytes:
        raise FetchError(f"a document of the bundle has {stretch.size_bytes} bytes; not read")
    return os.pread(stretch.descriptor, stretch.size_bytes, stretch.start_bytes)


@contextmanager
def _failures_in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        what = "does not exist" if not path.exists() else f"is not whole: {error} is missing"
        raise FetchError(f"{path} {what}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FetchError(f"{path} is not a bundle that can be trusted ({error})") from error
    except OSError as error:
        raise FetchError(f"{path} cannot be read: {error.strerror}") from error
