"""Requests that two readers could read differently, or that are too big: refused, never relayed."""

import json

import pytest

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\n"
HOST = HEAD + b"Host: x\r\n"
BODY = b'{"model": "fake"}'
SIZED = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LAST = b"0\r\n\r\n"

# Refused by the parser; the rest of this table by the gateway's own checks.
BY_PARSER = {
    "length and coding": HOST + SIZED + CHUNKED + b"\r\n" + LAST,
    "coding and length": HOST + CHUNKED + SIZED + b"\r\n" + LAST,
    "two equal lengths": HOST + SIZED + SIZED + b"\r\n" + BODY,
    "two lengths": HOST + b"Content-Length: 1\r\n" + SIZED + b"\r\n" + BODY,
    "list of lengths": HOST + b"Content-Length: 17, 17\r\n\r\n" + BODY,
    "signed length": HOST + b"Content-Length: +17\r\n\r\n" + BODY,
    "negative length": HOST + b"Content-Length: -1\r\n\r\n" + BODY,
    "hexadecimal length": HOST + b"Content-Length: 0x11\r\n\r\n" + BODY,
    "empty length": HOST + b"Content-Length: \r\n\r\n" + BODY,
    "length in two words": HOST + b"Content-Length: 1 7\r\n\r\n" + BODY,
    "length beyond 64 bits": HOST + b"Content-Length: 99999999999999999999\r\n\r\n" + BODY,
    "blank before the colon": HOST + b"Content-Length : 17\r\n\r\n" + BODY,
    "coding, blank before the colon": HOST + b"Transfer-Encoding : chunked\r\n\r\n" + LAST,
    "chunked, then another": HOST + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + LAST,
    "chunked twice": HOST + CHUNKED + CHUNKED + b"\r\n" + LAST,
    "chunked and identity": HOST + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n" + LAST,
    "coding after a vertical tab": HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + LAST,
    "folded line": HOST + SIZED + b"X: a\r\n b\r\n\r\n" + BODY,
    "folded coding": HOST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + LAST,
    "blank before the first header": HEAD + b" Host: x\r\n" + SIZED + b"\r\n" + BODY,
    "line feeds alone": HOST.replace(b"\r\n", b"\n") + b"\n",
    "carriage return in a value": HOST + b"X: a\rY: b\r\n\r\n",
    "zero byte in a value": HOST + b"X: a\x00b\r\n\r\n",
    "control character in a value": HOST + b"X: a\x01b\r\n\r\n",
    "bad character in a name": HOST + b"X(y): a\r\n\r\n",
    "no name": HOST + b": a\r\n\r\n",
    "no colon": HOST + b"X\r\n\r\n",
    "unknown method": b"SMUGGLE / HTTP/1.1\r\nHost: x\r\n\r\n",
    "lower-case method": b"post / HTTP/1.1\r\nHost: x\r\n\r\n",
    "blank in the path": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "control character in the path": b"GET /a\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad chunk size": HOST + CHUNKED + b"\r\nzz\r\n",
    "signed chunk size": HOST + CHUNKED + b"\r\n-1\r\na\r\n" + LAST,
    "0x chunk size": HOST + CHUNKED + b"\r\n0x1\r\na\r\n" + LAST,
    "chunk size beyond 64 bits": HOST + CHUNKED + b"\r\nfffffffffffffffff\r\na\r\n" + LAST,
    "chunk size without carriage return": HOST + CHUNKED + b"\r\n1\na\r\n" + LAST,
    "chunk longer than its size": HOST + CHUNKED + b"\r\n1\r\nabc\r\n" + LAST,
    "length in a trailer": HOST + CHUNKED + b"\r\n1\r\na\r\n0\r\nContent-Length: 5\r\n\r\n",
    "a TLS greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
}
BY_GATEWAY = {
    "no host": (400, HEAD + SIZED + b"\r\n" + BODY),
    "two hosts": (400, HOST + b"Host: y\r\n" + SIZED + b"\r\n" + BODY),
    "two content types": (400, HOST + b"Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n"),
    "bytes beyond ASCII in a forwarded header": (400, HOST + b"Accept: \xff\r\n\r\n"),
    "coding in HTTP/1.0": (400, HOST.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n" + LAST),
    "coding that ends in chunked": (501, HOST + b"Transfer-Encoding: xchunked\r\n\r\n" + LAST),
    "unknown coding": (501, HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + LAST),
    "unknown expectation": (417, HOST + b"Expect: a miracle\r\n" + SIZED + b"\r\n" + BODY),
    "compressed body": (415, HOST + b"Content-Encoding: gzip\r\n" + SIZED + b"\r\n" + BODY),
    "HTTP/2.0": (505, b"GET /v1/version HTTP/2.0\r\nHost: x\r\n\r\n"),
    "HTTP/0.9": (505, b"GET /v1/version\r\n\r\n"),
    "CONNECT": (405, b"CONNECT a:80 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "too many headers": (431, HOST + b"X: y\r\n" * 101 + b"\r\n"),
    "long header": (431, HOST + b"X: " + b"y" * 70_000 + b"\r\n\r\n"),
    "endless header": (431, HOST + b"X: " + b"y" * 600_000),
    "endless path": (431, b"GET /" + b"y" * 600_000),
    "endless trailer": (431, HOST + CHUNKED + b"\r\n1\r\na\r\n0\r\nX: " + b"y" * 600_000),
    "endless trailers": (431, HOST + CHUNKED + b"\r\n0\r\n" + b"X: y\r\n" * 100_000),
    "endless chunk extension": (431, HOST + CHUNKED + b"\r\n1;" + b"y" * 600_000),
    "endless empty lines": (431, b"\r\n" * 300_000),
    "length beyond the limit": (413, HOST + b"Content-Length: 5000000\r\n\r\n"),
    "chunks beyond the limit": (
        413,
        HOST + CHUNKED + b"\r\n" + (b"10000\r\n" + b"y" * 0x10000 + b"\r\n") * 20 + LAST,
    ),
}


@pytest.fixture
def small_gateway(start_gateway, engine):
    return start_gateway(engine, max_body_bytes=1_000_000)


@pytest.mark.parametrize("name", BY_PARSER)
def test_parser_refuses(name, gateway, engine, raw):
    check_refused(gateway, engine, raw, BY_PARSER[name], 400)


@pytest.mark.parametrize("name", BY_GATEWAY)
def test_gateway_refuses(name, small_gateway, engine, raw):
    status, request = BY_GATEWAY[name]
    check_refused(small_gateway, engine, raw, request, status)


def check_refused(gateway, engine, raw, request, status):
    """One answer and the end; the request behind it must not be heard by anybody."""
    answers = gateway.exchange(request + raw.post("/v1/completions"))
    answered, headers, body = raw.parse(answers)
    assert answered == status, body
    assert headers["connection"] == "close"
    assert answers.count(b"HTTP/1.1 ") == 1
    assert {"message", "type", "param", "code"} == set(json.loads(body)["error"])
    assert engine.events("finished") == []


def test_broken_chunk_in_a_streamed_body_ends_the_engines_request(gateway, engine, raw):
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with gateway.connect() as client:
        client.sendall(head + (b"10000\r\n" + b"y" * 0x10000 + b"\r\n") * 8)
        raw.until(lambda: gateway.metrics.running == 1)
        client.sendall(b"zz\r\n")
        assert raw.parse(raw.read_all(client))[0] == 400
    assert engine.events("begun") == []


def test_answers_before_a_bad_request_are_given(gateway, raw):
    answers = gateway.exchange(raw.post(stream=True) + b"nonsense\r\n\r\n")
    assert answers.index(b"[DONE]") < answers.index(b"HTTP/1.1 400 ")
