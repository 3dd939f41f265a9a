"""Clients that leave, engines that break, readers that are slow."""

import asyncio
import contextlib
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import openai
import pytest

from nimctl.core.engine_address import EngineAddress

SLOW = {"ttft_ms": 30_000, "interval_ms": 0}
LONG = {"ttft_ms": 1, "interval_ms": 5, "chunks": 10_000}
QUESTION = [{"role": "user", "content": "hello"}]


@pytest.fixture
def engine(start_engine):
    """An engine of the test's own, to be left in the middle of things or killed."""
    return start_engine()


@pytest.mark.parametrize(
    ("phase", "request_fields"),
    [
        ("mid-stream", {"stream": True, "fake": LONG}),
        ("prefill", {"stream": True, "fake": SLOW}),
        ("non-stream", {"stream": False, "fake": SLOW}),
    ],
)
@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
def test_engine_learns_at_once_that_the_client_left(
    phase, request_fields, how, gateway, engine, raw
):
    client = gateway.connect()
    client.sendall(raw.post(**request_fields))
    raw.until(lambda: engine.events("first" if phase == "mid-stream" else "begun"))
    if how == "half-close":
        client.shutdown(1)
    elif how == "reset":
        client.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER with no time: reset
        client.close()
    else:
        client.close()
    raw.until(lambda: engine.events("aborted"))
    client.close()
    [record] = raw.until(lambda: gateway.records)
    assert record.cut_by == "client"
    assert record.status == (200 if phase == "mid-stream" else 499)
    assert gateway.metrics.cut == {"client": 1}
    assert gateway.metrics.failed == 0


def test_official_client_that_stops_reading_a_stream(gateway, engine, raw):
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none") as client:
        stream = client.chat.completions.create(
            model="fake", messages=QUESTION, stream=True, extra_body={"fake": LONG}
        )
        next(iter(stream))
        stream.close()
        raw.until(lambda: engine.events("aborted"))


def test_engine_killed_mid_stream(gateway, engine, raw):
    with gateway.connect() as client:
        client.sendall(raw.post(stream=True, fake=LONG))
        data = raw.read_until(client, b"data: ")
        engine.kill()
        data += raw.read_all(client)
    assert not data.endswith(b"0\r\n\r\n")
    size, event = data.rsplit(b"\r\n", 3)[-3:-1]
    assert int(size, 16) == len(event)
    error = json.loads(event.strip().removeprefix(b"data: "))["error"]
    assert error["type"] == "server_error"
    [record] = raw.until(lambda: gateway.records)
    assert (record.status, record.cut_by) == (200, "engine")
    assert gateway.troubles == ["The engine closed a connection before its answer ended."]
    status, headers, _ = raw.parse(gateway.exchange(raw.post(headers=["Connection: close"])))
    assert status == 503
    assert int(headers["retry-after"]) > 0
    assert "cannot be reached" in gateway.troubles[-1]


def test_official_client_raises_when_the_engine_dies_mid_stream(start_engine, start_gateway):
    engine = start_engine("--mode", "die-mid-stream", "--interval-ms", "1")
    url = start_gateway(engine).url
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        stream = client.chat.completions.create(model="fake", messages=QUESTION, stream=True)
        with pytest.raises(openai.APIError, match="The engine failed to answer"):
            list(stream)


def test_http10_client_is_told_of_a_dead_engine_too(start_engine, start_gateway, raw):
    gateway = start_gateway(start_engine("--mode", "die-mid-stream", "--interval-ms", "1"))
    body = raw.parse(gateway.exchange(raw.post(stream=True, version="1.0")))[2]
    assert body.startswith(b"data: {")
    assert body.rstrip().split(b"\n")[-1].startswith(b'data: {"error"')


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Le", 502),
        (b"this is not HTTP\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 502),
        (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, 502),
    ],
    ids=["nothing", "half a head", "not HTTP", "length and coding", "upgrade", "endless head"],
)
def test_engine_that_breaks_before_its_head(answer, status, start_gateway, scripted_engine, raw):
    gateway = start_gateway(scripted_engine(answer))
    with gateway.connect() as client:
        client.sendall(raw.post())
        answered, headers, body = raw.parse(raw.read_answer(client))
        assert b"engine_failed" in body
        assert answered == status
        assert "retry-after" in headers
        assert "connection" not in headers  # the client's connection is as good as ever
    assert len(gateway.troubles) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"40\r\ndata: cut inside of a chunk",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ],
    ids=["length", "chunks", "inside a chunk", "bad chunk"],
)
def test_answer_cut_where_no_event_can_be_added(answer, start_gateway, scripted_engine, raw):
    gateway = start_gateway(scripted_engine(answer))
    data = gateway.exchange(raw.post())
    assert b"error" not in data
    assert not data.endswith(b"0\r\n\r\n")
    assert gateway.metrics.failed == 1


def test_answer_that_ends_with_the_connection(start_gateway, scripted_engine, raw):
    gateway = start_gateway(scripted_engine(b"HTTP/1.1 200 OK\r\n\r\nall of it"))
    status, headers, body = raw.parse(gateway.exchange(raw.post()))
    assert (status, headers["connection"], body) == (200, "close", b"all of it")
    assert gateway.troubles == []


def test_interim_responses_are_skipped(start_gateway, scripted_engine, raw):
    gateway = start_gateway(
        scripted_engine(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
            b"HTTP/1.1 204 No Content\r\n\r\n"
        )
    )
    data = gateway.exchange(raw.post(headers=["Connection: close"]))
    assert data.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert b"link" not in data


def test_second_response_in_one_is_not_relayed(start_gateway, scripted_engine, raw):
    one = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    gateway = start_gateway(scripted_engine(one + b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\n\r\n"))
    assert b"set-cookie" not in gateway.exchange(raw.post()).lower()


def test_stale_connection_is_tried_once_more_on_a_fresh_one(start_gateway, scripted_engine, raw):
    """The engine answers once on each connection and closes it when asked again."""
    engine = scripted_engine(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", close=False)
    gateway = start_gateway(engine)
    with gateway.connect() as client:
        for _ in range(4):
            client.sendall(raw.post())
            assert raw.read_until(client, b"\r\n\r\nhi").startswith(b"HTTP/1.1 200 ")
    assert gateway.troubles == []
    assert len(engine.heard) == 4


def test_engine_not_ready(start_gateway, raw):
    gateway = start_gateway()
    gateway.state.starting("The weights are being loaded.")
    for request in (raw.post(), raw.get("/v1/models"), raw.get("/v1/health/ready")):
        with gateway.connect() as client:
            client.sendall(request)
            data = raw.read_answer(client)
        status, headers, body = raw.parse(data)
        assert status == 503
        assert int(headers["retry-after"]) > 0
        error = json.loads(body)["error"]
        assert error["message"] == "The weights are being loaded."
        assert (error["type"], error["code"]) == ("server_error", "engine_not_ready")
    assert raw.parse(gateway.exchange(raw.get("/v1/health/live")))[0] == 200


def test_what_was_held_back_is_answered_later(gateway, raw):
    ahead = raw.post("/tokenize", body=json.dumps({"a": "y" * 100_000}).encode()) * 10
    with gateway.connect() as client, ThreadPoolExecutor(1) as sender:
        client.sendall(raw.post(fake={"ttft_ms": 200, "chunks": 0}))
        sending = sender.submit(client.sendall, ahead)
        read_answers(client, 11)
        sending.result()


def test_connection_of_a_slow_reader_serves_the_next_request(gateway, raw):
    """It may have been paused at the very end of an answer."""
    count = 100
    with gateway.connect(receive_buffer_bytes=4096) as client:
        client.sendall(raw.post(fake={"ttft_ms": 0, "interval_ms": 0, "chunks": 15_000}) * count)
        read_answers(client, count)


def read_answers(client, count):
    """Until as many good answers have begun."""
    line = b"HTTP/1.1 200 OK\r\n"
    tail = b""
    while count > 0:
        part = client.recv(1_000_000)
        assert part
        count -= (tail + part).count(line)
        tail = (tail + part)[1 - len(line) :]


def test_drain_lets_streams_end_and_takes_no_new_ones(gateway, engine, raw):
    idle, busy = gateway.connect(), gateway.connect()
    with idle, busy:
        busy.sendall(raw.post(stream=True, fake={"chunks": 60, "interval_ms": 5}))
        raw.until(lambda: engine.events("first"))
        draining = gateway.submit(gateway.gateway.drain())
        assert raw.read_all(idle) == b""
        assert raw.read_all(busy).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        draining.result(5)
    with pytest.raises(ConnectionRefusedError):
        gateway.connect()


def test_drain_cuts_what_does_not_end(start_gateway, engine, raw):
    gateway = start_gateway(engine, drain_timeout_s=0.1)
    stream, waiting = gateway.connect(), gateway.connect()
    with stream, waiting:
        stream.sendall(raw.post(stream=True, fake=LONG))
        waiting.sendall(raw.post(fake=SLOW))
        raw.until(lambda: engine.events("first") and len(engine.events("begun")) == 2)
        gateway.call(gateway.gateway.drain())
        data = raw.read_all(stream)
        assert b"shutting down" in data
        assert not data.endswith(b"0\r\n\r\n")
        assert raw.parse(raw.read_all(waiting))[0] == 503
    assert gateway.metrics.cut == {"drain": 1}
    raw.until(lambda: len(engine.events("aborted")) == 2)


def test_all_of_it_on_the_standard_loop(start_gateway, engine, raw):
    """Where there is no uvloop."""
    gateway = start_gateway(engine, new_loop=asyncio.new_event_loop)
    whole, left, cut = gateway.connect(), gateway.connect(), gateway.connect()
    with whole, left, cut:
        whole.sendall(raw.post(stream=True) * 2)
        for _ in range(2):
            raw.read_until(whole, b"\r\n0\r\n\r\n")
        left.sendall(raw.post(stream=True, fake=SLOW))
        cut.sendall(raw.post(stream=True, fake=LONG))
        raw.read_until(cut, b"data: ")
        left.close()
        raw.until(lambda: engine.events("aborted"))
        whole.sendall(b"nonsense\r\n\r\n")
        assert raw.parse(raw.read_all(whole))[0] == 400
        engine.kill()
        assert b"The engine failed" in raw.read_all(cut)
    gateway.call(gateway.gateway.drain())


def test_drain_while_the_engines_metrics_are_awaited(start_gateway, deaf_engine, raw):
    gateway = start_gateway(deaf_engine, drain_timeout_s=0.05)
    with gateway.connect() as client:
        client.sendall(raw.get("/v1/metrics", headers=()))
        raw.until(lambda: [c for c in gateway.gateway._clients if c._task])
        gateway.call(gateway.gateway.drain())
        assert raw.read_all(client) == b""


def test_engine_whose_queue_of_callers_is_full(start_gateway, tmp_path, raw):
    path = str(tmp_path / "busy.sock")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        ahead = stack.enter_context(socket.socket(socket.AF_UNIX))
        ahead.connect(path)  # it fills the queue
        gateway = start_gateway(SimpleNamespace(address=EngineAddress(uds=path)))
        client = stack.enter_context(gateway.connect())
        client.sendall(raw.post())
        raw.until(lambda: gateway.metrics.running == 1)
        stack.enter_context(listener.accept()[0])
        served = stack.enter_context(listener.accept()[0])
        assert served.recv(65536).startswith(b"POST ")
        served.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert raw.parse(raw.read_answer(client))[0] == 200
    assert gateway.troubles == []
