"""A model while it is served: the gateway in front, the engine behind, from start to stop.

The gateway listens first, so that a taken port costs nothing and health can be asked while the
engine loads. It says "ready" once the engine has generated a token, and no longer when it is gone.
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nimctl.core.plan import Launch
from nimctl.errors import EngineError, InterruptedByUserError
from nimctl.server.engine_process import EngineProcess, Phase, StartTimes
from nimctl.server.gateway import (
    AccessRecord,
    EngineState,
    Gateway,
    GatewayConfig,
    ServedModel,
    new_event_loop,
)

_ENGINE_GRACE_S = 10.0
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Listening:
    """The gateway accepts connections; the engine is still starting."""

    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseReached:
    """The engine's start has come to `phase`."""

    phase: Phase


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """The engine has generated a token through the whole path."""

    url: str
    times: StartTimes


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopping:
    """A signal asked to stop; open streams are being finished."""

    signal_name: str


ServeEvent = Listening | PhaseReached | Ready | Stopping


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeRequest:
    """Everything needed to serve one model.

    Attributes:
        environment: Our own variables, of which the engine gets a few.
        log_path: Where the engine's output goes.
        state_dir: Folder of the engine's socket and files; removed at the end.
        start_timeout_s: Give up when a starting engine has been silent for so long.
    """

    launch: Launch
    model: ServedModel
    gateway: GatewayConfig
    environment: Mapping[str, str]
    log_path: Path
    state_dir: Path
    start_timeout_s: float


def serve_model(
    request: ServeRequest,
    *,
    on_event: Callable[[ServeEvent], None],
    on_access: Callable[[AccessRecord], None] = lambda record: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> None:
    """Serve until a signal asks to stop; open streams are finished first.

    Raises:
        EngineError: the engine could not be started, or died.
        InputError: the address is taken or cannot be used.
        InterruptedByUserError: a signal came before the model was ready.
    """
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_Serving(request, on_event, on_access, on_note).run())


class _Serving:
    def __init__(
        self,
        request: ServeRequest,
        on_event: Callable[[ServeEvent], None],
        on_access: Callable[[AccessRecord], None],
        on_note: Callable[[str], None],
    ) -> None:
        self._request = request
        self._on_event = on_event
        self._state = EngineState()
        self._gateway = Gateway(
            config=request.gateway,
            model=request.model,
            engine=self._state,
            on_access=on_access,
            on_note=on_note,
        )
        self._engine = EngineProcess(
            request.launch,
            environment=request.environment,
            log_path=request.log_path,
            state_dir=request.state_dir,
        )
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        try:
            url = await self._gateway.start()
            self._on_event(Listening(url=url))
            await self._start_engine(url)
            await self._until_end()
        finally:
            await self._stop_engine()
            await self._gateway.close()

    async def _start_engine(self, url: str) -> None:
        await self._engine.start()
        ready = self._engine.wait_until_ready(
            self._request.model.names[0],
            no_progress_s=self._request.start_timeout_s,
            on_phase=lambda phase: self._on_event(PhaseReached(phase=phase)),
        )
        times = await self._unless_signalled(ready)
        if times is None:
            raise InterruptedByUserError("stopped before the model was ready")
        self._state.ready(self._request.launch.address)
        self._on_event(Ready(url=url, times=times))

    async def _until_end(self) -> None:
        """Until a signal, or until the engine dies."""
        error = await self._unless_signalled(self._engine.wait())
        if error is not None:
            self._state.down(error.message)
            raise error
        await self._drain()

    async def _drain(self) -> None:
        """Finish open streams; a second signal, or the engine's end, cuts that short."""
        drained = asyncio.ensure_future(self._gateway.drain())
        hurry = asyncio.ensure_future(self._signals.get())
        died = asyncio.ensure_future(self._engine.wait())
        await asyncio.wait({drained, hurry, died}, return_when=asyncio.FIRST_COMPLETED)
        await _cancel(drained, hurry, died)

    async def _unless_signalled(self, work: Awaitable[_T]) -> _T | None:
        """What `work` gives, or None when a signal came first."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._signals.get())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        if stop.done():
            self._on_event(Stopping(signal_name=stop.result().name))
        if task.done():
            await _cancel(stop)
            return task.result()
        await _cancel(task)
        return None

    async def _stop_engine(self) -> None:
        self._state.down("The server is stopping.")
        await self._engine.stop(grace_s=_ENGINE_GRACE_S)


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, EngineError):
            await task
