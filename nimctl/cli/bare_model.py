"""A model by its address instead of its name: judged where it lies, before anything is brought."""

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import TypeVar

from nimctl.cache import Cache, RetryPolicy, ignore_progress
from nimctl.cache.patience import Patience, patiently
from nimctl.catalog import Catalog, UnjudgedModel, UnjudgedModelError
from nimctl.catalog.bare import TEXTS, BareModel, Headers, list_heads, make_bare_manifest
from nimctl.catalog.nim_manifest import to_manifest
from nimctl.cli.cached_files import CachedFiles, ReadHereFirst
from nimctl.cli.fetching import opened_source
from nimctl.cli.terminal import print_note
from nimctl.core.gguf_header import GgufError, GgufHeader
from nimctl.core.manifest import Manifest
from nimctl.core.safetensors_header import SafetensorsError, SafetensorsHeader
from nimctl.core.source import (
    Listing,
    RemoteFile,
    Source,
    SourceSyntaxError,
    SourceUri,
    parse_source_uri,
)
from nimctl.errors import FetchError, InputError, NimctlError
from nimctl.settings import Settings
from nimctl.sources.peek import read_gguf_head, read_safetensors_head, read_text

_SCHEMES = ("hf", "ngc", "file", "oci")
_FILES_AT_ONCE = 8
_PLACES_LOOKED_INTO = 4
_PATIENCE = RetryPolicy(attempts=3)
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")

T = TypeVar("T")


def read_bare_model(address: str, settings: Settings, catalog: Catalog | None = None) -> Manifest:
    """The manifest of the model at `address`; no more than headers and small files are read.

    Args:
        catalog: Where a refused model may be described all the same, for the hint.

    Raises:
        InputError: there is no such place, or nothing there that nimctl can use.
        FetchError: the place cannot be reached or refuses; with `offline`, it is not in the cache.
    """
    uri = parse_address(address)
    with _hinting_at(catalog, uri), _opened(uri, settings) as source:
        model = look_into(source, uri)
    for note in model.notes:
        print_note(f"note: {note}")
    return model.manifest


def look_into(source: Source, uri: SourceUri) -> BareModel:
    """What can be made of the files that `source` lists at `uri`.

    Raises:
        InputError: there is nothing that nimctl can use.
        FetchError: the place cannot be reached or refuses.
    """
    listing = _patiently(uri, lambda: source.list_files(uri))
    listing = replace(listing, uri=_name_folder(uri))
    texts = _read_texts(source, listing)
    headers = _read_headers(source, listing, list_heads(listing, texts))
    return make_bare_manifest(listing, texts, headers)


def complete_model(unjudged: UnjudgedModel, settings: Settings) -> Manifest:
    """The manifest of a model that only NIM's describes, with the shape its own config says.

    Each place that holds weights of it is looked into, for the bytes of each precision.

    Raises:
        UnjudgedModelError: none of them tells more either, or they cannot be looked into.
    """
    found: list[Manifest] = []
    refusals: list[NimctlError] = []
    for place in unjudged.places[:_PLACES_LOOKED_INTO]:
        try:
            found.append(read_bare_model(str(place), settings))
        except (FetchError, InputError) as error:
            refusals.append(error)
    if not found:
        first = next(iter(refusals), None)
        tried = f"; its config could not be read: {first.message}" if first else ""
        raise UnjudgedModelError(
            replace(unjudged, reason=unjudged.reason + tried), hint=first.hint if first else None
        )
    for refusal in refusals:
        print_note(f"note: {refusal.message}")
    known = replace(found[0], profiles=tuple(p for one in found for p in one.profiles))
    completed = to_manifest(unjudged.nim, known)
    if isinstance(completed, UnjudgedModel):
        raise UnjudgedModelError(completed)
    return completed.manifest


@contextmanager
def _hinting_at(catalog: Catalog | None, uri: SourceUri) -> Iterator[None]:
    """Add to a refusal under which name the catalogue describes the same model."""
    try:
        yield
    except FetchError as error:
        name = _find_described(catalog, uri)
        if name is not None:
            other = f"`nimctl list-profiles {name}` judges what the catalogue says of it"
            error.hint = f"{error.hint}; {other}" if error.hint else other
        raise


def _find_described(catalog: Catalog | None, uri: SourceUri) -> str | None:
    if catalog is None or uri.scheme == "file":
        return None
    try:
        return catalog.find(uri.location).model
    except InputError:
        return None


def parse_address(text: str) -> SourceUri:
    """The place that a user means by an address.

    Raises:
        InputError: it is malformed, of a kind that cannot be looked into, or not on this machine.
    """
    if "://" not in text and not text.startswith("pypi:"):
        return _find_path(text)
    try:
        uri = parse_source_uri(text)
    except SourceSyntaxError as error:
        raise InputError(str(error)) from error
    if uri.scheme not in _SCHEMES:
        raise InputError(
            f"a model cannot be looked at by a {uri.scheme} address",
            hint="give hf://org/name, ngc://org/name:version, a folder or a .gguf file",
        )
    return _find_path(str(Path(uri.location, uri.file or ""))) if uri.scheme == "file" else uri


def _find_path(text: str) -> SourceUri:
    """A folder of this machine, or a GGUF file; of one in several parts the folder is listed."""
    path = Path(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100 - links keep their names
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_dir():
        return SourceUri(scheme="file", location=str(path))
    if path.suffix != ".gguf":
        raise InputError(
            f"{path} is neither a folder nor a .gguf file",
            hint="give the folder of a model in safetensors",
        )
    if _PART.search(path.name):
        return SourceUri(scheme="file", location=str(path.parent), file=path.name)
    return SourceUri(scheme="file", location=str(path))


def _name_folder(uri: SourceUri) -> SourceUri:
    """A file of this machine as a file of its folder, which is what engines are given."""
    path = Path(uri.location)
    if uri.scheme != "file" or path.is_dir():
        return uri
    return replace(uri, location=str(path.parent), file=path.name)


@contextmanager
def _opened(uri: SourceUri, settings: Settings) -> Iterator[Source]:
    if settings.offline and uri.scheme not in ("file", "oci"):
        yield CachedFiles(Cache(settings.cache_dir).entries())
        return
    with opened_source(uri, settings) as source:
        yield ReadHereFirst(source, settings.cache_dir) if uri.scheme == "hf" else source


def _patiently(uri: SourceUri, work: Callable[[], T]) -> T:
    return patiently(work, Patience(_PATIENCE, str(uri), ignore_progress, Event()))


def _read_texts(source: Source, listing: Listing) -> dict[str, bytes]:
    wanted = [file for file in listing.files if file.path in TEXTS]
    return _read_all(listing, wanted, partial(read_text, source, listing))


def _read_headers(source: Source, listing: Listing, heads: tuple[RemoteFile, ...]) -> Headers:
    gguf = [file for file in heads if file.path.endswith(".gguf")]
    safetensors = [file for file in heads if file not in gguf]

    def read_gguf(file: RemoteFile) -> GgufHeader:
        with _damage_in_words(listing, file):
            return read_gguf_head(source, listing, file)

    def read_safetensors(file: RemoteFile) -> SafetensorsHeader:
        with _damage_in_words(listing, file):
            return read_safetensors_head(source, listing, file)

    return Headers(
        safetensors=_read_all(listing, safetensors, read_safetensors),
        gguf=_read_all(listing, gguf, read_gguf),
    )


def _read_all(
    listing: Listing, files: list[RemoteFile], read: Callable[[RemoteFile], T]
) -> dict[str, T]:
    """What `read` makes of each file, by its path; several at once."""
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        results = pool.map(lambda file: _patiently(listing.uri, lambda: read(file)), files)
        return {file.path: result for file, result in zip(files, results, strict=True)}


@contextmanager
def _damage_in_words(listing: Listing, file: RemoteFile) -> Iterator[None]:
    try:
        yield
    except (SafetensorsError, GgufError) as error:
        raise InputError(f"{file.path} of {listing.uri} cannot be used: {error}") from error
