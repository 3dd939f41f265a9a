"""Records of complete entries: JSON files that are written last and read without any network."""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nimctl.cache.entry import CachedFile, CacheEntry
from nimctl.cache.layout import Layout, is_whole, read_text, walk_files
from nimctl.cache.request import FetchRequest
from nimctl.cache.snapshot import leads_to
from nimctl.core.source import SourceSyntaxError, SourceUri, check_relative_path, parse_source_uri

SCHEMA = "nimctl-cache-entry/1"
DAY_S = 24 * 3600.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """An entry as it is recorded, whether its files are still there or not.

    Attributes:
        key: Names the entry in the whole cache: `<scheme>/<place>/<revision>[+sel]`.
        used_at_s: When it was last used, in seconds since 1970, to the day.
    """

    key: str
    entry: CacheEntry
    used_at_s: float


def write_entry(layout: Layout, request: FetchRequest, entry: CacheEntry) -> None:
    """Declare `entry` complete, and note which fixed revision the request meant."""
    document = {
        "schema": SCHEMA,
        "uri": str(entry.uri),
        "revision": entry.revision,
        "path": os.path.relpath(entry.path, layout.root),
        "include": list(request.include),
        "files": [
            {"path": file.path, "size_bytes": file.size_bytes, "sha256": file.sha256}
            for file in entry.files
        ],
    }
    record = layout.record(request.uri, entry.revision, request.selection)
    layout.write_text(record, json.dumps(document, indent=1) + "\n")
    layout.write_text(layout.ref(request.uri, request.selection), entry.revision + "\n")


def find_entry(layout: Layout, request: FetchRequest) -> CacheEntry | None:
    """The complete entry for `request`, or None; no file of it is missing or cut."""
    entry = find_recorded(layout, request)
    return entry if entry is not None and not list_missing(layout, entry) else None


def find_recorded(layout: Layout, request: FetchRequest) -> CacheEntry | None:
    """The entry for `request`, whether its files are still there or not; None without a record."""
    revision = (read_text(layout.ref(request.uri, request.selection)) or "").strip()
    revision = revision or request.uri.revision or ""
    if not revision:
        return None
    record = _read_record(layout, layout.record(request.uri, revision, request.selection))
    return record.entry if record is not None else None


def read_entries(layout: Layout, place: SourceUri | None = None) -> Iterator[CacheEntry]:
    """Every complete entry, or those whose address begins with that of `place`."""
    for record in read_records(layout, place):
        if not list_missing(layout, record.entry):
            yield record.entry


def read_records(layout: Layout, place: SourceUri | None = None) -> tuple[Record, ...]:
    """Every entry that is recorded, complete or not, or those of `place`."""
    read = (_read_record(layout, path) for path in _list_records(layout, place))
    return tuple(record for record in read if record is not None)


def list_unreadable(layout: Layout) -> tuple[Path, ...]:
    """Records that say nothing: damaged, links, or of another nimctl."""
    paths = _list_records(layout)
    return tuple(path for path in paths if _read_record(layout, path) is None)


def is_fixed(request: FetchRequest, entry: CacheEntry) -> bool:
    """Whether a later look at the source could not change what `request` means."""
    return request.pinned_only is not None or request.uri.revision == entry.revision


def list_missing(layout: Layout, entry: CacheEntry) -> tuple[CachedFile, ...]:
    """The files that are missing or cut: whole is what is there, and stands under its name as a
    hard link, a link or a copy.
    """
    return tuple(
        file
        for file in entry.files
        if not is_whole(blob := layout.blob(file.sha256), file.size_bytes)
        or not (is_whole(name := entry.path / file.path, file.size_bytes) or leads_to(name, blob))
    )


def touch_entry(layout: Layout, entry: CacheEntry) -> None:
    """Note that an entry is used today; nothing is written twice a day, or where that is
    forbidden.
    """
    record = record_path(layout, key_of(layout, entry))
    with suppress(OSError):
        if time.time() - record.lstat().st_mtime > DAY_S:
            os.utime(record, follow_symlinks=False)


def key_of(layout: Layout, entry: CacheEntry) -> str:
    """Names an entry of this cache; its folder lies where its record does."""
    return os.path.relpath(entry.path, layout.snapshots)


def record_path(layout: Layout, key: str) -> Path:
    """The record of an entry."""
    return layout.models / f"{key}.json"


def _list_records(layout: Layout, place: SourceUri | None = None) -> tuple[Path, ...]:
    folder = layout.models if place is None else layout.records(place)
    return tuple(path for path in walk_files(folder) if path.suffix == ".json")


def _read_record(layout: Layout, path: Path) -> Record | None:
    """The entry of a record; None where there is none or it is damaged, which is the same.

    Its folder is told by its own place, never by what it says: a record that somebody else wrote
    must not lead out of the cache.
    """
    text = read_text(path)
    if text is None:
        return None
    key = str(path.relative_to(layout.models)).removesuffix(".json")
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            return None
        entry = CacheEntry(
            uri=parse_source_uri(document["uri"]),
            revision=str(document["revision"]),
            path=layout.snapshots / key,
            files=tuple(_parse_file(file) for file in document["files"]),
        )
        return Record(key=key, entry=entry, used_at_s=path.lstat().st_mtime)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, SourceSyntaxError):
        return None


def _parse_file(file: dict[str, Any]) -> CachedFile:
    if not _SHA256.fullmatch(file["sha256"]) or not isinstance(file["size_bytes"], int):
        raise ValueError(file)
    return CachedFile(
        path=check_relative_path(file["path"]),
        size_bytes=file["size_bytes"],
        sha256=file["sha256"],
    )
