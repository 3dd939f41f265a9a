"""Everything the cache holds, told without opening any weights."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nimctl.cache.abandoned import count_kept_blocks, count_room
from nimctl.cache.blocks import BLOCK_BYTES
from nimctl.cache.entry import CachedFile, CacheEntry
from nimctl.cache.layout import Layout, walk_files
from nimctl.cache.leases import Lease
from nimctl.cache.leftovers import is_being_written
from nimctl.cache.pins import Pin, read_pins
from nimctl.cache.records import list_missing, read_records
from nimctl.cache.removal import find_users, list_workspaces, plan_removal
from nimctl.cache.stamps import look_at


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldEntry:
    """An entry, and what speaks for keeping it.

    Attributes:
        key: Names it in the cache.
        used_at_s: When it was last used, in seconds since 1970, to the day.
        missing: Its files that are missing or cut; it is complete without any.
        own_bytes: What the cache would be smaller by without it: files shared with others stay.
        freed_bytes: What the disk would get back: less where other folders hold the same files.
        users: Running processes that have it open.
    """

    key: str
    entry: CacheEntry
    used_at_s: float
    missing: tuple[CachedFile, ...]
    own_bytes: int
    freed_bytes: int
    pin: Pin | None
    users: tuple[Lease, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldPart:
    """A file that is not whole yet.

    Attributes:
        content: What it will be, e.g. `sha256-<hex>`.
        size_bytes: None where its source did not say.
        room_bytes: Disk it takes, with what is reserved.
        age_s: Since something was last written to it.
        is_live: Whether a process is bringing it now.
    """

    content: str
    size_bytes: int | None
    kept_bytes: int
    room_bytes: int
    age_s: float
    is_live: bool


def list_held(layout: Layout) -> tuple[HeldEntry, ...]:
    """Every entry that is recorded, complete or not.

    Raises:
        FetchError: a record cannot be read.
    """
    pins, users = read_pins(layout), find_users(layout, list_workspaces(layout))
    held = []
    for record in read_records(layout):
        removal = plan_removal(layout, {record.key})
        held.append(
            HeldEntry(
                key=record.key,
                entry=record.entry,
                used_at_s=record.used_at_s,
                missing=list_missing(layout, record.entry),
                own_bytes=removal.blob_bytes,
                freed_bytes=removal.freed_bytes,
                pin=pins.get(record.key),
                users=users.get(record.key, ()),
            )
        )
    return tuple(held)


def list_parts(layout: Layout) -> tuple[HeldPart, ...]:
    """Every file on its way."""
    parts = []
    for path in walk_files(layout.partial):
        if path.suffix == ".part" and path.parent == layout.partial:
            with suppress(FileNotFoundError):  # it has just arrived
                parts.append(_read_part(path))
    return tuple(parts)


def _read_part(path: Path) -> HeldPart:
    """The room for all of a file is reserved first, so its length is told by the part's own."""
    facts = path.lstat()
    blocks = count_kept_blocks(path, facts.st_size) if look_at(path) is not None else 0
    has_journal = path.with_suffix(".blocks").exists()
    return HeldPart(
        content=path.name.partition(".")[0],
        size_bytes=facts.st_size if has_journal else None,
        kept_bytes=min(blocks * BLOCK_BYTES, facts.st_size) if has_journal else facts.st_size,
        room_bytes=count_room(path),
        age_s=max(time.time() - facts.st_mtime, 0.0),
        is_live=is_being_written(path),
    )
