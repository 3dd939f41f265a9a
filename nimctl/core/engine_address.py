"""Where an engine listens, and how it is spoken to: read from a URL, or chosen for one of ours."""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

OPENAI_BASE = "/v1"
_PORTS = {"http": 80, "https": 443}
_BASE = re.compile(r"(/(?!\.\.?(/|$))[A-Za-z0-9._~-]+)*")
_LOOPBACK = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1")


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineAddress:
    """Where an engine listens: the path of a unix socket, or a port of a host.

    Attributes:
        tls: It speaks TLS, and shows a certificate for `host`.
        authorities: A file or folder of certificates to believe it by; None is this machine's.
        base: What stands there for the `/v1` of OpenAI's paths.
        authorization: A secret: the `Authorization` header that it wants, and nobody else gets.
    """

    uds: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    tls: bool = False
    authorities: str | None = None
    base: str = OPENAI_BASE
    authorization: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        if self.uds:
            return f"unix:{self.uds}"
        path = "" if self.base == OPENAI_BASE else self.base
        return f"{'https' if self.tls else 'http'}://{self.host_header}{path}"

    @property
    def host_header(self) -> str:
        """What a request says it is addressed to."""
        if self.uds:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = _PORTS["https" if self.tls else "http"]
        return host if self.port == usual else f"{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return self.uds is not None or _LOOPBACK.fullmatch(self.host) is not None

    def target(self, path: str) -> str:
        """The engine's own path of one that clients call, e.g. of `/v1/chat/completions`."""
        if self.base == OPENAI_BASE:
            return path
        if path.startswith(f"{OPENAI_BASE}/"):
            return self.base + path.removeprefix(OPENAI_BASE)
        return self.base.removesuffix(OPENAI_BASE) + path


def parse_engine_url(url: str) -> EngineAddress:
    """The address in `http://HOST[:PORT][/BASE]`, `https://...` or `unix:PATH`.

    A path is what OpenAI's clients take as their base, e.g. `/api/v1`; none is `/v1`.

    Raises:
        ValueError: it is none of these, or holds a login or a query; never quotes it.
    """
    if url.startswith("unix:"):
        uds = url.removeprefix("unix:").removeprefix("//")
        if not uds.startswith("/"):
            raise ValueError("is no unix:/path/of/a.socket")
        return EngineAddress(uds=uds)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is no address") from None
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password")
    if parts.scheme not in _PORTS or not host or not re.fullmatch(r"[A-Za-z0-9._:-]+", host):
        raise ValueError("is no http://, https:// or unix: address")
    base = parts.path.rstrip("/")
    if parts.query or parts.fragment or not _BASE.fullmatch(base):
        raise ValueError("must be the plain address of an OpenAI-compatible API")
    return EngineAddress(
        host=host,
        port=_PORTS[parts.scheme] if port is None else port,
        tls=parts.scheme == "https",
        base=base or OPENAI_BASE,
    )
