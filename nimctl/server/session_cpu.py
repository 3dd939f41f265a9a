"""How much processor time the processes of a session have taken, from Linux' /proc."""

import os
import sys
import time
from pathlib import Path

# Fields of /proc/PID/stat after the command's name, see proc_pid_stat(5).
_SESSION, _USER_TICKS, _SYSTEM_TICKS = 3, 11, 12
# Looking through all processes takes milliseconds: so often are those of the session looked for.
_LIST_EVERY_S = 5.0


class SessionCpu:
    """The processor time of one session's processes."""

    def __init__(self, session: int) -> None:
        """Watch the processes of `session`."""
        self._session = session
        self._paths: list[Path] = []
        self._listed_s = 0.0

    def read_s(self) -> float | None:
        """Seconds its living processes have computed so far; None where nobody tells."""
        if sys.platform != "linux":
            return None
        now_s = time.monotonic()
        if not self._paths or now_s - self._listed_s >= _LIST_EVERY_S:
            self._listed_s = now_s
            everything = Path("/proc").glob("[0-9]*/stat")
            self._paths = [path for path in everything if self._read_ticks(path) is not None]
        ticks = sum(self._read_ticks(path) or 0 for path in self._paths)
        return ticks / os.sysconf("SC_CLK_TCK")

    def _read_ticks(self, path: Path) -> int | None:
        """None for a process of another session, and for one that has ended."""
        try:
            fields = path.read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        if int(fields[_SESSION]) != self._session:
            return None
        return int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])
