"""Answers a request out of other entries of the same place, where they hold all it asks for.

What was imported, or brought for another choice of files, is often what a profile wants: the same
repository at the same revision, chosen by other words.
"""

import re
from dataclasses import dataclass

from nimctl.cache.entry import CachedFile, CacheEntry
from nimctl.cache.known import find_blob
from nimctl.cache.layout import Layout
from nimctl.cache.moving import find_meant, selection_of
from nimctl.cache.records import read_entries
from nimctl.cache.request import ONLY_DATA, FetchRequest, choose_files
from nimctl.core.source import Digest, Listing, RemoteFile
from nimctl.errors import FetchError

_ESCAPED = re.compile(r"\[([*?[])\]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Derived:
    """What other entries hold of a request.

    Attributes:
        entry: The entry as it would be; nothing of it is written yet.
        donor: An entry that holds all of its files; None where it takes several.
    """

    entry: CacheEntry
    donor: CacheEntry | None


def derive_entry(layout: Layout, request: FetchRequest) -> Derived | None:
    """What other entries hold of `request`; None unless they surely hold all of it."""
    revision = find_meant(layout, request.uri) or request.uri.revision
    if not revision:
        return None
    path = layout.snapshot(request.uri, revision, request.selection)
    others = (entry for entry in read_entries(layout, request.uri) if entry.path != path)
    entries = [entry for entry in others if _is_of(entry, request, revision)]
    held = {file.path: file for entry in entries for file in entry.files}
    is_all = request.policy == ONLY_DATA and any(not selection_of(one) for one in entries)
    if not entries or not (is_all or _names_only(request, held)):
        return None
    files = _choose(layout, request, revision, held)
    if files is None:
        return None
    entry = CacheEntry(uri=request.uri, revision=revision, path=path, files=files)
    donors = (one for one in entries if set(files) <= set(one.files))
    return Derived(entry=entry, donor=next(donors, None))


def _is_of(entry: CacheEntry, request: FetchRequest, revision: str) -> bool:
    place = (request.uri.scheme, request.uri.location, revision)
    return place == (entry.uri.scheme, entry.uri.location, entry.revision)


def _names_only(request: FetchRequest, held: dict[str, CachedFile]) -> bool:
    """Whether a request names each file it wants, by its full name, and all of them are here."""
    if request.uri.file is not None:
        return request.uri.file in held
    if request.pinned_only is not None:
        return all(file.path in held for file in request.pinned_only)
    literal = [_as_path(pattern) for pattern in request.include]
    return bool(literal) and all(path in held for path in literal)


def _as_path(pattern: str) -> str | None:
    """The one path that an escaped pattern matches; None where it may match more."""
    if re.search(r"[*?[]", _ESCAPED.sub("", pattern)):
        return None
    return _ESCAPED.sub(r"\1", pattern)


def _choose(
    layout: Layout, request: FetchRequest, revision: str, held: dict[str, CachedFile]
) -> tuple[CachedFile, ...] | None:
    """The files that the request means; None where one of them is not what it must be."""
    listing = Listing(
        uri=request.uri,
        revision=revision,
        files=tuple(
            RemoteFile(
                path=file.path,
                size_bytes=file.size_bytes,
                digest=Digest(algorithm="sha256", hex=file.sha256),
            )
            for file in held.values()
        ),
    )
    try:
        wanted = choose_files(request, listing)
    except FetchError:
        return None
    found = tuple(find_blob(layout, listing, file) for file in wanted)
    files = tuple(held[file.path] for file in wanted)
    return files if found == files else None
