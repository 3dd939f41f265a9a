"""Asks web servers over connections that are kept, by this machine's proxies and certificates."""

import re
import ssl
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

from nimctl import __version__
from nimctl.errors import FetchError
from nimctl.sources.http_failures import losses_in_words

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager
    from urllib3.util import Url

KEPT_CONNECTIONS = 64
"""Connections to one host that are kept for the next request."""

SMALL_BODY_BYTES = 64 * 1024


class HttpPools:
    """Connections to many hosts; threads may share it."""

    def __init__(self, *, stall_timeout_s: float, ca_file: Path | None = None) -> None:
        """The first request opens a connection.

        Args:
            stall_timeout_s: A connection silent for so long is lost.
            ca_file: Certificates to trust in place of this machine's.
        """
        self._stall_timeout_s = stall_timeout_s
        self._ca_file = ca_file
        self._lock = Lock()
        self._pools: dict[tuple[str | None, bool], PoolManager] = {}

    def close(self) -> None:
        """Close every connection that is not in use."""
        with self._lock:
            for pool in self._pools.values():
                pool.clear()
            self._pools.clear()

    def get(self, url: "Url", headers: Mapping[str, str]) -> "BaseHTTPResponse":
        """The answer to one request, its body still to be read; redirects are not followed.

        Raises:
            FetchError: the certificate or the proxy refuses; TemporaryFetchError: no connection.
        """
        place = url.netloc or ""
        with losses_in_words(place, self._stall_timeout_s):
            proxy = proxy_for(url.scheme or "", place)
            return self._pool(proxy, is_secret=url.scheme == "https").request(
                "GET",
                url.url,
                headers={**own_headers(), **headers},
                timeout=self._stall_timeout_s,
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
            )

    def _pool(self, proxy: str | None, *, is_secret: bool) -> "PoolManager":
        """Connections through a proxy or none; only those that need certificates read them."""
        import urllib3

        key = proxy, is_secret or (proxy or "").startswith("https:")
        with self._lock:
            if key in self._pools:
                return self._pools[key]
            context = trusting_context(self._ca_file) if key[1] else None
            if proxy is None:
                pool = urllib3.PoolManager(maxsize=KEPT_CONNECTIONS, ssl_context=context)
            else:
                pool = urllib3.ProxyManager(
                    proxy,
                    proxy_headers=_login(proxy),
                    maxsize=KEPT_CONNECTIONS,
                    ssl_context=context,
                    proxy_ssl_context=context,
                )
            if key[1]:
                from nimctl.sources.tls_records import RecordsPool

                pool.pool_classes_by_scheme = pool.pool_classes_by_scheme | {"https": RecordsPool}
            self._pools[key] = pool
            return pool


def own_headers() -> dict[str, str]:
    """The headers of every request: who asks, and that the bytes must come as they are."""
    return {
        "User-Agent": f"nimctl/{__version__}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
    }


def finish(response: "BaseHTTPResponse") -> None:
    """Keep the connection for the next request if the body was read to its end, else close it."""
    length = response.headers.get("Content-Length", "")
    is_small = re.fullmatch("[0-9]{1,5}", length) and int(length) <= SMALL_BODY_BYTES
    if response.status >= 300 and is_small:
        response.drain_conn()
    if response.closed:
        response.release_conn()
    else:
        response.close()


def proxy_for(scheme: str, netloc: str) -> str | None:
    """The proxy that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` ask for.

    Args:
        netloc: Host and port, as they stand in the address, after a login or none.

    Raises:
        FetchError: it is of a kind that nimctl does not speak.
    """
    if proxy_bypass(netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy:
        return None
    scheme, separator, _ = proxy.partition("://")
    if separator and scheme not in ("http", "https"):
        raise FetchError(f"a proxy of the kind {scheme}:// is not supported; name an http:// one")
    return proxy if separator else f"http://{proxy}"


def _login(proxy: str) -> dict[str, str]:
    from urllib3.util import make_headers, parse_url

    login = parse_url(proxy).auth
    return dict(make_headers(proxy_basic_auth=unquote(login))) if login else {}


def trusting_context(ca_file: Path | None) -> ssl.SSLContext:
    """TLS as this machine trusts it, `SSL_CERT_FILE` and `SSL_CERT_DIR` included, else as certifi.

    All who ask share one, until the certificates change: to read them takes 20 to 50 ms.

    Raises:
        FetchError: `ca_file` cannot be used.
    """
    if ca_file is not None:
        file, folder = (None, str(ca_file)) if ca_file.is_dir() else (str(ca_file), None)
    else:
        known = ssl.get_default_verify_paths()
        file, folder = known.cafile, known.capath
        if not file and not (folder and any(Path(folder).iterdir())):
            import certifi

            file, folder = certifi.where(), None
    try:
        return _read_authorities(file, folder, _stamp(file), _stamp(folder))
    except OSError as error:
        raise FetchError(f"{file or folder} cannot be used as certificates: {error}") from error


@lru_cache(maxsize=4)
def _read_authorities(file: str | None, folder: str | None, *_: object) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=file, capath=folder)


def _stamp(path: str | None) -> tuple[int, int] | None:
    """What differs once it is written to."""
    if path is None:
        return None
    found = Path(path).stat()
    return found.st_mtime_ns, found.st_size
