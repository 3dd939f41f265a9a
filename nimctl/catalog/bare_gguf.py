"""What GGUF files offer, by the header of at least one of them and the names of the others."""

from collections.abc import Mapping
from dataclasses import replace

from nimctl.catalog.bare_files import GgufFiles
from nimctl.catalog.bare_offers import OWN_MANIFEST_HINT, Offer, Published, make_artifact
from nimctl.core.config_numbers import ConfigError, UnknownArchitectureError
from nimctl.core.gguf_header import GgufHeader
from nimctl.core.gguf_shape import read_gguf_shape
from nimctl.core.manifest import Shape
from nimctl.core.source import Listing
from nimctl.errors import InputError


def read_ggufs(
    listing: Listing, models: tuple[GgufFiles, ...], headers: Mapping[str, GgufHeader]
) -> Published:
    """One profile for llama.cpp for each precision.

    Of a file whose header was not read, the tensors take what is not a header as long as that of
    the first: exact for files of one tokenizer and one chat template.

    Raises:
        InputError: the architecture or the precision is unknown, or a header contradicts itself.
    """
    first = _join_headers(models[0], headers)
    offers: dict[str, Offer] = {}
    notes = []
    for files in models:
        path = files.parts[0].path
        known = path in headers
        precision = files.precision or (_join_headers(files, headers).precision if known else None)
        if precision is None or precision in offers:
            why = "its precision is unknown" if precision is None else f"as {precision} is there"
            notes.append(f"{path} is left out, {why}; named by itself it is used")
            continue
        if len(files.parts) > 1 and not _can_open_parts(listing, files):
            notes.append(f"{path} is left out, as its parts have no digests to be kept together by")
            continue
        artifact = make_artifact(
            listing,
            name=precision,
            weight_format="gguf",
            weights=files.parts,
            file=path,
            weight_bytes=_join_headers(files, headers).tensor_bytes
            if known
            else files.size_bytes - first.header_bytes,
        )
        offers[precision] = Offer(engine="llama.cpp", precision=precision, artifact=artifact)
    if not offers:
        raise InputError(
            f"nothing of {listing.uri} can be used: {'; '.join(notes)}", hint=OWN_MANIFEST_HINT
        )
    return Published(
        shape=_read_shape(listing, first),
        kind="chat",
        offers=tuple(offers.values()),
        notes=tuple(notes),
    )


def _can_open_parts(listing: Listing, files: GgufFiles) -> bool:
    """Whether an artifact can say which of several files is opened: by its first pin."""
    return listing.uri.scheme == "file" or all(
        part.digest and part.digest.algorithm == "sha256" for part in files.parts
    )


def _join_headers(files: GgufFiles, headers: Mapping[str, GgufHeader]) -> GgufHeader:
    """The first part's header with the tensors of all parts."""
    parts = [headers[part.path] for part in files.parts]
    return replace(parts[0], tensors=tuple(tensor for part in parts for tensor in part.tensors))


def _read_shape(listing: Listing, header: GgufHeader) -> Shape:
    try:
        return read_gguf_shape(header)
    except UnknownArchitectureError as error:
        raise InputError(
            f"{listing.uri} cannot be judged: {error}, so memory cannot be predicted",
            hint=OWN_MANIFEST_HINT,
        ) from error
    except ConfigError as error:
        raise InputError(f"the header of {listing.uri} cannot be used: {error}") from error
