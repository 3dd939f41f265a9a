"""One small question to the engine over HTTP, in the gateway's loop: cheap enough to ask always."""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from httptools import HttpParserError, HttpResponseParser

from nimctl.core.engine_address import EngineAddress
from nimctl.server.gateway.reach import explain, open_stream
from nimctl.server.gateway.wire import render_engine_lines

SCRAPE_TIMEOUT_S = 1.0
_READ_BYTES = 64 * 1024
_LONGEST_ANSWER_BYTES = 16 * 1024 * 1024


class NoAnswerError(Exception):
    """The engine gave no answer, or not in time.

    Attributes:
        nobody_listens: There is no engine.
        is_final: Asking again will not help: it is not to be believed, or not understood.
    """

    def __init__(
        self, reason: str, *, nobody_listens: bool = False, is_final: bool = False
    ) -> None:
        super().__init__(reason)
        self.nobody_listens = nobody_listens
        self.is_final = is_final


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineAnswer:
    """A whole answer of the engine."""

    status: int
    body: bytes


async def call_engine(
    address: EngineAddress, path: str, *, document: object = None, timeout_s: float | None
) -> EngineAnswer:
    """GET `path`, or POST a JSON `document` to it, on a connection of its own.

    Args:
        timeout_s: How long the whole of it may take; None waits for ever.

    Raises:
        NoAnswerError: it could not be reached, broke off, or took longer than `timeout_s`.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _call(address, path, document)
    except TimeoutError as error:
        raise NoAnswerError(f"no answer within {timeout_s:g} s") from error
    except (ConnectionRefusedError, FileNotFoundError) as error:
        raise NoAnswerError("nobody listens there", nobody_listens=True) from error
    except OSError as error:
        is_final = isinstance(error, ssl.SSLError)
        raise NoAnswerError(explain(error), is_final=is_final) from error
    except HttpParserError as error:
        raise NoAnswerError(f"what it sent is not HTTP: {error}") from error


async def scrape(address: EngineAddress, path: str) -> str:
    """The engine's page of metrics; empty when it has none or does not answer within a second."""
    if not path:
        return ""
    try:
        answer = await call_engine(address, path, timeout_s=SCRAPE_TIMEOUT_S)
    except NoAnswerError:
        return ""
    return answer.body.decode("utf-8", "replace") if answer.status == 200 else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenQuestion:
    """A request for one token: where it is sent, and what."""

    path: str
    document: Mapping[str, object]


def by_completion(model_name: str, *, words: int = 1) -> TokenQuestion:
    """A token that continues a text: every engine that nimctl starts does that.

    Args:
        words: Of the text, about a token each.
    """
    prompt = " ".join(["Hello"] * words)
    document = {"model": model_name, "prompt": prompt, "max_tokens": 1, "temperature": 0}
    return TokenQuestion(path="/v1/completions", document=document)


def by_chat(model_name: str, *, limit: str, tokens: int) -> TokenQuestion:
    """A token of a chat: all that some hosted endpoints do.

    Args:
        limit: What the endpoint calls the number of tokens: `max_tokens`, or newer
            `max_completion_tokens`, of which reasoning takes some.
    """
    messages = [{"role": "user", "content": "Hello"}]
    return TokenQuestion(
        path="/v1/chat/completions",
        document={"model": model_name, "messages": messages, limit: tokens},
    )


async def generate_token(
    address: EngineAddress, question: TokenQuestion, *, timeout_s: float | None
) -> str:
    """Ask for one token; what was wrong with the answer, empty when it holds one.

    Raises:
        NoAnswerError: there was none.
    """
    answer = await call_engine(
        address, question.path, document=question.document, timeout_s=timeout_s
    )
    if answer.status != 200:
        return f"HTTP {answer.status}: {answer.body[:200].decode('utf-8', 'replace')}"
    return "" if _holds_choices(answer.body) else "an answer without choices"


def _holds_choices(body: bytes) -> bool:
    try:
        document: Any = json.loads(body)
    except ValueError:
        return False
    return isinstance(document, dict) and bool(document.get("choices"))


async def _call(address: EngineAddress, path: str, document: object) -> EngineAnswer:
    reader, writer = await open_stream(address)
    try:
        writer.write(_render(address, path, document))
        answer = _Answer()
        parser = HttpResponseParser(answer)
        while not answer.complete:
            data = await reader.read(_READ_BYTES)
            if not data:
                raise ConnectionResetError("it closed the connection before its answer ended")
            parser.feed_data(data)
            if answer.size_bytes > _LONGEST_ANSWER_BYTES:
                raise HttpParserError("its answer does not end")
        return EngineAnswer(status=parser.get_status_code(), body=b"".join(answer.parts))
    finally:
        writer.transport.abort()


def _render(address: EngineAddress, path: str, document: object) -> bytes:
    body = b"" if document is None else json.dumps(document).encode()
    method = "GET" if document is None else "POST"
    lines = render_engine_lines(method, address.target(path), address)
    lines += ["accept: */*", "connection: close"]
    if document is not None:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii") + body


class _Answer:
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size_bytes = 0
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.parts.append(data)
        self.size_bytes += len(data)

    def on_message_complete(self) -> None:
        self.complete = True
