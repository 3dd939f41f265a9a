"""Decides whether a starting engine still gets somewhere, whatever it is doing and however long."""

import re

from nimctl.core.units import format_duration

COMPUTING_PATIENCE = 4
"""So many times as long may an engine compute without a word and without reading anything: a
compiler does, and so does one that waits for another GPU in a loop for ever. Where nobody tells
whether it computes, it may."""

BUSY_CPU_SHARE = 0.05
"""What counts as computing: so much of one core."""

_LEAST_READ_BYTES = 64 * 1024
_NUMBER = re.compile(r"\d+")
_COUNTS = re.compile(r"(\d+)/(\d+)")
_MOST_KINDS = 10_000


class Movement:
    """When a start last moved: by what it printed, what it read, and what it computed.

    A line counts when nothing like it was printed before: of lines that differ in numbers only,
    such as the time, those count that tell of more pieces done (`3/8` after `2/8`).
    """

    def __init__(self, now_s: float) -> None:
        """Begin at `now_s`, seconds on a clock that only goes forward."""
        self._told_s = self._read_s = self._computed_s = now_s
        self._is_cpu_known = False
        self._kinds: dict[str, int] = {}
        self._taken_bytes = 0
        self._cpu: tuple[float, float] | None = None

    def see_lines(self, lines: list[str], now_s: float) -> None:
        """Take what was printed."""
        for line in lines:
            kind, done = _NUMBER.sub("0", line), _count_done(line)
            if done > self._kinds.get(kind, -1):
                self._kinds[kind] = done
                self._told_s = now_s
        if len(self._kinds) > _MOST_KINDS:
            self._kinds.clear()

    def see_bytes(self, taken_bytes: int, now_s: float) -> None:
        """Take how much of the weights the engine has by now."""
        if taken_bytes - self._taken_bytes >= _LEAST_READ_BYTES:
            self._taken_bytes = taken_bytes
            self._read_s = now_s

    def see_cpu(self, cpu_s: float, now_s: float) -> None:
        """Take the processor time of its living processes, in seconds."""
        self._is_cpu_known = True
        if self._cpu is not None:
            before_s, worked_s = self._cpu
            if cpu_s - worked_s >= BUSY_CPU_SHARE * (now_s - before_s):
                self._computed_s = now_s
        self._cpu = (now_s, cpu_s)

    def find_stall(self, limit_s: float, now_s: float) -> str | None:
        """Why the start is to be given up, as a clause about the engine; None while it moves."""
        told = max(self._told_s, self._read_s)
        still_s = now_s - max(told, self._computed_s)
        if self._is_cpu_known and still_s > limit_s:
            return (
                f"has printed nothing new, read nothing and computed nothing for "
                f"{format_duration(still_s)}"
            )
        if now_s - told > COMPUTING_PATIENCE * limit_s:
            verb = "computes, but has" if self._is_cpu_known else "has"
            return (
                f"{verb} printed nothing new and read nothing for {format_duration(now_s - told)}"
            )
        return None


def _count_done(line: str) -> int:
    """The pieces done that a line tells of, as progress bars do; 0 where it tells of none."""
    return sum(int(done) for done, total in _COUNTS.findall(line) if int(done) <= int(total))
