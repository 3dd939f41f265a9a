"""Reads what a Hugging Face hub lists."""

import re
from collections.abc import Mapping
from typing import Any

from nimctl.core.source import RemoteFile, SourceUri, parse_digest
from nimctl.errors import InputError
from nimctl.sources.xet import is_xet_hash

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")
"""An owner or a model, as the hub lets them be called: 96 characters at most."""


def check_name(uri: SourceUri) -> None:
    """See that an address can be one of a model.

    Raises:
        InputError: it is not.
    """
    parts = uri.location.split("/")
    is_name = len(parts) <= 2 and all(_PART.fullmatch(part) for part in parts)
    if not is_name or ".." in uri.location:
        raise InputError(f"{uri.location!r} is not a model of the form org/name")


def describe_file(entry: Mapping[str, Any]) -> RemoteFile:
    """A listed file; large ones have a sha256, of small ones git's own digest is known.

    Raises:
        KeyError, TypeError, ValueError: the entry is not understood.
    """
    path, size, lfs = entry["path"], entry["size"], entry.get("lfs")
    if not isinstance(path, str) or not isinstance(size, int):
        raise TypeError(entry)
    digest = f"git-sha1:{entry['oid']}" if lfs is None else f"sha256:{lfs['oid']}"
    return RemoteFile(path=path, size_bytes=size, digest=parse_digest(digest))


def find_xet_hash(entry: Mapping[str, Any]) -> str | None:
    """What the hub's Xet storage calls a file; None where it does not hold it."""
    name = entry.get("xetHash")
    return name if isinstance(name, str) and is_xet_hash(name) else None
