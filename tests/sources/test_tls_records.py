"""Reads of TLS bring all that has arrived; what is wrong with a record is still told."""

import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from nimctl.core.source import RemoteFile, TemporaryFetchError
from nimctl.errors import FetchError
from nimctl.sources.http_transfer import HttpTransfer

CERTIFICATES = Path(__file__).with_name("certificates")
BODY = bytes(range(256)) * 1024
RECORD_BYTES = 16 * 1024
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)
HEAD_WITHOUT_LENGTH = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"

Serve = Callable[[ssl.SSLSocket], None]


class Server:
    """Serves one connection over TLS as a test says."""

    def __init__(self, serve: Serve) -> None:
        self.sent = threading.Event()
        self.over = threading.Event()
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATES / "good.pem")
        connection, _ = self._listener.accept()
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(4096)
            self._serve(secured)
            self.sent.set()
            self.over.wait(10)

    def close(self) -> None:
        self.over.set()
        self._thread.join(10)
        self._listener.close()


@pytest.fixture
def listen() -> Iterator[Callable[[Serve], Server]]:
    servers: list[Server] = []

    def start(serve: Serve) -> Server:
        servers.append(Server(serve))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def transfer() -> Iterator[HttpTransfer]:
    authority = CERTIFICATES / "authority.pem"
    with closing(HttpTransfer(stall_timeout_s=0.5, ca_file=authority)) as transfer:
        yield transfer


def receive(
    transfer: HttpTransfer, server: Server, port: int | None = None
) -> tuple[list[bytes], FetchError | None]:
    """The pieces that come once all was sent that will be, and the error that ends them."""
    url, pieces = f"https://127.0.0.1:{port or server.port}/", []
    try:
        with transfer.stream_file(url, RemoteFile(path="a"), 0) as stream:
            assert server.sent.wait(5)
            pieces.extend(stream.chunks)
    except FetchError as error:
        return pieces, error
    return pieces, None


def test_records_that_are_here_are_read_at_once(
    transfer: HttpTransfer, listen: Callable[[Serve], Server]
) -> None:
    server = listen(lambda connection: connection.sendall(HEAD + BODY))
    pieces, error = receive(transfer, server)
    assert error is None
    assert b"".join(pieces) == BODY
    assert max(map(len, pieces)) > 4 * RECORD_BYTES


def test_records_that_come_late_are_waited_for(
    transfer: HttpTransfer, listen: Callable[[Serve], Server]
) -> None:
    def serve(connection: ssl.SSLSocket) -> None:
        connection.sendall(HEAD)
        server.sent.set()
        for start in range(0, len(BODY), 50_000):
            time.sleep(0.05)
            connection.sendall(BODY[start : start + 50_000])

    server = listen(serve)
    pieces, error = receive(transfer, server)
    assert error is None
    assert b"".join(pieces) == BODY


def test_a_silence_after_some_records_is_told(
    transfer: HttpTransfer, listen: Callable[[Serve], Server]
) -> None:
    server = listen(lambda connection: connection.sendall(HEAD + BODY[:100_000]))
    pieces, error = receive(transfer, server)
    assert b"".join(pieces) == BODY[:100_000]
    assert "was silent for 0.5 s" in str(error)


def test_a_reset_after_some_records_is_told(
    transfer: HttpTransfer, listen: Callable[[Serve], Server]
) -> None:
    def serve(connection: ssl.SSLSocket) -> None:
        connection.sendall(HEAD + BODY[:100_000])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.over.set()

    server = listen(serve)
    pieces, error = receive(transfer, server)
    assert BODY[:100_000].startswith(b"".join(pieces))
    assert isinstance(error, TemporaryFetchError)


class FlippingRelay:
    """Passes connections on; one bit of what the server sends is another one."""

    def __init__(self, port: int, at_byte: int) -> None:
        self._port, self._at_byte = port, at_byte
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(("127.0.0.1", self._port))
        passed = 0
        with client, server, suppress(OSError):
            while True:
                for sender in select.select([client, server], [], [])[0]:
                    data = bytearray(sender.recv(65536))
                    if not data:
                        return
                    if sender is server:
                        if passed <= self._at_byte < passed + len(data):
                            data[self._at_byte - passed] ^= 1
                        passed += len(data)
                    (client if sender is server else server).sendall(data)

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize("head", [HEAD, HEAD_WITHOUT_LENGTH], ids=["length", "no length"])
def test_a_damaged_record_is_an_error_wherever_it_is_met(
    transfer: HttpTransfer, listen: Callable[[Serve], Server], head: bytes
) -> None:
    """Also where it comes with others that are good, and where nothing else tells a cut."""
    server = listen(lambda connection: connection.sendall(head + BODY))
    with closing(FlippingRelay(server.port, 150_000)) as relay:
        pieces, error = receive(transfer, server, relay.port)
    arrived = b"".join(pieces)
    assert isinstance(error, TemporaryFetchError)
    assert BODY.startswith(arrived)
    assert len(arrived) < len(BODY)
