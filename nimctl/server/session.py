"""What the processes of one session take: processor time, memory, the weights; of Linux' /proc."""

import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

# Fields of /proc/PID/stat after the command's name, see proc_pid_stat(5).
_SESSION, _USER_TICKS, _SYSTEM_TICKS = 3, 11, 12
# Looking through all processes takes milliseconds: so often are those of the session looked for.
_LIST_EVERY_S = 5.0
# `55d0-55e0 r-xp 00000000 08:01 1234  /path`; see proc_pid_maps(5).
_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ [0-9a-f]+ \S+ \d+ +(?P<path>/.*)")
_RESIDENT = re.compile(r"Rss: +(\d+) kB")


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldMemory:
    """The memory of the host that processes hold, in bytes.

    Attributes:
        now: Each shared page counted once.
        peak: The same at the worst moment so far; at most so much, as it takes the processes'
            peaks to have been at one time.
    """

    now: int
    peak: int


class Session:
    """The processes of one session without its leader, which is nimctl's guard."""

    def __init__(self, session: int) -> None:
        """Watch the processes of `session`."""
        self._session = session
        self._pids: list[int] = []
        self._listed_s = 0.0

    def list_pids(self) -> list[int]:
        """Its processes as of a few seconds ago; none where nobody tells."""
        now_s = time.monotonic()
        if not self._pids or now_s - self._listed_s >= _LIST_EVERY_S:
            self._listed_s = now_s
            found = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
            self._pids = [pid for pid in found if self._read_ticks(pid) is not None]
        return self._pids

    def read_cpu_s(self) -> float | None:
        """Seconds its living processes have computed so far; None where nobody tells."""
        if sys.platform != "linux":
            return None
        ticks = sum(self._read_ticks(pid) or 0 for pid in self.list_pids())
        return ticks / os.sysconf("SC_CLK_TCK")

    def read_memory(self) -> HeldMemory | None:
        """What it holds of the host's memory; None where nobody tells.

        Takes a while with a large model: the tables of all its pages are walked.
        """
        shares = [_count_share(pid) for pid in self.list_pids()]
        if not any(shares):
            return None
        now = sum(shares)
        return HeldMemory(now=now, peak=now + sum(map(_count_given_back, self.list_pids())))

    def count_taken_in(self, files: Mapping[str, int]) -> dict[str, int]:
        """Bytes of each file that a process has mapped in, or has read up to; 0 of those neither.

        Pages of a mapping count where they are resident: an engine that maps its weights has read
        them when it has touched them. Of several processes the one that is furthest counts.

        Args:
            files: Sizes by path, links resolved.
        """
        taken = dict.fromkeys(files, 0)
        for pid in self.list_pids():
            for path, count in (*_list_mapped(pid, files), *_list_read(pid, files)):
                taken[path] = max(taken[path], min(count, files[path]))
        return taken

    def _read_ticks(self, pid: int) -> int | None:
        """None for a process of another session, for its leader, and for one that has ended."""
        if pid == self._session:
            return None
        fields = _read(pid, "stat").rpartition(")")[2].split()
        if not fields or int(fields[_SESSION]) != self._session:
            return None
        return int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])


def _count_share(pid: int) -> int:
    """Its own pages and its share of those it has in common with others."""
    found = re.search(r"^Pss: +(\d+) kB", _read(pid, "smaps_rollup"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _count_given_back(pid: int) -> int:
    """By how much it was larger at its peak than it is now."""
    status = _read(pid, "status")
    peak = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    now = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    return max(int(peak[1]) - int(now[1]), 0) * 1024 if peak and now else 0


def _list_mapped(pid: int, files: Mapping[str, int]) -> Iterable[tuple[str, int]]:
    """Resident bytes of each mapped file; several mappings of one file are its parts."""
    if not any(path in files for path in _MAPPING.findall(_read(pid, "maps"))):
        return ()  # `smaps` is a thousand times the work
    resident: dict[str, int] = {}
    path = ""
    for line in _read(pid, "smaps").splitlines():
        if head := _MAPPING.match(line):
            path = head["path"]
        elif line[0] in "0123456789abcdef":  # a mapping of no file
            path = ""
        elif path in files and (rss := _RESIDENT.match(line)):
            resident[path] = resident.get(path, 0) + int(rss[1]) * 1024
    return resident.items()


def _list_read(pid: int, files: Mapping[str, int]) -> Iterable[tuple[str, int]]:
    """How far each open file was read, by the positions of its descriptors."""
    try:
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for link in links:
        try:
            path = str(link.readlink())
        except OSError:
            continue
        if path in files:
            facts = _read(pid, f"fdinfo/{link.name}")
            position = re.search(r"^pos:\s+(\d+)", facts, re.MULTILINE)
            yield path, int(position[1]) if position else 0


def _read(pid: int, name: str) -> str:
    """Empty for a process that has ended, or that may not be looked at."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""
