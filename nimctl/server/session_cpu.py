"""How much processor time the processes of a session have taken, from Linux' /proc."""

import os
import sys
from pathlib import Path

# Fields of /proc/PID/stat after the command's name, see proc_pid_stat(5).
_SESSION, _USER_TICKS, _SYSTEM_TICKS = 3, 11, 12


def read_session_cpu_s(session: int) -> float | None:
    """Seconds that all living processes of a session have computed; None where nobody tells."""
    if sys.platform != "linux":
        return None
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[_SESSION]) == session:
            ticks += int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])
    return ticks / os.sysconf("SC_CLK_TCK")
