"""What `nimctl cache` does with what the cache holds: verify, repair, remove, prune, pin."""

import re
import sys
import time
from collections.abc import Iterable

import typer

from nimctl.cache import Cache, FetchAdvanced, FileDone, Note, Progress, Retrying
from nimctl.cache.upkeep import Fault, HeldEntry, PruneRequest, Record, Upkeep
from nimctl.cli import cache_text
from nimctl.cli.cache_choice import choose_entries
from nimctl.cli.fetching import opened_source
from nimctl.cli.terminal import print_note
from nimctl.core.units import format_duration, format_file_bytes, parse_bytes
from nimctl.errors import DigestMismatchError, FetchError, InputError, InUseError
from nimctl.settings import Settings

_TOLD_EVERY_S = 5.0
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([mhdw])")
_AGE_UNITS_S = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


def verify_models(
    names: list[str], settings: Settings, *, deep: bool, repair: bool, json: bool
) -> None:
    """Check what names mean, or everything; with `repair` fetch what is damaged again.

    Raises:
        DigestMismatchError: files are damaged, and were not repaired.
    """
    upkeep = Upkeep(Cache(settings.cache_dir))
    keys = _choose_keys(upkeep, names, settings) if names else None
    found = upkeep.verify(keys, _Teller().tell, deep=deep)
    repaired = _repair(upkeep, found.faults, settings) if repair else ()
    cache_text.print_verification(found, repaired, json=json)
    left = [fault for fault in found.faults if fault not in repaired]
    if left:
        raise _damaged(left, settings, was_tried=repair)


def _repair(upkeep: Upkeep, faults: Iterable[Fault], settings: Settings) -> tuple[Fault, ...]:
    """Mend one entry after the other; blobs without an entry are left to `prune`."""
    by_entry: dict[str, tuple[Record, list[Fault]]] = {}
    for fault in faults:
        if fault.record is not None:
            by_entry.setdefault(fault.record.key, (fault.record, []))[1].append(fault)
    repaired: list[Fault] = []
    for record, mine in by_entry.values():
        print_note(
            f"repairing {len(mine)} of {len(record.entry.files)} files of {record.entry.uri}"
        )
        try:
            with opened_source(record.entry.uri, settings) as source:
                upkeep.repair(mine, source, _Teller().tell, offline=settings.offline)
        except FetchError as error:  # the other entries may still be mended
            print_note(f"not repaired: {error.message}")
        else:
            repaired += mine
    return tuple(repaired)


def _damaged(faults: list[Fault], settings: Settings, *, was_tried: bool) -> DigestMismatchError:
    files = dict.fromkeys(fault.file.path for fault in faults)
    named = ", ".join(list(files)[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
    noun = "file" if len(files) == 1 else "files"
    return DigestMismatchError(
        f"{len(files)} {noun} of the cache {settings.cache_dir} must not be used: {named}",
        hint="what stands above keeps them from being repaired; the same command tries again"
        if was_tried
        else "`nimctl cache verify --repair` fetches them again",
    )


def remove_models(
    names: list[str],
    settings: Settings,
    *,
    dry_run: bool,
    yes: bool,
    force: bool,
    json: bool,
) -> None:
    """Remove what names mean, after asking.

    Raises:
        InUseError: it is pinned or in use.
        InputError: nobody can be asked.
    """
    upkeep = Upkeep(Cache(settings.cache_dir))
    chosen = choose_entries(upkeep.list_held(), names, settings)
    _refuse_used(chosen, force=force)
    keys = {held.key for held in chosen}
    plan = upkeep.plan_removal(keys)
    if dry_run:
        cache_text.print_removal(plan, is_done=False, json=json)
        return
    if not yes:
        _ask(f"remove {', '.join(str(held.entry.uri) for held in chosen)}?")
    cache_text.print_removal(upkeep.remove(keys), is_done=True, json=json)


def _refuse_used(chosen: tuple[HeldEntry, ...], *, force: bool) -> None:
    for held in chosen:
        if held.users:
            raise InUseError(
                f"{held.entry.uri} is in use by {', '.join(map(str, held.users))}",
                hint="stop it first",
            )
        if held.pin is not None and not force:
            raise InUseError(
                f"{held.entry.uri} is pinned by {held.pin.by}",
                hint="`nimctl cache unpin` lets it go, or add --force",
            )


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise InputError("nobody is there to be asked", hint="add --yes")
    typer.confirm(question, abort=True, err=True)


def parse_prune_request(
    max_size: str | None, older_than: str | None, *, partials: bool, compiled: bool
) -> PruneRequest:
    """What shall go.

    Raises:
        InputError: a size or an age is malformed.
    """
    try:
        max_bytes = None if max_size is None else parse_bytes(max_size)
    except ValueError as error:
        raise InputError(f"--max-size: {error}") from error
    unused_s = None if older_than is None else _parse_age(older_than)
    return PruneRequest(
        max_bytes=max_bytes, unused_s=unused_s, partials=partials, compiled=compiled
    )


def _parse_age(text: str) -> float:
    match = _AGE.fullmatch(text.strip().lower())
    if match is None:
        raise InputError(f"--older-than: {text!r} is not an age; write for example 30d, 12h or 2w")
    return float(match[1]) * _AGE_UNITS_S[match[2]]


def prune_models(request: PruneRequest, settings: Settings, *, dry_run: bool, json: bool) -> None:
    """Make room, and say what went."""
    upkeep = Upkeep(Cache(settings.cache_dir))
    pruning = upkeep.plan_pruning(request) if dry_run else upkeep.prune(request)
    cache_text.print_pruning(pruning, request, is_done=not dry_run, json=json)


def pin_models(names: list[str], settings: Settings, *, pinned: bool, json: bool) -> None:
    """Pin or unpin what names mean."""
    upkeep = Upkeep(Cache(settings.cache_dir))
    chosen = choose_entries(upkeep.list_held(), names, settings)
    for held in chosen:
        if pinned:
            upkeep.pin(held.key)
        else:
            upkeep.unpin(held.key)
    cache_text.print_pins(chosen, pinned=pinned, json=json)


def _choose_keys(upkeep: Upkeep, names: list[str], settings: Settings) -> set[str]:
    return {held.key for held in choose_entries(upkeep.list_held(), names, settings)}


class _Teller:
    """Tells a person how far it is, every few seconds, and what was fetched again."""

    def __init__(self) -> None:
        self._began_s = self._last_s = time.monotonic()

    def tell(self, event: Progress) -> None:
        match event:
            case FetchAdvanced(done_bytes=done_bytes, total_bytes=total_bytes):
                self._tell_rate(done_bytes, total_bytes)
            case FileDone(path=path, size_bytes=size_bytes, was_cached=False):
                print_note(f"verified {path} ({format_file_bytes(size_bytes)})")
            case Note(text=text):
                print_note(text)
            case Retrying(what=what, reason=reason, wait_s=wait_s):
                print_note(f"{what}: {reason}; trying again in {format_duration(wait_s)}")
            case _:
                pass

    def _tell_rate(self, done_bytes: int, total_bytes: int) -> None:
        now_s = time.monotonic()
        if now_s - self._last_s < _TOLD_EVERY_S or done_bytes >= total_bytes:
            return
        self._last_s = now_s
        rate = done_bytes / (now_s - self._began_s)
        print_note(
            f"{format_file_bytes(done_bytes)} of {format_file_bytes(total_bytes)}, "
            f"{format_file_bytes(int(rate))}/s, "
            f"{format_duration((total_bytes - done_bytes) / max(rate, 1.0))} left"
        )
