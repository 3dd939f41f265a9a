"""Whether what the cache holds may be used: by a look where a stamp fits, else by its bytes."""

import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from threading import Event

from nimctl.cache.entry import CachedFile, CacheEntry
from nimctl.cache.layout import Layout
from nimctl.cache.patience import Stopped
from nimctl.cache.progress import FetchAdvanced, Note, OnProgress
from nimctl.cache.snapshot import is_copy, leads_to, make_snapshot
from nimctl.cache.stamps import hash_file, is_stamped, look_at, stamp_blob
from nimctl.core.units import format_file_bytes
from nimctl.errors import DigestMismatchError, InterruptedByUserError

_TOLD_EVERY_BYTES = 64 * 1024**2
_LONG_BYTES = 1024**3
"""What takes about a second to hash: more is told before it begins."""


class Condition(Enum):
    """What is the matter with a file."""

    MISSING = "is missing"
    CUT = "has another size"
    CHANGED = "has other bytes than were published"
    NAMELESS = "is not under its name"
    MISPLACED = "has its name taken by another file"


LOST = (Condition.MISSING, Condition.CUT, Condition.CHANGED)
"""Bytes that have to be brought again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What a look at some blobs came to.

    Attributes:
        damaged: By sha256, what is the matter; whole ones are not in it.
        hashed_bytes: How much had to be read.
    """

    damaged: Mapping[str, Condition]
    hashed_bytes: int


def check_blobs(
    layout: Layout, blobs: Mapping[str, int], on_progress: OnProgress, *, deep: bool
) -> Checked:
    """Check blobs, given their sizes in bytes by sha256; as many at once as there are cores.

    A blob whose stamp does not fit is hashed; with `deep` every one is. What proves right is
    stamped.

    Raises:
        InterruptedByUserError: Ctrl-C.
    """
    doubtful = {
        sha256: size_bytes
        for sha256, size_bytes in sorted(blobs.items(), key=lambda blob: -blob[1])
        if deep or not is_stamped(layout, sha256, size_bytes)
    }
    damaged = _judge_sizes(layout, doubtful)
    wanted = [sha256 for sha256 in doubtful if sha256 not in damaged]
    total_bytes = sum(doubtful[sha256] for sha256 in wanted)
    if total_bytes > _LONG_BYTES and not deep:
        on_progress(Note(text=f"checking {format_file_bytes(total_bytes)} that look changed"))
    right = _hash_all(layout, wanted, total_bytes, on_progress)
    for sha256, is_right in zip(wanted, right, strict=True):
        if is_right:
            stamp_blob(layout, sha256)
        else:
            damaged[sha256] = Condition.CHANGED
    return Checked(damaged=damaged, hashed_bytes=total_bytes)


def _judge_sizes(layout: Layout, blobs: Mapping[str, int]) -> dict[str, Condition]:
    damaged = {}
    for sha256, size_bytes in blobs.items():
        facts = look_at(layout.blob(sha256))
        if facts is None:
            damaged[sha256] = Condition.MISSING
        elif facts.st_size != size_bytes:
            damaged[sha256] = Condition.CUT
    return damaged


def _hash_all(
    layout: Layout, blobs: list[str], total_bytes: int, on_progress: OnProgress
) -> tuple[bool, ...]:
    """Whether each blob hashes to its name."""
    if not blobs:
        return ()
    from nimctl.cache.workers import run_all

    stop, tally = Event(), _Tally(on_progress, total_bytes)

    def check(sha256: str, tell: OnProgress) -> bool:
        untold_bytes = 0

        def advance(count_bytes: int) -> None:
            nonlocal untold_bytes
            untold_bytes += count_bytes
            if stop.is_set():
                raise Stopped
            if untold_bytes >= _TOLD_EVERY_BYTES:
                tell(FetchAdvanced(done_bytes=untold_bytes, total_bytes=total_bytes))
                untold_bytes = 0

        is_right = hash_file(layout.blob(sha256), advance) == sha256
        tell(FetchAdvanced(done_bytes=untold_bytes, total_bytes=total_bytes))
        return is_right

    jobs: list[Callable[[OnProgress], bool]] = [partial(check, sha256) for sha256 in blobs]
    try:
        return run_all(
            jobs,
            threads=len(os.sched_getaffinity(0)),
            assistants=(),
            on_end=stop.set,
            on_progress=tally,
        )
    except KeyboardInterrupt:
        raise InterruptedByUserError(
            "stopped while files were checked; those that were found right stay so"
        ) from None


class _Tally:
    """Adds what the threads hashed, and tells the sum."""

    def __init__(self, on_progress: OnProgress, total_bytes: int) -> None:
        self._on_progress = on_progress
        self._total_bytes = total_bytes
        self._done_bytes = 0

    def __call__(self, event: object) -> None:
        if isinstance(event, FetchAdvanced):
            self._done_bytes += event.done_bytes
            self._on_progress(
                FetchAdvanced(
                    done_bytes=min(self._done_bytes, self._total_bytes),
                    total_bytes=self._total_bytes,
                )
            )


def check_entry(
    layout: Layout, entry: CacheEntry, on_progress: OnProgress
) -> tuple[CachedFile, ...]:
    """The files of an entry that must not be used.

    Where all is as it was left, this is a look at each file. Names that lead elsewhere are put
    right.

    Raises:
        DigestMismatchError: a name leads to another file, and the cache may not be written.
        FetchError: a folder of the cache is something else.
        InterruptedByUserError: Ctrl-C.
    """
    sizes = {file.sha256: file.size_bytes for file in entry.files}
    damaged = check_blobs(layout, sizes, on_progress, deep=False).damaged
    for file in entry.files:
        if file.sha256 not in damaged:
            _put_name_right(layout, entry, file)
    return tuple(file for file in entry.files if file.sha256 in damaged)


def _put_name_right(layout: Layout, entry: CacheEntry, file: CachedFile) -> None:
    """Let the name of a whole file lead to its bytes."""
    name, blob = entry.path / file.path, layout.blob(file.sha256)
    if leads_to(name, blob):
        return
    try:
        make_snapshot(layout, entry.path, (file,))
    except OSError as error:
        if is_copy(name, blob) or hash_file(name) == file.sha256:
            return
        raise DigestMismatchError(
            f"{name} is not the file that was verified, and it cannot be put right: "
            f"{error.strerror}"
        ) from error


def take_back(layout: Layout, entry: CacheEntry) -> None:
    """Make blobs that are gone of the names that are left of them; nothing where that fails.

    Whether they are right is found when they are hashed, for their stamps go.
    """
    for file in entry.files:
        blob, name = layout.blob(file.sha256), entry.path / file.path
        if look_at(blob) is None and look_at(name) is not None and layout.holds(name):
            with suppress(OSError):
                layout.make_folder(blob.parent)
                layout.stamp(file.sha256).unlink(missing_ok=True)
                os.link(name, blob, follow_symlinks=False)


def set_aside(layout: Layout, entry: CacheEntry, damaged: Iterable[CachedFile]) -> None:
    """Move blobs that must not be used out of the way, and take their names in an entry away.

    Raises:
        FetchError: a folder of the cache is something else.
        OSError: the cache may not be written.
    """
    layout.make_folder(layout.quarantine)
    for file in damaged:
        name, blob = entry.path / file.path, layout.blob(file.sha256)
        if leads_to(name, blob) and layout.holds(name):
            name.unlink(missing_ok=True)
        if layout.holds(blob):
            layout.stamp(file.sha256).unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                blob.rename(layout.quarantine / f"sha256-{file.sha256}.{secrets.token_hex(4)}")
