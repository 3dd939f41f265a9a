"""Opens connections to the engine: by its socket, its port, or TLS to where it runs elsewhere."""

import asyncio
import errno
import ssl
from functools import cache
from pathlib import Path
from typing import Any

from nimctl.core.engine_address import EngineAddress
from nimctl.server.gateway.tls import PROTOCOLS

CONNECT_TIMEOUT_S = 10.0
_BUSY_RETRIES = 200
_BUSY_PAUSE_S = 0.005


async def connect(address: EngineAddress, protocol: asyncio.Protocol) -> None:
    """Open a connection to the engine for `protocol`.

    Raises:
        OSError: nobody listens there, or shows a certificate to be believed.
    """
    loop = asyncio.get_running_loop()
    for _ in range(_BUSY_RETRIES):
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                if address.uds is None:
                    await loop.create_connection(
                        lambda: protocol, address.host, address.port, **_tls_options(address)
                    )
                else:
                    await loop.create_unix_connection(lambda: protocol, address.uds)
        except TimeoutError:
            raise OSError(
                errno.ETIMEDOUT, f"nobody took the call in {CONNECT_TIMEOUT_S:g} s"
            ) from None
        except OSError as error:
            # A unix socket whose queue of callers is full says so at once instead of waiting.
            if error.errno != errno.EAGAIN:
                raise
            await asyncio.sleep(_BUSY_PAUSE_S)
        else:
            return
    raise OSError(errno.EAGAIN, "too many callers wait")


async def open_stream(address: EngineAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to the engine for one question.

    Raises:
        OSError: as `connect` does.
    """
    if address.uds is not None:
        return await asyncio.open_unix_connection(address.uds)
    return await asyncio.open_connection(address.host, address.port, **_tls_options(address))


def _tls_options(address: EngineAddress) -> dict[str, Any]:
    return {"ssl": trusting_context(address.authorities)} if address.tls else {}


@cache
def trusting_context(authorities: str | None) -> ssl.SSLContext:
    """TLS from 1.2 on, with certificates of these authorities, else as this machine trusts them.

    Args:
        authorities: A file or a folder; None is this machine's, and certifi's where it has none.

    Raises:
        OSError: they cannot be read.
    """
    known = ssl.get_default_verify_paths()
    if authorities is not None:
        folder = authorities if Path(authorities).is_dir() else None
        context = ssl.create_default_context(cafile=None if folder else authorities, capath=folder)
    elif known.cafile or (known.capath and any(Path(known.capath).iterdir())):
        context = ssl.create_default_context()
    else:
        import certifi

        context = ssl.create_default_context(cafile=certifi.where())
    context.set_alpn_protocols(PROTOCOLS)
    return context


def explain(error: OSError) -> str:
    """Why a connection failed, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not to be believed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"it speaks no TLS that can be used: {(error.reason or str(error)).lower()}"
    return error.strerror or str(error)
