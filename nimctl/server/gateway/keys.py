"""Who is let in: API keys, compared so that the time taken tells nothing."""

import hmac
from hashlib import sha256

from nimctl.server.gateway.config import ApiKey, GatewayConfig, KeyClass
from nimctl.server.gateway.wire import RefusedError, RequestHead


class KeyRings:
    """The keys of a gateway by what they open.

    Management without keys of its own is opened by those of generation; metrics are open then.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self._rings: dict[KeyClass, KeyRing] = {
            "generation": KeyRing(config.api_keys),
            "management": KeyRing(config.management_keys or config.api_keys),
            "metrics": KeyRing(config.metrics_keys),
        }

    def check(self, head: RequestHead, key_class: KeyClass) -> str | None:
        """The name of the key presented; None where none is needed.

        Raises:
            RefusedError: 401 when keys are set and none of them was presented.
        """
        return self._rings[key_class].check(head)


class KeyRing:
    """Keys that open the same; without any, everybody is let in."""

    def __init__(self, keys: tuple[ApiKey, ...]) -> None:
        # Digests have one length, so not even the length of a key shows in the time taken.
        self._digests = tuple((key.name, sha256(key.key.encode()).digest()) for key in keys)

    def check(self, head: RequestHead) -> str | None:
        """The name of the key presented as a bearer token or `x-api-key`; None without keys.

        Raises:
            RefusedError: 401 when keys are set and none of them was presented.
        """
        if not self._digests:
            return None
        scheme, _, token = head.headers.get("authorization", b"").partition(b" ")
        presented = token.strip() if scheme.lower() == b"bearer" else head.headers.get("x-api-key")
        digest = sha256(presented or b"").digest()
        matches = [name for name, known in self._digests if hmac.compare_digest(digest, known)]
        if not presented or not matches:
            message = "A valid API key is needed, as in 'Authorization: Bearer KEY'."
            challenge = (("www-authenticate", "Bearer"),)
            raise RefusedError(401, message, "invalid_api_key", headers=challenge)
        return matches[0]
