"""One request on its way through the gateway: what was asked, and how it went."""

import time
from typing import TYPE_CHECKING

from nimctl.server.gateway.config import AccessRecord
from nimctl.server.gateway.wire import Answer, RequestHead

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class Exchange:
    """What is known of one request; filled in as it arrives and is answered.

    Attributes:
        refusal: What to answer instead of carrying the request out.
        pieces: Parts of the body that arrived and were not passed on yet.
        in_engine: It was given to the engine.
        status: What the client was answered; 0 before that.
        cut_by: Who ended an answer before its end.
        held: It has waited for an engine that was not ready, and waits no more.
        continued: The client was told to send the body it had announced.
        adapter: The LoRA adapter that was to be loaded or unloaded.
        is_event_stream: The engine answers with server-sent events.
        last_bytes: The end of the engine's answer; counts of tokens are in it.
        span: Of a trace, where those are asked for.
    """

    def __init__(self, head: RequestHead) -> None:
        self.head = head
        self.route = "other"
        self.key_name: str | None = None
        self.refusal: Answer | None = None
        self.pieces: list[bytes] = []
        self.body_bytes = 0
        self.body_complete = False
        self.started_s = time.monotonic()
        self.first_byte_s: float | None = None
        self.in_engine = False
        self.status = 0
        self.sent_bytes = 0
        self.cut_by: str | None = None
        self.held = False
        self.continued = False
        self.adapter: str | None = None
        self.is_event_stream = False
        self.last_bytes = b""
        self.span: Span | None = None

    def take_body(self) -> bytes:
        """The body parts that were not passed on yet, which then count as passed on."""
        data = b"".join(self.pieces)
        self.pieces.clear()
        return data

    def record(self) -> AccessRecord:
        """What an access log may show of this request."""
        return AccessRecord(
            method=self.head.method,
            path=self.head.path,
            status=self.status,
            duration_s=time.monotonic() - self.started_s,
            sent_bytes=self.sent_bytes,
            request_id=self.head.request_id,
            first_byte_s=self.first_byte_s,
            cut_by=self.cut_by,
            key_name=self.key_name,
        )
