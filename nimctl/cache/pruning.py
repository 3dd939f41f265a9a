"""What may go to make room: entries that were not used for long, and what was left behind."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nimctl.cache.compiled import CompiledCode, choose_old, list_compiled
from nimctl.cache.layout import Layout, count_bytes, walk_files
from nimctl.cache.leases import list_dead_leases, read_leases
from nimctl.cache.leftovers import is_in_use
from nimctl.cache.pins import read_pins
from nimctl.cache.records import Record, read_records, record_path
from nimctl.cache.removal import (
    Removal,
    count_freed,
    discard,
    discard_blobs,
    empty_trash,
    find_users,
    list_needed,
    list_workspaces,
    plan_removal,
    remove_entries,
)
from nimctl.cache.stamps import look_at

HOUR_S = 3600.0
PARTS_KEPT_S = 7 * 24 * HOUR_S
REJECTED_KEPT_S = 24 * HOUR_S
GRACE_S = HOUR_S
"""How young a blob without a record may be: the fetch that brought it may not be done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PruneRequest:
    """What shall go besides what is certainly left behind.

    Attributes:
        max_bytes: How large the cache may be; the entries that were used longest ago go.
        unused_s: Entries that were not used for so long go.
        partials: Downloads that were cut off go too, however young.
        compiled: What engines have compiled goes too, however young.
    """

    max_bytes: int | None = None
    unused_s: float | None = None
    partials: bool = False
    compiled: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruning:
    """What goes.

    Attributes:
        removal: The entries, and what only they held.
        orphans: Blobs that no entry needs, by sha256.
        leftovers: Files that are of no use to anybody.
        compiled: What engines have compiled; the next start compiles again.
        freed_bytes: What the disk gets back by all that.
        kept_bytes: How large the cache is afterwards.
    """

    removal: Removal
    orphans: tuple[str, ...]
    leftovers: tuple[Path, ...]
    compiled: tuple[CompiledCode, ...]
    freed_bytes: int
    kept_bytes: int


def plan_pruning(layout: Layout, request: PruneRequest) -> Pruning:
    """What goes for `request`; what is pinned or used by a process never does.

    Raises:
        FetchError: a record cannot be read, so that nobody knows what it needs.
    """
    orphans, leftovers = _list_orphans(layout), tuple(_list_leftovers(layout, request))
    names = [layout.blob(sha256) for sha256 in orphans] + list(leftovers)
    kept_bytes = count_bytes(layout.blobs) + layout.unfinished_bytes() + count_bytes(layout.trash)
    kept_bytes -= sum(facts.st_size for name in names if (facts := look_at(name)) is not None)
    removal = _choose(layout, request, kept_bytes)
    compiled = choose_old(
        list_compiled(layout), unused_s=request.unused_s, everything=request.compiled
    )
    return Pruning(
        removal=removal,
        orphans=orphans,
        leftovers=leftovers,
        compiled=compiled,
        freed_bytes=removal.freed_bytes
        + count_freed(names)
        + sum(code.size_bytes for code in compiled),
        kept_bytes=kept_bytes - removal.blob_bytes,
    )


def prune(layout: Layout, request: PruneRequest) -> Pruning:
    """Remove what `plan_pruning` tells; tells what went.

    Raises:
        FetchError: a record cannot be read, so that nobody knows what it needs.
        OSError: the cache may not be written.
    """
    plan = plan_pruning(layout, request)
    remove_entries(layout, {record.key for record in plan.removal.records})
    for path in plan.leftovers:
        if not is_in_use(path):  # a fetch may have taken a lock meanwhile
            discard(layout, path)
    for code in plan.compiled:
        discard(layout, code.path)
    discard_blobs(layout, plan.orphans)
    empty_trash(layout)
    return plan


def _choose(layout: Layout, request: PruneRequest, kept_bytes: int) -> Removal:
    """The entries that were used longest ago, as many as have to go."""
    protected = read_pins(layout).keys() | find_users(layout, list_workspaces(layout)).keys()
    free = [record for record in read_records(layout) if record.key not in protected]
    free.sort(key=lambda record: record.used_at_s)
    keys = {record.key for record in free if _is_unused(record, request.unused_s)}
    removal = plan_removal(layout, keys)
    for record in free:
        if request.max_bytes is None or kept_bytes - removal.blob_bytes <= request.max_bytes:
            break
        keys.add(record.key)
        removal = plan_removal(layout, keys)
    return removal


def _is_unused(record: Record, unused_s: float | None) -> bool:
    return unused_s is not None and time.time() - record.used_at_s > unused_s


def _list_orphans(layout: Layout) -> tuple[str, ...]:
    """Blobs that no record names and no running fetch can have brought."""
    fetches = [one.started_at_s for one in read_leases(layout) if not one.folders]
    newest_s = min([time.time(), *fetches]) - GRACE_S
    needed = list_needed(layout)
    return tuple(
        path.name
        for path in walk_files(layout.blobs)
        if path == layout.blob(path.name)
        and path.name not in needed
        and (facts := look_at(path)) is not None
        and facts.st_mtime < newest_s
    )


def _list_leftovers(layout: Layout, request: PruneRequest) -> Iterator[Path]:
    parts_kept_s = 0.0 if request.partials else PARTS_KEPT_S
    kept_s = {".part": parts_kept_s, ".blocks": parts_kept_s, ".lock": HOUR_S}
    for path in walk_files(layout.partial):
        if layout.scratch in path.parents or path.suffix not in kept_s:
            continue
        if _is_older(path, kept_s[path.suffix]) and not is_in_use(path):
            yield path
    if layout.holds(layout.scratch / "any"):
        scratch_kept_s = HOUR_S if request.partials else PARTS_KEPT_S
        for path in layout.scratch.iterdir():
            if _is_older(path, scratch_kept_s) and not is_in_use(path):
                yield path
    rejected_kept_s = 0.0 if request.partials else REJECTED_KEPT_S
    rejected = walk_files(layout.quarantine)
    yield from (path for path in rejected if _is_older(path, rejected_kept_s))
    yield from list_dead_leases(layout)
    yield from list_strays(layout)


def list_strays(layout: Layout) -> Iterator[Path]:
    """What leads to nothing: names without a record, stamps without a blob, links that hang,
    files of writers that were killed.
    """
    for path in walk_files(layout.snapshots):
        if not _has_record(layout, path) and _is_older(path.parent, GRACE_S):
            yield path
    for path in walk_files(layout.stamps):
        if look_at(layout.blob(path.stem)) is None and _is_older(path, GRACE_S):
            yield path
    for folder in list_workspaces(layout):
        if not any(link.exists() for link in walk_files(folder)):
            yield folder
    for top in (layout.models, layout.refs, layout.pins):
        for path in walk_files(top):
            if path.suffix == ".tmp" and _is_older(path, GRACE_S):
                yield path


def _has_record(layout: Layout, path: Path) -> bool:
    steps = path.relative_to(layout.snapshots).parents
    return any(look_at(record_path(layout, str(step))) is not None for step in steps)


def _is_older(path: Path, age_s: float) -> bool:
    with suppress(OSError):
        return time.time() - path.lstat().st_mtime >= age_s
    return False
