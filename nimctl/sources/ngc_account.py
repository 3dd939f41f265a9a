"""What NGC is shown instead of a password: the key itself, or a token that was got for it."""

import base64
import time
from threading import Lock
from typing import Any
from urllib.parse import urlencode

from nimctl.sources.http_failures import Explain
from nimctl.sources.http_transfer import HttpTransfer

TOKEN_LIFETIME_S = 600.0
"""How long a token is used whose answer does not say how long it lives."""

USED_SHARE = 0.8
"""Share of its life after which a token is renewed: a clock may be off, a request may take long."""


class NgcAccount:
    """A key of NGC. One that begins with `nvapi-` is shown as it is; older ones are exchanged."""

    def __init__(self, key: str | None, *, auth_endpoint: str, transfer: HttpTransfer) -> None:
        self._key = key
        self._auth = auth_endpoint.rstrip("/")
        self._transfer = transfer
        self._lock = Lock()
        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}

    @property
    def is_guest(self) -> bool:
        """Whether there is no key."""
        return not self._key

    def secrets(self, org: str, team: str | None, explain: Explain) -> dict[str, str]:
        """The headers that open what the key opens in that organisation and team.

        Raises:
            FetchError: the key is refused.
        """
        if not self._key:
            return {}
        if self._key.startswith("nvapi-"):
            return {"Authorization": f"Bearer {self._key}"}
        scopes = (f"group/ngc:{org}", *((f"group/ngc:{org}/{team}",) if team else ()))
        with self._lock:
            token, until_s = self._tokens.get(scopes, ("", 0.0))
            if not token or time.monotonic() > until_s:
                token, until_s = self._tokens[scopes] = self._exchange(scopes, explain)
            return {"Authorization": f"Bearer {token}"}

    def forget_tokens(self) -> bool:
        """A token was refused; whether another one may be got."""
        with self._lock:
            had_tokens = bool(self._tokens)
            self._tokens.clear()
        return had_tokens

    def _exchange(self, scopes: tuple[str, ...], explain: Explain) -> tuple[str, float]:
        query = urlencode([("service", "ngc"), *(("scope", scope) for scope in scopes)])
        login = base64.b64encode(f"$oauthtoken:{self._key}".encode()).decode()
        document: dict[str, Any] = self._transfer.read_object(
            f"{self._auth}/token?{query}",
            secrets={"Authorization": f"Basic {login}"},
            explain=explain,
        )
        lifetime_s = document.get("expires_in")
        if not isinstance(lifetime_s, int | float):
            lifetime_s = TOKEN_LIFETIME_S
        return str(document.get("token") or ""), time.monotonic() + lifetime_s * USED_SHARE
