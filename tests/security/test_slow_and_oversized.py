"""Callers that are slow, send too much, or read nothing: they cost little, and harm nobody else."""

import contextlib
import resource
import time
from pathlib import Path

import pytest

SLOW = {"ttft_ms": 30_000, "interval_ms": 0}
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"


def test_slow_reader_does_not_grow_the_gateway(start_engine, start_gateway, raw):
    engine = start_engine("--interval-ms", "0", "--ttft-ms", "0")
    gateway = start_gateway(engine)
    chunks = 30_000
    with gateway.connect(receive_buffer_bytes=4096) as client:
        before_bytes = resident_bytes()
        client.sendall(raw.post(stream=True, fake={"chunks": chunks, "pad_bytes": 1000}))
        transport = raw.until(lambda: [c.transport for c in gateway.gateway._clients])[0]
        raw.until(lambda: transport.get_write_buffer_size() > 0)
        stalled_bytes = [-1, -2]
        while stalled_bytes[-1] != stalled_bytes[-2]:  # until nothing moves any more
            time.sleep(0.1)
            stalled_bytes.append(transport.get_write_buffer_size())
        assert stalled_bytes[-1] < 1_000_000
        assert resident_bytes() - before_bytes < 4_000_000
        assert engine.events("finished") == []
        rest = raw.read_until(client, b"\r\n0\r\n\r\n")
    assert rest.count(b"data: {") == chunks + 1


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_slow_engine_holds_the_sender(start_gateway, deaf_engine, raw):
    gateway = start_gateway(deaf_engine, head_timeout_s=0.2)
    size = 60_000_000
    head = f"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
    with gateway.connect() as client:
        client.settimeout(1)
        client.sendall(head)
        sent, piece = 0, b"y" * 1_000_000
        with pytest.raises(TimeoutError):
            while sent < size:
                sent += client.send(piece)
        assert sent < 20_000_000  # what the kernel's buffers of two hops hold
        assert gateway.records == []  # nobody blames the sender for being slow


def test_what_is_sent_ahead_is_held_back(gateway, engine, raw):
    with gateway.connect() as client:
        client.settimeout(0.5)
        client.sendall(raw.post(fake=SLOW))
        sent, piece = 0, raw.post(body=b"y" * 1_000_000)
        with pytest.raises(TimeoutError):
            while sent < 60_000_000:
                sent += client.send(piece)
        assert sent < 20_000_000
        assert sum(e.body_bytes for c in gateway.gateway._clients for e in c._queue) < 1_000_000


def test_sender_of_a_refused_body_gets_to_read_why(start_gateway, engine, raw):
    gateway = start_gateway(engine, max_body_bytes=1000)
    with gateway.connect() as client:
        client.sendall(raw.post(body=b"y" * 20_000_000))
        assert raw.parse(raw.read_all(client))[0] == 413


def test_slow_head_and_slow_body(start_gateway, engine, raw):
    gateway = start_gateway(engine, head_timeout_s=0.2)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
    for part in (
        head,
        head + b"Content-Length: 50\r\n\r\n{",
        head + b"Content-Length: 900000\r\n\r\n{",
    ):
        assert raw.parse(gateway.exchange(part))[0] == 408
    assert raw.until(lambda: gateway.metrics.running == 0) is True


def test_idle_connection_is_closed(start_gateway, engine, raw):
    gateway = start_gateway(engine, keep_alive_s=0.1)
    assert gateway.exchange(b"") == b""
    assert raw.parse(gateway.exchange(raw.get("/v1/version", headers=())))[0] == 200


def test_two_hundred_slow_heads_do_not_keep_anybody_waiting(start_gateway, engine, raw):
    """Slowloris: a byte now and then does not move the deadline of a head."""
    gateway = start_gateway(engine, head_timeout_s=1.0)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(gateway.connect()) for _ in range(200)]
        for client in slow:
            client.sendall(HEAD)
        raw.until(lambda: gateway.metrics.connections == len(slow))
        assert raw.parse(gateway.exchange(raw.post(headers=["Connection: close"])))[0] == 200

        def trickle():
            with contextlib.suppress(OSError):
                slow[0].sendall(b"X: y\r\n")
            return gateway.metrics.connections == 0

        raw.until(trickle, 20)
        assert all(raw.parse(raw.read_all(client))[0] == 408 for client in slow[1:])
    assert len(engine.events("begun")) == 1


def test_what_is_refused_leaves_room_for_others(start_gateway, engine, raw):
    gateway = start_gateway(engine, max_body_bytes=1000, max_running=1)
    for _ in range(20):
        assert raw.parse(gateway.exchange(raw.post(body=b"y" * 2000)))[0] == 413
    assert raw.parse(gateway.exchange(raw.post(headers=["Connection: close"])))[0] == 200
    assert gateway.admission.running == 0
