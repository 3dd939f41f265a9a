"""Connections to the engine that wait for their next request, the last used first."""

import asyncio
from collections.abc import Callable

from nimctl.core.engine_address import EngineAddress

# Engines close an idle connection after 5 s (uvicorn, vLLM, llama.cpp); the gateway does it sooner.
IDLE_LIMIT_S = 4.0
# Web servers in front of engines do so after 15 s or more (nginx 75, AWS 60), and TLS is dear.
IDLE_LIMIT_TLS_S = 12.0


class EnginePool:
    """Keeps idle engine connections."""

    def __init__(self) -> None:
        self._idle: list[_IdleConnection] = []

    def take(self, address: EngineAddress) -> asyncio.Transport | None:
        """The connection to `address` that was used last; None when no usable one is idle."""
        while self._idle:
            idle = self._idle.pop()
            idle.timer.cancel()
            if idle.address == address and not idle.transport.is_closing():
                return idle.transport
            idle.transport.abort()
        return None

    def give(self, address: EngineAddress, transport: asyncio.Transport) -> None:
        """Keep a connection whose last response has ended."""
        if not transport.is_closing():
            transport.resume_reading()
            self._idle.append(_IdleConnection(address, transport, self._forget))

    def close(self) -> None:
        """Close all idle connections."""
        for idle in self._idle:
            idle.timer.cancel()
            idle.transport.abort()
        self._idle.clear()

    def _forget(self, idle: "_IdleConnection") -> None:
        idle.timer.cancel()
        if idle in self._idle:
            self._idle.remove(idle)


class _IdleConnection(asyncio.Protocol):
    """The protocol of a connection between two requests: whatever happens ends it."""

    def __init__(
        self,
        address: EngineAddress,
        transport: asyncio.Transport,
        on_end: Callable[["_IdleConnection"], None],
    ) -> None:
        self.address = address
        self.transport = transport
        self._on_end = on_end
        limit_s = IDLE_LIMIT_TLS_S if address.tls else IDLE_LIMIT_S
        self.timer = asyncio.get_running_loop().call_later(limit_s, self._end)
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_end(self)

    def _end(self) -> None:
        self._on_end(self)
        self.transport.abort()
