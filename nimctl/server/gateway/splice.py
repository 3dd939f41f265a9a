"""Joins one client's request to one engine connection, and passes the answer on as it comes."""

import asyncio
import time
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from nimctl.core.engine_address import EngineAddress
from nimctl.server.gateway.exchange import Exchange
from nimctl.server.gateway.reach import connect, explain
from nimctl.server.gateway.service import Service
from nimctl.server.gateway.wire import (
    Answer,
    error_answer,
    error_document,
    render_chunk,
    render_engine_head,
    render_response_head,
)

MAX_ENGINE_HEAD_BYTES = 64 * 1024
UNAUTHORIZED = 401
# The end of an answer tells its tokens; what is shorter than this is `[DONE]` or the last chunk.
TELLING_BYTES = 32
KEPT_BYTES = 4096
HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class EngineFailedError(Exception):
    """The engine's answer is none for a client; says why in a sentence."""


class Client(Protocol):
    """The client's side, as far as a splice uses it."""

    transport: asyncio.Transport

    def answer(self, exchange: Exchange, answer: Answer) -> None:
        """Answer the request with something else than the engine's response."""

    def done(self, exchange: Exchange, *, keep_alive: bool) -> None:
        """The response has ended, or was cut and will never end."""


class Splice(asyncio.Protocol):
    """The engine's side of one request: sends it, relays the response, cleans up after both ends.

    Body bytes are relayed as they are, chunk frames included; the parser only says where the
    response ends. Frames are taken off for a client that speaks HTTP/1.0.
    """

    def __init__(
        self,
        service: Service,
        client: Client,
        exchange: Exchange,
        *,
        address: EngineAddress,
        body: bytes | None,
    ) -> None:
        """Send `exchange` to the engine; without a whole `body`, pieces are sent as they come."""
        self._service = service
        self._client = client
        self._exchange = exchange
        self._address = address
        self._body = body
        self._write = client.transport.write
        self._unchunk = exchange.head.http10
        self._keep_client = False
        self._keep_engine = False
        self._response = _UnframedResponse() if self._unchunk else _Response()
        self._parser = HttpResponseParser(self._response)
        self._engine: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._head = b""
        self._flowing = False
        self._sent_bytes = 0
        self._last = self._before_last = self._mark = b""
        self._over = False
        # A body that is streamed cannot be sent twice, so it gets a connection that is not stale.
        reused = service.pool.take(address) if body is not None else None
        self._reused = reused is not None
        if reused is not None:
            reused.set_protocol(self)
            self.connection_made(reused)
        else:
            self._open_connection()

    def _open_connection(self) -> None:
        self._reused = False
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        if self._body is None:
            self._client.transport.pause_reading()
        try:
            await connect(self._address, self)
        except OSError as error:
            self._connecting = None
            cause = f"The engine at {self._address} cannot be reached: {explain(error)}."
            self._engine_failed(cause, status=503)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._engine = engine = cast(asyncio.Transport, transport)
        # From here on a cancelled connect would close a connection that may be in the pool again.
        self._connecting = None
        if self._over:
            engine.abort()
            return
        head = self._exchange.head
        if self._body is not None:
            length = len(self._body)
            engine.write(render_engine_head(head, self._address, length) + self._body)
        else:
            engine.write(render_engine_head(head, self._address, head.content_length))
            self.resume_writing()
            self.forward_body()

    def forward_body(self) -> None:
        """Send on what arrived of a body that is streamed."""
        if self._engine is None or self._body is not None:
            return
        data = self._exchange.take_body()
        chunked = self._exchange.head.content_length is None
        if data:
            self._engine.write(render_chunk(data) if chunked else data)
        if self._exchange.body_complete:
            self._body = b""
            if chunked:
                self._engine.write(LAST_CHUNK)

    def pause_writing(self) -> None:
        """The engine reads slowly: let the client wait."""
        if not self._over:
            self._client.transport.pause_reading()

    def resume_writing(self) -> None:
        """The engine reads again."""
        if not self._over:
            self._client.transport.resume_reading()

    # Towards the client

    def data_received(self, data: bytes) -> None:
        # Called for every chunk of every stream: here each line counts.
        head = b""
        try:
            if not self._flowing:
                head, data = self._before_flow(data)
                if not head and not data:
                    return
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._engine_failed(f"The engine sent what is not HTTP: {error}.")
            return
        except EngineFailedError as failure:
            self._engine_failed(str(failure))
            return
        if self._unchunk:
            data = self._response.take_body()
        size = len(data)
        self._sent_bytes += size
        if size > TELLING_BYTES:
            self._before_last = self._last
            self._last = data
        else:
            self._mark = data
        self._write(head + data if head else data)
        if self._response.complete:
            self._finish()

    def _before_flow(self, data: bytes) -> tuple[bytes, bytes]:
        """Split the start of the response into the head to relay, once whole, and body bytes."""
        head = b""
        if not self._exchange.status:
            self._reused = False
            head, data = self._read_head(data)
        if data:
            self._flowing = True
            self._exchange.first_byte_s = waited_s = time.monotonic() - self._exchange.started_s
            self._service.metrics.first_byte.observe(waited_s)
            if self._response.is_event_stream:
                self._exchange.is_event_stream = True
                self._service.metrics.first_token.observe(waited_s)
        return head, data

    def _read_head(self, data: bytes) -> tuple[bytes, bytes]:
        data = self._head + data
        while (end := data.find(HEAD_END)) >= 0:
            end += len(HEAD_END)
            self._parser.feed_data(data[:end])
            data = data[end:]
            status = self._parser.get_status_code()
            if status == UNAUTHORIZED:  # the client's own key was right: it is here
                raise EngineFailedError("The engine refuses the key it is given.")
            if status >= 200:
                self._head = b""
                return self._accept_head(status), data
            self._response.forget_interim()
        if len(data) > MAX_ENGINE_HEAD_BYTES:
            raise HttpParserError("its head is too long")
        self._head = data
        return b"", b""

    def _accept_head(self, status: int) -> bytes:
        response, exchange = self._response, self._exchange
        response.read_framing(status)
        self._keep_engine = self._parser.should_keep_alive()
        self._keep_client = (
            exchange.head.keep_alive
            and exchange.body_complete
            and response.framing != "close"
            and not self._service.draining
        )
        exchange.status = status
        if self._body:
            self._body = b""  # it will not be sent again
        cors = self._service.config.cors
        return render_response_head(
            status=status,
            headers=response.headers,
            request_id=exchange.head.request_id,
            close=not self._keep_client,
            unchunk=self._unchunk,
            more=() if cors is None else cors.headers_for(exchange.head),
        )

    def _finish(self) -> None:
        engine = self._engine
        if engine is not None and self._keep_engine and self._exchange.body_complete:
            self._engine = None
            self._service.pool.give(self._address, engine)
        self.abort()
        self._client.done(self._exchange, keep_alive=self._keep_client)

    @property
    def answered_bytes(self) -> int:
        """What the engine has given so far: its sign of life. A failure is none."""
        return self._sent_bytes if self._exchange.status < 500 else 0

    def pause(self) -> None:
        """The client reads slowly: let the engine wait."""
        self._forget_all_but_the_end()
        if self._engine is not None:
            self._engine.pause_reading()

    def _forget_all_but_the_end(self) -> None:
        self._before_last = self._before_last[-KEPT_BYTES:]
        self._last = self._last[-KEPT_BYTES:]

    def resume(self) -> None:
        """The client reads again."""
        if self._engine is not None:
            self._engine.resume_reading()

    # Ends that are not the end of the response

    def abort(self) -> None:
        """End without a word: the engine learns at once that nobody waits for its answer."""
        if not self._over:
            self._service.answered_bytes += self.answered_bytes
        self._over = True
        self._exchange.sent_bytes = self._sent_bytes
        self._forget_all_but_the_end()
        self._exchange.last_bytes = self._before_last + self._last + self._mark
        if self._connecting is not None:
            self._connecting.cancel()
        if self._engine is not None:
            self._engine.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._engine = None
        if self._over:
            return
        if self._reused:
            # It went stale in the pool before it heard of this request: not the engine's fault.
            self._open_connection()
        elif self._response.framing == "close" and exc is None:
            self._finish()
        else:
            self._engine_failed("The engine closed a connection before its answer ended.")

    def _engine_failed(self, cause: str, *, status: int = 502) -> None:
        self._service.on_engine_trouble(cause)
        self.stop("engine", "The engine failed to answer; try again.", status=status)

    def stop(self, by: str, message: str, *, status: int = 503) -> None:
        """Answer `status` where nothing was answered yet, else cut the answer visibly."""
        self.abort()
        if not self._exchange.status:
            soon_s = self._service.engine.expected_in_s
            answer = error_answer(status, message, "engine_failed", retry_after_s=soon_s)
            self._client.answer(self._exchange, answer)
            return
        self._exchange.cut_by = by
        self._write_error_event(message)
        self._client.done(self._exchange, keep_alive=False)

    def _write_error_event(self, message: str) -> None:
        framing = self._response.framing
        if not self._response.is_event_stream or framing == "length":
            return
        event = b"\n\ndata: %b\n\n" % error_document(502, message, "engine_failed")
        if framing == "chunked" and not self._unchunk:
            if not self._between_chunks():
                return
            event = render_chunk(event)
        self._write(event)

    def _between_chunks(self) -> bool:
        """Whether the response would be whole if its last chunk came now."""
        try:
            self._parser.feed_data(LAST_CHUNK)
        except HttpParserError:
            return False
        return self._response.complete


class _Response:
    """What the parser says about the engine's response.

    Attributes:
        framing: How the body's end is marked: by a last chunk (`chunked`), a `length`, or the
            connection's `close`; `unknown` before the head is whole.
    """

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.framing = "unknown"
        self.is_event_stream = False
        self._pieces: list[bytes] = []

    def on_message_begin(self) -> None:
        if self.complete:
            raise HttpParserError("more than one response came")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_message_complete(self) -> None:
        self.complete = True

    def read_framing(self, status: int) -> None:
        """Understand the headers of a final response."""
        headers = {name.lower(): value for name, value in self.headers}
        self.is_event_stream = headers.get(b"content-type", b"").startswith(b"text/event-stream")
        if b"transfer-encoding" in headers:
            self.framing = "chunked"
        elif b"content-length" in headers or status in (204, 304):
            self.framing = "length"
        else:
            self.framing = "close"

    def forget_interim(self) -> None:
        """Drop what a 1xx response said."""
        self.headers.clear()
        self.complete = False

    def take_body(self) -> bytes:
        """The body without its frames, where they were asked to be taken off."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


class _UnframedResponse(_Response):
    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)
