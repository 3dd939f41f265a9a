"""Which moving revisions, such as `main`, mean an entry: read and noted."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from nimctl.cache.entry import CacheEntry
from nimctl.cache.layout import Layout, disk_failures_in_words, read_text, walk_files
from nimctl.core.source import SourceUri

_DEFAULT = "default"
_LONGEST_WRITTEN_OUT = 120


def read_moving(root: Path, entry: CacheEntry) -> tuple[str | None, ...]:
    """The revisions that meant `entry` when they were last looked up; None is the default."""
    layout, selection = Layout(root=root), selection_of(entry)
    ending = f"+{selection}" if selection else ""
    folder = layout.ref(replace(entry.uri, revision=None, file=None), "").parent
    found: list[str | None] = []
    for ref in walk_files(folder):
        name = ref.name.removesuffix(ending)
        is_of_entry = ref.parent == folder and ref.name == name + ending and "+" not in name
        if not is_of_entry or len(name) > _LONGEST_WRITTEN_OUT:
            continue
        if (read_text(ref) or "").strip() == entry.revision and unquote(name) != entry.revision:
            found.append(None if name == _DEFAULT else unquote(name))
    return tuple(found)


def find_meant(layout: Layout, uri: SourceUri) -> str | None:
    """The fixed revision that the one of `uri` meant when it was last looked up, for whichever
    choice of files; None if it never was.
    """
    plain = layout.ref(uri, "")
    refs = [
        ref
        for ref in walk_files(plain.parent)
        if ref.parent == plain.parent and ref.name.partition("+")[0] == plain.name
    ]
    refs.sort(key=_changed_at_ns, reverse=True)
    said = ((read_text(ref) or "").strip() for ref in refs)
    return next((revision for revision in said if revision), None)


def _changed_at_ns(ref: Path) -> int:
    try:
        return ref.lstat().st_mtime_ns
    except FileNotFoundError:  # another process was quicker
        return 0


def write_moving(root: Path, entry: CacheEntry, revisions: Iterable[str | None]) -> None:
    """Note that each of `revisions` means `entry`.

    Raises:
        FetchError, DiskFullError: the cache cannot be written.
    """
    layout, selection = Layout(root=root), selection_of(entry)
    with disk_failures_in_words(root):
        for revision in revisions:
            ref = layout.ref(replace(entry.uri, revision=revision), selection)
            layout.write_text(ref, entry.revision + "\n")


def selection_of(entry: CacheEntry) -> str:
    """The choice of files that an entry is; empty where it is all of them. Its folder tells."""
    return entry.path.name.partition("+")[2]
