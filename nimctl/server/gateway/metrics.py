"""What the gateway counts and times while requests pass."""

import time
from bisect import bisect_left
from collections import Counter

from nimctl.server.gateway.engine_figures import EngineFigures
from nimctl.server.gateway.exchange import Exchange
from nimctl.server.gateway.exposition import Family, Sample
from nimctl.server.gateway.usage import read_usage

GENERATING = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"})
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)


class Histogram:
    """Numbers counted in buckets; `bounds` are the upper edges, ascending."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a number that was observed so often."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    @property
    def count(self) -> int:
        """How many numbers were observed."""
        return sum(self.counts)

    def family(self, name: str, help_text: str) -> Family:
        """This histogram as a family of a page."""
        samples, below = [], 0
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            below += count
            samples.append(Sample(suffix="_bucket", labels=f'{{le="{bound}"}}', value=str(below)))
        samples.append(Sample(suffix="_sum", value=f"{self.total:.6f}"))
        samples.append(Sample(suffix="_count", value=str(below)))
        return Family(name, "histogram", help_text, samples)


class Metrics:
    """What this gateway did since it started.

    Attributes:
        requests: Finished requests by route, method, status and outcome.
        cut: Answers that did not reach their end, by who ended them.
        running: Requests the engine is working on.
        connections: Open client connections.
        finished: Answers by the reason that the engine gave for their end.
        token_gap: Seconds between two tokens of a stream. A stream counts as many gaps as it had,
            all of its mean length: no chunk is timed, only the first and the last.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int, str]] = Counter()
        self.cut: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()
        self.running = 0
        self.connections = 0
        self.succeeded = 0
        self.failed = 0
        self.received_bytes = 0
        self.sent_bytes = 0
        self.prompt_tokens = Histogram(_TOKENS)
        self.generated_tokens = Histogram(_TOKENS)
        self.first_byte = Histogram(_SECONDS)
        self.first_token = Histogram(_SECONDS)
        self.token_gap = Histogram(_SECONDS)
        self.latency = Histogram(_SECONDS)
        self.loop_lag = Histogram(_LAG_SECONDS)
        self.engine = EngineFigures()

    def count_request(self, exchange: Exchange) -> None:
        """Count a request that is over, however it ended."""
        outcome = _outcome(exchange)
        self.requests[exchange.route, exchange.head.method, exchange.status, outcome] += 1
        self.received_bytes += exchange.body_bytes
        self.sent_bytes += exchange.sent_bytes
        if exchange.cut_by is not None:
            self.cut[exchange.cut_by] += 1

    def observe_answer(self, exchange: Exchange) -> None:
        """Count the tokens of an answer of the engine's that reached its end, and its time."""
        if exchange.route not in GENERATING:
            return
        seconds = time.monotonic() - exchange.started_s
        self.latency.observe(seconds)
        usage = read_usage(exchange.last_bytes)
        self.finished[usage.finish_reason or "unknown"] += 1
        if usage.prompt_tokens is not None:
            self.prompt_tokens.observe(usage.prompt_tokens)
        tokens = usage.generated_tokens
        if tokens is None:
            return
        self.generated_tokens.observe(tokens)
        if exchange.is_event_stream and exchange.first_byte_s is not None and tokens > 1:
            self.token_gap.observe((seconds - exchange.first_byte_s) / (tokens - 1), tokens - 1)


def _outcome(exchange: Exchange) -> str:
    """`ok`, `refused`, `failed`, or who cut the answer, e.g. `cut_by_client`."""
    if exchange.cut_by is not None:
        return f"cut_by_{exchange.cut_by}"
    if exchange.status < 400:
        return "ok"
    return "refused" if exchange.status < 500 or exchange.status == 501 else "failed"
