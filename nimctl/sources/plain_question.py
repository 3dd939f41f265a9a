"""One small question to a web server, with the standard library alone.

Whether a revision has moved is all that is asked where everything is here already. urllib3, which
every transfer uses, takes longer to import than that answer takes to come.
"""

import json
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from nimctl.sources.http_failures import TEMPORARY_STATUSES, refusal
from nimctl.sources.http_pools import own_headers, proxy_for, trusting_context

ANSWER_TIMEOUT_S = 5.0
MOST_BYTES = 64 * 1024


def ask_plainly(
    url: str, *, secrets: Mapping[str, str], ca_file: Path | None
) -> dict[str, Any] | None:
    """The JSON object that the server of `url` answers with at once.

    None is nearly every other outcome: a redirect, a refusal, a proxy on the way, a lost
    connection, an answer that is late, large or no object. Who asks then asks again with
    `HttpTransfer`, which follows, waits and explains.

    Args:
        secrets: Headers for that server; nothing is followed, so nobody else gets them.
        ca_file: Certificates to trust in place of this machine's.

    Raises:
        TemporaryFetchError: the server is busy; to ask again at once would be one question more.
        FetchError: `ca_file` or the proxy cannot be used.
    """
    try:
        place = urlsplit(url)
        if place.scheme not in ("http", "https") or not place.hostname:
            return None
        if proxy_for(place.scheme, place.netloc) is not None:
            return None
        with closing(_connect(place, ca_file)) as connection:
            target = f"{place.path}?{place.query}" if place.query else place.path
            connection.request("GET", target, headers={**own_headers(), **secrets})
            answer = connection.getresponse()
            if answer.status in TEMPORARY_STATUSES:
                waits = {
                    name: answer.headers.get(name, "") for name in ("Retry-After", "RateLimit")
                }
                raise refusal(f"{place.netloc}{place.path}", answer.status, waits)
            body = answer.read(MOST_BYTES + 1) if answer.status == 200 else b""
        document = json.loads(body) if len(body) <= MOST_BYTES else None
    except (OSError, HTTPException, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _connect(place: SplitResult, ca_file: Path | None) -> HTTPConnection:
    host = place.hostname or ""
    if place.scheme == "https":
        return HTTPSConnection(
            host, place.port, timeout=ANSWER_TIMEOUT_S, context=trusting_context(ca_file)
        )
    return HTTPConnection(host, place.port, timeout=ANSWER_TIMEOUT_S)
