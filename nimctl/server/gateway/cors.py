"""Which web pages of other origins may call the gateway: none, unless they are named."""

from dataclasses import dataclass

from nimctl.server.gateway.wire import Answer, RequestHead

ANY = "*"
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cors:
    """What browsers are told; the names are those of the Fetch standard.

    Attributes:
        origins: Who may call, e.g. `https://chat.example`; `*` is everybody.
        max_age_s: How long a browser may remember the answer to its question.
    """

    origins: tuple[str, ...]
    methods: tuple[str, ...] = ("GET", "POST", "OPTIONS")
    headers: tuple[str, ...] = ("authorization", "content-type", "x-api-key", "x-request-id")
    exposed_headers: tuple[str, ...] = ("x-request-id", "retry-after")
    max_age_s: int = 600

    def headers_for(self, head: RequestHead) -> Headers:
        """What an answer to `head` carries, so that the page that asked may read it."""
        origin = self._allow(head)
        if origin is None:
            return ()
        exposed = ", ".join(self.exposed_headers)
        return (*self._origin_headers(origin), ("access-control-expose-headers", exposed))

    def answer_question(self, head: RequestHead) -> Answer | None:
        """The answer to a browser's question before a call; None where `head` is no such."""
        if head.method != "OPTIONS" or "access-control-request-method" not in head.headers:
            return None
        origin = self._allow(head)
        if origin is None:
            return Answer(status=403, body=b"", headers=(("vary", "origin"),))
        return Answer(
            status=204,
            body=b"",
            headers=(
                *self._origin_headers(origin),
                ("access-control-allow-methods", ", ".join(self.methods)),
                ("access-control-allow-headers", ", ".join(self.headers)),
                ("access-control-max-age", str(self.max_age_s)),
            ),
        )

    def _allow(self, head: RequestHead) -> str | None:
        """What names the caller's origin as allowed; None where it is not, or is no web page."""
        origin = head.headers.get("origin", b"").decode("latin-1")
        if not origin:
            return None
        if ANY in self.origins:
            return ANY
        return origin if origin in self.origins else None

    def _origin_headers(self, origin: str) -> Headers:
        vary: Headers = () if origin == ANY else (("vary", "origin"),)
        return (("access-control-allow-origin", origin), *vary)
