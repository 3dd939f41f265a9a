"""Streams stretches of files over HTTP; redirects are followed by hand and remembered."""

import json
import select
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nimctl.core.source import ByteStream, RemoteFile, TemporaryFetchError
from nimctl.errors import FetchError
from nimctl.sources.address_book import AddressBook, Place
from nimctl.sources.http_failures import (
    Explain,
    explain_expiry,
    explain_nothing,
    losses_in_words,
    refusal,
)
from nimctl.sources.http_pools import HttpPools, finish
from nimctl.sources.http_ranges import (
    Stretch,
    announced,
    check_stretch,
    check_version,
    range_headers,
    version_of,
)
from nimctl.sources.leads import find_next_page, lead_on, parse_address
from nimctl.sources.pieces import PIECE_BYTES

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse
    from urllib3.util import Url

MAX_REDIRECTS = 8
MOST_JSON_BYTES = 64 * 1024**2
MOST_PAGES = 1000
"""The hub puts 1000 files on a page."""

JOINED_BYTES = 64 * 1024

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An answer with status 200 or 206, its body still to be read.

    Attributes:
        place: Who gave it, after all redirects.
    """

    response: "BaseHTTPResponse"
    host: str
    place: Place

    @property
    def stretch(self) -> Stretch:
        """The bytes it brings; FetchError if it does not say."""
        return announced(self.host, self.response.status, self.response.headers)

    @property
    def is_chunked(self) -> bool:
        """Whether its body tells its own end."""
        return self.response.headers.get("Transfer-Encoding", "").lower() == "chunked"

    @property
    def version(self) -> str | None:
        """What identifies these bytes on their server."""
        return version_of(self.response.headers)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Question:
    headers: Mapping[str, str]
    secrets: Mapping[str, str]
    explain: Explain
    explain_elsewhere: Explain = explain_nothing


class HttpTransfer:
    """A client for many requests; threads may share it.

    Secret headers go to the origin of the address that was asked for and to no other,
    wherever a redirect leads.
    """

    def __init__(self, *, stall_timeout_s: float, ca_file: Path | None = None) -> None:
        """A connection silent for `stall_timeout_s` is lost; the first request opens one."""
        self._stall_timeout_s = stall_timeout_s
        self._pools = HttpPools(stall_timeout_s=stall_timeout_s, ca_file=ca_file)
        self._book = AddressBook()

    def close(self) -> None:
        """Close every connection."""
        self._pools.close()

    @contextmanager
    def stream_file(
        self,
        url: str,
        file: RemoteFile,
        start_bytes: int,
        end_bytes: int | None = None,
        *,
        secrets: Mapping[str, str] = NO_HEADERS,
        explain: Explain = explain_nothing,
        version: str | None = None,
    ) -> Iterator[ByteStream]:
        """Stream `file` up to `end_bytes`, or from its start where the server has no ranges.

        Where `url` redirects to is remembered, and asked directly the next time. A body whose
        length neither a header nor the listing tells, and that does not come in chunks, ends where
        the connection does; that end is taken, as RFC 9112 (6.3) wants, and said not to be sure.

        Args:
            secrets: Headers for the origin of `url` only.
            explain: Puts a refusal of that origin into words of its own, or returns None.
            version: The `ETag` or `Last-Modified` that the bytes must still have.

        Raises:
            SourceChangedError: the server has another version now.
            TemporaryFetchError: lost, stalled, busy, or another size than was listed.
            FetchError: refused, or other bytes than were asked.
        """
        if end_bytes is not None and end_bytes <= start_bytes:
            yield ByteStream(start_bytes=start_bytes, chunks=iter(()))
            return
        asked = Stretch(start_bytes=start_bytes, end_bytes=end_bytes)
        question = _Question(
            headers=range_headers(asked, version),
            secrets=secrets,
            explain=explain,
            explain_elsewhere=explain_expiry,
        )
        answer = self._ask_remembered(url, question)
        try:
            sent = answer.stretch
            check_version(answer.host, file, version, answer.version)
            check_stretch(answer.host, file, asked, sent)
            length_bytes = _length_bytes(asked, sent, file)
            body = _Body(
                answer,
                self._stall_timeout_s,
                length_bytes=length_bytes,
                may_be_longer=sent.is_whole and end_bytes is not None,
            )
            yield ByteStream(
                start_bytes=sent.start_bytes,
                chunks=body.read_pieces(),
                cancel=body.cancel,
                is_end_sure=length_bytes is not None or answer.is_chunked,
            )
        finally:
            finish(answer.response)

    def read_object(
        self,
        url: str,
        *,
        secrets: Mapping[str, str] = NO_HEADERS,
        explain: Explain = explain_nothing,
    ) -> dict[str, Any]:
        """The JSON object at `url`.

        Raises:
            FetchError: refused, or no such object; TemporaryFetchError where a later try may help.
        """
        with self.get(url, secrets=secrets, explain=explain) as answer:
            document = self._read_json(answer)
        if not isinstance(document, dict):
            raise FetchError(f"{answer.host} did not answer with a JSON object")
        return document

    def read_pages(
        self,
        url: str,
        *,
        secrets: Mapping[str, str] = NO_HEADERS,
        explain: Explain = explain_nothing,
    ) -> Iterator[Any]:
        """The JSON at `url`, and on the pages that `Link` headers lead on to (RFC 8288).

        Raises:
            FetchError: refused, no JSON, or over `MOST_PAGES` pages; TemporaryFetchError where a
                later try may help.
        """
        place = Place(address=url, is_trusted=True)
        first = parse_address(url)
        question = _Question(headers=NO_HEADERS, secrets=secrets, explain=explain)
        for _ in range(MOST_PAGES):
            answer = self._ask(place, question)
            try:
                document = self._read_json(answer)
            finally:
                finish(answer.response)
            yield document
            link = find_next_page(answer.response.headers)
            if link is None:
                return
            place = lead_on(first, answer.place, link)
        raise FetchError(f"{first.host} promises page after page; over {MOST_PAGES} are refused")

    def _read_json(self, answer: Answer) -> Any:
        text = bytearray()
        for piece in _Body(answer, self._stall_timeout_s).read_pieces():
            text += piece
            if len(text) > MOST_JSON_BYTES:
                raise FetchError(f"{answer.host} answers without end")
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FetchError(f"{answer.host} did not answer with JSON") from error

    @contextmanager
    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        secrets: Mapping[str, str] = NO_HEADERS,
        explain: Explain = explain_nothing,
    ) -> Iterator[Answer]:
        """The answer, with its body still to be read.

        Raises:
            FetchError: refused; TemporaryFetchError where a later try may help.
        """
        question = _Question(headers=headers, secrets=secrets, explain=explain)
        answer = self._ask(Place(address=url, is_trusted=True), question)
        try:
            yield answer
        finally:
            finish(answer.response)

    def _ask_remembered(self, url: str, question: _Question) -> Answer:
        """Ask where the file was found last; where that is unknown, one thread finds it."""
        known = self._book.find(url)
        if known is None:
            with self._book.turn(url):
                known = self._book.find(url)
                if known is None:
                    answer = self._ask(Place(address=url, is_trusted=True), question)
                    self._book.note(url, answer.place)
                    return answer
        try:
            return self._ask(known, question)
        except TemporaryFetchError as error:
            if error.retry_after_s is None and known.address != url:
                self._book.forget(url, known)
            raise
        except FetchError as error:
            if known.address == url:
                raise
            self._book.forget(url, known)
            raise TemporaryFetchError(f"the address of the file has changed: {error}") from error

    def _ask(self, place: Place, question: _Question) -> Answer:
        first = target = parse_address(place.address)
        for _ in range(MAX_REDIRECTS + 1):
            secrets = question.secrets if place.is_trusted else NO_HEADERS
            response = self._pools.get(target, {**question.headers, **secrets})
            location = response.get_redirect_location()
            if not location:
                explain = question.explain if place.is_trusted else question.explain_elsewhere
                _check_status(response, target, explain)
                return Answer(response=response, host=target.host or "", place=place)
            finish(response)
            place = lead_on(first, place, location)
            target = parse_address(place.address)
        raise FetchError(f"{first.host} redirects more than {MAX_REDIRECTS} times")


def gather_pieces(response: "BaseHTTPResponse") -> Iterator[bytes]:
    """What has arrived, never waiting for more; small pieces that lie ready are joined."""
    from urllib3.exceptions import HTTPError

    waiting = select.poll()
    if not response.closed:
        waiting.register(response.fileno(), select.POLLIN)
    ready: list[bytes] = []
    ready_bytes = 0
    try:
        while piece := response.read1(PIECE_BYTES):
            ready.append(piece)
            ready_bytes += len(piece)
            if ready_bytes < JOINED_BYTES and waiting.poll(0):
                continue
            yield ready[0] if len(ready) == 1 else b"".join(ready)
            ready.clear()
            ready_bytes = 0
            del piece  # so that the next one takes its place in memory
    except HTTPError:
        if ready:
            yield b"".join(ready)
        raise
    if ready:
        yield b"".join(ready)


class _Body:
    """The bytes of one answer, on their way.

    Args:
        length_bytes: So many are wanted, and all of them must come; None takes what comes.
        may_be_longer: More of them may follow, and are left alone.
    """

    def __init__(
        self,
        answer: Answer,
        stall_timeout_s: float,
        *,
        length_bytes: int | None = None,
        may_be_longer: bool = False,
    ) -> None:
        self._answer = answer
        self._stall_timeout_s = stall_timeout_s
        self._length_bytes = length_bytes
        self._may_be_longer = may_be_longer
        self._is_cancelled = Event()

    def read_pieces(self) -> Iterator[bytes]:
        """What has arrived, as soon as it has; at most `PIECE_BYTES` at once.

        Raises:
            TemporaryFetchError: lost, silent, cancelled, or more or fewer bytes than wanted.
        """
        response, host, left = self._answer.response, self._answer.host, self._length_bytes
        is_longer = False
        with losses_in_words(host, self._stall_timeout_s):
            for piece in gather_pieces(response):
                is_longer = left is not None and len(piece) > left
                yield piece[:left] if is_longer else piece
                left = None if left is None else max(0, left - len(piece))
                if left == 0 or self._is_cancelled.is_set():
                    break
                del piece
            if not is_longer and not self._may_be_longer and not self._is_cancelled.is_set():
                is_longer = not response.closed and bool(response.read1(1))
        if self._is_cancelled.is_set():
            raise TemporaryFetchError(f"the stream from {host} was cancelled")
        if is_longer and not self._may_be_longer:
            raise TemporaryFetchError(f"{host} sends more bytes than it was asked for")
        if left:
            raise TemporaryFetchError(f"{host} ended the connection {left} bytes too early")

    def cancel(self) -> None:
        """Let a read that waits in another thread fail at once."""
        self._is_cancelled.set()
        # One that was read to its end has given its socket back.
        with suppress(ValueError, RuntimeError, OSError):
            self._answer.response.shutdown()


def _length_bytes(asked: Stretch, sent: Stretch, file: RemoteFile) -> int | None:
    """How many bytes from the start of the answer on are wanted; None is all that come."""
    size_bytes = file.size_bytes if sent.size_bytes is None else sent.size_bytes
    ends = [size_bytes]
    if sent.start_bytes == asked.start_bytes:
        ends.append(asked.end_bytes)
    known = [end for end in ends if end is not None]
    return min(known) - sent.start_bytes if known else None


def _check_status(response: "BaseHTTPResponse", target: "Url", explain: Explain) -> None:
    status, headers = response.status, response.headers
    error: FetchError | None = None
    if status not in (200, 206):
        what = f"{target.host}{target.path or ''}"
        error = explain(status, headers) or refusal(what, status, headers)
    elif headers.get("Content-Encoding", "identity") != "identity":
        error = FetchError(f"{target.host} sends the bytes compressed although asked not to")
    elif (coding := headers.get("Transfer-Encoding", "chunked")).lower() != "chunked":
        # Whoever reads the body would take the frames of that coding for bytes of the file.
        error = FetchError(f"{target.host} sends the bytes coded as {coding!r}, unasked")
    if error is not None:
        finish(response)
        raise error
