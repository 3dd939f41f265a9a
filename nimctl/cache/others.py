"""What another process that is waited for has brought so far, from the journals it writes."""

import os
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from nimctl.cache.abandoned import count_kept_blocks
from nimctl.cache.blocks import BLOCK_BYTES
from nimctl.cache.layout import Layout
from nimctl.cache.owners import Owner, parse_owner
from nimctl.cache.planning import plan_pinned
from nimctl.cache.request import FetchRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherFetch:
    """Another process at work on the same files.

    Attributes:
        pid: None where it is of another machine, or of another container.
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


class OtherWatch:
    """Looks again and again at the process that brings one request; its count never goes back."""

    def __init__(self, layout: Layout, request: FetchRequest) -> None:
        self._layout = layout
        self._request = request
        self._seen: dict[str, tuple[int, int]] = {}

    def look(self) -> OtherFetch | None:
        """How far it is; None where none is seen."""
        owner = _read_owner(request_lock(self._layout, self._request))
        pid = owner.pid if owner is not None and owner.lives else None
        plan = plan_pinned(self._layout, self._request)
        if plan is not None:
            return OtherFetch(pid=pid, done_bytes=plan.kept_bytes, total_bytes=plan.total_bytes)
        if owner is None:
            return None
        self._see_parts(owner)
        return OtherFetch(
            pid=pid,
            done_bytes=sum(done_bytes for done_bytes, _ in self._seen.values()),
            total_bytes=sum(size_bytes for _, size_bytes in self._seen.values()),
        )

    def _see_parts(self, owner: Owner) -> None:
        """Note what every file on its way has; one that was and is no longer has become whole."""
        self._seen = {key: (size, size) for key, (_, size) in self._seen.items()}
        for part in self._layout.partial.glob("*.part"):
            key = part.name.split(".")[0]
            if _read_owner(self._layout.partial / f"{key}.lock") != owner:
                continue
            with suppress(FileNotFoundError):  # it became whole meanwhile
                size_bytes = part.stat().st_size
                done_bytes = count_kept_blocks(part, size_bytes) * BLOCK_BYTES
                self._seen[key] = min(done_bytes, size_bytes), size_bytes


def _read_owner(lock: Path) -> Owner | None:
    """Whose name is in a lock; a link in its place is not followed."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, errors="replace") as stream:
        return parse_owner(stream.read(200).strip())
