"""A client's connection: answers its requests in turn, and ends what takes too long."""

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable
from typing import cast

from nimctl.server.gateway.admission import Turn
from nimctl.server.gateway.answers import require_engine
from nimctl.server.gateway.body import take_checked_body
from nimctl.server.gateway.exchange import Exchange
from nimctl.server.gateway.reader import BODY_TOO_LONG, RequestReader
from nimctl.server.gateway.route import Route
from nimctl.server.gateway.routes import find_route
from nimctl.server.gateway.service import Service
from nimctl.server.gateway.splice import Splice
from nimctl.server.gateway.usage import has_said_all
from nimctl.server.gateway.wire import (
    Answer,
    RefusedError,
    RequestHead,
    error_answer,
    render_answer,
)

# nginx's number for a client that left before it was answered.
CLIENT_CLOSED_REQUEST = 499
# How long a refused client may go on sending before its connection is torn down.
LINGER_S = 2.0
_TRACED = ("generation", "management")
_TOO_SLOW = error_answer(408, "The request came too slowly.", "request_timeout")


class ClientConnection(asyncio.Protocol):
    """One connection. What arrives is read into a queue, whose first request is carried out."""

    transport: asyncio.Transport

    def __init__(self, service: Service, clients: set["ClientConnection"]) -> None:
        """Serve one connection of `service`, registered in `clients` while it is open."""
        self._service = service
        self._clients = clients
        self._reader = RequestReader(service.config)
        self._queue = self._reader.queue
        # Of the first request in the queue:
        self._route: Route | None = None
        self._turn: Turn | None = None
        self._splice: Splice | None = None
        self._task: asyncio.Task[None] | None = None
        self._ahead_bytes = 0
        self._choked = False
        self._closing = False
        self._awaiting = ""
        self._deadline_s = math.inf

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._clients.add(self)
        self._service.metrics.connections += 1
        self._set_deadline()

    def data_received(self, data: bytes) -> None:
        if self._queue and (self._choked or self._queue[0].body_complete):
            self._ahead_bytes += len(data)
            if self._ahead_bytes > self._service.config.max_parsed_body_bytes:
                self.transport.pause_reading()
        self._reader.feed(data)
        self._advance()

    def eof_received(self) -> None:
        """A client that closes its side has left, as far as anybody can tell."""
        self._abandon()

    def connection_lost(self, exc: Exception | None) -> None:
        self._abandon()
        self._closing = True
        self._clients.discard(self)
        self._service.metrics.connections -= 1

    def _abandon(self) -> None:
        """Give up what is being answered: nobody is there to read it."""
        if self._task is not None:
            self._task.cancel()
        if self._queue:
            self._cut_by_client(self._queue[0])
        self._reader.close()

    def pause_writing(self) -> None:
        """The client reads slowly: hold the engine, and start no further answer."""
        self._choked = True
        if self._splice is not None:
            self._splice.pause()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._choked = False
        if self._splice is not None:
            self._splice.resume()
        self._advance()

    @property
    def answered_bytes(self) -> int:
        """What the engine has given so far of the answer under way."""
        return self._splice.answered_bytes if self._splice is not None else 0

    def drain(self) -> None:
        """Close now if nothing is being asked, else after the answers that are under way."""
        if not self._queue and not self._reader.in_head:
            self._close()

    def stop(self) -> None:
        """End the answer under way visibly, and close."""
        if self._splice is not None:
            self._splice.stop("drain", "The server is shutting down.")
        else:
            self._close()

    # The first request in the queue

    def _advance(self) -> None:
        """Carry out the first request as far as it goes, then those behind it."""
        while self._queue and self._task is None and not (self._choked or self._closing):
            exchange = self._queue[0]
            try:
                if exchange.refusal is not None:
                    self._give_up(exchange, exchange.refusal)
                elif self._splice is not None:
                    self._splice.forward_body()
                elif self._may_judge(exchange):
                    self._carry_out(exchange)
            except RefusedError as refused:
                self._answer(exchange, refused.answer)
            if self._queue and exchange is self._queue[0]:
                break  # it waits for the client or for the engine
        self._set_deadline()

    def _may_judge(self, exchange: Exchange) -> bool:
        return exchange.body_complete or exchange.head.expects_continue or self._is_large(exchange)

    def _is_large(self, exchange: Exchange) -> bool:
        size = max(exchange.body_bytes, exchange.head.content_length or 0)
        return size > self._service.config.max_parsed_body_bytes

    def _carry_out(self, exchange: Exchange) -> None:
        question = self._answer_question(exchange.head)
        if question is not None:
            self._answer(exchange, question)
            return
        if self._route is None:
            self._route = self._admit(exchange)
        if self._route.needs_engine and not self._has_engine(exchange):
            return
        if exchange.head.expects_continue and not exchange.continued:
            exchange.continued = True
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        large = self._is_large(exchange)
        if not (exchange.body_complete or large):
            return
        if self._route.respond is None:
            if not self._has_turn():
                if large:  # its body must not gather here
                    self.transport.pause_reading()
                return
            body = None if large else take_checked_body(self._service, exchange)
            address = require_engine(self._service)
            self._service.begin(exchange)
            self._splice = Splice(self._service, self, exchange, address=address, body=body)
            return
        answer = self._route.respond(self._service, exchange.head)
        if isinstance(answer, Answer):
            self._answer(exchange, answer)
        else:
            later = self._answer_later(exchange, answer)
            self._task = asyncio.get_running_loop().create_task(later)

    def _answer_question(self, head: RequestHead) -> Answer | None:
        cors = self._service.config.cors
        return None if cors is None else cors.answer_question(head)

    def _has_turn(self) -> bool:
        """Whether the request may go to the engine now; else it waits, and goes on by itself.

        Raises:
            RefusedError: 429, too many wait.
        """
        if self._turn is None:
            self._turn = self._service.admission.ask(self._advance)
        return self._turn.has_come

    def _admit(self, exchange: Exchange) -> Route:
        """The route, if this caller may take it now with such a body."""
        head, service = exchange.head, self._service
        route = find_route(head, service.model.offer)
        exchange.route = route.path
        if route.key_class is not None:
            exchange.key_name = service.keys.check(head, route.key_class)
        if service.tracing is not None and route.key_class in _TRACED:
            service.tracing.begin(exchange)
        if (head.content_length or 0) > service.config.max_body_bytes:
            raise RefusedError(*BODY_TOO_LONG)
        return route

    def _has_engine(self, exchange: Exchange) -> bool:
        """False while the request waits for an engine that will be back soon; refused if not."""
        engine, hold_s = self._service.engine, self._service.config.hold_s
        may_wait = self._route is not None and self._route.respond is None and not exchange.held
        if engine.address is None and may_wait and engine.is_expected_within(hold_s):
            exchange.held = True
            self._task = asyncio.get_running_loop().create_task(self._wait_for_engine(exchange))
            return False
        require_engine(self._service)
        return True

    async def _wait_for_engine(self, exchange: Exchange) -> None:
        arriving = not exchange.body_complete
        if arriving:
            self.transport.pause_reading()  # a body may be long; nobody takes it yet
        await self._service.engine.until_settled(self._service.config.hold_s)
        self._task = None
        if arriving:
            self.transport.resume_reading()
        self._advance()

    def _give_up(self, exchange: Exchange, refusal: Answer) -> None:
        """Answer a request that broke off; an answer that has begun just ends with it."""
        if exchange.status:
            self._cut_by_client(exchange)
            self._close(linger=True)
            return
        if self._splice is not None:
            self._splice.abort()
        self._answer(exchange, refusal)

    def _cut_by_client(self, exchange: Exchange) -> None:
        if self._splice is not None:
            self._splice.abort()
        exchange.status = exchange.status or CLIENT_CLOSED_REQUEST
        exchange.cut_by = None if has_said_all(exchange.last_bytes) else "client"
        self._retire(exchange)

    # Its answer

    async def _answer_later(self, exchange: Exchange, answer: Awaitable[Answer]) -> None:
        self.answer(exchange, await answer)

    def answer(self, exchange: Exchange, answer: Answer) -> None:
        """Answer the first request, and go on with the next."""
        self._answer(exchange, answer)
        self._advance()

    def done(self, exchange: Exchange, *, keep_alive: bool) -> None:
        """The engine's response to the first request is over: go on with the next, or close."""
        self._retire(exchange)
        if keep_alive and not self._service.draining:
            self._advance()
        else:
            self._close(linger=not exchange.body_complete)

    def _answer(self, exchange: Exchange, answer: Answer) -> None:
        whole = exchange.body_complete and exchange.refusal is None
        keep_alive = whole and exchange.head.keep_alive and not self._service.draining
        cors = self._service.config.cors
        more = () if cors is None else cors.headers_for(exchange.head)
        self.transport.write(
            render_answer(answer, head=exchange.head, close=not keep_alive, more=more)
        )
        exchange.status = answer.status
        exchange.sent_bytes = len(answer.body)
        self._retire(exchange)
        if not keep_alive:
            self._close(linger=not whole)

    def _retire(self, exchange: Exchange) -> None:
        self._queue.popleft()
        if self._turn is not None:
            self._turn.end()
        self._route = self._turn = self._splice = self._task = None
        self._ahead_bytes = 0
        self.transport.resume_reading()
        self._service.settle(exchange)

    # The end

    def _close(self, *, linger: bool = False) -> None:
        """Close when all is sent.

        Args:
            linger: The client may still be sending. A connection closed with unread input is
                reset, and the reset can overtake the answer; so read on for a while.
        """
        self._reader.close()
        self._closing = True
        if self._task is not None:
            self._task.cancel()
        if linger and not self.transport.is_closing():
            with contextlib.suppress(OSError):  # the client is gone already
                if self.transport.can_write_eof():  # by TLS nothing tells that but the end
                    self.transport.write_eof()
            self._await("linger", LINGER_S)
        else:
            self.transport.close()

    def _set_deadline(self) -> None:
        config = self._service.config
        if self._closing:
            return
        if self._queue:
            receiving = not self._queue[0].body_complete
            self._await("body" if receiving else "", config.head_timeout_s)
        elif not self._reader.in_head:
            self._await("idle", config.keep_alive_s)
        elif self._awaiting != "head":
            self._await("head", config.head_timeout_s)

    def _await(self, what: str, seconds: float) -> None:
        self._awaiting = what
        self._deadline_s = time.monotonic() + seconds if what else math.inf

    def check_deadline(self, now_s: float) -> None:
        """End what the client has not done in time; called now and then."""
        if now_s < self._deadline_s:
            return
        if self._awaiting == "linger":
            self.transport.abort()
        elif self._awaiting == "idle":
            self._close()
        elif self.transport.is_reading():
            self._reader.refuse(_TOO_SLOW)
            self._advance()
        else:
            self._set_deadline()  # it is the engine that makes the client wait
