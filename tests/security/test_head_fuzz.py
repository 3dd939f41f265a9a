"""Hypothesis against the reader of requests: whatever comes, in whatever pieces, is an answer."""

from itertools import pairwise

from httptools import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from nimctl.core.engine_address import EngineAddress
from nimctl.server.gateway import GatewayConfig
from nimctl.server.gateway.reader import RequestReader
from nimctl.server.gateway.wire import render_answer, render_engine_head

CONFIG = GatewayConfig(max_head_bytes=4096, max_body_bytes=4096)
ENGINE = EngineAddress(uds="/engine.sock")

METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"get", b"", b"PRI"])
TARGETS = st.one_of(
    st.sampled_from([b"/v1/chat/completions", b"*", b"http://x/v1", b"/?a=b#c", b"/%2e%2e/", b""]),
    st.binary(max_size=40),
)
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"", b"http/1.1"])
NAMES = st.one_of(
    st.sampled_from(
        b"Host Content-Length Transfer-Encoding Connection Expect Upgrade Accept Content-Type "
        b"traceparent X-Request-Id Authorization Content-Encoding Trailer".split()
    ),
    st.binary(max_size=12),
)
VALUES = st.one_of(
    st.sampled_from(
        [b"0", b"5", b"-1", b"chunked", b"gzip, chunked", b"close", b"100-continue", b"h2c", b"x"]
    ),
    st.binary(max_size=24),
)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"])
BODIES = st.one_of(
    st.sampled_from([b"5\r\nhello\r\n0\r\n\r\n", b"hello", b""]), st.binary(max_size=60)
)


@st.composite
def requests(draw):
    """A request as it might be, with anything of it as it must not."""
    end = draw(ENDS)
    lines = [b" ".join([draw(METHODS), draw(TARGETS), draw(VERSIONS)])]
    if draw(st.booleans()):
        lines.append(b"Host: x")
    for name, value in draw(st.lists(st.tuples(NAMES, VALUES), max_size=6)):
        lines.append(name + draw(st.sampled_from([b": ", b":", b" : ", b""])) + value)
    return end.join(lines) + end + draw(ENDS) + draw(BODIES)


STREAMS = st.one_of(
    st.lists(requests(), min_size=1, max_size=3).map(b"".join), st.binary(max_size=200)
)


def read(data, cuts=()):
    """What a reader makes of `data` that comes in pieces: (method, path, status, body) of each."""
    reader = RequestReader(CONFIG)
    places = [0, *sorted(cuts), len(data)]
    for begin, stop in pairwise(places):
        if begin < stop:
            reader.feed(data[begin:stop])
    return [
        (
            one.head.method,
            one.head.path,
            None if one.refusal is None else one.refusal.status,
            b"".join(one.pieces) if one.refusal is None else b"",
        )
        for one in reader.queue
    ], reader


@given(STREAMS, st.data())
def test_pieces_do_not_change_what_is_read(data, draw):
    cuts = draw.draw(st.lists(st.integers(0, len(data)), max_size=20))
    whole, _ = read(data)
    assert read(data, cuts)[0] == whole
    assert read(data, range(len(data)))[0] == whole


@given(STREAMS)
def test_every_request_gets_a_proper_answer_or_goes_on_as_one_request(data):
    for exchange in read(data)[1].queue:
        head = exchange.head
        if exchange.refusal is not None:
            assert 400 <= exchange.refusal.status <= 505
            assert render_answer(exchange.refusal, head=head, close=True).startswith(b"HTTP/1.1 ")
            continue
        again = Heard()
        parser = HttpRequestParser(again)
        parser.feed_data(render_engine_head(head, ENGINE, 0))
        assert again.count == 1
        assert parser.get_method().decode() == head.method
        assert again.target.partition(b"?")[0].decode() == head.path


class Heard:
    """What an engine's parser makes of a head."""

    count, target = 0, b""

    def on_url(self, url):
        self.target += url

    def on_message_complete(self):
        self.count += 1
