"""Keeps one engine running: starts it, watches it, and starts it again when it ends or hangs."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from nimctl.core.plan import Launch
from nimctl.core.units import format_duration
from nimctl.errors import EngineError
from nimctl.server.engine_process import EngineMemory, EngineProcess, StartTimes
from nimctl.server.gateway import EngineActivity, EngineFigures, EngineState
from nimctl.server.gateway.engine_call import by_completion
from nimctl.server.needed_files import NeededFiles
from nimctl.server.restarts import RestartLimits, Restarts
from nimctl.server.start_watch import PhaseAdvanced, PhaseReached
from nimctl.server.watch import EngineWatch, WatchLimits

GRACE_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineReady:
    """The engine has generated a token; `down_s` is how long it was not ready, if it ever was."""

    times: StartTimes
    down_s: float | None
    memory: EngineMemory = field(default_factory=EngineMemory)


@dataclass(frozen=True, kw_only=True, slots=True)
class NotReady:
    """The engine does not answer, and nobody knows yet whether it will; one sentence on why."""

    cause: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswersAgain:
    """The engine that did not answer does so again, after `silent_s` seconds."""

    silent_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Restarting:
    """The engine ended or hung, and will be started again.

    Attributes:
        cause: Why, as the engine itself has told; may have several lines.
        attempt: Which restart it is of the `limit` that are made within `window_s` seconds.
        wait_s: The pause before it.
    """

    cause: str
    attempt: int
    limit: int
    window_s: float
    wait_s: float


SupervisorEvent = PhaseReached | PhaseAdvanced | EngineReady | NotReady | AnswersAgain | Restarting


@dataclass(frozen=True, kw_only=True, slots=True)
class _Failure:
    """Why an engine has to be started again; `shown` is for clients, `why` for the metrics."""

    error: EngineError
    shown: str
    why: str


class Supervisor:
    """Keeps one engine running, and the gateway's view of it true.

    Args:
        new_engine: Makes the engine's process, anew for each start.
        model_name: A name the engine serves the model under.
        start_timeout_s: Give up when nothing of a starting engine has moved for so long.
        files: What the engine opens at every start; without it none is tried.
        state: Told how the engine is.
        activity: What the engine is doing for clients.
        figures: Counted for the metrics.
    """

    def __init__(
        self,
        *,
        launch: Launch,
        new_engine: Callable[[], EngineProcess],
        model_name: str,
        start_timeout_s: float,
        files: NeededFiles,
        state: EngineState,
        activity: Callable[[], EngineActivity],
        figures: EngineFigures,
        watch_limits: WatchLimits,
        restart_limits: RestartLimits,
        on_event: Callable[[SupervisorEvent], None],
    ) -> None:
        self._launch = launch
        self._new_engine = new_engine
        self._first_question = by_completion(model_name, words=launch.first_words)
        self._question = by_completion(model_name)
        self._start_timeout_s = start_timeout_s
        self._files = files
        self._state = state
        self._activity = activity
        self._figures = figures
        self._watch_limits = watch_limits
        self._restart_limits = restart_limits
        self._restarts = Restarts(restart_limits)
        self._on_event = on_event
        self._engine: EngineProcess | None = None
        self._watch: EngineWatch | None = None
        self._down_since_s: float | None = None
        self._last_start_s = 0.0

    @property
    def was_ready(self) -> bool:
        """Whether the engine has ever been."""
        return self._last_start_s > 0

    async def run(self) -> NoReturn:
        """Keep the engine running until this is cancelled.

        Raises:
            EngineError: the first start failed, or the engine ended more often than is allowed,
                or cannot be started again.
        """
        await self._start()
        while True:
            failure: _Failure | None = await self._watch_engine()
            while failure is not None:
                failure = await self._start_again(failure)

    def alarm(self) -> None:
        """A request met with trouble: look at the engine now."""
        if self._watch is not None:
            self._watch.alarm()

    async def stop(self) -> None:
        """End the engine."""
        self._state.down("The server is stopping.")
        if self._engine is not None:
            await self._engine.stop(grace_s=GRACE_S)

    def hurry(self) -> None:
        """Let `stop` wait no longer for a polite end."""
        if self._engine is not None:
            self._engine.hurry()

    async def _start(self) -> None:
        self._engine = self._new_engine()
        await self._engine.start()
        times, memory = await self._engine.wait_until_ready(
            self._first_question,
            no_progress_s=self._start_timeout_s,
            on_event=self._on_event,
        )
        self._last_start_s = times.load_s + times.first_token_s
        self._figures.phase_s = {"load": times.load_s, "first_token": times.first_token_s}
        self._state.ready(self._launch.address)
        self._on_event(EngineReady(times=times, memory=memory, down_s=self._end_of_silence()))

    async def _watch_engine(self) -> _Failure:
        """Until the engine has ended, or hangs; the latter is ended then."""
        engine = self._running()
        session = engine.open_session()
        self._watch = EngineWatch(
            self._launch.address,
            health_path=self._launch.ready_path,
            question=self._question,
            activity=self._activity,
            cpu_s=session.read_cpu_s if session else lambda: None,
            limits=self._watch_limits,
            on_cause=self._take_cause,
        )
        ended = asyncio.ensure_future(engine.wait())
        hung = asyncio.ensure_future(self._watch.until_hung())
        try:
            await asyncio.wait({ended, hung}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._watch = None
            ended.cancel()
            hung.cancel()
        if ended.done() and not ended.cancelled():
            return self._failure_of(engine)
        return _Failure(
            error=EngineError(
                f"the engine hangs: {hung.result()}", hint=f"its log is {engine.log_path}"
            ),
            shown="The engine hung.",
            why="hung",
        )

    def _take_cause(self, cause: str) -> None:
        if cause:
            self._down_since_s = time.monotonic()
            self._figures.silences += 1
            self._state.silent(cause)
            self._on_event(NotReady(cause=cause))
        else:
            self._state.ready(self._launch.address)
            self._on_event(AnswersAgain(silent_s=self._end_of_silence() or 0.0))

    def _end_of_silence(self) -> float | None:
        """How long the engine was not ready, in seconds; None if it had not been before."""
        since_s, self._down_since_s = self._down_since_s, None
        return None if since_s is None else time.monotonic() - since_s

    def _failure_of(self, engine: EngineProcess) -> _Failure:
        return _Failure(error=engine.explain_end(), shown=engine.describe_end(), why="ended")

    async def _start_again(self, failure: _Failure) -> _Failure | None:
        """Wait and start the engine; why that failed, or None.

        Raises:
            EngineError: it has been started often enough, or its files are gone.
        """
        loss = await asyncio.to_thread(self._files.explain_loss)
        if loss is not None:
            self._state.down("The files of the model are gone.")
            raise loss
        if self._down_since_s is None:
            self._down_since_s = time.monotonic()
        limits = self._restart_limits
        wait_s = self._restarts.next_wait_s(time.monotonic())
        if wait_s is None:
            self._state.down(failure.shown)
            raise self._give_up(failure.error)
        expected_s = wait_s + self._last_start_s
        self._state.restarting(f"{failure.shown} It is started again.", back_in_s=expected_s)
        self._figures.restarts[failure.why] += 1
        self._on_event(
            Restarting(
                cause=failure.error.message,
                attempt=self._restarts.attempt,
                limit=limits.count,
                window_s=limits.window_s,
                wait_s=wait_s,
            )
        )
        await self._running().kill()
        await asyncio.sleep(wait_s)
        try:
            await self._start()
        except EngineError as error:
            return _Failure(error=error, shown="The engine did not start.", why="not_started")
        return None

    def _give_up(self, error: EngineError) -> EngineError:
        limits = self._restart_limits
        if not limits.count:
            return error
        tried = f"{limits.count} restarts within {format_duration(limits.window_s)} did not help"
        return EngineError(f"{tried}: {error.message}", hint=error.hint, symptom=error.symptom)

    def _running(self) -> EngineProcess:
        if self._engine is None:
            raise RuntimeError("the engine was not started")
        return self._engine
