"""Turns the bytes of a client's connection into requests, and refuses what is not proper HTTP."""

from collections import deque

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from nimctl.server.gateway.config import GatewayConfig
from nimctl.server.gateway.exchange import Exchange
from nimctl.server.gateway.wire import (
    BAD_REQUEST,
    Answer,
    RefusedError,
    RequestHead,
    error_answer,
    read_request_head,
)

MAX_HEADERS = 100
MAX_WAITING_REQUESTS = 256
HEAD_TOO_LONG = (431, "The request's head is too long.", "head_too_long")
BODY_TOO_LONG = (413, "The request's body is too long.", "body_too_long")


class RequestReader:
    """Reads requests one behind the other.

    Attributes:
        queue: Requests that are not answered yet, in order; the last may still be arriving.
        in_head: The beginning of a head has arrived, and not its end.
        ended: Nothing more is read: a request was refused, or the connection ends.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self.queue: deque[Exchange] = deque()
        self.in_head = False
        self.ended = False
        self._config = config
        self._parser = HttpRequestParser(self)
        self._receiving: Exchange | None = None
        self._target = b""
        self._lines: list[tuple[bytes, bytes]] = []
        # Since a head began or body came: what else comes is a head's rest, a trailer, or a trick.
        self._barren_bytes = 0

    def feed(self, data: bytes) -> None:
        """Read on; what `data` completes or begins is in `queue` afterwards."""
        self._barren_bytes += len(data)
        while data and not self.ended:
            try:
                self._parser.feed_data(data)
                data = b""
            except HttpParserUpgrade as offer:
                data = self._without_upgrade() + data[offer.args[0] :]
            except HttpParserCallbackError:
                raise
            except HttpParserError as error:
                self.refuse(error_answer(400, f"This is not HTTP: {error}.", BAD_REQUEST))
        if self._barren_bytes > self._config.max_head_bytes and not self.ended:
            self.refuse(error_answer(*HEAD_TOO_LONG))

    def refuse(self, answer: Answer) -> None:
        """Read no further, and have this answered after all that came before."""
        if self.ended:
            return  # the parser reads on to the end of what it was fed
        self.ended = True
        exchange = self._receiving
        if exchange is None or exchange.body_complete:
            exchange = Exchange(RequestHead())
            self.queue.append(exchange)
        exchange.refusal = answer

    def close(self) -> None:
        """Read no further, and forget what is not answered."""
        self.ended = True
        self.queue.clear()

    def _without_upgrade(self) -> bytes:
        """Start the request over without its offer to upgrade, which a server may ignore."""
        method, version = self._parser.get_method(), self._parser.get_http_version().encode()
        self._parser = HttpRequestParser(self)
        lines = [b"%b: %b\r\n" % line for line in self._lines if line[0].lower() != b"upgrade"]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (method, self._target, version, b"".join(lines))

    # Called by the parser

    def on_message_begin(self) -> None:
        self.in_head = True
        self._barren_bytes = 0
        self._target = b""
        self._lines = []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:  # not a trailer
            self._lines.append((name, value))

    def on_headers_complete(self) -> None:
        self.in_head = False
        self._receiving = None
        parser = self._parser
        if parser.get_method() == b"CONNECT":
            self.refuse(error_answer(405, "This is no proxy.", "wrong_method"))
        if self.ended or parser.should_upgrade():
            return
        try:
            self._receiving = Exchange(self._read_head())
        except RefusedError as refused:
            self.refuse(refused.answer)
        else:
            self.queue.append(self._receiving)

    def _read_head(self) -> RequestHead:
        size = len(self._target) + sum(len(name) + len(value) + 4 for name, value in self._lines)
        if size > self._config.max_head_bytes or len(self._lines) > MAX_HEADERS:
            raise RefusedError(*HEAD_TOO_LONG)
        if len(self.queue) >= MAX_WAITING_REQUESTS:
            raise RefusedError(400, "Too many requests were sent ahead.", BAD_REQUEST)
        return read_request_head(
            method=self._parser.get_method(),
            target=self._target,
            version=self._parser.get_http_version(),
            keep_alive=self._parser.should_keep_alive(),
            lines=self._lines,
        )

    def on_body(self, data: bytes) -> None:
        exchange = self._receiving
        if exchange is None or self.ended:
            return
        self._barren_bytes = 0
        exchange.pieces.append(data)
        exchange.body_bytes += len(data)
        if exchange.body_bytes > self._config.max_body_bytes:
            self.refuse(error_answer(*BODY_TOO_LONG))

    def on_message_complete(self) -> None:
        if self._receiving is not None:
            self._receiving.body_complete = True
