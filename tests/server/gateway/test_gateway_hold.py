"""Requests that wait for an engine which will soon be back, and those that do not."""

import json

import pytest


@pytest.fixture
def lost(start_gateway, engine):
    """A gateway whose engine is being started again, and will be back any moment."""
    gateway = start_gateway(engine, hold_s=30.0)
    tell(gateway, lambda state: state.restarting("It is started again.", back_in_s=0))
    return gateway


def tell(gateway, say):
    """Say something of the engine, in the gateway's own loop."""

    async def speak():
        say(gateway.state)

    gateway.call(speak())


def wait_until_held(gateway, raw):
    raw.until(lambda: any(client._task for client in gateway.gateway._clients))


def test_a_request_waits_for_the_engine(lost, engine, raw):
    with lost.connect() as client:
        client.sendall(raw.post(fake={"chunks": 1}))
        wait_until_held(lost, raw)
        assert engine.events("begun") == []
        tell(lost, lambda state: state.ready(engine.address))
        assert raw.parse(raw.read_answer(client))[0] == 200


def test_requests_behind_it_wait_in_their_order(lost, engine, raw):
    with lost.connect() as client:
        client.sendall(raw.post(headers=["x-request-id: one"], fake={"chunks": 1}))
        client.sendall(raw.get("/v1/version", headers=["x-request-id: two", "Connection: close"]))
        wait_until_held(lost, raw)
        tell(lost, lambda state: state.ready(engine.address))
        answers = raw.read_all(client)
    assert answers.count(b"HTTP/1.1 200") == 2
    assert 0 < answers.index(b"x-request-id: one") < answers.index(b"x-request-id: two")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_long_body_waits_at_the_client(framing, lost, engine, raw):
    body = json.dumps({"model": "fake", "fake": {"chunks": 1}, "x": "y" * 2_000_000}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
    if framing == "length":
        head += f"Content-Length: {len(body)}\r\n\r\n".encode()
    else:
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    with lost.connect() as client:
        client.sendall(head + body[:300_000])
        wait_until_held(lost, raw)
        tell(lost, lambda state: state.ready(engine.address))
        client.sendall(body[300_000:])
        assert raw.parse(raw.read_answer(client))[0] == 200


def test_an_announced_body_is_asked_for_when_the_engine_is_there(lost, engine, raw):
    whole = raw.post(headers=["Expect: 100-continue"], fake={"chunks": 1})
    head, _, body = whole.partition(b"\r\n\r\n")
    with lost.connect() as client:
        client.sendall(head + b"\r\n\r\n")
        wait_until_held(lost, raw)
        tell(lost, lambda state: state.ready(engine.address))
        assert raw.read_until(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert raw.parse(raw.read_answer(client))[0] == 200


def test_the_wait_ends(start_gateway, engine, raw):
    gateway = start_gateway(engine, hold_s=0.05)
    tell(gateway, lambda state: state.silent("It does not answer."))
    status, headers, body = raw.parse(gateway.exchange(raw.post(headers=["Connection: close"])))
    assert status == 503
    assert int(headers["retry-after"]) > 0
    assert json.loads(body)["error"]["message"] == "It does not answer."


def test_bad_news_end_the_wait(lost, raw):
    with lost.connect() as client:
        client.sendall(raw.post())
        wait_until_held(lost, raw)
        tell(lost, lambda state: state.down("It is gone."))
        status, _, body = raw.parse(raw.read_answer(client))
    assert status == 503
    assert b"It is gone." in body


def test_news_of_a_longer_absence_end_the_wait(lost, raw):
    with lost.connect() as client:
        client.sendall(raw.post())
        wait_until_held(lost, raw)
        tell(lost, lambda state: state.restarting("Once more.", back_in_s=600))
        assert raw.parse(raw.read_answer(client))[0] == 503


def test_a_client_that_leaves_while_it_waits(lost, engine, raw):
    with lost.connect() as client:
        client.sendall(raw.post())
        wait_until_held(lost, raw)
    [record] = raw.until(lambda: lost.records)
    assert (record.status, record.cut_by) == (499, "client")
    tell(lost, lambda state: state.ready(engine.address))
    assert engine.events("begun") == []


def test_drain_does_not_wait_for_the_engine(lost, raw):
    with lost.connect() as client:
        client.sendall(raw.post())
        wait_until_held(lost, raw)
        draining = lost.submit(lost.gateway.drain())
        tell(lost, lambda state: state.down("The server is stopping."))
        draining.result(10)
        assert raw.parse(raw.read_all(client))[0] == 503


@pytest.mark.parametrize(
    "say",
    [
        lambda state: state.starting("It loads."),
        lambda state: state.restarting("It loads for long.", back_in_s=600),
        lambda state: state.down("It is gone."),
    ],
)
def test_nobody_waits_for_an_engine_that_is_not_expected_soon(say, lost, raw):
    tell(lost, say)
    assert raw.parse(lost.exchange(raw.post(headers=["Connection: close"])))[0] == 503


def test_a_list_of_models_does_not_wait(lost, raw):
    assert raw.parse(lost.exchange(raw.get("/v1/models")))[0] == 503
    assert raw.parse(lost.exchange(raw.get("/v1/health/ready")))[0] == 503


@pytest.mark.parametrize(("back_in_s", "told"), [(0.0, 1), (7.2, 8), (9999.0, 120)])
def test_who_is_sent_away_is_told_when_the_engine_is_expected(
    back_in_s, told, start_gateway, engine, raw
):
    gateway = start_gateway(engine, hold_s=0.0)
    tell(gateway, lambda state: state.restarting("It starts.", back_in_s=back_in_s))
    _, headers, _ = raw.parse(gateway.exchange(raw.get("/v1/models")))
    assert int(headers["retry-after"]) == told
