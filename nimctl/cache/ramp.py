"""How many connections a fetch is worth: more, as long as more bring more."""

FIRST_CONNECTIONS = 4
WORTH_IT = 1.1
"""Twice the connections must bring at least so many times the rate."""

TRY_AGAIN_S = 4.0
"""After more connections brought nothing, how long until it is tried again."""


class Ramp:
    """The limit of one fetch: doubled on trial, taken back where that brought nothing.

    Attributes:
        limit: How many connections may be open now.
    """

    def __init__(self, most: int) -> None:
        """Begin with a few connections; never allow more than `most`."""
        self.limit = min(FIRST_CONNECTIONS, most)
        self._most = most
        self._before: tuple[int, float] | None = None
        self._quiet_until_s = 0.0

    def observe(self, rate_bytes_s: float, now_s: float) -> None:
        """Learn what the connections that are allowed now bring, all of them at work."""
        if self._before is not None:
            limit, rate_before = self._before
            self._before = None
            if rate_bytes_s < rate_before * WORTH_IT:
                self.limit = limit
                self._quiet_until_s = now_s + TRY_AGAIN_S
        if self.limit < self._most and now_s >= self._quiet_until_s:
            self._before = (self.limit, rate_bytes_s)
            self.limit = min(self.limit * 2, self._most)

    def back_off(self, *, alone: bool) -> None:
        """The source failed: go on with half the connections, or `alone` with a single one."""
        self.limit = 1 if alone else max(self.limit // 2, 1)
        self._before = None
