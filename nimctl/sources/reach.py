"""Tells addresses of the public internet from those of this machine and its networks."""

import ipaddress
import socket


def is_of_one_wire(host: str) -> bool:
    """Whether `host` is an address that only neighbours can reach (169.254.0.0/16, fe80::/10).

    Clouds tell a machine its own passwords there.
    """
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_link_local
    except ValueError:
        return False


def is_this_machine(host: str) -> bool:
    """Whether `host`, by its form, is this very machine (127.0.0.0/8, ::1, localhost)."""
    host = host.strip("[]").rstrip(".").lower()
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_inside(host: str, *, look_up: bool) -> bool:
    """Whether `host` is this machine, or lies in a private network.

    Args:
        look_up: Ask for the addresses of a name; without it only its form is judged.
    """
    host = host.strip("[]").rstrip(".").lower()
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        pass
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    if not look_up:
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        # Whoever asks there next tells better that there is no such name.
        return False
    return any(
        not ipaddress.ip_address(str(place[0]).partition("%")[0]).is_global for *_, place in found
    )
