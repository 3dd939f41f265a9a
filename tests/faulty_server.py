"""Web servers on loopback that send files by range, note what they are asked, fail to order."""

import json
import os
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from large_content import LargeContent

SLICE_BYTES = 64 * 1024
PLACED = frozenset({"drop", "reset", "stall", "trickle", "corrupt"})


@dataclass(kw_only=True)
class Fault:
    """Something that goes wrong with the next `times` answers about a file.

    Kinds with a place; the first transfer that is to bring the byte at `at_byte` meets them:
        drop: the connection ends before that byte.
        reset: the same, without a proper end (RST).
        stall: nothing more comes, until `release`.
        trickle: from there on one byte comes every `pause_s`.
        corrupt: that byte arrives with one bit flipped.

    Kinds that the next transfer meets, whatever it asks for:
        status: only `status` and `headers` come (503, 429 with Retry-After, 302 with Location...).
        ignore-range: the whole file, status 200.
        short: the file ends at `at_byte`, and the headers say so too; status 200.
        long: four more bytes than asked, and the headers say so.
        overrun: four more bytes than the headers say.
        no-length: no Content-Length; the end of the connection is the end of the body.
        compressed: the headers say gzip.
        changed: another ETag than before.
        wrong-start, wrong-end, wrong-total: the Content-Range is off by one there; for the first
            it is the next stretch of the same length.
        half: an honest Content-Range for the first half of what was asked.
        cut-half: the connection ends after half of what was asked, at least one byte.
        silent: no answer at all, until `release`.
        multipart: status 206 of the kind multipart/byteranges.

    Attributes:
        after_bytes: The place, counted from where each answer starts; `at_byte` is ignored then.
    """

    kind: str
    at_byte: int = 0
    after_bytes: int | None = None
    times: int = 1
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    pause_s: float = 0.05

    def concerns(self, start: int, end: int) -> bool:
        """Whether a transfer of these bytes meets the fault."""
        if self.kind not in PLACED or self.after_bytes is not None:
            return True
        return start <= self.at_byte < max(end, start + 1)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A request that arrived; header names are lower-case.

    Attributes:
        at_s: When, on the monotonic clock.
        port: The client's port: the same for requests over one connection.
    """

    origin: str
    method: str
    path: str
    headers: dict[str, str]
    at_s: float
    port: int


class FaultyServers:
    """What the servers of one fake place share: requests seen, bytes sent, faults to come.

    Attributes:
        rate_bytes_s: What each connection sends per second; None is as fast as it can.
        sent_bytes: Bytes of each file that left so far, whatever became of them.
        refused_s: When a `status` fault struck, on the monotonic clock.
        stalled: Set as soon as a `stall` fault has struck.
    """

    def __init__(self) -> None:
        self.faults: dict[str, list[Fault]] = {}
        self.seen: list[Seen] = []
        self.sent_bytes: dict[str, int] = {}
        self.rate_bytes_s: float | None = None
        self.refused_s: list[float] = []
        self.released = threading.Event()
        self.stalled = threading.Event()
        self._lock = threading.Lock()
        self._servers: list[ThreadingHTTPServer] = []

    def add_fault(self, path: str, fault: Fault) -> None:
        """Let `path` fail; faults of one path are used up in order."""
        self.faults.setdefault(path, []).append(fault)

    def release(self) -> None:
        """Let stalled transfers end."""
        self.released.set()

    def requests(self, origin: str) -> list[Seen]:
        """What that server was asked so far, in order."""
        with self._lock:
            return [seen for seen in self.seen if seen.origin == origin]

    def listen(self, handler: type["FileHandler"], *, certificate: Path | None = None) -> str:
        """Start a server and return its address.

        Args:
            certificate: It speaks TLS, and shows this one; the key is in the same file.
        """
        bound = type(handler.__name__, (handler,), {"place": self})
        server = _Server(("127.0.0.1", 0), bound)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        self._servers.append(server)
        scheme = "https" if certificate else "http"
        return f"{scheme}://127.0.0.1:{server.server_address[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop all servers."""
        self.released.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def take_fault(self, path: str, start: int, end: int) -> Fault | None:
        """The next fault that a transfer of these bytes meets."""
        with self._lock:
            return take(self.faults.get(path, []), lambda fault: fault.concerns(start, end))

    def note_request(self, seen: Seen) -> None:
        """Remember a request."""
        with self._lock:
            self.seen.append(seen)

    def note_sent(self, key: str, size: int) -> None:
        """Count bytes of a file."""
        with self._lock:
            self.sent_bytes[key] = self.sent_bytes.get(key, 0) + size


def take(faults: list[Fault], wanted: Callable[[Fault], bool] = lambda fault: True) -> Fault | None:
    """The first wanted fault; it leaves the list after its last time."""
    fault = next((fault for fault in faults if wanted(fault)), None)
    if fault is not None:
        fault.times -= 1
        if fault.times <= 0:
            faults.remove(fault)
    return fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """Fail silently where the client has gone; anything else is a fault of the fake."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class FileHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD; a subclass says in `answer` with what."""

    place: FaultyServers
    origin = ""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self.place.note_request(
            Seen(
                origin=self.origin,
                method=self.command,
                path=self.path,
                headers={name.lower(): value for name, value in self.headers.items()},
                at_s=time.monotonic(),
                port=self.client_address[1],
            )
        )
        self.answer()

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self) -> None:
        """Answer the request."""
        raise NotImplementedError

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer; `_` in the name of a header stands for `-`."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_json(self, document: object, status: int = 200) -> None:
        """A JSON document."""
        self.send(status, json.dumps(document).encode(), Content_Type="application/json")

    def send_status(self, fault: Fault) -> None:
        """The bare answer that a fault of the kind `status` asks for."""
        headers = {name.replace("-", "_"): value for name, value in fault.headers.items()}
        self.place.refused_s.append(time.monotonic())
        self.send(fault.status, b"", **headers)

    def send_file(self, key: str, path: str, content: bytes | LargeContent, etag: str) -> None:
        """The file, or the range of it that was asked, as the faults of `path` allow.

        Args:
            key: What the bytes are counted under.
        """
        start, end = self._asked_range(len(content), etag)
        fault = self.place.take_fault(path, start, end) if self.command == "GET" else None
        kind = "" if fault is None else fault.kind
        if fault is not None and kind in ("status", "silent"):
            self.refuse(fault)
            return
        if start > end:
            self.send(416, Content_Range=f"bytes */{len(content)}")
            return
        is_part = "Range" in self.headers and (start, end) != (0, len(content))
        if kind in ("ignore-range", "short"):
            is_part, start = False, 0
            end = fault.at_byte if fault and kind == "short" else len(content)
        if kind == "half":
            end -= (end - start) // 2
        is_here = isinstance(content, bytes)
        body = memoryview(content)[start:end] if is_here else memoryview(content[start:end])
        self.send_response(206 if is_part else 200)
        if is_part:
            self.send_header("Content-Range", _content_range(start, end, len(content), kind))
        self.send_header("ETag", '"other"' if kind == "changed" else f'"{etag}"')
        if kind == "compressed":
            self.send_header("Content-Encoding", "gzip")
        if kind == "multipart":
            self.send_header("Content-Type", "multipart/byteranges; boundary=x")
        if kind == "no-length":
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(body) + 4 * (kind == "long")))
        self.end_headers()
        if self.command != "HEAD":
            if kind in ("long", "overrun"):
                body = memoryview(bytes(body) + b"more")
            if kind == "cut-half":
                body = body[: (len(body) + 1) // 2]
                self.close_connection = True
            self._send_body(key, body, start, fault)

    def refuse(self, fault: Fault) -> None:
        """The answer that a fault of the kinds `status` and `silent` asks for."""
        if fault.kind == "status":
            self.send_status(fault)
        else:
            self.place.released.wait()
            self.close_connection = True

    def _asked_range(self, size: int, etag: str) -> tuple[int, int]:
        """Start and end, which is not part of it; an end below the start cannot be satisfied."""
        asked = self.headers.get("Range", "")
        if not asked.startswith("bytes="):
            return 0, size
        if self.headers.get("If-Range", f'"{etag}"') != f'"{etag}"':
            return 0, size
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start = int(first)
        return start, min(int(last) + 1, size) if last else (size if start < size else -1)

    def _send_body(self, key: str, body: memoryview, start: int, fault: Fault | None) -> None:
        if fault is None or fault.kind not in PLACED:
            self._write(key, body)
            return
        place = fault.at_byte - start if fault.after_bytes is None else fault.after_bytes
        self._write(key, body[:place])
        rest = body[place:]
        if fault.kind == "corrupt" and len(rest):
            self._write(key, memoryview(bytes([rest[0] ^ 1])))
            self._write(key, rest[1:])
        elif fault.kind == "trickle":
            for one in range(len(rest)):
                if self.place.released.wait(fault.pause_s):
                    break
                self._write(key, rest[one : one + 1])
        elif fault.kind == "stall":
            self.place.stalled.set()
            self.place.released.wait()
        elif fault.kind == "reset":
            self.reset()
        if fault.kind != "corrupt":
            self.close_connection = True

    def _write(self, key: str, body: memoryview) -> None:
        rate = self.place.rate_bytes_s
        step = SLICE_BYTES if rate is None else max(1, min(SLICE_BYTES, int(rate / 50)))
        begun_s = time.monotonic()
        for offset in range(0, len(body), step):
            piece = body[offset : offset + step]
            self.place.note_sent(key, len(piece))  # before a quick reader has it
            try:
                self.wfile.write(piece)
            except OSError:
                self.place.note_sent(key, -len(piece))
                raise
            if rate is not None and self.place.rate_bytes_s is not None:  # it may be lifted
                early_s = begun_s + (offset + len(piece)) / rate - time.monotonic()
                time.sleep(max(0.0, early_s))

    def reset(self) -> None:
        """End the connection without a proper end (RST)."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())


def _content_range(start: int, end: int, size: int, kind: str) -> str:
    start += kind == "wrong-start"
    end += kind in ("wrong-start", "wrong-end")
    size += kind == "wrong-total"
    return f"bytes {start}-{end - 1}/{size}"
