"""How `nimctl cache` shows what the cache holds, and what was found, removed or would be."""

import time
from datetime import UTC, datetime
from typing import Any

from nimctl.cache import CacheUsage
from nimctl.cache.upkeep import (
    Fault,
    HeldEntry,
    HeldPart,
    PruneRequest,
    Pruning,
    Removal,
    Verification,
)
from nimctl.cli.cache_choice import Contents, DiskUsage
from nimctl.cli.terminal import bold, print_cut, print_json, print_line, print_note
from nimctl.core.units import format_duration, format_file_bytes

_DAY_S = 86400.0


def print_contents(contents: Contents, *, json: bool) -> None:
    """Every entry, every file on its way, and the total."""
    if json:
        print_json(_contents_document(contents))
        return
    print_line(bold(str(contents.usage.root)))
    for held in contents.entries:
        uri = held.entry.uri
        size = format_file_bytes(held.entry.size_bytes)
        names = ", ".join(contents.models.get((uri.scheme, uri.location), ())[:2])
        facts = [f"revision {held.entry.revision[:12]}", f"used {_tell_day(held.used_at_s)}"]
        print_cut(f"  {size:>10}  {uri}" + (f"  ({names})" if names else ""))
        print_line(f"  {'':>10}  {', '.join(facts + _describe_state(held))}")
    if contents.parts:
        print_line(bold("UNFINISHED"))
    for part in contents.parts:
        print_cut(f"  {format_file_bytes(part.kept_bytes):>10}  {_describe_part(part, contents)}")
    _print_total(contents.usage)


def _describe_state(held: HeldEntry) -> list[str]:
    state = []
    if held.missing:
        state.append(f"incomplete: {', '.join(file.path for file in held.missing)}")
    if held.pin is not None:
        state.append(f"pinned by {held.pin.by}")
    state += [f"in use by {lease}" for lease in held.users]
    return state


def _describe_part(part: HeldPart, contents: Contents) -> str:
    name = contents.files.get(part.content, part.content.replace("-", ":", 1))
    share = ""
    if part.size_bytes:
        percent = 100 * part.kept_bytes // part.size_bytes
        share = f"{percent} % of {format_file_bytes(part.size_bytes)} of "
    age = "being fetched now" if part.is_live else f"left {format_duration(part.age_s)} ago"
    return f"{share}{name}, {age}"


def _print_total(usage: CacheUsage) -> None:
    kept = f"{format_file_bytes(usage.blob_bytes)} kept"
    if usage.partial_bytes:
        kept += f", {format_file_bytes(usage.partial_bytes)} of unfinished downloads"
    if usage.trash_bytes:
        kept += f", {format_file_bytes(usage.trash_bytes)} in the trash"
    print_line(f"{kept}, {format_file_bytes(usage.free_bytes)} free on its disk")


def _tell_day(at_s: float) -> str:
    days = int((time.time() - at_s) // _DAY_S)
    return "today" if days < 1 else f"{days} days ago" if days > 1 else "yesterday"


def _contents_document(contents: Contents) -> dict[str, Any]:
    return {
        "path": str(contents.usage.root),
        "entries": [_entry_document(held, contents) for held in contents.entries],
        "partial": [
            {
                "content": part.content,
                "file": contents.files.get(part.content),
                "size_bytes": part.size_bytes,
                "kept_bytes": part.kept_bytes,
                "room_bytes": part.room_bytes,
                "age_s": round(part.age_s),
                "in_progress": part.is_live,
            }
            for part in contents.parts
        ],
    } | _usage_document(contents.usage)


def _entry_document(held: HeldEntry, contents: Contents) -> dict[str, Any]:
    entry = held.entry
    return {
        "source": str(entry.uri),
        "models": list(contents.models.get((entry.uri.scheme, entry.uri.location), ())),
        "revision": entry.revision,
        "path": str(entry.path),
        "size_bytes": entry.size_bytes,
        "own_bytes": held.own_bytes,
        "used_at": _iso(held.used_at_s),
        "complete": not held.missing,
        "missing": [file.path for file in held.missing],
        "pinned_by": held.pin.by if held.pin else None,
        "used_by": [str(lease) for lease in held.users],
    }


def _usage_document(usage: CacheUsage) -> dict[str, Any]:
    return {
        "size_bytes": usage.blob_bytes,
        "partial_bytes": usage.partial_bytes,
        "workspace_bytes": usage.workspace_bytes,
        "trash_bytes": usage.trash_bytes,
        "free_bytes": usage.free_bytes,
    }


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")


def print_disk_usage(found: DiskUsage, *, json: bool) -> None:
    """The disk each place takes, what is shared, and what removing it would free."""
    if json:
        sources = [
            {
                "source": source.place,
                "entries": source.entries,
                "size_bytes": source.size_bytes,
                "own_bytes": source.own_bytes,
                "freed_bytes": source.freed_bytes,
            }
            for source in found.sources
        ]
        compiled = [
            {"name": code.name, "size_bytes": code.size_bytes, "used_at": _iso(code.used_at_s)}
            for code in found.compiled
        ]
        document = {"path": str(found.usage.root), "sources": sources, "compiled": compiled}
        print_json(document | _usage_document(found.usage))
        return
    print_line(bold(f"  {'SIZE':>10}  {'SHARED':>10}  {'RM FREES':>10}  SOURCE"))
    for source in found.sources:
        shared_bytes = source.size_bytes - source.own_bytes
        figures = (source.size_bytes, shared_bytes, source.freed_bytes)
        columns = "  ".join(f"{format_file_bytes(figure):>10}" for figure in figures)
        print_cut(f"  {columns}  {source.place}")
    for code in found.compiled:
        size = format_file_bytes(code.size_bytes)
        print_cut(f"  {size:>10}  {'':>10}  {'':>10}  compiled by {code.name}")
    _print_total(found.usage)


def print_verification(found: Verification, repaired: tuple[Fault, ...], *, json: bool) -> None:
    """What a look at the cache came to, file by file."""
    if json:
        print_json(_verification_document(found, repaired))
        return
    for fault in found.faults:
        whose = f"{fault.record.entry.uri}  " if fault.record else ""
        done = "; repaired" if fault in repaired else ""
        print_line(f"  {whose}{fault.file.path} {fault.condition.value}{done}")
    for path in found.unreadable:
        print_line(f"  {path} is no record that can be read")
    if found.strays:
        print_note(f"{len(found.strays)} names lead to nothing; `nimctl cache prune` removes them")
    hashed = f", {format_file_bytes(found.hashed_bytes)} hashed" if found.hashed_bytes else ""
    damaged = len({fault.file.sha256 for fault in found.faults})
    print_line(
        f"{found.files} files of {found.entries} {'entry' if found.entries == 1 else 'entries'}, "
        f"{format_file_bytes(found.size_bytes)}{hashed}: {damaged} damaged"
        + (f", {len({fault.file.sha256 for fault in repaired})} repaired" if repaired else "")
    )


def _verification_document(found: Verification, repaired: tuple[Fault, ...]) -> dict[str, Any]:
    return {
        "entries": found.entries,
        "files": found.files,
        "size_bytes": found.size_bytes,
        "hashed_bytes": found.hashed_bytes,
        "faults": [
            {
                "source": str(fault.record.entry.uri) if fault.record else None,
                "path": fault.file.path,
                "sha256": fault.file.sha256,
                "condition": fault.condition.name.lower(),
                "repaired": fault in repaired,
            }
            for fault in found.faults
        ],
        "strays": [str(path) for path in found.strays],
        "unreadable": [str(path) for path in found.unreadable],
    }


def print_removal(removal: Removal, *, is_done: bool, json: bool) -> None:
    """What went, or would go."""
    if json:
        print_json(_removal_document(removal) | {"removed": is_done})
        return
    for record in removal.records:
        entry = record.entry
        print_line(f"  {format_file_bytes(entry.size_bytes):>10}  {entry.uri} ({entry.revision})")
    print_line(f"{_describe_freed(removal.freed_bytes, is_done=is_done)}{_describe_kept(removal)}")


def _removal_document(removal: Removal) -> dict[str, Any]:
    return {
        "entries": [
            {"source": str(record.entry.uri), "revision": record.entry.revision}
            for record in removal.records
        ],
        "blob_bytes": removal.blob_bytes,
        "freed_bytes": removal.freed_bytes,
    }


def _describe_freed(freed_bytes: int, *, is_done: bool) -> str:
    return f"{format_file_bytes(freed_bytes)} {'freed' if is_done else 'would be freed'}"


def _describe_kept(removal: Removal) -> str:
    """Why less is freed than the entries are large."""
    sizes = {f.sha256: f.size_bytes for one in removal.records for f in one.entry.files}
    shared_bytes, linked_bytes = (
        sum(sizes.values()) - removal.blob_bytes,
        removal.blob_bytes - removal.freed_bytes,
    )
    reasons = []
    if shared_bytes > 0:
        reasons.append(f"{format_file_bytes(shared_bytes)} belong to other entries too")
    if linked_bytes > 0:
        reasons.append(f"{format_file_bytes(linked_bytes)} are linked from other folders")
    return f"; {' and '.join(reasons)}" if reasons else ""


def print_pruning(pruning: Pruning, request: PruneRequest, *, is_done: bool, json: bool) -> None:
    """What went to make room, or would go."""
    if json:
        print_json(
            _removal_document(pruning.removal)
            | {
                "orphans": len(pruning.orphans),
                "leftovers": len(pruning.leftovers),
                "compiled": [code.name for code in pruning.compiled],
                "freed_bytes": pruning.freed_bytes,
                "size_bytes": pruning.kept_bytes,
                "removed": is_done,
            }
        )
        return
    for record in pruning.removal.records:
        size = format_file_bytes(record.entry.size_bytes)
        print_line(f"  {size:>10}  {record.entry.uri}, used {_tell_day(record.used_at_s)}")
    for code in pruning.compiled:
        size = format_file_bytes(code.size_bytes)
        print_line(f"  {size:>10}  compiled by {code.name}, used {_tell_day(code.used_at_s)}")
    if pruning.orphans:
        print_line(f"  {len(pruning.orphans)} files of no entry")
    if pruning.leftovers:
        print_line(f"  {len(pruning.leftovers)} leftovers of downloads and removals")
    print_line(
        f"{_describe_freed(pruning.freed_bytes, is_done=is_done)}, "
        f"{format_file_bytes(pruning.kept_bytes)} kept"
    )
    if request.max_bytes is not None and pruning.kept_bytes > request.max_bytes:
        print_note("the rest is pinned, in use, or of downloads that may still be continued")


def print_pins(entries: tuple[HeldEntry, ...], *, pinned: bool, json: bool) -> None:
    """What was pinned or unpinned."""
    if json:
        sources = [
            {"source": str(held.entry.uri), "revision": held.entry.revision} for held in entries
        ]
        print_json({"entries": sources, "pinned": pinned})
        return
    for held in entries:
        done = "pinned" if pinned else "unpinned"
        print_note(f"{done} {held.entry.uri} ({held.entry.revision})")
