"""Reads what NGC's REST interface answers."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from nimctl.core.source import Digest, RemoteFile, parse_digest
from nimctl.errors import FetchError

CHECKSUMS = "checksums.blake3"
"""A file of most versions, with the digest of each other file as `b3sum` prints it."""

_LINE = re.compile(r"([0-9a-f]{64})\s+\*?(?:\./)?(.+)")


def member(document: object, name: str, kind: type) -> Any:
    """That member of an answer.

    Raises:
        FetchError: it is missing or of another kind, or there is no object to have it.
    """
    value = document.get(name) if isinstance(document, Mapping) else None
    if not isinstance(value, kind):
        raise FetchError(f"NGC's answer is not understood: it has no {name!r}")
    return value


def list_files(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of a page of a listing; none where NGC leaves them out.

    Raises:
        FetchError: the answer is not understood.
    """
    files: list[Mapping[str, Any]] = (
        member(document, "modelFiles", list) if document.get("modelFiles") else []
    )
    return files


def describe_file(entry: Mapping[str, Any], version: str) -> RemoteFile:
    """A listed file, with the sha256 that NGC gives for it, if any.

    Raises:
        FetchError: the entry is not understood.
    """
    path, size_bytes = member(entry, "path", str), member(entry, "sizeInBytes", int)
    encoded = entry.get("sha256_base64")
    return RemoteFile(
        path=str(path),
        size_bytes=int(size_bytes),
        digest=_sha256(encoded) if encoded else None,
        version=version,
    )


def with_checksums(files: tuple[RemoteFile, ...], text: bytes) -> tuple[RemoteFile, ...]:
    """The files, those without a digest with the one that `checksums.blake3` has for them."""
    lines = text.decode("utf-8", "replace").splitlines()
    found = {line[2]: line[1] for line in map(_LINE.fullmatch, lines) if line}
    return tuple(
        replace(file, digest=parse_digest(f"blake3:{found[file.path]}"))
        if file.digest is None and file.path in found
        else file
        for file in files
    )


def list_addresses(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Paths of files, each with its presigned address.

    Raises:
        FetchError: the answer is not understood.
    """
    paths, urls = member(document, "filepath", list), member(document, "urls", list)
    if len(paths) != len(urls):
        raise FetchError(f"NGC gives {len(urls)} addresses for {len(paths)} files")
    return zip(map(str, paths), map(str, urls), strict=True)


def count_pages(document: Mapping[str, Any]) -> int:
    """How many pages there are in all; one where NGC does not say."""
    paging = document.get("paginationInfo")
    if not isinstance(paging, Mapping):
        return 1
    pages, files, size = (paging.get(name) for name in ("totalPages", "totalResults", "size"))
    if isinstance(pages, int):
        return pages
    if isinstance(files, int) and isinstance(size, int) and size > 0:
        return -(-files // size)
    return 1


def _sha256(encoded: str) -> Digest:
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raw = b""
    if len(raw) != 32:
        raise FetchError(f"NGC lists {encoded!r}, which is not a sha256")
    return Digest(algorithm="sha256", hex=raw.hex())
