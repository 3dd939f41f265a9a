"""HTTP/1.1 heads: the client's are checked, and all that the gateway sends are made afresh."""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from math import ceil

from nimctl.core.engine_address import EngineAddress

RETRY_AFTER_S = 5.0
"""When to try again where nobody can tell."""

LONGEST_RETRY_AFTER_S = 120
BAD_REQUEST = "bad_request"
_TRY_AGAIN = (429, 502, 503)

_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_PRINTABLE = re.compile(rb"[\x20-\x7e\t]*")
_FORWARDED_TO_ENGINE = ("content-type", "accept", "traceparent", "tracestate")
# A second one of these is two different requests to two different readers.
_AT_MOST_ONCE = frozenset(
    {"host", "content-type", "content-encoding", "authorization", "x-api-key", "expect"}
)
# Hop by hop, or the gateway's own business: the request id, who may call from a web page; or what
# an engine elsewhere asks a browser to keep for its own origin.
_NOT_FORWARDED_TO_CLIENT = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate te trailer upgrade "
    b"server x-request-id set-cookie alt-svc strict-transport-security www-authenticate".split()
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A whole response made by the gateway itself."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def json_answer(document: object) -> Answer:
    """A 200 with a JSON body."""
    return Answer(status=200, body=json.dumps(document).encode())


def error_document(status: int, message: str, code: str, param: str | None = None) -> bytes:
    """An error in OpenAI's shape, as JSON."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    return json.dumps({"error": error}).encode()


def error_answer(
    status: int,
    message: str,
    code: str,
    *,
    param: str | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    retry_after_s: float | None = None,
) -> Answer:
    """A whole error response in OpenAI's shape; 429, 502 and 503 say when to try again."""
    if status in _TRY_AGAIN:
        wait_s = RETRY_AFTER_S if retry_after_s is None else retry_after_s
        whole = min(max(1, ceil(wait_s)), LONGEST_RETRY_AFTER_S)
        headers = (*headers, ("retry-after", str(whole)))
    return Answer(status=status, body=error_document(status, message, code, param), headers=headers)


class RefusedError(Exception):
    """A request the gateway does not pass on; `answer` is what the client gets instead."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.answer = error_answer(
            status, message, code, param=param, headers=headers, retry_after_s=retry_after_s
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestHead:
    """A request line and headers that passed every check; the defaults stand for one that did not.

    Attributes:
        headers: By lower-case name; repeated ones are joined by a comma.
        content_length: Bytes of the body; None when it is chunked or absent.
        keep_alive: The client wants, and understands how, to send another request.
        http10: The client cannot read a chunked answer.
        request_id: The client's when it is a safe one, else a fresh one.
    """

    method: str = "-"
    path: str = "-"
    query: str = ""
    headers: dict[str, bytes] = field(default_factory=dict)
    content_length: int | None = None
    keep_alive: bool = False
    http10: bool = False
    expects_continue: bool = False
    request_id: str = field(default_factory=lambda: os.urandom(16).hex())


def read_request_head(
    *,
    method: bytes,
    target: bytes,
    version: str,
    keep_alive: bool,
    lines: list[tuple[bytes, bytes]],
) -> RequestHead:
    """Check what the parser let through and the rest of what a request head must be.

    The parser itself refuses bad lengths, two lengths, a length beside a transfer coding,
    folded lines, bare line feeds and control characters; tests hold it to that.

    Raises:
        RefusedError: 400, 415, 417, 501 or 505, saying what is wrong.
    """
    if version not in ("1.0", "1.1"):
        raise RefusedError(505, "Speak HTTP/1.1.", "unsupported_version")
    headers = _gather(lines)
    if version == "1.1" and "host" not in headers:
        raise RefusedError(400, "The Host header is missing.", BAD_REQUEST)
    coding = headers.get("transfer-encoding")
    if coding is not None and version == "1.0":
        raise RefusedError(400, "HTTP/1.0 knows no Transfer-Encoding.", BAD_REQUEST)
    if coding is not None and coding.lower() != b"chunked":
        raise RefusedError(501, "The only transfer coding is chunked.", "unsupported_coding")
    if headers.get("content-encoding", b"identity").lower() != b"identity":
        raise RefusedError(415, "Send the body uncompressed.", "unsupported_encoding")
    expectation = headers.get("expect", b"").lower()
    if expectation not in (b"", b"100-continue"):
        raise RefusedError(417, "Unknown expectation.", "unknown_expectation")
    path, _, query = _origin_form(target.decode("latin-1")).partition("?")
    given_id = headers.get("x-request-id", b"").decode("latin-1")
    length = headers.get("content-length")
    return RequestHead(
        method=method.decode(),
        path=path,
        query=query,
        headers=headers,
        content_length=None if length is None else int(length),
        keep_alive=keep_alive and version == "1.1",
        http10=version == "1.0",
        expects_continue=expectation != b"" and version == "1.1",
        **({"request_id": given_id} if _REQUEST_ID.fullmatch(given_id) else {}),
    )


def _gather(lines: Iterable[tuple[bytes, bytes]]) -> dict[str, bytes]:
    headers: dict[str, bytes] = {}
    for raw_name, raw_value in lines:
        name, value = raw_name.decode("latin-1").lower(), raw_value.strip(b" \t")
        if name in headers:
            if name in _AT_MOST_ONCE:
                raise RefusedError(400, f"The header {name} came twice.", BAD_REQUEST)
            value = headers[name] + b", " + value
        headers[name] = value
    for name in _FORWARDED_TO_ENGINE:
        if not _PRINTABLE.fullmatch(headers.get(name, b"")):
            raise RefusedError(400, f"The header {name} is not plain ASCII.", BAD_REQUEST)
    return headers


def _origin_form(target: str) -> str:
    target = target.partition("#")[0]
    if target.startswith("/"):
        return target
    _, scheme_end, rest = target.partition("://")
    return "/" + rest.partition("/")[2] if scheme_end else target


def render_answer(
    answer: Answer, *, head: RequestHead, close: bool, more: Iterable[tuple[str, str]] = ()
) -> bytes:
    """The bytes of a whole response to `head`, with `more` headers; without the body if HEAD
    asked.
    """
    lines = [
        ("content-type", answer.content_type),
        ("content-length", str(len(answer.body))),
        ("date", formatdate(usegmt=True)),
        ("x-request-id", head.request_id),
        *answer.headers,
        *more,
    ]
    if close:
        lines.append(("connection", "close"))
    text = "".join(f"{name}: {value}\r\n" for name, value in lines)
    body = b"" if head.method == "HEAD" else answer.body
    return _STATUS_LINES[answer.status] + text.encode("latin-1", "replace") + b"\r\n" + body


def render_engine_head(
    head: RequestHead, address: EngineAddress, content_length: int | None
) -> bytes:
    """The head of the engine's request, made from checked parts; chunked without a length."""
    target = address.target(head.path)
    lines = [
        *render_engine_lines(
            head.method, f"{target}?{head.query}" if head.query else target, address
        ),
        f"x-request-id: {head.request_id}",
    ]
    for name in _FORWARDED_TO_ENGINE:
        if name in head.headers:
            lines.append(f"{name}: {head.headers[name].decode('ascii')}")
    lines.append(
        "transfer-encoding: chunked"
        if content_length is None
        else f"content-length: {content_length}"
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def render_engine_lines(method: str, target: str, address: EngineAddress) -> list[str]:
    """How every request to the engine begins; its key goes to nobody else."""
    lines = [f"{method} {target} HTTP/1.1", f"host: {address.host_header}", "user-agent: nimctl"]
    if address.authorization is not None:
        lines.append(f"authorization: {address.authorization}")
    return lines


def render_response_head(
    *,
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    request_id: str,
    close: bool,
    unchunk: bool,
    more: Iterable[tuple[str, str]] = (),
) -> bytes:
    """The head of a spliced response, made from the engine's.

    Args:
        unchunk: Leave the transfer coding away: the body goes on without its frames.
        more: Headers of the gateway's own.
    """
    parts = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n".encode()]
    for name, value in headers:
        lower = name.lower()
        dropped = lower in _NOT_FORWARDED_TO_CLIENT or lower.startswith(b"access-control-")
        if not dropped and not (unchunk and lower == b"transfer-encoding"):
            parts.append(b"%b: %b\r\n" % (lower, value))
    parts.append(b"x-request-id: %b\r\n" % request_id.encode())
    parts += [f"{name}: {value}\r\n".encode("latin-1") for name, value in more]
    parts.append(b"connection: close\r\n\r\n" if close else b"\r\n")
    return b"".join(parts)


def render_chunk(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
