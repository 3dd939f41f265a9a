"""A manifest for a model nobody described: from its listing, its config, and its files' headers."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nimctl.catalog.bare_files import (
    INDEX,
    find_ggufs,
    find_pickles,
    find_safetensors,
)
from nimctl.catalog.bare_gguf import read_ggufs
from nimctl.catalog.bare_offers import Published, list_profiles
from nimctl.catalog.bare_safetensors import CONFIG, QUANTIZATION, read_checkpoint
from nimctl.catalog.nim import is_engine_file
from nimctl.catalog.nim_name import name_place
from nimctl.core.gguf_header import GgufHeader
from nimctl.core.manifest import Manifest
from nimctl.core.safetensors_header import (
    SafetensorsError,
    SafetensorsHeader,
    parse_safetensors_index,
)
from nimctl.core.source import Listing, RemoteFile, SourceUri
from nimctl.errors import InputError

_CARD = "README.md"
TEXTS = (CONFIG, QUANTIZATION, INDEX, _CARD)
"""The small files to read of a listing, where it has them."""

_OTHER_FORM_HINT = (
    "look for the same model in .safetensors or .gguf files; "
    "`nimctl list-profiles hf://ORG/NAME` judges them before anything is brought"
)

_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---", re.DOTALL)
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Headers:
    """The headers that were read, by the paths of their files."""

    safetensors: Mapping[str, SafetensorsHeader]
    gguf: Mapping[str, GgufHeader]


@dataclass(frozen=True, kw_only=True, slots=True)
class BareModel:
    """What could be made of a listing.

    Attributes:
        notes: What was left out, and why, one sentence each.
    """

    manifest: Manifest
    notes: tuple[str, ...]


def name_model(uri: SourceUri) -> tuple[str, str]:
    """The name (`publisher/name`, or `local/name`) and the title of a model by its address."""
    title = uri.location.rstrip("/").split("/")[-1]
    if uri.scheme == "file":
        title = re.sub(r"(?:-00001-of-\d{5})?\.gguf$", "", (uri.file or title).split("/")[-1])
        return f"local/{_spell(title)}", title
    publisher, _, name = name_place(uri.scheme, uri.location.rstrip("/")).rpartition("/")
    return f"{_spell(publisher)}/{_spell(name)}", title


def _spell(text: str) -> str:
    return _NOT_IN_A_NAME.sub("-", text.lower()).strip("-._") or "model"


def list_heads(listing: Listing, texts: Mapping[str, bytes]) -> tuple[RemoteFile, ...]:
    """The files whose headers must be read.

    All of a safetensors checkpoint. Of several GGUF files the smallest: the others differ in the
    types of their tensors, so that their headers are as long, and their names say the precision.
    Those without such a name are read too.

    Raises:
        InputError: there are no weights that nimctl can use.
    """
    weights = _find_weights(listing, texts)
    ggufs = find_ggufs(listing)
    if not weights and not ggufs:
        raise _no_weights(listing)
    read = [files for files in ggufs if files is ggufs[0] or files.precision is None]
    return (*weights, *(part for files in read for part in files.parts))


def make_bare_manifest(listing: Listing, texts: Mapping[str, bytes], headers: Headers) -> BareModel:
    """The model of a listing, with profiles for each precision it is published in.

    Args:
        listing: At a fixed revision.
        texts: Those of `TEXTS` that the listing has.
        headers: Those of the files that `list_heads` names.

    Raises:
        InputError: its architecture or its precision is unknown, or its files contradict.
    """
    weights, ggufs = _find_weights(listing, texts), find_ggufs(listing)
    found: list[Published] = []
    refusals: list[InputError] = []
    if weights:
        _try(lambda: read_checkpoint(listing, weights, texts, headers.safetensors), found, refusals)
    if ggufs:
        _try(lambda: read_ggufs(listing, ggufs, headers.gguf), found, refusals)
    if not found:
        raise refusals[0] if refusals else _no_weights(listing)
    name, title = name_model(listing.uri)
    licence, gated = read_card(texts.get(_CARD, b""))
    licence = licence or _find_licence(headers.gguf) or "unknown"
    manifest = Manifest(
        model=name,
        title=title,
        licence=licence,
        gated=gated,
        shape=found[0].shape,
        profiles=tuple(
            profile
            for published in found
            for offer in published.offers
            for profile in list_profiles(name, offer)
        ),
        origin=str(listing.uri),
        kind=found[0].kind,
    )
    notes = (note for published in found for note in published.notes)
    return BareModel(manifest=manifest, notes=(*(e.message for e in refusals), *notes))


def _try(read: Callable[[], Published], found: list[Published], refusals: list[InputError]) -> None:
    """What one format offers, or why it cannot be used; the other may still be."""
    try:
        found.append(read())
    except InputError as error:
        refusals.append(error)


def read_card(card: bytes) -> tuple[str | None, bool]:
    """The licence that a model card names, and whether its publisher asks before he gives."""
    matter = _FRONT_MATTER.match(card.decode("utf-8", "replace").replace("\r\n", "\n"))
    lines = matter.group(1).splitlines() if matter else []
    keys = {
        key.strip(): value.strip().strip("'\"")
        for key, colon, value in (line.partition(":") for line in lines)
        if colon and not key.startswith((" ", "\t", "-"))
    }
    licence = keys.get("license")
    if licence in (None, "", "other"):
        licence = keys.get("license_name") or licence
    return licence or None, any(key.startswith("extra_gated_") for key in keys)


def _find_licence(headers: Mapping[str, GgufHeader]) -> str | None:
    licences = (header.metadata.get("general.license") for header in headers.values())
    return next((licence for licence in licences if isinstance(licence, str) and licence), None)


def _find_weights(listing: Listing, texts: Mapping[str, bytes]) -> tuple[RemoteFile, ...]:
    """The safetensors checkpoint; none where the address names a file of another kind."""
    if listing.uri.file is not None:
        return ()
    try:
        index = parse_safetensors_index(texts[INDEX]) if INDEX in texts else None
    except SafetensorsError as error:
        raise InputError(f"{INDEX} of {listing.uri} cannot be used: {error}") from error
    return find_safetensors(listing, index)


def _no_weights(listing: Listing) -> InputError:
    """Why nothing of a listing can be loaded, by what there is instead of weights."""
    uri, paths = listing.uri, [file.path for file in listing.files]
    if uri.file is not None:
        return InputError(
            f"{uri} names no whole model in GGUF files",
            hint="name a .gguf file, of several parts the first, or leave ?file= away",
        )
    if any(path.startswith("adapter_model.") for path in paths):
        return InputError(
            f"{uri} holds an adapter for another model and no model of its own",
            hint="name the model it was made for, and with --lora a folder that holds the adapter",
        )
    engine = next(filter(is_engine_file, paths), None)
    if engine is not None:
        return InputError(
            f"{uri} holds an engine that TensorRT-LLM built before ({engine}), which only the "
            "version and the GPU it was built with can load",
            hint="name a place that holds the published weights as .safetensors files",
        )
    ggufs = [path for path in paths if path.endswith(".gguf")]
    if ggufs:
        return InputError(
            f"{uri} holds GGUF files, but no whole model among them ({ggufs[0]})",
            hint="a model of several parts needs all of them; to use one file as it is, name it "
            "with ?file=",
        )
    pickles = find_pickles(listing)
    if pickles:
        return InputError(
            f"{uri} holds its weights only as pickles ({pickles[0]}), which can run any "
            "code when they are opened; nimctl does not load them",
            hint=_OTHER_FORM_HINT,
        )
    return InputError(
        f"{uri} holds no .safetensors and no .gguf files among its {len(paths)}",
        hint=_OTHER_FORM_HINT,
    )
