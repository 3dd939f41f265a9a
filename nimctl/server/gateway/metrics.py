"""The gateway's own figures, and the Prometheus page that carries them beside the engine's."""

import re
from bisect import bisect_left
from collections import Counter

from nimctl.server.gateway.engine_figures import EngineFigures

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1)
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? \S+( -?\d+)?")
_COMMENT = re.compile(r"# (?:HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*)( .*)?")
_SERIES_OF_FAMILY = re.compile(r"_(bucket|sum|count)$")


class Histogram:
    """Seconds counted in buckets; `bounds` are the upper edges, ascending."""

    __slots__ = ("bounds", "counts", "total_s")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total_s += seconds

    def samples(self, name: str) -> list[str]:
        """The lines of this histogram in the exposition format."""
        lines, below = [], 0
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            below += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {below}')
        return [*lines, f"{name}_sum {self.total_s:.6f}", f"{name}_count {below}"]


class Metrics:
    """What this gateway did since it started; names without a prefix are NIM 1.x's.

    Attributes:
        requests: Finished requests by route, method and status.
        cut: Answers that did not reach their end, by who ended them.
        running: Requests the engine is working on.
        connections: Open client connections.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.cut: Counter[str] = Counter()
        self.running = 0
        self.connections = 0
        self.succeeded = 0
        self.failed = 0
        self.received_bytes = 0
        self.sent_bytes = 0
        self.first_byte = Histogram(_SECONDS)
        self.first_token = Histogram(_SECONDS)
        self.loop_lag = Histogram(_LAG_SECONDS)
        self.engine = EngineFigures()

    def render(self, *, ready: bool) -> str:
        """All figures in Prometheus' text format."""
        own = "nimctl_gateway_"
        page = [
            *_plain("num_requests_running", "gauge", "Requests in the engine.", self.running),
            *_plain("request_success_total", "counter", "Answered whole.", self.succeeded),
            *_plain("request_failure_total", "counter", "Refused or cut.", self.failed),
            *_family("time_to_first_token_seconds", "histogram", "To a stream's first byte."),
            *self.first_token.samples("time_to_first_token_seconds"),
            *_family(f"{own}time_to_first_byte_seconds", "histogram", "To any first byte."),
            *self.first_byte.samples(f"{own}time_to_first_byte_seconds"),
            *_family(f"{own}loop_lag_seconds", "histogram", "How late a timer was."),
            *self.loop_lag.samples(f"{own}loop_lag_seconds"),
            *_plain(f"{own}ready", "gauge", "1 while the engine generates.", int(ready)),
            *_plain(f"{own}connections", "gauge", "Open clients.", self.connections),
            *_plain(f"{own}received_bytes_total", "counter", "Bodies.", self.received_bytes),
            *_plain(f"{own}sent_bytes_total", "counter", "Bodies.", self.sent_bytes),
            *_family(f"{own}requests_total", "counter", "Finished requests."),
        ]
        for (route, method, status), count in self.requests.items():
            labels = f'route="{route}",method="{method}",status="{status}"'
            page.append(f"{own}requests_total{{{labels}}} {count}")
        page += _family(f"{own}answers_cut_total", "counter", "Answers that were not ended.")
        page += [f'{own}answers_cut_total{{by="{by}"}} {n}' for by, n in self.cut.items()]
        page += self.engine.render()
        return "\n".join(page) + "\n"


def _family(name: str, kind: str, help_text: str) -> list[str]:
    return [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]


def _plain(name: str, kind: str, help_text: str, value: int) -> list[str]:
    return [*_family(name, kind, help_text), f"{name} {value}"]


def append_engine_metrics(own: str, engine: str) -> str:
    """The gateway's page followed by those families of the engine's that it does not have itself.

    Lines that are not of the format are left out, so that one bad line cannot spoil the page.
    """
    taken = {match[1] for match in map(_COMMENT.fullmatch, own.splitlines()) if match}
    kept = []
    for line in engine.splitlines():
        match = _COMMENT.fullmatch(line) or _SAMPLE.fullmatch(line)
        if match and not {match[1], _SERIES_OF_FAMILY.sub("", match[1])} & taken:
            kept.append(line)
    return own + "".join(f"{line}\n" for line in kept)
