"""Traces: a span for each request, in the caller's trace, sent to a collector as protobuf."""

import gzip
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from nimctl.errors import InputError
from nimctl.server.gateway import ApiKey, TraceTarget, Tracing

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"traceparent: 00-{TRACE}-{CALLER}-01"
CLOSE = "Connection: close"


class Collector:
    """Takes spans as an OpenTelemetry collector does."""

    def __init__(self):
        self.spans, self.service = [], None
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def take(self, request):
        for resource in request.resource_spans:
            about = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.service = about["service.name"]
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def tracing(collector):
    """Traces to the collector; closed by the test, which sends them."""
    return make_tracing(endpoint=collector.url)


def make_tracing(**target):
    usual = {"service_name": "mine", "exporter": "otlp", "endpoint": "http://127.0.0.1:1"}
    return Tracing(TraceTarget(**usual | target), version="1")


def attributes(span):
    values = {}
    for one in span.attributes:
        kind = one.value.WhichOneof("value")
        value = getattr(one.value, kind)
        values[one.key] = [v.string_value for v in value.values] if kind == "array_value" else value
    return values


def test_a_stream_in_the_callers_trace(start_gateway, engine, collector, tracing, raw):
    gateway = start_gateway(engine, tracing=tracing)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    gateway.exchange(raw.post(headers=[PARENT, "tracestate: a=b", CLOSE], **options))
    tracing.close()
    [span] = collector.spans
    assert collector.service == "mine"
    assert (span.name, span.trace_id.hex()) == ("POST /v1/chat/completions", TRACE)
    assert span.parent_span_id.hex() == CALLER
    told = attributes(span)
    assert told["http.route"] == "/v1/chat/completions"
    assert told["http.response.status_code"] == 200
    assert told["gen_ai.usage.input_tokens"] == 5
    assert told["gen_ai.usage.output_tokens"] == 8
    assert told["gen_ai.response.finish_reasons"] == ["stop"]
    took_s = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
    assert 0 < told["gen_ai.latency.time_to_first_token"] <= took_s
    [first] = span.events
    assert span.start_time_unix_nano < first.time_unix_nano <= span.end_time_unix_nano


def test_the_engine_is_told_the_span_it_works_for(
    start_gateway, scripted_engine, collector, tracing, raw
):
    engine = scripted_engine(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    gateway = start_gateway(engine, tracing=tracing)
    gateway.exchange(raw.post(headers=[PARENT, "tracestate: a=b", CLOSE]))
    tracing.close()
    [span] = collector.spans
    head = engine.heard[0].decode().lower().split("\r\n")
    assert f"traceparent: 00-{TRACE}-{span.span_id.hex()}-01" in head
    assert "tracestate: a=b" in head


@pytest.mark.parametrize("parent", [None, "traceparent: nonsense", "traceparent: 00-0-0-00"])
def test_without_a_trace_one_begins(parent, start_gateway, engine, collector, tracing, raw):
    gateway = start_gateway(engine, tracing=tracing)
    gateway.exchange(raw.post(headers=[CLOSE, *([parent] if parent else [])]))
    tracing.close()
    [span] = collector.spans
    assert (span.parent_span_id, len(span.trace_id)) == (b"", 16)


def test_failures_and_names_but_no_keys_no_prompts_and_no_probes(
    start_gateway, scripted_engine, collector, tracing, raw
):
    gateway = start_gateway(
        scripted_engine(b"nonsense\r\n\r\n"),
        tracing=tracing,
        api_keys=(ApiKey(name="alice", key="sk-1"),),
    )
    key = "X-Api-Key: sk-1"
    gateway.exchange(raw.post(headers=[key, CLOSE], prompt="my secret"))
    for path in ("/v1/health/ready", "/v1/metrics", "/docs", "/v1/nowhere"):
        gateway.exchange(raw.get(path))
    tracing.close()
    [span] = collector.spans
    assert attributes(span)["http.response.status_code"] == 502
    assert attributes(span)["nimctl.key_name"] == "alice"
    assert span.status.code == 2
    assert not {b"sk-1", b"my secret"} & set(span.SerializeToString().split())
    assert b"secret" not in span.SerializeToString()


def test_console(start_gateway, engine, raw, capsys):
    tracing = make_tracing(exporter="console")
    gateway = start_gateway(engine, tracing=tracing)
    gateway.exchange(raw.get("/v1/version"))
    tracing.close()
    assert json.loads(capsys.readouterr().err)["name"] == "GET /v1/version"


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(InputError) as caught:
        make_tracing()
    assert "nimctl[otel]" in caught.value.hint


def test_nothing_of_it_is_imported_unless_asked_for():
    code = "import sys, nimctl.server; print(any('opentelemetry' in name for name in sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
