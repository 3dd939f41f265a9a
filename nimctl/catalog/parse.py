"""Parses a manifest file of any known schema, or names every fault of it at once."""

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import ValidationError

from nimctl.catalog.agreement import check_agreement
from nimctl.catalog.document import Document, DocumentError, Fault, read_document, refuse
from nimctl.catalog.nim import NimManifest
from nimctl.catalog.nim_v1 import looks_like_v1, parse_nim_v1
from nimctl.catalog.nim_v2 import parse_nim_v2
from nimctl.catalog.schema import ManifestFile, ProfileEntry, ShapeEntry, Strict
from nimctl.catalog.sheet import MAX_BYTES, ManifestSheet
from nimctl.catalog.variants import make_manifest
from nimctl.catalog.wording import describe_faults

SCHEMA = "nimctl-manifest/1"

_Entry = TypeVar("_Entry", bound=Strict)


def parse_manifest(content: bytes, *, origin: str, model: str) -> ManifestSheet | NimManifest:
    """Parse the content of a manifest file: nimctl's own schema, or NIM's v1 or v2.

    Args:
        origin: The file, as faults name it.
        model: The model that the file's place, or NIM's own text, stands for.

    Raises:
        ManifestError: lists all faults as `file:line: fault`.
    """
    try:
        document = read_document(_decode(content))
        value = document.value
        if isinstance(value, dict) and "schema" not in value:
            if "schema_version" in value:
                return parse_nim_v2(document, origin=origin, model=model)
            if looks_like_v1(value):
                return parse_nim_v1(document, origin=origin, model=model)
        _require_schema(document)
    except DocumentError as error:
        raise refuse(origin, [error.fault]) from None
    return _parse_own(document, origin=origin, model=model)


def _parse_own(document: Document, *, origin: str, model: str) -> ManifestSheet:
    faults = list(document.faults)
    try:
        file = ManifestFile.model_validate(document.value)
    except ValidationError as error:
        file = None
        faults += describe_faults(error, document)
    faults += _check_agreement(document)
    if file is not None and file.model != model:
        line = document.line_of(("model",))
        message = f"model is {file.model}, but the file lies where {model} belongs"
        faults.append(Fault(line=line, message=message))
    if file is None or faults:
        raise refuse(origin, faults)
    return ManifestSheet(
        manifest=make_manifest(file, origin=origin),
        aliases=tuple(file.aliases),
        overrides=file.overrides,
    )


def _decode(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise DocumentError(1, f"larger than {MAX_BYTES // 1024**2} MiB: this is no manifest")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DocumentError(line, "not text in UTF-8") from None


def _require_schema(document: Document) -> None:
    written = document.value.get("schema") if isinstance(document.value, dict) else None
    if written != SCHEMA:
        instead = f", not {written}" if written else ""
        line = document.line_of(("schema",))
        raise DocumentError(line, f"not a manifest: it must say `schema: {SCHEMA}`{instead}")


def _check_agreement(document: Document) -> Iterator[Fault]:
    """Each part is validated by itself, so that a fault in one hides none between the others."""
    value = document.value
    artifacts, profiles = value.get("artifacts"), value.get("profiles")
    return check_agreement(
        document,
        shape=_validate(ShapeEntry, value.get("shape")),
        artifacts=list(artifacts) if isinstance(artifacts, dict) else [],
        profiles=[
            (("profiles", index), entry)
            for index, raw in enumerate(profiles if isinstance(profiles, list) else [])
            if (entry := _validate(ProfileEntry, raw))
        ],
    )


def _validate(entry: type[_Entry], value: Any) -> _Entry | None:
    try:
        return entry.model_validate(value)
    except ValidationError:
        return None
