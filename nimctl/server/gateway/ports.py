"""Opens what the gateway listens on, and says who holds it when somebody else does."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nimctl.errors import InputError
from nimctl.server.gateway.config import GatewayConfig

BACKLOG = 2048
_LISTEN = "0A"


async def listen(
    config: GatewayConfig,
    protocol: Callable[[], asyncio.Protocol],
    context: ssl.SSLContext | None = None,
) -> asyncio.Server:
    """Listen as `config` says, on a port by TLS where there is a `context`.

    Raises:
        InputError: the port or socket is taken, forbidden, or not of this machine.
    """
    loop = asyncio.get_running_loop()
    place = config.uds or f"{config.host}:{config.port}"
    try:
        if config.uds is not None:
            _remove_stale_socket(config.uds)
            return await loop.create_unix_server(protocol, config.uds, backlog=BACKLOG)
        return await loop.create_server(
            protocol, config.host, config.port, backlog=BACKLOG, **_tls_options(config, context)
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE and config.uds is None:
            holder = find_port_holder(config.port)
            by = f" by {holder}" if holder else ""
            hint = "Choose another port with --port."
            raise InputError(f"{place} is taken{by}.", hint=hint) from error
        raise InputError(f"Cannot listen on {place}: {error.strerror or error}.") from error


async def listen_again(
    config: GatewayConfig,
    protocol: Callable[[], asyncio.Protocol],
    context: ssl.SSLContext,
    listening: Iterable[asyncio.Server],
) -> tuple[asyncio.Server, ...]:
    """Listen on the very sockets of servers with another context; the caller closes those."""
    loop = asyncio.get_running_loop()
    sockets = [one for server in listening for one in server.sockets]
    return tuple(
        [
            await loop.create_server(
                protocol,
                sock=socket.socket(one.family, one.type, one.proto, fileno=os.dup(one.fileno())),
                backlog=BACKLOG,
                **_tls_options(config, context),
            )
            for one in sockets
        ]
    )


def _tls_options(config: GatewayConfig, context: ssl.SSLContext | None) -> dict[str, Any]:
    if context is None:
        return {}
    return {"ssl": context, "ssl_handshake_timeout": config.head_timeout_s}


def _remove_stale_socket(path: str) -> None:
    """Remove a socket nobody listens on; the event loop itself would remove one in use."""
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(path) == 0:
            raise InputError(f"The socket {path} is in use by another server.")
    Path(path).unlink()


def find_port_holder(port: int) -> str | None:
    """Name and pid of the process that listens on a TCP port, e.g. `python3 (pid 12)`.

    None where the system does not say: not Linux, or another user's process.
    """
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not inodes:
        return None
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(link.readlink()) in inodes:
                process = link.parent.parent
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue  # it ended meanwhile, or belongs to somebody else
    return None


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state, *rest = line.split()
            if state == _LISTEN and int(local.rpartition(":")[2], 16) == port:
                inodes.add(rest[5])
    return inodes
