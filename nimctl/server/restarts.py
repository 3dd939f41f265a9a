"""How often, and how soon, an engine that ended is started again."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class RestartLimits:
    """What an engine is worth trying.

    Attributes:
        count: Restarts within any `window_s` seconds; one more failure is the end. 0 is never.
        first_wait_s: Pause before the first restart; it doubles with each one in the window.
        longest_wait_s: But grows no longer than this.
    """

    count: int = 5
    window_s: float = 600.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0


class Restarts:
    """Keeps count of the restarts of one engine."""

    def __init__(self, limits: RestartLimits) -> None:
        """Begin with none."""
        self._limits = limits
        self._at_s: list[float] = []

    @property
    def attempt(self) -> int:
        """Which restart of those in the window the last one was, from 1 on."""
        return len(self._at_s)

    def next_wait_s(self, now_s: float) -> float | None:
        """The pause before the next restart, which then counts; None when there is none."""
        limits = self._limits
        self._at_s = [at_s for at_s in self._at_s if now_s - at_s < limits.window_s]
        if len(self._at_s) >= limits.count:
            return None
        self._at_s.append(now_s)
        return min(limits.first_wait_s * 2.0 ** (self.attempt - 1), limits.longest_wait_s)
