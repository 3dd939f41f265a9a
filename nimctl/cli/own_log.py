"""Keeps the log of a detached server within bounds: its own words, which it writes itself."""

import os
import sys
from pathlib import Path

from nimctl.server.guard import LOG_BYTES, LOGS_KEPT, set_aside

SERVER_LOGS = "logs/servers"


class OwnLog:
    """The file that standard error goes to, where that is one that `--detach` made.

    Args:
        path: None where it is not, and nothing is done.
        limit_bytes: It is set aside, and begun anew, when it has grown to this.
    """

    def __init__(self, path: Path | None, *, limit_bytes: int = LOG_BYTES) -> None:
        self._path = path
        self._limit_bytes = limit_bytes

    def keep_in_bounds(self) -> None:
        """Begin a new file if the one in use is full; called after each line."""
        if self._path is None or os.fstat(2).st_size < self._limit_bytes:
            return
        shared = os.path.sameopenfile(1, 2)
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            set_aside(str(self._path), LOGS_KEPT)
            new = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:  # the folder is gone or closed to us: begin the same file anew
            os.ftruncate(2, 0)
            return
        os.dup2(new, 2)
        if shared:
            os.dup2(new, 1)
        os.close(new)


def find_own_log(state: Path | None) -> Path | None:
    """The file of a detached server's words, below its state folder; None where it has none."""
    target = find_stderr_file()
    if state is None or target is None:
        return None
    return target if target.parent == (state / SERVER_LOGS).resolve() else None


def find_stderr_file() -> Path | None:
    """The file that standard error goes to, if it is one."""
    try:
        target = Path("/proc/self/fd/2").resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    return target if target.is_file() else None
