"""Watches an engine that somebody else runs: found, asked a token, told of; never started again."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from nimctl.core.engine_address import EngineAddress
from nimctl.core.startup import Phase
from nimctl.errors import EngineError, InputError
from nimctl.server.engine_process import StartTimes
from nimctl.server.gateway import Gateway, GatewayConfig, ServedModel
from nimctl.server.gateway.config import EngineState
from nimctl.server.gateway.engine_call import (
    EngineAnswer,
    NoAnswerError,
    TokenQuestion,
    call_engine,
    generate_token,
)
from nimctl.server.start_watch import PhaseReached
from nimctl.server.supervisor import AnswersAgain, EngineReady, NotReady, SupervisorEvent
from nimctl.server.watch import EngineWatch, WatchLimits, choose_idle_token_s

_ASK_AGAIN_S = 1.0
_CALL_TIMEOUT_S = 10.0
# Asked once a look at most: a hosted endpoint is no place for ten questions a second.
_FAR = {"look_every_s": 1.0, "ask_after_s": 10.0, "silent_s": 15.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class OutsideEngine:
    """An engine that runs elsewhere, as its own answers describe it.

    Attributes:
        model: What clients are told of it.
        questions: What it may be asked a token by; the first that it answers is used from then on.
        health_path: Answers 200 while it can serve.
        is_known: It is a server of the user's, of a known kind; any other may be paid by the token,
            and is asked for one at the start only.
    """

    model: ServedModel
    questions: tuple[TokenQuestion, ...]
    health_path: str
    is_known: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class OutsideRequest:
    """Everything needed to serve what an engine elsewhere offers.

    Attributes:
        asked: Paths that it is asked for, to be described; the first must be answered.
        describe: From the answers, by path, to the engine; raises InputError if it is not fit.
        start_timeout_s: Give up when it has not been found for so long.
    """

    address: EngineAddress
    asked: tuple[str, ...]
    describe: Callable[[Mapping[str, EngineAnswer]], OutsideEngine]
    gateway: GatewayConfig
    start_timeout_s: float


async def find_outside(request: OutsideRequest) -> OutsideEngine:
    """The engine, as its answers tell now.

    Raises:
        EngineError: it tells nothing.
        InputError: it refuses the key, or does not serve what was asked for.
    """
    try:
        return await _describe(request)
    except NoAnswerError as error:
        raise _cannot_use(request.address, error) from error


async def _describe(request: OutsideRequest) -> OutsideEngine:
    """The engine, as its answers tell now; NoAnswerError where there are none."""
    first, *others = request.asked
    answer = await call_engine(request.address, first, timeout_s=_CALL_TIMEOUT_S)
    if answer.status in (401, 403):
        raise _refused_key(request.address)
    if answer.status >= 500:
        raise NoAnswerError(f"HTTP {answer.status} at {request.address.target(first)}")
    answers = {first: answer}
    for path in others:
        answers[path] = await _ask(request.address, path)
    return request.describe(answers)


async def _ask(address: EngineAddress, path: str) -> EngineAnswer:
    """The answer to what the engine may not know at all."""
    try:
        return await call_engine(address, path, timeout_s=_CALL_TIMEOUT_S)
    except NoAnswerError:
        return EngineAnswer(status=0, body=b"")


def _cannot_use(address: EngineAddress, error: NoAnswerError) -> EngineError:
    return EngineError(f"the engine at {address} cannot be used: {error}", hint=_HINT)


class Lookout:
    """Keeps the gateway's view of an engine elsewhere true.

    Args:
        gateway: Told what the engine serves.
        state: Told how the engine is.
    """

    def __init__(
        self,
        request: OutsideRequest,
        *,
        gateway: Gateway,
        state: EngineState,
        on_event: Callable[[SupervisorEvent], None],
    ) -> None:
        self._request = request
        self._address = request.address
        self._gateway = gateway
        self._state = state
        self._on_event = on_event
        self._watch: EngineWatch | None = None
        self._welcoming: asyncio.Task[None] | None = None
        self._not_ready_since_s = 0.0
        self.was_ready = False
        state.starting("The engine has not been reached yet.")

    async def run(self) -> NoReturn:
        """Find the engine, and watch it until this is cancelled.

        Raises:
            EngineError: it was not found in time, is not to be believed, or cannot generate.
            InputError: it refuses the key, or does not serve what was asked for.
        """
        began_s = time.monotonic()
        self._on_event(PhaseReached(phase=Phase.LOADING))
        engine = await self._find()
        self._gateway.serve(engine.model)
        found_s = time.monotonic()
        self._on_event(PhaseReached(phase=Phase.WARMING))
        question = await self._warm_up(engine)
        self.was_ready = True
        self._state.ready(self._address)
        times = StartTimes(load_s=found_s - began_s, first_token_s=time.monotonic() - found_s)
        self._on_event(EngineReady(times=times, down_s=None))
        self._watch = EngineWatch(
            self._address,
            health_path=engine.health_path,
            question=question,
            activity=self._gateway.engine_activity,
            cpu_s=lambda: None,
            limits=choose_watch_limits(self._address, engine),
            on_cause=self._take_cause,
        )
        try:
            while True:
                await self._watch.until_hung()
        finally:
            self._stop_welcoming()

    def alarm(self) -> None:
        """A request met with trouble: look at the engine now."""
        if self._watch is not None:
            self._watch.alarm()

    async def stop(self) -> None:
        """Leave the engine alone: it is not ours to end."""
        self._state.down("The server is stopping.")

    def hurry(self) -> None:
        """Nothing is waited for."""

    async def _find(self) -> OutsideEngine:
        """The engine, as soon as it answers."""
        until_s, told = time.monotonic() + self._request.start_timeout_s, ""
        while True:
            try:
                return await _describe(self._request)
            except NoAnswerError as error:
                failure = _cannot_use(self._address, error)
                if error.is_final or time.monotonic() > until_s:
                    raise failure from error
            if failure.message != told:
                told = failure.message
                self._on_event(NotReady(cause=f"{told}; it is asked again every second."))
            await asyncio.sleep(_ASK_AGAIN_S)

    async def _warm_up(self, engine: OutsideEngine) -> TokenQuestion:
        """The first question that the engine answers with a token."""
        wrong = ""
        for question in engine.questions:
            try:
                wrong = await generate_token(
                    self._address, question, timeout_s=self._request.start_timeout_s
                )
            except NoAnswerError as error:
                wrong = str(error)
            if not wrong:
                return question
            if wrong.startswith("HTTP 401"):
                raise _refused_key(self._address)
        raise EngineError(
            f"the engine at {self._address} cannot generate a token with "
            f"{engine.model.names[0]}: {wrong}",
            hint="name another of its models: nimctl serve --engine-url URL MODEL",
        )

    def _take_cause(self, cause: str) -> None:
        self._stop_welcoming()
        if cause:
            self._not_ready_since_s = time.monotonic()
            self._gateway.engine_figures.silences += 1
            self._state.silent(cause)
            self._on_event(NotReady(cause=cause))
        else:
            self._welcoming = asyncio.get_running_loop().create_task(self._welcome_back())

    async def _welcome_back(self) -> None:
        """Ready again, once it is known what the engine serves now: it may be another."""
        while True:
            with contextlib.suppress(NoAnswerError):
                try:
                    engine = await _describe(self._request)
                except InputError as error:
                    self._state.silent("The engine no longer serves this model.")
                    self._on_event(NotReady(cause=f"{error.message}."))
                else:
                    break
            await asyncio.sleep(_ASK_AGAIN_S if self._address.is_local else _FAR["ask_after_s"])
        self._gateway.serve(engine.model)
        self._state.ready(self._address)
        self._on_event(AnswersAgain(silent_s=time.monotonic() - self._not_ready_since_s))

    def _stop_welcoming(self) -> None:
        if self._welcoming is not None:
            self._welcoming.cancel()
            self._welcoming = None


_HINT = (
    "give the address that an OpenAI client takes as its base URL; NIMCTL_START_TIMEOUT_S says how "
    "long it is waited for"
)


def choose_watch_limits(address: EngineAddress, engine: OutsideEngine) -> WatchLimits:
    """How an engine of somebody else's is watched: gently where it is far, or costs money."""
    token_every = {"idle_token_every_s": math.inf, "busy_token_every_s": math.inf}
    if engine.is_known:
        token_every = {"idle_token_every_s": choose_idle_token_s(engine.model.sequences)}
    return WatchLimits(hung_s=0, **({} if address.is_local else _FAR), **token_every)


def _refused_key(address: EngineAddress) -> InputError:
    given = "refuses the key it is given" if address.authorization else "wants a key"
    return InputError(
        f"the engine at {address} {given}",
        hint="--engine-api-key-file FILE names it, or NIMCTL_ENGINE_API_KEY holds it",
    )
