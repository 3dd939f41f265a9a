"""What the gateway is told: where to listen, whom to let in, what it serves, how the engine is."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from nimctl.core.engine_address import EngineAddress
from nimctl.core.surface import Offer
from nimctl.server.gateway.cors import Cors
from nimctl.server.gateway.tls import TlsFiles

KIB = 1024

KeyClass = Literal["generation", "management", "metrics"]
"""Paths that one set of keys opens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """A key that lets a caller in, and the name that logs show instead of it."""

    name: str
    key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayConfig:
    """Where the gateway listens and what it allows.

    Attributes:
        host: Address or name to listen on; unused with `uds`.
        port: 0 takes a free one; unused with `uds`.
        uds: Path of a unix socket to listen on instead.
        tls: What TLS is made of; None speaks plain HTTP. Unused with `uds`.
        api_keys: Keys of which a caller must present one; none lets everybody in.
        management_keys: The only keys for metadata, manifest, licence, version and adapters; none
            leaves them to `api_keys`.
        metrics_keys: Keys for the metrics; none lets everybody read them.
        cors: Which web pages of other origins may call; None lets none.
        max_running: Most requests in the engine at once; None leaves that to the engine.
        max_waiting: Most requests that wait for a place there; the next are answered 429.
        max_head_bytes: Longest request line and headers; more is answered 431.
        max_body_bytes: Longest request body; more is answered 413.
        max_parsed_body_bytes: Longer bodies are streamed to the engine and never parsed.
        head_timeout_s: Longest time for a head, and longest silence inside a body.
        keep_alive_s: How long a connection may stay idle between requests.
        drain_timeout_s: How long `drain` waits for open streams.
        hold_s: How long a request waits for an engine that is expected back by then.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    uds: str | None = None
    tls: TlsFiles | None = None
    api_keys: tuple[ApiKey, ...] = ()
    management_keys: tuple[ApiKey, ...] = ()
    metrics_keys: tuple[ApiKey, ...] = ()
    cors: Cors | None = None
    max_running: int | None = None
    max_waiting: int = 1024
    max_head_bytes: int = 64 * KIB
    max_body_bytes: int = 64 * KIB * KIB
    max_parsed_body_bytes: int = 256 * KIB
    head_timeout_s: float = 20.0
    keep_alive_s: float = 75.0
    drain_timeout_s: float = 30.0
    hold_s: float = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedModel:
    """The model behind the gateway, as clients see it.

    Attributes:
        names: Public names; the engine answers to all, the first is the one reported.
        created: Seconds since the epoch.
        context_length: Tokens of prompt and answer together; None where unknown.
        metadata: Answered as it is by `/v1/metadata`.
        version: Answered as it is by `/v1/version`; NIM's keys are `release` and `api`.
        manifest: Answered as it is by `/v1/manifest`: the files that are loaded.
        licence: Answered as it is by `/v1/license`.
        offer: What the engine behind offers.
        sequences: How many requests the engine works on at once; None where unknown.
        adapters: LoRA adapters that are asked for as models of these names.
    """

    names: tuple[str, ...]
    created: int
    context_length: int | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)
    version: Mapping[str, str] = field(default_factory=dict)
    manifest: Mapping[str, object] = field(default_factory=dict)
    licence: Mapping[str, object] = field(default_factory=dict)
    offer: Offer = field(default_factory=Offer)
    sequences: int | None = None
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuFigures:
    """What the page of metrics tells of a GPU; None is left out.

    Attributes:
        index: The driver's index.
        utilization: Share of the time with a kernel running, 0 to 1.
        power_w: Watts.
        energy_j: Joules since the driver was loaded.
    """

    index: int
    utilization: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    power_w: float | None = None
    energy_j: float | None = None


class EngineState:
    """The engine as its supervisor last saw it: set by the supervisor, read by the gateway.

    Attributes:
        phase: `starting`, `ready`, `silent`, `restarting` or `down`.
        cause: One sentence for clients on why the engine is not ready; empty when it is.
        address: Where the engine listens; None unless it is ready.
    """

    phase: Literal["starting", "ready", "silent", "restarting", "down"]
    cause: str
    address: EngineAddress | None

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._back_at_s: float | None = None
        self.starting("The engine is starting.")

    def starting(self, cause: str) -> None:
        """Say that the engine is on its way; `cause` is one sentence."""
        self.phase = "starting"
        self._set(cause, None)

    def ready(self, address: EngineAddress) -> None:
        """Say that the engine generates, and where."""
        self.phase = "ready"
        self._set("", address)

    def silent(self, cause: str) -> None:
        """Say that the engine does not answer just now, and may do so again any moment."""
        self.phase = "silent"
        self._set(cause, None, back_in_s=0.0)

    def restarting(self, cause: str, *, back_in_s: float) -> None:
        """Say that the engine is being started again, and will be ready in about so long."""
        self.phase = "restarting"
        self._set(cause, None, back_in_s=back_in_s)

    def down(self, cause: str) -> None:
        """Say that the engine is gone; `cause` is one sentence."""
        self.phase = "down"
        self._set(cause, None)

    def _set(
        self, cause: str, address: EngineAddress | None, back_in_s: float | None = None
    ) -> None:
        self.cause, self.address = cause, address
        self._back_at_s = None if back_in_s is None else time.monotonic() + back_in_s
        news, self._news = self._news, asyncio.Event()
        news.set()

    @property
    def expected_in_s(self) -> float | None:
        """When an engine that is not ready may be back; None where nobody can tell."""
        return None if self._back_at_s is None else max(0.0, self._back_at_s - time.monotonic())

    def is_expected_within(self, seconds: float) -> bool:
        """Whether an engine that is not ready is on its way back, and may be so soon."""
        expected_s = self.expected_in_s
        return expected_s is not None and expected_s <= max(0.0, seconds)

    async def until_settled(self, timeout_s: float) -> None:
        """Wait until the engine is ready, or no longer expected within what is left of the time."""
        until_s = time.monotonic() + timeout_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.address is None and self.is_expected_within(until_s - time.monotonic()):
                    await self._news.wait()


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineActivity:
    """How the engine's life looks from its clients' side.

    Attributes:
        running: Requests the engine is working on.
        answered_bytes: Bytes of answers it has given since the start; while they grow, it lives.
    """

    running: int
    answered_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessRecord:
    """One finished request, as an access log may show it: never a query, a prompt or a key.

    Attributes:
        status: What the client was answered; 499 when it left before an answer.
        cut_by: `client`, `engine` or `drain` when the answer did not reach its end.
        key_name: Name of the API key that let the caller in.
        first_byte_s: From the request's head to the first byte of the engine's answer.
    """

    method: str
    path: str
    status: int
    duration_s: float
    sent_bytes: int
    request_id: str
    first_byte_s: float | None
    cut_by: str | None
    key_name: str | None
