"""The progress of a fetch as JSON lines on standard error; README.md describes each of them."""

import json
import sys
from threading import Lock
from typing import Any

from nimctl.cache import (
    FetchAdvanced,
    FetchStarted,
    FileAdvanced,
    FileDone,
    FileStarted,
    FileVerified,
    ListingStarted,
    Note,
    Progress,
    Retrying,
    Waiting,
)
from nimctl.cache.others import OtherFetch
from nimctl.cli.terminal import drop_unknown


class JsonLines:
    """One line for each event of one fetch.

    `done_bytes` of `advanced` never goes back after a `started`, nor that of a file.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._lock = Lock()

    def tell(self, event: Progress) -> None:
        """Take an event."""
        self._write(_document(event))

    def tell_other(self, other: OtherFetch) -> None:
        """Take how far the process is that is waited for."""
        self._write(
            {
                "event": "other",
                "pid": other.pid,
                "done_bytes": other.done_bytes,
                "total_bytes": other.total_bytes,
            }
        )

    def _write(self, document: dict[str, Any]) -> None:
        known = drop_unknown(document)
        line = json.dumps({"event": known.pop("event"), "source": self._source, **known})
        with self._lock:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


def _document(event: Progress) -> dict[str, Any]:
    match event:
        case ListingStarted(note=note):
            return {"event": "listing", "text": note}
        case FetchStarted(files=files, total_bytes=total, done_bytes=done):
            return {"event": "started", "files": files, "done_bytes": done, "total_bytes": total}
        case FetchAdvanced(done_bytes=done, total_bytes=total):
            return {"event": "advanced", "done_bytes": done, "total_bytes": total}
        case FileStarted(path=path, size_bytes=size, done_bytes=done):
            return {"event": "file", "path": path, "done_bytes": done, "size_bytes": size}
        case FileAdvanced(path=path, done_bytes=done):
            return {"event": "file", "path": path, "done_bytes": done}
        case FileVerified(path=path, digest=digest):
            return {"event": "verified", "path": path, "digest": digest}
        case FileDone(path=path, size_bytes=size, was_cached=was_cached):
            return {"event": "done", "path": path, "size_bytes": size, "was_cached": was_cached}
        case Waiting(what=what):
            return {"event": "waiting", "what": what}
        case Retrying(what=what, reason=reason, wait_s=wait_s):
            return {"event": "retrying", "what": what, "reason": reason, "wait_s": wait_s}
        case Note(text=text):
            return {"event": "note", "text": text}
