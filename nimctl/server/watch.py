"""Decides whether an engine that was ready still is: from what flows to clients, and by asking it.

Four signs. Bytes of answers that flow through the gateway mean life, and nothing more is asked.
Where none flow, the health path is asked a few times a second: no answer in time means *silent*.
But an engine full of requests may have nobody left to answer that (llama.cpp has a few threads for
HTTP, and each waits for its request's end): while requests are in it and its processes compute, it
gets much more time. And one that answers can be stuck all the same, so after a while without a byte
for any client a token is asked for. A silent or stuck engine is not ready, and is again with its
next sign of life; one that stays so for long counts as *hung*.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from nimctl.core.engine_address import EngineAddress
from nimctl.server.gateway import EngineActivity
from nimctl.server.gateway.engine_call import (
    NoAnswerError,
    TokenQuestion,
    call_engine,
    generate_token,
)

# An endpoint that wants to be asked less often lives, too.
_ALIVE = (200, 429)
# How an engine refuses that is too full: a sign of life, if clients keep it busy.
_TOO_FULL = ("HTTP 429", "HTTP 503")


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchLimits:
    """When an engine is asked, and what it must do to count as ready.

    `look_every_s` and `silent_s` together stay below one second: so long after an engine went
    silent, it is not ready any more.

    Attributes:
        look_every_s: How often the signs of life are looked at.
        ask_after_s: The health path is asked when no sign was seen for so long.
        silent_s: No answer and no byte for so long: not ready; unless it is busy.
        busy_limit_s: The same for an engine that computes while requests are in it; and how long a
            token may take then, as some may be long prompts, and others wait in front of ours.
        busy_cpu_share: What counts as computing: so much of one core.
        last_breath_s: Nobody listens: if the engine has ended, that will be known within this, and
            is the better cause.
        health_timeout_s: A question to the health path is given up and asked again after this.
        idle_token_every_s: With nothing to do, a token is asked for when none came for so long;
            see `choose_idle_token_s`.
        busy_token_every_s: The same while requests are in the engine.
        idle_token_limit_s: Such a token must come within this, or the engine is not ready; unless
            it is busy.
        token_retry_s: After a failed one, the next token is asked for in so long.
        hung_s: Not ready for so long: it is ended and started again. 0 never does that.
    """

    look_every_s: float = 0.1
    ask_after_s: float = 0.2
    silent_s: float = 0.7
    busy_limit_s: float = 300.0
    busy_cpu_share: float = 0.05
    last_breath_s: float = 0.3
    health_timeout_s: float = 5.0
    idle_token_every_s: float = 30.0
    busy_token_every_s: float = 15.0
    idle_token_limit_s: float = 10.0
    token_retry_s: float = 5.0
    hung_s: float = 60.0


def choose_idle_token_s(sequences: int | None) -> float:
    """How often an idle engine is asked for a token, where it works on so many requests at once.

    Of several places in its cache the question has one for itself, as it is always the same
    (llama.cpp chooses the place with the most alike prompt; vLLM keeps no block of so short a one).
    A single place would lose what it keeps of somebody's prompt, so that is asked rarely.
    """
    return 300.0 if sequences == 1 else WatchLimits().idle_token_every_s


class EngineWatch:
    """Watches one engine from its first token on.

    Args:
        health_path: Answers 200 while the engine can serve.
        question: What it is asked a token by.
        activity: What the engine is doing for clients.
        cpu_s: Processor time its processes have taken, in seconds; None where nobody tells.
        on_cause: Told why the engine is not ready, in one sentence for clients, or an empty one
            when it is again; only when that changes.
    """

    def __init__(
        self,
        address: EngineAddress,
        *,
        health_path: str,
        question: TokenQuestion,
        activity: Callable[[], EngineActivity],
        cpu_s: Callable[[], float | None],
        limits: WatchLimits,
        on_cause: Callable[[str], None],
    ) -> None:
        self._address = address
        self._limits = limits
        self._activity = activity
        self._on_cause = on_cause
        self._health = _HealthSign(address, health_path, limits)
        self._effort = _Effort(cpu_s, limits)
        self._token = _TokenSign(address, question, limits)
        self._alarm = asyncio.Event()
        self._answered_bytes = activity().answered_bytes
        self._cause = ""
        self._not_ready_s = 0.0

    def alarm(self) -> None:
        """Look now: a client's request met with trouble."""
        self._alarm.set()

    async def until_hung(self) -> str:
        """Watch, until the engine has been not ready for `hung_s`; return why in one sentence."""
        looked_s = time.monotonic()
        try:
            while True:
                await self._pause()
                # Time in which we did not run ourselves says nothing about the engine.
                now_s = time.monotonic()
                passed_s = min(now_s - looked_s, 2 * self._limits.look_every_s)
                looked_s = now_s
                self._look(passed_s)
                if 0 < self._limits.hung_s <= self._not_ready_s:
                    return self._cause
        finally:
            self._health.close()
            self._token.close()

    async def _pause(self) -> None:
        """Until the next look; after an alarm, until the health path has answered."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.look_every_s):
                await self._alarm.wait()
                self._alarm.clear()
                await self._health.ask()

    def _look(self, passed_s: float) -> None:
        activity = self._activity()
        flows = activity.answered_bytes != self._answered_bytes
        self._answered_bytes = activity.answered_bytes
        if flows:
            self._health.confirm()
            self._token.confirm()
        else:
            busy = activity.running > 0 and self._may_be_busy()
            self._health.look(passed_s, busy=busy)
            if self._health.is_heard:
                self._token.look(passed_s, busy=busy)
        cause = self._health.fault or self._token.fault
        self._not_ready_s = self._not_ready_s + passed_s if cause else 0.0
        if bool(cause) != bool(self._cause):
            self._on_cause(cause)
        self._cause = cause

    def _may_be_busy(self) -> bool:
        """Whether the requests in the engine explain what is doubtful: not if it stands still."""
        if not (self._health.is_doubtful or self._token.is_doubtful):
            self._effort.forget()
            return True
        return self._effort.is_made()


class _Effort:
    """Whether the engine computes, from the processor time its processes have taken."""

    def __init__(self, cpu_s: Callable[[], float | None], limits: WatchLimits) -> None:
        self._cpu_s = cpu_s
        self._window_s = limits.silent_s / 3  # known by when silence would count
        self._share = limits.busy_cpu_share
        self._seen: deque[tuple[float, float]] = deque()

    def forget(self) -> None:
        """Begin anew."""
        self._seen.clear()

    def is_made(self) -> bool:
        """Whether the engine has computed of late; true while that is not known."""
        cpu_s, now_s, seen = self._cpu_s(), time.monotonic(), self._seen
        if cpu_s is None:
            return True
        seen.append((now_s, cpu_s))
        while len(seen) > 1 and now_s - seen[1][0] >= self._window_s:
            seen.popleft()
        passed_s, worked_s = now_s - seen[0][0], cpu_s - seen[0][1]
        return passed_s < self._window_s or worked_s >= self._share * passed_s


class _HealthSign:
    """The health path, asked again and again.

    Attributes:
        fault: Why the engine does not seem to live; empty while it does.
    """

    def __init__(self, address: EngineAddress, path: str, limits: WatchLimits) -> None:
        self.fault = ""
        self._address = address
        self._path = path
        self._limits = limits
        self._unheard_s = 0.0
        self._question: asyncio.Task[None] | None = None

    def confirm(self) -> None:
        """The engine has shown life."""
        self.fault = ""
        self._unheard_s = 0.0

    @property
    def is_heard(self) -> bool:
        """Whether the engine answers in time."""
        return self._unheard_s < self._limits.silent_s

    @property
    def is_doubtful(self) -> bool:
        """Whether it begins to look like silence."""
        return self._unheard_s >= self._limits.silent_s / 2

    def look(self, passed_s: float, *, busy: bool) -> None:
        """Ask, and say what silence means; `passed_s` is the time since the last look."""
        self._unheard_s += passed_s
        limit_s = self._limits.busy_limit_s if busy else self._limits.silent_s
        if not self.fault and self._unheard_s >= limit_s:
            self.fault = f"The engine has not answered since {_clock(self._unheard_s)}."
        if self._unheard_s >= self._limits.ask_after_s:
            self.ask()

    def ask(self) -> asyncio.Future[None]:
        """Ask, unless an answer is awaited already; done when there is one."""
        if self._question is None or self._question.done():
            self._question = asyncio.get_running_loop().create_task(self._ask())
        return asyncio.shield(self._question)

    async def _ask(self) -> None:
        timeout_s = self._limits.health_timeout_s
        try:
            answer = await call_engine(self._address, self._path, timeout_s=timeout_s)
        except NoAnswerError as error:
            # Anything else may be an engine with too much to do: its silence is measured.
            if error.nobody_listens:
                await asyncio.sleep(self._limits.last_breath_s)
                self.fault = "The engine does not listen any more."
            return
        if answer.status in _ALIVE:
            self.confirm()
        else:
            self.fault = f"The engine says HTTP {answer.status} at {self._path}."

    def close(self) -> None:
        """Ask no more."""
        if self._question is not None:
            self._question.cancel()


class _TokenSign:
    """A generated token, asked for when clients have got none for a while.

    Attributes:
        fault: Why the engine does not seem to generate; empty while it does.
    """

    def __init__(
        self, address: EngineAddress, question: TokenQuestion, limits: WatchLimits
    ) -> None:
        self.fault = ""
        self._address = address
        self._token_question = question
        self._limits = limits
        self._busy = False
        self._tokenless_s = 0.0
        self._waited_s = 0.0
        self._question: asyncio.Task[None] | None = None

    def confirm(self) -> None:
        """The engine has generated; nothing needs to be asked."""
        self.fault = ""
        self._tokenless_s = 0.0
        self.close()

    @property
    def is_doubtful(self) -> bool:
        """Whether the token that was asked for is about to be late."""
        limits = self._limits
        late_s = limits.idle_token_limit_s - limits.silent_s
        return self._is_asking() and self._waited_s >= late_s

    def _is_asking(self) -> bool:
        return self._question is not None and not self._question.done()

    def look(self, passed_s: float, *, busy: bool) -> None:
        """Ask when it is time; `busy` tells that clients' requests are in the engine."""
        limits = self._limits
        self._busy = busy
        self._tokenless_s += passed_s
        if not self._is_asking():
            every_s = limits.busy_token_every_s if busy else limits.idle_token_every_s
            if self._tokenless_s >= (limits.token_retry_s if self.fault else every_s):
                self._waited_s = 0.0
                self._question = asyncio.get_running_loop().create_task(self._ask())
            return
        self._waited_s += passed_s
        limit_s = limits.busy_limit_s if busy else limits.idle_token_limit_s
        if self._waited_s >= limit_s and not self.fault:
            since = _clock(self._waited_s)
            self.fault = f"The engine answers, and has generated nothing since {since}."

    async def _ask(self) -> None:
        limits = self._limits
        timeout_s = limits.busy_limit_s + limits.hung_s
        try:
            wrong = await generate_token(self._address, self._token_question, timeout_s=timeout_s)
        except NoAnswerError as error:
            wrong = str(error)
        self._tokenless_s = 0.0
        if not wrong or (self._busy and wrong.startswith(_TOO_FULL)):
            self.fault = ""
        else:
            self.fault = f"The engine cannot generate a token: {wrong}."

    def close(self) -> None:
        """Ask no more."""
        if self._question is not None:
            self._question.cancel()
            self._question = None


def _clock(ago_s: float) -> str:
    return time.strftime("%H:%M:%S UTC", time.gmtime(time.time() - ago_s))
