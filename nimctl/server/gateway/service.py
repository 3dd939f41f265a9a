"""What all connections of one gateway share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from nimctl.server.gateway.admission import Admission
from nimctl.server.gateway.config import AccessRecord, EngineState, GatewayConfig, ServedModel
from nimctl.server.gateway.exchange import Exchange
from nimctl.server.gateway.keys import KeyRing
from nimctl.server.gateway.metrics import Metrics
from nimctl.server.gateway.pool import EnginePool


@dataclass(kw_only=True, slots=True)
class Service:
    """The settings, the engine and the figures behind every connection.

    Attributes:
        on_engine_trouble: Told in one sentence when the engine does not answer as it should.
        on_access: Told of every finished request.
        admission: The places in the engine.
        draining: No connection is kept for another request.
        answered_bytes: What the engine has given in answers that are over, failures left out.
    """

    config: GatewayConfig
    model: ServedModel
    engine: EngineState
    keys: KeyRing
    on_engine_trouble: Callable[[str], None]
    on_access: Callable[[AccessRecord], None]
    admission: Admission
    pool: EnginePool = field(default_factory=EnginePool)
    metrics: Metrics = field(default_factory=Metrics)
    draining: bool = False
    answered_bytes: int = 0

    def begin(self, exchange: Exchange) -> None:
        """Count a request that goes to the engine."""
        exchange.in_engine = True
        self.metrics.running += 1

    def settle(self, exchange: Exchange) -> None:
        """Count a request that is over, and report it."""
        metrics = self.metrics
        metrics.requests[exchange.route, exchange.head.method, exchange.status] += 1
        metrics.received_bytes += exchange.body_bytes
        metrics.sent_bytes += exchange.sent_bytes
        if exchange.cut_by is not None:
            metrics.cut[exchange.cut_by] += 1
        if exchange.in_engine:
            metrics.running -= 1
            if exchange.cut_by is None and exchange.status < 400:
                metrics.succeeded += 1
            elif exchange.cut_by != "client":
                metrics.failed += 1
        self.on_access(exchange.record())
