"""Streams one file over HTTP: ranges, redirects followed by hand, refusals put into words."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from socket import gaierror
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nimctl import __version__
from nimctl.core.source import ByteStream, RemoteFile, SourceChangedError, TemporaryFetchError
from nimctl.errors import AccessDeniedError, FetchError

if TYPE_CHECKING:
    import httpx

MAX_REDIRECTS = 8
TEMPORARY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
NO_HEADERS: Mapping[str, str] = MappingProxyType({})

Explain = Callable[[int, Mapping[str, str]], FetchError | None]


def explain_nothing(status: int, headers: Mapping[str, str]) -> None:
    """Leave every refusal to the plain words for its status."""


class HttpTransfer:
    """A client for many requests; threads may share it.

    Secret headers go to the origin of the address that was asked for and to no other,
    wherever a redirect leads.
    """

    def __init__(self, *, stall_timeout_s: float) -> None:
        """A connection silent for `stall_timeout_s` is lost; the first request opens one."""
        self._stall_timeout_s = stall_timeout_s
        self._lock = Lock()
        self._client: httpx.Client | None = None

    def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            self._client.close()

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
        """Stream `file` up to `end_bytes`, or all of it where the server has no ranges.

        Args:
            secrets: Headers for the origin of `url` only.
            explain: Puts a refusal of that origin into words of its own, or returns None.
            version: The `ETag` or `Last-Modified` the bytes must still have.

        Raises:
            SourceChangedError: the server has another version now.
            TemporaryFetchError: lost, stalled, busy, or another size than was listed.
            FetchError: refused.
        """
        headers: dict[str, str] = {}
        if start_bytes or end_bytes is not None:
            last = "" if end_bytes is None else end_bytes - 1
            headers["Range"] = f"bytes={start_bytes}-{last}"
            if version is not None:
                headers["If-Range"] = version
        with self.get(url, headers=headers, secrets=secrets, explain=explain) as response:
            if version is not None and (now := version_of(response.headers)) not in (None, version):
                raise SourceChangedError(
                    f"{file.path} changed on {response.url.host}: was {version}, is {now}"
                )
            first_bytes, size_bytes = _announced(response)
            if first_bytes not in (0, start_bytes):
                raise FetchError(f"{response.url.host} answers with other bytes than were asked")
            if size_bytes is not None and file.size_bytes not in (None, size_bytes):
                raise TemporaryFetchError(
                    f"{response.url.host} announces {size_bytes} bytes for {file.path}, "
                    f"but {file.size_bytes} were published"
                )
            yield ByteStream(start_bytes=first_bytes, chunks=response.iter_raw())

    def read_json(
        self,
        url: str,
        *,
        secrets: Mapping[str, str] = NO_HEADERS,
        explain: Explain = explain_nothing,
    ) -> Any:
        """The JSON document at `url`.

        Raises:
            FetchError: refused, or not JSON; TemporaryFetchError where a later try may help.
        """
        with self.get(url, secrets=secrets, explain=explain) as response:
            response.read()
            try:
                return response.json()
            except ValueError as error:
                raise FetchError(f"{response.url.host} did not answer with JSON") from error

    @contextmanager
    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        secrets: Mapping[str, str] = NO_HEADERS,
        explain: Explain = explain_nothing,
    ) -> Iterator["httpx.Response"]:
        """The answer, status 200 or 206, with its body still to be read.

        Raises:
            FetchError: refused; TemporaryFetchError where a later try may help.
        """
        client = self._open_client()
        target = _parse(url)
        origin = _origin(target)
        trusted = True
        for _ in range(MAX_REDIRECTS + 1):
            trusted = trusted and _origin(target) == origin
            sent = {**headers, **(secrets if trusted else NO_HEADERS)}
            with (
                _losses_in_words(target.host, self._stall_timeout_s),
                client.stream("GET", target, headers=sent) as response,
            ):
                if not response.has_redirect_location:
                    _check_status(response, explain if trusted else _expired_address)
                    yield response
                    return
                location = response.headers["Location"]
            target = _redirected(target, location)
        raise FetchError(f"{origin[1]} redirects more than {MAX_REDIRECTS} times")

    def _open_client(self) -> "httpx.Client":
        import httpx

        with self._lock:
            if self._client is None:
                self._client = httpx.Client(
                    timeout=httpx.Timeout(self._stall_timeout_s, pool=None),
                    headers={
                        "User-Agent": f"nimctl/{__version__}",
                        "Accept": "*/*",
                        "Accept-Encoding": "identity",
                    },
                )
            return self._client


def _check_status(response: "httpx.Response", explain: Explain) -> None:
    status, host = response.status_code, response.url.host
    if status not in (200, 206):
        raise explain(status, response.headers) or refusal(
            f"{host}{response.url.path}", status, response.headers
        )
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise FetchError(f"{host} sends the bytes compressed although it was asked not to")


def _expired_address(status: int, headers: Mapping[str, str]) -> FetchError | None:
    if status in (401, 403):
        return TemporaryFetchError(f"the signed address is no longer accepted (status {status})")
    return None


def refusal(what: str, status: int, headers: Mapping[str, str]) -> FetchError:
    """The error for an answer with that status; temporary where a later try may help."""
    if status in TEMPORARY_STATUSES:
        return TemporaryFetchError(
            f"{what} answers with status {status}", retry_after_s=retry_after_s(headers)
        )
    if status in (401, 403):
        return AccessDeniedError(f"{what} refuses access (status {status})")
    if status in (404, 410):
        return FetchError(f"{what} does not exist (status {status})")
    return FetchError(f"{what} answers with status {status}")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `Retry-After` (RFC 9110) or `RateLimit` (`...;t=30`)."""
    asked = headers.get("Retry-After", "")
    if asked.isdecimal():
        return float(asked)
    if asked:
        try:
            return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
        except ValueError:
            return None
    window = re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
    return float(window.group(1)) if window else None


def version_of(headers: Mapping[str, str]) -> str | None:
    """What identifies these bytes on this server: a strong `ETag`, else `Last-Modified`."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")


def announced_size_bytes(response: "httpx.Response") -> int | None:
    """Size of the whole file as the answer tells it, in bytes; None if it does not."""
    return _announced(response)[1]


def _announced(response: "httpx.Response") -> tuple[int, int | None]:
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    match = re.fullmatch(
        r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip()
    )
    if match is None:
        raise FetchError(f"{response.url.host} does not say which bytes it sends")
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _origin(url: "httpx.URL") -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"https": 443, "http": 80}.get(url.scheme)


def _parse(address: str) -> "httpx.URL":
    import httpx

    try:
        return httpx.URL(address)
    except httpx.InvalidURL as error:
        raise FetchError(f"{address.partition('?')[0]!r} is no web address") from error


def _redirected(url: "httpx.URL", location: str) -> "httpx.URL":
    target = url.join(_parse(location))
    if target.scheme not in ("https", url.scheme):
        raise FetchError(f"{url.host} redirects to an insecure address on {target.host}; refused")
    return target


@contextmanager
def _losses_in_words(host: str, stall_timeout_s: float) -> Iterator[None]:
    import httpx

    try:
        yield
    except httpx.TimeoutException as error:
        raise TemporaryFetchError(f"{host} was silent for {stall_timeout_s:g} s") from error
    except httpx.ConnectError as error:
        raise TemporaryFetchError(connect_failure(host, error)) from error
    except httpx.ProxyError as error:
        raise TemporaryFetchError(f"the proxy refuses the way to {host}: {error}") from error
    except httpx.TransportError as error:
        raise TemporaryFetchError(f"the connection to {host} was lost") from error


def connect_failure(host: str, error: BaseException) -> str:
    """One sentence for a connection that could not be made."""
    cause = error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, gaierror):
            return f"the name {host} cannot be found; is this machine online?"
        if isinstance(cause, OSError):
            return f"no connection to {host}: {cause.strerror or cause}"
        cause = cause.__cause__ or cause.__context__
    return f"no connection to {host} ({type(error).__name__})"
