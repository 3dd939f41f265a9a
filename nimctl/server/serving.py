"""A model while it is served: the gateway in front, the engine behind, from start to stop.

The gateway listens first, so that a taken port costs nothing and health can be asked while the
engine loads. It says "ready" once the engine has generated a token, and only while it answers.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nimctl.core.plan import Launch
from nimctl.errors import EngineError, InterruptedByUserError
from nimctl.server.engine_process import EngineMemory, EngineProcess, StartTimes
from nimctl.server.gateway import (
    AccessRecord,
    EngineState,
    Gateway,
    GatewayConfig,
    GpuFigures,
    ServedModel,
    Tracing,
    new_event_loop,
)
from nimctl.server.needed_files import NeededFiles
from nimctl.server.outside import Lookout, OutsideRequest
from nimctl.server.restarts import RestartLimits
from nimctl.server.start_watch import PhaseAdvanced, PhaseReached
from nimctl.server.supervisor import (
    AnswersAgain,
    EngineReady,
    NotReady,
    Restarting,
    Supervisor,
    SupervisorEvent,
)
from nimctl.server.watch import WatchLimits


@dataclass(frozen=True, kw_only=True, slots=True)
class Listening:
    """The gateway accepts connections; the engine is still starting."""

    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """The engine has generated a token through the whole path; clients call its model `names`."""

    url: str
    times: StartTimes
    names: tuple[str, ...]
    memory: EngineMemory = field(default_factory=EngineMemory)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadyAgain:
    """The engine that was started again has generated a token; `down_s` after its end."""

    url: str
    times: StartTimes
    down_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopping:
    """A signal asked to stop: nothing new is accepted, open streams are being finished."""

    signal_name: str


_NOT_KNOWN_YET = ServedModel(names=("unknown",), created=0)

OwnEvent = Listening | Ready | ReadyAgain | Stopping
ServeEvent = OwnEvent | PhaseReached | PhaseAdvanced | NotReady | AnswersAgain | Restarting


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeRequest:
    """Everything needed to serve one model.

    Attributes:
        environment: Our own variables, of which the engine gets a few.
        log_path: Where the engine's output goes.
        state_dir: Folder of the engine's socket and files; removed at the end.
        start_timeout_s: Give up when nothing of a starting engine has moved for so long.
        weights: Sizes of the files the engine reads, by path, links resolved.
        files: What the engine opens at every start.
        watch: When an engine that was ready counts as silent or hung.
        read_gpus: Tells of the GPUs for the metrics; None where there are none.
        restarts: How often an engine that was ready is started again.
    """

    launch: Launch
    model: ServedModel
    gateway: GatewayConfig
    environment: Mapping[str, str]
    log_path: Path
    state_dir: Path
    start_timeout_s: float
    weights: Mapping[str, int] = field(default_factory=dict)
    files: NeededFiles = field(default_factory=NeededFiles)
    watch: WatchLimits = field(default_factory=WatchLimits)
    restarts: RestartLimits = field(default_factory=RestartLimits)
    read_gpus: Callable[[], tuple[GpuFigures, ...]] | None = None


def serve_model(
    request: ServeRequest | OutsideRequest,
    *,
    on_event: Callable[[ServeEvent], None],
    on_access: Callable[[AccessRecord], None] = lambda record: None,
    on_note: Callable[[str], None] = lambda text: None,
    tracing: Tracing | None = None,
) -> None:
    """Serve until a signal asks to stop; open streams are finished first, spans are sent last.

    Raises:
        EngineError: the engine could not be started, ended more often than it is started again, or
            was not found where it should run.
        InputError: the address is taken or cannot be used; an engine elsewhere refuses.
        InterruptedByUserError: Ctrl-C came before the model was ready.
    """
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_Serving(request, on_event, on_access, on_note, tracing).run())
    finally:
        if tracing is not None:
            tracing.close()


class _Serving:
    def __init__(
        self,
        request: ServeRequest | OutsideRequest,
        on_event: Callable[[ServeEvent], None],
        on_access: Callable[[AccessRecord], None],
        on_note: Callable[[str], None],
        tracing: Tracing | None,
    ) -> None:
        self._on_event = on_event
        self._url = ""
        self._state = EngineState()
        self._gateway = Gateway(
            config=request.gateway,
            model=request.model if isinstance(request, ServeRequest) else _NOT_KNOWN_YET,
            engine=self._state,
            tracing=tracing,
            read_gpus=request.read_gpus if isinstance(request, ServeRequest) else None,
            on_engine_trouble=lambda cause: self._keeper.alarm(),
            on_access=on_access,
            on_note=on_note,
        )
        self._keeper: Supervisor | Lookout
        if isinstance(request, ServeRequest):
            self._keeper = self._make_supervisor(request)
        else:
            self._keeper = Lookout(
                request, gateway=self._gateway, state=self._state, on_event=self._tell
            )
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()

    def _make_supervisor(self, request: ServeRequest) -> Supervisor:
        return Supervisor(
            launch=request.launch,
            new_engine=lambda: EngineProcess(
                request.launch,
                environment=request.environment,
                log_path=request.log_path,
                state_dir=request.state_dir,
                weights=request.weights,
            ),
            model_name=request.model.names[0],
            start_timeout_s=request.start_timeout_s,
            files=request.files,
            state=self._state,
            activity=self._gateway.engine_activity,
            figures=self._gateway.engine_figures,
            watch_limits=request.watch,
            restart_limits=request.restarts,
            on_event=self._tell,
        )

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        try:
            self._url = await self._gateway.start()
            self._on_event(Listening(url=self._url))
            number = await self._until_signal()
            self._gateway.stop_listening()
            self._on_event(Stopping(signal_name=number.name))
            if self._keeper.was_ready:
                await self._drain()
            elif number == signal.SIGINT:
                raise InterruptedByUserError("stopped before the model was ready")
        finally:
            await self._stop_engine()
            await self._gateway.close()

    async def _until_signal(self) -> signal.Signals:
        """Keep the engine running until a signal comes.

        Raises:
            EngineError: it cannot be kept running.
        """
        keeping = asyncio.ensure_future(self._keeper.run())
        asked = asyncio.ensure_future(self._signals.get())
        await asyncio.wait({keeping, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            await _cancel(asked)
            keeping.result()
        await _cancel(keeping)
        return asked.result()

    def _tell(self, event: SupervisorEvent) -> None:
        """Pass an event on, with the address a person would use."""
        if not isinstance(event, EngineReady):
            self._on_event(event)
        elif event.down_s is None:
            names = self._gateway.served_names
            self._on_event(
                Ready(url=self._url, times=event.times, names=names, memory=event.memory)
            )
        else:
            self._on_event(ReadyAgain(url=self._url, times=event.times, down_s=event.down_s))

    async def _drain(self) -> None:
        """Finish open answers; a second signal cuts that short."""
        if self._state.address is None:  # nobody shall wait for an engine that will not come
            self._state.down("The server is stopping.")
        drained = asyncio.ensure_future(self._gateway.drain())
        hurry = asyncio.ensure_future(self._signals.get())
        await asyncio.wait({drained, hurry}, return_when=asyncio.FIRST_COMPLETED)
        if hurry.done():
            self._signals.put_nowait(hurry.result())  # it hurries the engine's end as well
        await _cancel(drained, hurry)

    async def _stop_engine(self) -> None:
        """End the engine; a signal that comes meanwhile lets it no time for that."""
        stopped = asyncio.ensure_future(self._keeper.stop())
        hurry = asyncio.ensure_future(self._signals.get())
        await asyncio.wait({stopped, hurry}, return_when=asyncio.FIRST_COMPLETED)
        if hurry.done():
            self._keeper.hurry()
        await stopped
        await _cancel(hurry)


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, EngineError):
            await task
