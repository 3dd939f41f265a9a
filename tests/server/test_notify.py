"""What systemd hears of a server."""

import socket

import pytest

from nimctl.server.notify import notify


@pytest.mark.parametrize("is_abstract", [False, True])
def test_one_datagram_says_it(is_abstract, tmp_path):
    address = f"nimctl-test-{tmp_path.name}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address if is_abstract else address)
        manager.settimeout(5)
        named = f"@{address}" if is_abstract else address
        notify({"NOTIFY_SOCKET": named}, "READY=1", "STATUS=Ready at http://127.0.0.1:8000")
        assert manager.recv(4096) == b"READY=1\nSTATUS=Ready at http://127.0.0.1:8000"


@pytest.mark.parametrize("address", ["", "relative", "/nobody/listens"])
def test_nobody_who_asked_is_no_failure(address):
    notify({"NOTIFY_SOCKET": address} if address else {}, "READY=1")
