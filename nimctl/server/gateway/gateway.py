"""The gateway as a whole: starts listening, drains, closes."""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

from nimctl.errors import InputError
from nimctl.server.gateway.admission import Admission
from nimctl.server.gateway.client import ClientConnection
from nimctl.server.gateway.config import (
    AccessRecord,
    EngineActivity,
    EngineState,
    GatewayConfig,
    GpuFigures,
    ServedModel,
)
from nimctl.server.gateway.engine_figures import EngineFigures
from nimctl.server.gateway.keys import KeyRings
from nimctl.server.gateway.ports import listen, listen_again
from nimctl.server.gateway.service import Service
from nimctl.server.gateway.tls import LOOK_EVERY_S, TlsFiles
from nimctl.server.gateway.tracing import Tracing

TICK_S = 0.1
OPEN_FILES = 8192
_POLL_S = 0.005
_FLUSH_S = 1.0


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A uvloop where there is one, else the standard loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class Gateway:
    """One OpenAI-compatible server in front of one engine; runs inside one event loop."""

    def __init__(
        self,
        *,
        config: GatewayConfig,
        model: ServedModel,
        engine: EngineState,
        tracing: Tracing | None = None,
        read_gpus: Callable[[], tuple[GpuFigures, ...]] | None = None,
        on_engine_trouble: Callable[[str], None] = lambda cause: None,
        on_access: Callable[[AccessRecord], None] = lambda record: None,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Prepare to serve `model`.

        Args:
            engine: Read on every request; whoever supervises the engine sets it.
            tracing: Makes spans of requests; its owner closes it.
            read_gpus: Tells of the GPUs for the page of metrics; called in a thread of its own.
            on_engine_trouble: Told in one sentence when the engine refuses or breaks a
                connection or sends what is not HTTP.
            on_access: Told of every finished request.
            on_note: Told in one sentence what an operator should know, e.g. of new certificates.
                The last three are called in the event loop and must return at once.
        """
        self._service = Service(
            config=config,
            model=model,
            engine=engine,
            tracing=tracing,
            read_gpus=read_gpus,
            keys=KeyRings(config),
            on_engine_trouble=on_engine_trouble,
            on_access=on_access,
            admission=Admission(config.max_running, config.max_waiting),
        )
        self._clients: set[ClientConnection] = set()
        self._servers: tuple[asyncio.Server, ...] = ()
        self._ticking: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self._on_note = on_note

    async def start(self) -> str:
        """Listen; return the base URL, e.g. `http://127.0.0.1:8000` or `unix:/run/nim.sock`.

        Raises:
            InputError: the port or socket is taken, forbidden, or not of this machine; or the
                files for TLS cannot be used.
        """
        config, loop = self._service.config, asyncio.get_running_loop()
        _raise_open_file_limit()
        tls = None if config.uds is not None else config.tls
        server = await listen(config, self._make_client, tls.load() if tls is not None else None)
        self._servers = (server,)
        self._ticking = loop.create_task(self._tick())
        if tls is not None:
            self._following = loop.create_task(self._follow_tls(tls))
        if config.uds is not None:
            return f"unix:{config.uds}"
        scheme, port = "http" if tls is None else "https", server.sockets[0].getsockname()[1]
        return f"{scheme}://{f'[{config.host}]' if ':' in config.host else config.host}:{port}"

    def _make_client(self) -> ClientConnection:
        return ClientConnection(self._service, self._clients)

    async def _follow_tls(self, tls: TlsFiles) -> None:
        """Use files that were renewed for the connections after; what is open goes on."""
        used = tls.stamp()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            found = tls.stamp()
            if found == used:
                continue
            used = found
            try:
                context = tls.load()
            except InputError as error:
                self._on_note(f"{error.message}; the certificate before is kept in use")
                continue
            old = self._servers
            self._servers = await listen_again(
                self._service.config, self._make_client, context, old
            )
            for server in old:
                server.close()
            self._on_note(f"the certificate {tls.certificate} was renewed and is in use")

    async def drain(self) -> None:
        """Stop accepting, let open answers end within `drain_timeout_s`, cut the rest, close."""
        self.stop_listening()
        self._service.draining = True
        for client in tuple(self._clients):
            client.drain()
        await self._wait_for_clients(self._service.config.drain_timeout_s)
        for client in tuple(self._clients):
            client.stop()
        await self._wait_for_clients(_FLUSH_S)
        await self.close()

    async def close(self) -> None:
        """Close everything at once."""
        if self._ticking is not None:
            self._ticking.cancel()
        self.stop_listening()
        for client in tuple(self._clients):
            client.transport.abort()
        self._service.pool.close()
        await self._wait_for_clients(_FLUSH_S)
        if self._service.config.uds is not None:
            Path(self._service.config.uds).unlink(missing_ok=True)

    def stop_listening(self) -> None:
        """Take no new connections; those that are open stay."""
        if self._following is not None:
            self._following.cancel()
        for server in self._servers:
            server.close()

    def serve(self, model: ServedModel) -> None:
        """Serve this model from now on: what an engine elsewhere has is known once it answers."""
        self._service.model = model
        self._service.adapters[:] = model.adapters

    @property
    def served_names(self) -> tuple[str, ...]:
        """What clients call the model."""
        return self._service.model.names

    def engine_activity(self) -> EngineActivity:
        """What the engine is doing for clients at this moment."""
        flowing = sum(client.answered_bytes for client in self._clients)
        return EngineActivity(
            running=self._service.metrics.running,
            answered_bytes=self._service.answered_bytes + flowing,
        )

    @property
    def engine_figures(self) -> EngineFigures:
        """What the page of metrics tells of the engine's life; whoever supervises it counts."""
        return self._service.metrics.engine

    async def _wait_for_clients(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while self._clients and time.monotonic() < end_s:
            await asyncio.sleep(_POLL_S)

    async def _tick(self) -> None:
        """Measure how late the loop is, look at the engine, let connections see their deadlines."""
        while True:
            due_s = time.monotonic() + TICK_S
            await asyncio.sleep(TICK_S)
            now_s = time.monotonic()
            self._service.metrics.loop_lag.observe(max(0.0, now_s - due_s))
            self._service.watch_engine()
            for client in tuple(self._clients):
                client.check_deadline(now_s)


def _raise_open_file_limit() -> None:
    """Every stream takes two sockets, and the usual soft limit is 1024 files."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
