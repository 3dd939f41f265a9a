"""Puts refusals and lost connections into words, and says which of them may pass."""

import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from socket import gaierror

from nimctl.core.source import TemporaryFetchError
from nimctl.errors import AccessDeniedError, FetchError, NotFoundError, UnreachableError

TEMPORARY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})

Explain = Callable[[int, Mapping[str, str]], FetchError | None]


def explain_nothing(status: int, headers: Mapping[str, str]) -> None:
    """Leave every refusal to the plain words for its status."""


def explain_expiry(status: int, headers: Mapping[str, str]) -> FetchError | None:
    """A signed address is refused once its time is over; a new one can be asked for."""
    if status in (401, 403):
        return TemporaryFetchError(f"the signed address is no longer accepted (status {status})")
    return None


def refusal(what: str, status: int, headers: Mapping[str, str]) -> FetchError:
    """The error for an answer with that status; temporary where a later try may help."""
    if status in TEMPORARY_STATUSES:
        return TemporaryFetchError(
            f"{what} answers with status {status}", retry_after_s=retry_after_s(headers)
        )
    if status == 407:
        return proxy_refusal(what, status)
    if status in (401, 403):
        return AccessDeniedError(f"{what} refuses access (status {status})")
    if status == 416:
        return TemporaryFetchError(f"{what} has fewer bytes than were listed (status {status})")
    if status in (404, 410):
        return NotFoundError(f"{what} does not exist (status {status})")
    return FetchError(f"{what} answers with status {status}")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `Retry-After` (RFC 9110) or `RateLimit` (`...;t=30`)."""
    asked = headers.get("Retry-After", "")
    if asked.isdecimal():
        return float(asked)
    if asked:
        try:
            return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
        except (ValueError, OverflowError):
            return None
    window = re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
    return float(window.group(1)) if window else None


def proxy_refusal(what: str, status: int) -> FetchError:
    """The error for a proxy that does not let us through."""
    if status in TEMPORARY_STATUSES:
        return TemporaryFetchError(f"the proxy has no way to {what} now (status {status})")
    if status == 407:
        return UnreachableError(
            f"the proxy on the way to {what} wants a login (status 407)",
            hint="put it into HTTPS_PROXY: http://name:password@proxy:port",
        )
    return UnreachableError(
        f"the proxy refuses the way to {what} (status {status})",
        hint="if no proxy is needed there, name the host in NO_PROXY",
    )


@contextmanager
def losses_in_words(host: str, stall_timeout_s: float) -> Iterator[None]:
    """Turn urllib3's errors into ours.

    Raises:
        TemporaryFetchError: no connection, or it was lost or silent.
        UnreachableError: the certificate is not accepted, or the proxy refuses.
    """
    from urllib3 import exceptions as wire

    try:
        yield
    except wire.LocationParseError as error:
        raise FetchError(f"{host!r} is no web address") from error
    except wire.ProxyError as error:
        raise _proxy_failure(host, error) from error
    except (wire.NewConnectionError, wire.SSLError) as error:
        # The first is, for old times' sake, a kind of TimeoutError too.
        raise connection_failure(host, error) from error
    except wire.TimeoutError as error:
        raise TemporaryFetchError(f"{host} was silent for {stall_timeout_s:g} s") from error
    except wire.HTTPError as error:
        raise _tunnel_failure(host, error) or TemporaryFetchError(
            f"the connection to {host} was lost"
        ) from error


def connection_failure(host: str, error: BaseException) -> FetchError:
    """The error for a connection that could not be made."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return UnreachableError(
                f"{host} shows a certificate that is not accepted: {cause.verify_message}",
                hint="if an authority of your own signs here, name the file with its certificate "
                "in SSL_CERT_FILE; and check this machine's clock",
            )
        if isinstance(cause, gaierror):
            return TemporaryFetchError(f"the name {host} cannot be found; is this machine online?")
    for cause in causes:
        if isinstance(cause, OSError):
            return TemporaryFetchError(f"no connection to {host}: {cause.strerror or cause}")
    return TemporaryFetchError(f"no connection to {host} ({type(error).__name__})")


def _proxy_failure(host: str, error: BaseException) -> FetchError:
    refused = _tunnel_failure(host, error)
    if refused is not None:
        return refused
    reached = connection_failure("the proxy", error)
    words = f"on the way to {host}: {reached.message}"
    if isinstance(reached, TemporaryFetchError):
        return TemporaryFetchError(words)
    return UnreachableError(words, hint=reached.hint)


def _tunnel_failure(host: str, error: BaseException) -> FetchError | None:
    for cause in _causes(error):
        status = re.search(r"Tunnel connection failed: (\d+)", str(cause))
        if status:
            return proxy_refusal(host, int(status[1]))
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what is behind it, the nearest first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        yield from (inner for inner in cause.args if isinstance(inner, BaseException))
        cause = cause.__cause__ or cause.__context__
