"""A look at everything the cache holds, or at some entries, and what it takes to mend one."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from nimctl.cache.entry import CachedFile, CacheEntry
from nimctl.cache.layout import Layout, walk_files
from nimctl.cache.progress import OnProgress
from nimctl.cache.pruning import list_strays
from nimctl.cache.records import Record, list_unreadable, read_records
from nimctl.cache.request import FetchRequest
from nimctl.cache.snapshot import is_copy, leads_to
from nimctl.cache.stamps import hash_file, look_at
from nimctl.cache.verifying import Condition, check_blobs
from nimctl.core.source import Digest, PinnedFile

_FIXED_SCHEMES = ("hf", "ngc", "pypi", "modelscope")
"""Of which a revision can be asked for; other places have only what they have today."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One file that must not be used.

    Attributes:
        record: Its entry; None for a blob that belongs to none.
    """

    record: Record | None
    file: CachedFile
    condition: Condition


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What a look at the cache came to.

    Attributes:
        files: How many contents were looked at; those that entries share count once.
        hashed_bytes: How much of them was read, because of a changed look or on demand.
        faults: Files that must not be used.
        strays: What leads to nothing and harms nobody; pruning removes it.
        unreadable: Records that say nothing.
    """

    entries: int
    files: int
    size_bytes: int
    hashed_bytes: int
    faults: tuple[Fault, ...]
    strays: tuple[Path, ...]
    unreadable: tuple[Path, ...]


def verify(
    layout: Layout, keys: Collection[str] | None, on_progress: OnProgress, *, deep: bool
) -> Verification:
    """Look at every file of the entries of `keys`, or of the whole cache where that is None.

    Raises:
        InterruptedByUserError: Ctrl-C.
    """
    everything = read_records(layout)
    records = [one for one in everything if keys is None or one.key in keys]
    recorded = {file.sha256: file.size_bytes for one in records for file in one.entry.files}
    unowned = _list_unowned(layout, everything) if keys is None else {}
    checked = check_blobs(layout, unowned | recorded, on_progress, deep=deep)
    faults = [
        Fault(record=one, file=file, condition=condition)
        for one in records
        for file in one.entry.files
        if (condition := checked.damaged.get(file.sha256) or _judge_name(layout, one.entry, file))
    ]
    faults += [
        Fault(
            record=None,
            file=CachedFile(
                path=str(layout.blob(sha256).relative_to(layout.root)),
                size_bytes=unowned[sha256],
                sha256=sha256,
            ),
            condition=checked.damaged[sha256],
        )
        for sha256 in unowned.keys() & checked.damaged.keys() - recorded.keys()
    ]
    return Verification(
        entries=len(records),
        files=len(unowned | recorded),
        size_bytes=sum((unowned | recorded).values()),
        hashed_bytes=checked.hashed_bytes,
        faults=tuple(faults),
        strays=tuple(list_strays(layout)) if keys is None else (),
        unreadable=list_unreadable(layout) if keys is None else (),
    )


def _list_unowned(layout: Layout, records: Collection[Record]) -> dict[str, int]:
    """The sizes of blobs that belong to no entry, by sha256."""
    owned = {file.sha256 for one in records for file in one.entry.files}
    return {
        path.name: facts.st_size
        for path in walk_files(layout.blobs)
        if path == layout.blob(path.name) and path.name not in owned
        if (facts := look_at(path)) is not None
    }


def _judge_name(layout: Layout, entry: CacheEntry, file: CachedFile) -> Condition | None:
    """What is the matter with the name of a whole file."""
    name, blob = entry.path / file.path, layout.blob(file.sha256)
    if leads_to(name, blob) or is_copy(name, blob):
        return None
    if look_at(name) is None:
        return Condition.NAMELESS
    is_right = hash_file(name) == file.sha256
    return None if is_right else Condition.MISPLACED


def request_again(entry: CacheEntry, damaged: Collection[CachedFile]) -> FetchRequest:
    """What to ask its source for, to have some files of an entry as they were."""
    uri = entry.uri
    if uri.scheme in _FIXED_SCHEMES:
        uri = replace(uri, revision=entry.revision)
    pinned = tuple(
        PinnedFile(
            path=file.path,
            size_bytes=file.size_bytes,
            digest=Digest(algorithm="sha256", hex=file.sha256),
        )
        for file in damaged
    )
    return FetchRequest(uri=uri, pinned=pinned)
