"""Asks the engine for its own metrics."""

import asyncio

from httptools import HttpParserError, HttpResponseParser

from nimctl.core.plan import EngineAddress

SCRAPE_TIMEOUT_S = 1.0
_REQUEST = (
    "GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: text/plain\r\nconnection: close\r\n\r\n"
)


async def scrape_engine(address: EngineAddress, path: str) -> str:
    """The engine's page of metrics; empty when it has none or does not answer within a second."""
    try:
        async with asyncio.timeout(SCRAPE_TIMEOUT_S):
            return await _read_page(address, path)
    except (OSError, HttpParserError, TimeoutError):
        return ""


async def _read_page(address: EngineAddress, path: str) -> str:
    if address.uds is None:
        reader, writer = await asyncio.open_connection(address.host, address.port)
    else:
        reader, writer = await asyncio.open_unix_connection(address.uds)
    try:
        writer.write(_REQUEST.format(path=path).encode())
        page = _Page()
        parser = HttpResponseParser(page)
        while not page.complete and (data := await reader.read(65536)):
            parser.feed_data(data)
        whole = parser.get_status_code() == 200
        return b"".join(page.parts).decode("utf-8", "replace") if whole else ""
    finally:
        writer.transport.abort()


class _Page:
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.parts.append(data)

    def on_message_complete(self) -> None:
        self.complete = True
