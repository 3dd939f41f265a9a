"""Headers: nothing is passed on that was not checked, in either direction."""

import json

import pytest

BODY = b'{"model": "fake"}'


def test_engine_hears_only_what_the_gateway_wrote(start_gateway, raw, scripted_engine):
    engine = scripted_engine(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    gateway = start_gateway(engine)
    request = raw.post(
        headers=[
            "Content-Type: application/json",
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "Authorization: Bearer s3cret",
            "X-Evil: yes",
            "Connection: close, X-Evil",
            "X-Request-Id: r1",
        ]
    )
    assert raw.parse(gateway.exchange(request))[0] == 200
    head, _, body = engine.heard[0].partition(b"\r\n\r\n")
    assert head.decode().split("\r\n") == [
        "POST /v1/chat/completions HTTP/1.1",
        "host: localhost",
        "user-agent: nimctl",
        "x-request-id: r1",
        "content-type: application/json",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "content-length: 17",
    ]
    assert body == BODY


def test_parts_of_the_engines_head_that_are_not_for_clients(start_gateway, raw, scripted_engine):
    engine = scripted_engine(
        b"HTTP/1.1 200 OK\r\nServer: e\r\nKeep-Alive: timeout=5\r\nX-Kept: 1\r\n"
        b"Access-Control-Allow-Origin: *\r\nX-Request-Id: theirs\r\nContent-Length: 2\r\n\r\nhi"
    )
    gateway = start_gateway(engine)
    answer = gateway.exchange(raw.post(headers=["Connection: close", "X-Request-Id: ours"]))
    assert raw.parse(answer)[1] == {
        "x-kept": "1",
        "content-length": "2",
        "x-request-id": "ours",
        "connection": "close",
    }


def test_request_id_is_kept_or_made(gateway, engine, raw):
    given = raw.post(headers=["X-Request-Id: job-7:a_b.c", "Connection: close"])
    assert raw.parse(gateway.exchange(given))[1]["x-request-id"] == "job-7:a_b.c"
    assert engine.events("begun")[0]["id"] == "job-7:a_b.c"
    bad = raw.post(headers=['X-Request-Id: a"b', "Connection: close"])
    made = raw.parse(gateway.exchange(bad))[1]["x-request-id"]
    assert len(made) == 32
    assert engine.events("begun")[1]["id"] == made
    assert [record.request_id for record in gateway.records] == ["job-7:a_b.c", made]


@pytest.mark.parametrize(
    "line",
    [
        b"X: a\rSet-Cookie: b",
        b"X: a\nSet-Cookie: b",
        b"X: a\x00b",
        b"X : a",
        b"X(y): a",
        b"X: a\r\n folded",
        b"Transfer-Encoding : chunked",
    ],
    ids=["CR", "LF", "NUL", "blank", "name", "fold", "coding"],
)
def test_head_of_an_engine_that_two_readers_could_read_differently(
    line, start_gateway, scripted_engine, raw
):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%b\r\n\r\nhi" % line
    gateway = start_gateway(scripted_engine(head))
    answer = gateway.exchange(raw.post(headers=["Connection: close"]))
    status, headers, _ = raw.parse(answer)
    assert "set-cookie" not in headers
    assert status == 502


def test_what_a_caller_writes_stays_in_the_body_of_an_error(gateway, raw):
    name = "x\r\nSet-Cookie: a=b\r\n\r\n<script>"
    request = raw.post(headers=["Connection: close"], model=name)
    status, headers, body = raw.parse(gateway.exchange(request))
    assert (status, headers["content-type"]) == (404, "application/json")
    assert "set-cookie" not in {header.lower() for header in headers}
    assert b"\r\nSet-Cookie" not in body
    assert json.loads(body)["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    "name", ["Transfer-Encoding", "Content-Length", "Host", "X-Request-Id", "Authorization"]
)
def test_connection_header_cannot_strip_another(name, start_gateway, scripted_engine, raw):
    engine = scripted_engine(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    gateway = start_gateway(engine)
    request = raw.post(headers=[f"Connection: close, {name}", "X-Request-Id: r1"])
    assert raw.parse(gateway.exchange(request))[0] == 200
    head = engine.heard[0].partition(b"\r\n\r\n")[0].decode().lower()
    assert "\r\ncontent-length: 17" in head
    assert "\r\nx-request-id: r1" in head
    assert "connection" not in head


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1", "X-Original-URL: /v1/metadata"],
)
def test_headers_that_claim_who_or_where_mean_nothing(header, start_gateway, scripted_engine, raw):
    engine = scripted_engine(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    gateway = start_gateway(engine)
    assert raw.parse(gateway.exchange(raw.post(headers=[header, "Connection: close"])))[0] == 200
    assert header.partition(":")[0].lower().encode() not in engine.heard[0].lower()
