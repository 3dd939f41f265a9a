"""Requests beyond the places in the engine: they wait in turn, and some are sent away."""

import contextlib
import threading

import pytest
from openai import OpenAI, RateLimitError

STREAM = {"stream": True}


@pytest.fixture
def slow_engine(start_engine):
    """Answers take a fifth of a second."""
    return start_engine("--chunks", "4", "--interval-ms", "50", "--ttft-ms", "10")


def asked(gateway, raw, **fields):
    client = gateway.connect()
    client.sendall(raw.post(**fields))
    return client


def test_one_at_a_time_in_the_order_they_came(slow_engine, start_gateway, raw):
    gateway = start_gateway(slow_engine, max_running=1)
    with contextlib.ExitStack() as open_clients:
        clients = []
        for number in range(4):
            client = open_clients.enter_context(asked(gateway, raw, user=str(number)))
            clients.append(client)
            raw.until(
                lambda n=number: gateway.admission.running + gateway.admission.waiting == n + 1
            )
        for client in clients:
            assert raw.parse(raw.read_answer(client))[0] == 200
    begun = [event["at_s"] for event in slow_engine.events("begun")]
    finished = [event["at_s"] for event in slow_engine.events("finished")]
    assert all(end <= begin for end, begin in zip(finished, begun[1:], strict=False))
    raw.until(lambda: gateway.admission.running == 0)
    assert gateway.admission.waiting == 0


def test_more_than_may_wait_are_told_to_come_back(slow_engine, start_gateway, raw):
    gateway = start_gateway(slow_engine, max_running=1, max_waiting=1)
    with asked(gateway, raw), asked(gateway, raw) as second:
        raw.until(lambda: gateway.admission.waiting == 1)
        with asked(gateway, raw) as third:
            status, headers, body = raw.parse(raw.read_answer(third))
        assert status == 429
        assert int(headers["retry-after"]) > 0
        assert b"too_many_requests" in body
        assert raw.parse(raw.read_answer(second))[0] == 200


def test_time_to_come_back_is_that_of_those_who_wait(start_engine, start_gateway, raw):
    engine = start_engine()
    gateway = start_gateway(engine, max_running=2, max_waiting=3)
    gateway.admission.note_held(12.0)  # as if answers had taken that long
    slow = {"fake": {"ttft_ms": 60_000}}
    with contextlib.ExitStack() as clients:
        for number in range(5):
            clients.enter_context(asked(gateway, raw, **slow))
            raw.until(
                lambda n=number: gateway.admission.running + gateway.admission.waiting == n + 1
            )
        refused = clients.enter_context(asked(gateway, raw))
        _, headers, _ = raw.parse(raw.read_answer(refused))
    assert int(headers["retry-after"]) == 24  # four turns of 12 s, two at once


def test_what_a_place_is_held_for_follows_the_last_answers(start_gateway, engine, raw):
    gateway = start_gateway(engine, max_running=1)
    assert gateway.admission.held_s is None
    for _ in range(2):
        assert raw.parse(gateway.exchange(raw.post(headers=["Connection: close"])))[0] == 200
    assert 0 < gateway.admission.held_s < 60
    gateway.admission.note_held(1000.0)
    assert 100 < gateway.admission.held_s < 160


def test_official_client_is_told_of_the_limit(start_engine, start_gateway, raw):
    engine = start_engine("--chunks", "1000", "--interval-ms", "50")
    gateway = start_gateway(engine, max_running=1, max_waiting=0)
    with (
        asked(gateway, raw, **STREAM),
        OpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client,
    ):
        raw.until(lambda: gateway.admission.running == 1)
        with pytest.raises(RateLimitError) as told:
            client.chat.completions.create(
                model="fake", messages=[{"role": "user", "content": "?"}]
            )
    assert told.value.code == "too_many_requests"
    assert int(told.value.response.headers["retry-after"]) > 0


def test_who_leaves_the_queue_is_forgotten(slow_engine, start_gateway, raw):
    gateway = start_gateway(slow_engine, max_running=1)
    with asked(gateway, raw) as first:
        raw.until(lambda: gateway.admission.running == 1)
        with asked(gateway, raw):
            raw.until(lambda: gateway.admission.waiting == 1)
        raw.until(lambda: gateway.admission.waiting == 0)
        assert raw.parse(raw.read_answer(first))[0] == 200
    raw.until(lambda: gateway.admission.running == 0)
    assert len(slow_engine.events("begun")) == 1


def test_who_leaves_the_engine_makes_room(slow_engine, start_gateway, raw):
    gateway = start_gateway(slow_engine, max_running=1)
    first = asked(gateway, raw, **STREAM)
    raw.until(lambda: slow_engine.events("begun"))
    with asked(gateway, raw) as second:
        raw.until(lambda: gateway.admission.waiting == 1)
        first.close()
        assert raw.parse(raw.read_answer(second))[0] == 200


def test_refused_request_gives_its_place_back(slow_engine, start_gateway, raw):
    gateway = start_gateway(slow_engine, max_running=1)
    for _ in range(3):
        assert (
            raw.parse(gateway.exchange(raw.post(body=b"no json", headers=("Connection: close",))))[
                0
            ]
            == 400
        )
    assert gateway.admission.running == 0


def test_large_body_of_one_who_waits_is_not_read(slow_engine, start_gateway, raw):
    gateway = start_gateway(slow_engine, max_running=1)
    body = b'{"model": "fake", "pad": "' + b"x" * 8_000_000 + b'"}'
    with asked(gateway, raw, **STREAM), gateway.connect() as large:
        raw.until(lambda: gateway.admission.running == 1)
        sender = threading.Thread(target=large.sendall, args=(raw.post(body=body),))
        sender.start()
        raw.until(lambda: gateway.admission.waiting == 1)
        held = max(
            (c._queue[0].body_bytes for c in gateway.gateway._clients if c._queue), default=0
        )
        assert held < 2_000_000
        assert raw.parse(raw.read_answer(large))[0] == 200
        sender.join()


def test_health_and_models_need_no_place(slow_engine, start_gateway, raw):
    gateway = start_gateway(slow_engine, max_running=1, max_waiting=0)
    with asked(gateway, raw):
        raw.until(lambda: gateway.admission.running == 1)
        for path in ("/v1/health/ready", "/v1/models", "/v1/metrics"):
            assert raw.parse(gateway.exchange(raw.get(path)))[0] == 200
