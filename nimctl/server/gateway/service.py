"""What all connections of one gateway share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from nimctl.server.gateway.admission import Admission
from nimctl.server.gateway.config import (
    AccessRecord,
    EngineState,
    GatewayConfig,
    GpuFigures,
    ServedModel,
)
from nimctl.server.gateway.exchange import Exchange
from nimctl.server.gateway.keys import KeyRings
from nimctl.server.gateway.metrics import Metrics
from nimctl.server.gateway.pool import EnginePool
from nimctl.server.gateway.tracing import Tracing

CANCEL = "/v1/responses/{id}/cancel"
LOAD_ADAPTER = "/v1/load_lora_adapter"
UNLOAD_ADAPTER = "/v1/unload_lora_adapter"


@dataclass(kw_only=True, slots=True)
class Service:
    """The settings, the engine and the figures behind every connection.

    Attributes:
        on_engine_trouble: Told in one sentence when the engine does not answer as it should.
        on_access: Told of every finished request.
        admission: The places in the engine.
        read_gpus: Tells of the GPUs it runs on; called in a thread of its own.
        tracing: Makes spans of requests, where those are asked for.
        draining: No connection is kept for another request.
        answered_bytes: What the engine has given in answers that are over, failures left out.
        adapters: LoRA adapters loaded at the start or since.
    """

    config: GatewayConfig
    model: ServedModel
    engine: EngineState
    keys: KeyRings
    on_engine_trouble: Callable[[str], None]
    on_access: Callable[[AccessRecord], None]
    admission: Admission
    pool: EnginePool = field(default_factory=EnginePool)
    metrics: Metrics = field(default_factory=Metrics)
    read_gpus: Callable[[], tuple[GpuFigures, ...]] | None = None
    tracing: Tracing | None = None
    draining: bool = False
    answered_bytes: int = 0
    adapters: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.adapters = list(self.model.adapters)

    @property
    def served_names(self) -> tuple[str, ...]:
        """What may be asked for as a model: its public names, and the adapters."""
        return (*self.model.names, *self.adapters)

    def watch_engine(self) -> None:
        """Note that an engine which is gone forgets the adapters loaded since its start."""
        if self.engine.address is None:
            self.adapters[:] = self.model.adapters

    def begin(self, exchange: Exchange) -> None:
        """Count a request that goes to the engine."""
        exchange.in_engine = True
        self.metrics.running += 1

    def settle(self, exchange: Exchange) -> None:
        """Count a request that is over, and report it."""
        metrics = self.metrics
        metrics.count_request(exchange)
        if exchange.in_engine:
            metrics.running -= 1
            if exchange.cut_by is None and exchange.status < 400:
                metrics.succeeded += 1
                metrics.observe_answer(exchange)
                self._note_adapter(exchange)
            elif exchange.cut_by != "client":
                metrics.failed += 1
        if self.tracing is not None and exchange.span is not None:
            self.tracing.end(exchange, exchange.span)
        self.on_access(exchange.record())

    def _note_adapter(self, exchange: Exchange) -> None:
        name = exchange.adapter
        if name is None:
            return
        if exchange.route == LOAD_ADAPTER and name not in self.served_names:
            self.adapters.append(name)
        elif exchange.route == UNLOAD_ADAPTER and name in self.adapters:
            self.adapters.remove(name)
