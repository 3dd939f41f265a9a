"""OpenTelemetry traces (the extra `otel`): one span a request, its context passed to the engine.

Names: OpenTelemetry's semantic conventions for HTTP servers and for generative AI; the time to the
first token as vLLM names it. Nothing here is imported unless traces are asked for.
"""

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nimctl.errors import InputError
from nimctl.server.gateway.exchange import Exchange
from nimctl.server.gateway.usage import read_usage

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

_TRACES_PATH = "/v1/traces"
_NS = 1_000_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceTarget:
    """Where spans go.

    Attributes:
        service_name: What this server is called there.
        exporter: `otlp` sends protobuf by HTTP, `console` prints JSON on standard error.
        endpoint: The collector's base address, e.g. `http://localhost:4318`.
    """

    service_name: str
    exporter: Literal["otlp", "console"]
    endpoint: str


class Tracing:
    """Makes a span of each request that a key class opens, and sends them in the background."""

    def __init__(self, target: TraceTarget, *, version: str) -> None:
        """Begin; `version` is this server's.

        Raises:
            InputError: OpenTelemetry is not installed.
        """
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            exporter = _make_exporter(target)
        except ImportError as error:
            raise InputError(
                "traces need OpenTelemetry, which is not installed",
                hint="pip install 'nimctl[otel]', or unset NIM_ENABLE_OTEL",
            ) from error
        about = {"service.name": target.service_name, "service.version": version}
        self._provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("nimctl", version)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, exchange: Exchange) -> None:
        """Begin the span of a request that was let in, as part of the caller's trace if it has one;
        what goes on to the engine is part of this span.
        """
        from opentelemetry.trace import SpanKind, set_span_in_context

        head = exchange.head
        names = ("traceparent", "tracestate")
        carrier = {name: head.headers[name].decode() for name in names if name in head.headers}
        exchange.span = self._tracer.start_span(
            f"{head.method} {exchange.route}",
            context=self._propagator.extract(carrier),
            kind=SpanKind.SERVER,
            start_time=_wall_ns(exchange.started_s),
            attributes={
                "http.request.method": head.method,
                "http.route": exchange.route,
                "nimctl.request_id": head.request_id,
            },
        )
        onward: dict[str, str] = {}
        self._propagator.inject(onward, set_span_in_context(exchange.span))
        head.headers.update({name: value.encode() for name, value in onward.items()})

    def end(self, exchange: Exchange, span: "Span") -> None:
        """End the span of a request that is over: its status, tokens and times."""
        from opentelemetry.trace import Status, StatusCode

        span.set_attribute("http.response.status_code", exchange.status)
        if exchange.key_name is not None:
            span.set_attribute("nimctl.key_name", exchange.key_name)
        if exchange.first_byte_s is not None and exchange.is_event_stream:
            span.set_attribute("gen_ai.latency.time_to_first_token", exchange.first_byte_s)
            first_s = exchange.started_s + exchange.first_byte_s
            span.add_event("first token", timestamp=_wall_ns(first_s))
        if exchange.in_engine:
            _tell_usage(exchange, span)
        if exchange.cut_by is not None:
            span.set_attribute("nimctl.cut_by", exchange.cut_by)
        if exchange.status >= 500 or exchange.cut_by in ("engine", "drain"):
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def close(self) -> None:
        """Send what was not sent yet; takes some seconds where the collector does not answer."""
        self._provider.shutdown()


def _make_exporter(target: TraceTarget) -> "SpanExporter":
    if target.exporter == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=target.endpoint.removesuffix(_TRACES_PATH) + _TRACES_PATH)


def _tell_usage(exchange: Exchange, span: "Span") -> None:
    usage = read_usage(exchange.last_bytes)
    if usage.prompt_tokens is not None:
        span.set_attribute("gen_ai.usage.input_tokens", usage.prompt_tokens)
    if usage.generated_tokens is not None:
        span.set_attribute("gen_ai.usage.output_tokens", usage.generated_tokens)
    if usage.finish_reason is not None:
        span.set_attribute("gen_ai.response.finish_reasons", [usage.finish_reason])


def _wall_ns(monotonic_s: float) -> int:
    """Nanoseconds since the epoch of a moment of the monotonic clock."""
    return time.time_ns() - int((time.monotonic() - monotonic_s) * _NS)
