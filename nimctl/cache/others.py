"""What another process that is waited for has brought so far, from the journals it writes."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from nimctl.cache.blocks import BLOCK_BYTES
from nimctl.cache.layout import Layout
from nimctl.cache.part import count_kept_blocks
from nimctl.cache.planning import plan_pinned
from nimctl.cache.request import FetchRequest

_LOCKS = Path("/proc/locks")


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherFetch:
    """Another process at work on the same files.

    Attributes:
        pid: None where this machine does not tell who holds a lock.
        done_bytes: What it has brought of them.
        total_bytes: Their size; of files that nobody pinned, of those on their way only.
    """

    pid: int | None
    done_bytes: int
    total_bytes: int


def request_lock(layout: Layout, request: FetchRequest) -> Path:
    """The lock that whoever brings a request holds."""
    name = sha256(f"{request.uri}\0{request.selection}".encode()).hexdigest()
    return layout.partial / f"request-{name}.lock"


def look_at_other(layout: Layout, request: FetchRequest) -> OtherFetch | None:
    """How far the process is that brings `request` now; None where none is seen."""
    holders = _read_holders()
    pid = _holder(request_lock(layout, request), holders)
    plan = plan_pinned(layout, request)
    if plan is not None:
        return OtherFetch(pid=pid, done_bytes=plan.kept_bytes, total_bytes=plan.total_bytes)
    if pid is None:
        return None
    done_bytes = total_bytes = 0
    for part in layout.partial.glob("*.part"):
        key = part.name.split(".")[0]
        if _holder(layout.partial / f"{key}.lock", holders) != pid:
            continue
        with suppress(FileNotFoundError):  # it became whole meanwhile
            size_bytes = part.stat().st_size
            done_bytes += min(count_kept_blocks(part, size_bytes) * BLOCK_BYTES, size_bytes)
            total_bytes += size_bytes
    return OtherFetch(pid=pid, done_bytes=done_bytes, total_bytes=total_bytes)


def _read_holders() -> Mapping[int, int]:
    """Which process holds a lock on the file of an inode; a line of Linux is
    `1: FLOCK ADVISORY WRITE <pid> <device>:<inode> 0 EOF`.
    """
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return {}
    holders = {}
    for line in lines:
        words = line.split()
        if len(words) >= 6 and words[1] == "FLOCK" and int(words[4]) > 0:
            holders[int(words[5].rpartition(":")[2])] = int(words[4])
    return holders


def _holder(lock: Path, holders: Mapping[int, int]) -> int | None:
    try:
        return holders.get(lock.lstat().st_ino)
    except FileNotFoundError:
        return None
