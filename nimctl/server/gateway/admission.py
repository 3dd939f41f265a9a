"""How many requests are in the engine at once, who waits for a place, and who is sent away."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from nimctl.server.gateway.wire import RefusedError

_NEWEST_SHARE = 0.1


class Admission:
    """Places in the engine, given in the order they were asked for.

    Attributes:
        most_running: How many places there are; None sets no limit.
        most_waiting: How many may wait for one.
        running: Places taken.
        held_s: How long a place is held of late, in seconds; None before one was given back.
    """

    def __init__(self, most_running: int | None, most_waiting: int) -> None:
        self.most_running = most_running
        self.most_waiting = most_waiting
        self.running = 0
        self.held_s: float | None = None
        self._waiting: deque[Turn] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    def ask(self, on_turn: Callable[[], None]) -> "Turn":
        """A place, or a turn to wait for one; `on_turn` is called once such a turn has come.

        Raises:
            RefusedError: 429, too many wait already.
        """
        turn = Turn(self, on_turn)
        if self.most_running is None or self.running < self.most_running:
            self.running += 1
            turn.come_at_once()
        elif len(self._waiting) < self.most_waiting:
            self._waiting.append(turn)
        else:
            message = (
                f"The server is busy: {self.running} requests are answered and "
                f"{len(self._waiting)} wait."
            )
            raise RefusedError(
                429, message, "too_many_requests", retry_after_s=self._estimate_wait_s()
            )
        return turn

    def _estimate_wait_s(self) -> float | None:
        """Until those that wait have had their turn, as fast as places are given back of late."""
        if self.held_s is None or not self.most_running:
            return None
        return (len(self._waiting) + 1) * self.held_s / self.most_running

    def note_held(self, seconds: float) -> None:
        """Remember how long a place was held; the last ten or so count."""
        before_s = seconds if self.held_s is None else self.held_s
        self.held_s = before_s + _NEWEST_SHARE * (seconds - before_s)

    def end(self, turn: "Turn") -> None:
        """Give a place to who waits first, or forget one that waits."""
        if not turn.has_come:
            self._waiting.remove(turn)
        elif self._waiting:
            self._waiting.popleft().come()
        else:
            self.running -= 1


class Turn:
    """One request's place, from when it asked until it ends.

    Attributes:
        has_come: The request may go to the engine.
    """

    def __init__(self, admission: Admission, on_turn: Callable[[], None]) -> None:
        self.has_come = False
        self._admission = admission
        self._on_turn = on_turn
        self._came_s = 0.0

    def come_at_once(self) -> None:
        """There was a free place."""
        self.has_come = True
        self._came_s = time.monotonic()

    def come(self) -> None:
        """The place before it is free; the request goes on as soon as the loop comes to it."""
        self.come_at_once()
        asyncio.get_running_loop().call_soon(self._on_turn)

    def end(self) -> None:
        """The request is over, or gave up waiting."""
        if self.has_come:
            self._admission.note_held(time.monotonic() - self._came_s)
        self._admission.end(self)
