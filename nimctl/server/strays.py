"""Ends processes of an engine whose guard was killed: they are known by a variable they inherited.

Process groups and sessions can be left, and a parent that dies leaves no trace; the environment
stays.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

MARK = "NIMCTL_ENGINE_RUN"
_PAUSE_S = 0.01
_GIVE_UP_S = 5.0


def new_mark() -> tuple[str, str]:
    """A variable that no other engine's processes have: its name and value."""
    return MARK, os.urandom(16).hex()


def end_strays(mark: tuple[str, str]) -> int:
    """SIGKILL to every process of this user that carries `mark`; how many there were.

    Looked for until there are none, so that one that just forked does not get away, and for 5
    seconds at most: what waits for a disk or a driver in the kernel cannot be ended. Linux only.
    """
    if sys.platform != "linux":
        return 0
    wanted = f"{mark[0]}={mark[1]}".encode()
    ended: set[int] = set()
    until_s = time.monotonic() + _GIVE_UP_S
    while (pids := _find(wanted)) and time.monotonic() < until_s:
        ended.update(pid for pid in pids if _end(pid, wanted))
        time.sleep(_PAUSE_S)
    return len(ended)


def _find(wanted: bytes) -> list[int]:
    pids = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    return [pid for pid in pids if pid != os.getpid() and _carries(pid, wanted)]


def _carries(pid: int, wanted: bytes) -> bool:
    """False for one that has ended, a zombie included: it has no environment any more."""
    try:
        return wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False  # it ended meanwhile, or belongs to somebody else


def _end(pid: int, wanted: bytes) -> bool:
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not _carries(pid, wanted):  # the number belongs to another process by now
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
        return True
    finally:
        os.close(process)
