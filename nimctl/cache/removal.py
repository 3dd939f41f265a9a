"""Removing entries and what only they held, safely beside fetches and servers that run.

Nothing is deleted where it lies: it is moved to the trash first, then it is looked once more who
needs it, and only then it goes. A fetch that lost a blob that way notices and brings it again.
"""

import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nimctl.cache.layout import Layout, read_text, walk_files
from nimctl.cache.leases import Lease, read_leases
from nimctl.cache.papers import papers_folder
from nimctl.cache.records import Record, read_records, record_path
from nimctl.cache.stamps import look_at
from nimctl.cache.view_removal import is_shared, list_view_names, sweep_views
from nimctl.errors import FetchError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOB_IN_TRASH = re.compile(r"[0-9a-f]{16}\.blob\.([0-9a-f]{64})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """What goes when some entries are removed.

    Attributes:
        records: The entries.
        blobs: Contents that no other entry needs, by sha256.
        blob_bytes: Their size: the cache is smaller by it.
        freed_bytes: What the disk gets back: less where other folders hold the same files.
        view_names: What views inside the cache hold of them.
    """

    records: tuple[Record, ...]
    blobs: tuple[str, ...]
    blob_bytes: int
    freed_bytes: int
    view_names: tuple[Path, ...]


def plan_removal(layout: Layout, keys: Collection[str]) -> Removal:
    """What goes when the entries of `keys` are removed.

    Raises:
        FetchError: another record cannot be read, so that nobody knows what it needs.
    """
    return _plan(layout, [record for record in read_records(layout) if record.key in keys])


def _plan(layout: Layout, going: Collection[Record]) -> Removal:
    needed = list_needed(layout, without={record.key for record in going})
    sizes = {file.sha256: file.size_bytes for one in going for file in one.entry.files}
    blobs = tuple(sorted(sizes.keys() - needed))
    names = [layout.blob(sha256) for sha256 in blobs]
    names += [path for one in going for path in walk_files(one.entry.path)]
    keys = {record.key for record in going}
    view_names = list_view_names(
        layout,
        [record.entry for record in going],
        [record.entry for record in read_records(layout) if record.key not in keys],
    )
    return Removal(
        records=tuple(going),
        blobs=blobs,
        blob_bytes=sum(sizes[sha256] for sha256 in blobs),
        freed_bytes=count_freed((*names, *(path for path in view_names if is_shared(path)))),
        view_names=view_names,
    )


def count_freed(names: Iterable[Path]) -> int:
    """What the disk gets back when `names` go, in bytes: a file that has more names stays."""
    looks = [facts for name in set(names) if (facts := look_at(name)) is not None]
    counts = Counter((facts.st_dev, facts.st_ino) for facts in looks)
    files = {(facts.st_dev, facts.st_ino): facts for facts in looks}
    return sum(
        facts.st_size for identity, facts in files.items() if counts[identity] >= facts.st_nlink
    )


def list_needed(layout: Layout, *, without: Collection[str] = ()) -> set[str]:
    """The sha256 of every blob that a record or a running process names.

    Records are not parsed: one that another nimctl wrote counts as well.

    Args:
        without: Keys of entries whose needs do not count.

    Raises:
        FetchError: a record cannot be read, so that nobody knows what it needs.
    """
    needed = {blob for lease in read_leases(layout) for blob in lease.blobs}
    passed_over = {record_path(layout, key) for key in without}
    for path in walk_files(layout.models):
        if path in passed_over or look_at(path) is None:
            continue
        text = read_text(path)
        if text is None and look_at(path) is not None:
            raise FetchError(
                f"the record {path} cannot be read, so nothing is removed",
                hint="its owner can remove it, or let this user read it",
            )
        needed.update(_SHA256.findall(text or ""))
    return needed


def remove_entries(layout: Layout, keys: Collection[str]) -> Removal:
    """Remove entries, what leads to them, and what only they held; tells what went.

    An entry that a process has opened in the meantime stays.

    Raises:
        FetchError: another record cannot be read, so that nobody knows what it needs.
        OSError: the cache may not be written.
    """
    list_needed(layout)
    workspaces = list_workspaces(layout)
    wanted = [record for record in read_records(layout) if record.key in keys]
    gone = [record for record in wanted if _take_record(layout, record, workspaces)]
    removal = _plan(layout, gone)
    for record in gone:
        for folder, targets in workspaces.items():
            if record.key in targets:
                discard(layout, folder)
        _discard_belongings(layout, record)
    for name in removal.view_names:
        discard(layout, name)
    sweep_views(layout, removal.view_names)
    discard_blobs(layout, removal.blobs)
    empty_trash(layout)
    return removal


def _discard_belongings(layout: Layout, record: Record) -> None:
    """Discard what belongs to an entry whose record is taken.

    Another process may fetch the entry anew meanwhile: it writes its record last and looks at the
    folder then, so either it sees what is missing, or its record is seen here.
    """
    belongings = (
        record.entry.path,
        layout.pins / f"{record.key}.json",
        papers_folder(layout, record.key),
        *_list_refs(layout, record),
    )
    discarded = [(path, discard(layout, path)) for path in belongings]
    if not record_path(layout, record.key).exists():
        return
    for path, trashed in discarded:
        if trashed is not None and not os.path.lexists(path):
            with suppress(OSError):
                trashed.rename(path)


def _take_record(layout: Layout, record: Record, workspaces: Mapping[Path, set[str]]) -> bool:
    """Make an entry unfindable, unless somebody has just opened it."""
    path = record_path(layout, record.key)
    if not layout.holds(path):
        return False
    hidden = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        path.rename(hidden)
    except FileNotFoundError:  # another process was quicker
        return False
    if record.key in find_users(layout, workspaces):
        hidden.rename(path)
        return False
    hidden.unlink()
    return True


def find_users(
    layout: Layout, workspaces: Mapping[Path, set[str]]
) -> Mapping[str, tuple[Lease, ...]]:
    """The running processes that use an entry, by its key."""
    users: dict[str, tuple[Lease, ...]] = {}
    for lease in read_leases(layout):
        folders = {layout.root / folder for folder in lease.folders}
        keys = {
            os.path.relpath(folder, layout.snapshots)
            for folder in folders
            if folder.is_relative_to(layout.snapshots)
        }
        for folder in folders & workspaces.keys():
            keys |= workspaces[folder]
        for key in keys:
            users[key] = (*users.get(key, ()), lease)
    return users


def list_workspaces(layout: Layout) -> Mapping[Path, set[str]]:
    """Every workspace, with the folders of entries that its links lead to, and those above."""
    workspaces: dict[Path, set[str]] = {}
    for link in walk_files(layout.workspaces):
        folder = layout.workspaces / link.relative_to(layout.workspaces).parts[0]
        targets = workspaces.setdefault(folder, set())
        with suppress(OSError):
            target = Path(os.path.normpath(link.parent / link.readlink()))
            if target.is_relative_to(layout.snapshots):
                steps = target.relative_to(layout.snapshots).parents
                targets.update(str(step) for step in steps)
    return workspaces


def _list_refs(layout: Layout, record: Record) -> tuple[Path, ...]:
    """The notes that say which fixed revision was meant, where it was that of `record`."""
    place = (layout.refs / record.key).parent
    _, plus, selection = record.key.rpartition("/")[2].partition("+")
    return tuple(
        ref
        for ref in walk_files(place)
        if ref.parent == place
        and not ref.name.startswith(".")  # one that is just being written
        and ref.name.partition("+")[1:] == (plus, selection)
        and (read_text(ref) or "").strip() == record.entry.revision
    )


def discard(layout: Layout, path: Path) -> Path | None:
    """Move `path` to the trash; None where it is not there, or behind a link.

    Raises:
        FetchError: the trash is a link.
        OSError: the cache may not be written.
    """
    if not layout.holds(path) or not os.path.lexists(path):
        return None
    layout.make_folder(layout.trash)
    is_blob = path.is_relative_to(layout.blobs)
    kind = f"blob.{path.name}" if is_blob else "gone"
    target = layout.trash / f"{secrets.token_hex(8)}.{kind}"
    try:
        path.rename(target)
    except FileNotFoundError:  # another process was quicker
        return None
    return target


def discard_blobs(layout: Layout, blobs: Iterable[str]) -> None:
    """Move blobs to the trash; they come back if somebody needs them."""
    for sha256 in blobs:
        discard(layout, layout.blob(sha256))


def empty_trash(layout: Layout) -> None:
    """Delete what is in the trash, except blobs that somebody needs: they go back to their place.

    Raises:
        FetchError: a record cannot be read, so that nobody knows what it needs.
        OSError: the cache may not be written.
    """
    if not layout.holds(layout.trash / "any"):
        return
    for path in sorted(layout.trash.iterdir()):
        blob = _BLOB_IN_TRASH.fullmatch(path.name)
        if blob is not None and blob[1] in list_needed(layout):
            with suppress(FileNotFoundError):
                layout.make_folder(layout.blob(blob[1]).parent)
                path.rename(layout.blob(blob[1]))
        elif path.is_dir() and not path.is_symlink():
            _delete_folder(path)
        else:
            path.unlink(missing_ok=True)
            if blob is not None and look_at(layout.blob(blob[1])) is None:
                layout.stamp(blob[1]).unlink(missing_ok=True)


def _delete_folder(path: Path) -> None:
    """Delete a folder that another process may be deleting as well."""
    while os.path.lexists(path):
        with suppress(FileNotFoundError):
            shutil.rmtree(path)
