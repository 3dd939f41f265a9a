"""Tells systemd, or whoever speaks its protocol, that the service is ready or stopping.

The protocol is sd_notify(3): one datagram to the socket that `NOTIFY_SOCKET` names.
"""

import socket
from collections.abc import Mapping
from contextlib import suppress

VARIABLE = "NOTIFY_SOCKET"


def notify(environment: Mapping[str, str], *assignments: str) -> None:
    """Send `READY=1`, `STOPPING=1` or `STATUS=...`; nothing where nobody asked for it."""
    address = environment.get(VARIABLE, "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        # "@" stands for the abstract namespace, where names begin with a zero byte.
        manager.connect("\0" + address[1:] if address.startswith("@") else address)
        manager.sendall("\n".join(assignments).encode())
