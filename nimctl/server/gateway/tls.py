"""TLS of the gateway: the context made of its files, and whether those have changed since."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from nimctl.errors import InputError

LOOK_EVERY_S = 1.0
"""How often the files are looked at; renewed certificates are used for the connections after."""

PROTOCOLS = ["http/1.1"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsFiles:
    """The files TLS is made of, all in PEM.

    Attributes:
        certificate: The server's certificate, followed by those between it and a known authority.
        key: Its private key, without a password; None where it stands in `certificate`.
        client_authorities: Who must have signed the certificates that callers show; None asks
            callers for none.
    """

    certificate: Path
    key: Path | None = None
    client_authorities: Path | None = None

    def load(self) -> ssl.SSLContext:
        """The context for a server, from TLS 1.2 on.

        Raises:
            InputError: a file cannot be read, or is not what it should be.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(PROTOCOLS)
        self._load_certificate(context)
        if self.client_authorities is not None:
            self._load_authorities(context, self.client_authorities)
        return context

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        files = " and ".join(str(path) for path in (self.certificate, self.key) if path)
        try:
            context.load_cert_chain(self.certificate, self.key, password=_refuse_password)
        except ssl.SSLError as error:
            raise InputError(
                f"{files} cannot be used for TLS: {_reason(error)}",
                hint="give a certificate and its private key without a password, both in PEM",
            ) from error
        except OSError as error:
            raise InputError(f"{files} cannot be read: {error.strerror}") from error

    def _load_authorities(self, context: ssl.SSLContext, path: Path) -> None:
        try:
            context.load_verify_locations(cafile=path)
        except ssl.SSLError as error:
            raise InputError(f"{path} holds no certificates: {_reason(error)}") from error
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
        context.verify_mode = ssl.CERT_REQUIRED

    def stamp(self) -> tuple[object, ...]:
        """What changes when a file is written or replaced; links are followed to their end."""
        return tuple(_stamp(path) for path in (self.certificate, self.key, self.client_authorities))


def _refuse_password() -> str:
    """A key with a password would otherwise ask for it on the terminal."""
    raise InputError(
        "the private key for TLS has a password, which nobody is there to type",
        hint="`openssl pkey -in KEY -out KEY.plain` writes it without one",
    )


def _stamp(path: Path | None) -> object:
    if path is None:
        return None
    try:
        facts = path.stat()
    except OSError as error:
        return error.errno
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _reason(error: ssl.SSLError) -> str:
    words = (error.reason or str(error)).lower()
    return words.replace("_", " ")
