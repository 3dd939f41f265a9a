"""A read-only mirror of the cache on HTTP, which speaks like a Hugging Face hub.

It lives in this room because all it knows is the cache, and the standard library serves it. The
routes are those that huggingface_hub 2.4 asks for a model, and blobs by their digests:

```
GET      /api/models/{id}[/revision/{rev}]         the commit and the names of the files
GET      /api/models/{id}/tree/{rev}               names, sizes, digests
GET|HEAD /{id}/resolve/{rev}/{path}                bytes, by range where that is asked
GET|HEAD /blobs/sha256/{hex}                       the same, by content
```

Only files of complete entries are served. Nobody is asked who they are.
"""

import json
import re
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import unquote, urlsplit

from nimctl.cache.entry import CachedFile
from nimctl.cache.hub_names import pointer_sha1, pointer_size_bytes
from nimctl.cache.shelf import AbsentError, Commit, Shelf
from nimctl.cache.store import Cache

SILENCE_S = 60.0
MOST_CONNECTIONS = 256
_RANGE = re.compile(r"bytes=(?:(\d+)-(\d*)|-(\d+))")


class MirrorServer(ThreadingHTTPServer):
    """Serves one cache until `shutdown`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, cache: Cache, host: str, port: int) -> None:
        """Bind; port 0 takes a free one.

        Raises:
            OSError: the address is taken or not of this machine.
        """
        self.shelf = Shelf(cache)
        self.free_slots = BoundedSemaphore(MOST_CONNECTIONS)
        if ":" in host:
            self.address_family = AF_INET6
        super().__init__((host, port), _MirrorHandler)

    @property
    def url(self) -> str:
        """What other machines name as HF_ENDPOINT, as far as the bound address tells."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that left in the middle is nothing to tell."""


class _MirrorHandler(BaseHTTPRequestHandler):
    server: MirrorServer
    protocol_version = "HTTP/1.1"
    server_version = "nimctl"
    sys_version = ""
    timeout = SILENCE_S

    def handle(self) -> None:
        with self.server.free_slots:
            super().handle()

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        path = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        try:
            self._route(path)
        except AbsentError as absent:
            self._send_json(
                404,
                {"error": absent.message},
                {"X-Error-Code": absent.code, "X-Error-Message": absent.message},
            )

    def _route(self, path: list[str]) -> None:
        if path[:2] == ["api", "models"] and len(path) > 2:
            self._answer_api(path[2:])
        elif path[:2] == ["blobs", "sha256"] and len(path) == 3:
            file = self.server.shelf.find_blob(path[2])
            self._send_file(file, file.sha256, {})
        elif "resolve" in path[1:3] and len(path) > path.index("resolve", 1) + 2:
            at = path.index("resolve", 1)
            commit = self.server.shelf.find_commit("/".join(path[:at]), path[at + 1])
            self._send_resolved(commit, "/".join(path[at + 2 :]))
        elif path == [""]:
            self._send_json(200, {"models": self.server.shelf.list_models()}, {})
        else:
            raise AbsentError("EntryNotFound", "the mirror serves models and blobs, nothing else")

    def _answer_api(self, rest: list[str]) -> None:
        at = next((n for n, word in enumerate(rest) if n and word in ("revision", "tree")), None)
        name = "/".join(rest[:at])
        revision = rest[at + 1] if at is not None and at + 1 < len(rest) else "main"
        shelf = self.server.shelf
        commit = shelf.find_commit(name, revision)
        if at is not None and rest[at] == "tree":
            self._send_json(200, [_tree_entry(shelf, file) for file in commit.files.values()], {})
            return
        siblings = [{"rfilename": path} for path in commit.files]
        facts = {"id": name, "modelId": name, "sha": commit.sha, "private": False, "gated": False}
        self._send_json(200, facts | {"siblings": siblings}, {})

    def _send_resolved(self, commit: Commit, path: str) -> None:
        file = commit.files.get(path)
        head = {"X-Repo-Commit": commit.sha}
        if file is None:
            self._send_json(
                404, {"error": "Entry not found"}, head | {"X-Error-Code": "EntryNotFound"}
            )
            return
        digest = self.server.shelf.digest_of(file)
        if digest.algorithm == "sha256":
            head |= {"X-Linked-ETag": f'"{digest.hex}"', "X-Linked-Size": str(file.size_bytes)}
        self._send_file(file, digest.hex, head)

    def _send_file(self, file: CachedFile, etag: str, more: Mapping[str, str]) -> None:
        """The bytes, or the stretch that is asked for."""
        quoted = f'"{etag}"'
        wanted = self.headers.get("Range")
        if self.headers.get("If-Range") not in (None, quoted):
            wanted = None
        stretch = parse_range(wanted, file.size_bytes)
        head = {"ETag": quoted, "Accept-Ranges": "bytes"} | dict(more)
        start, end = stretch or (0, file.size_bytes)
        if start >= end and stretch is not None:
            self._send_head(416, head | {"Content-Range": f"bytes */{file.size_bytes}"}, 0)
            return
        if stretch is not None:
            head["Content-Range"] = f"bytes {start}-{end - 1}/{file.size_bytes}"
        head["Content-Type"] = "application/octet-stream"
        try:
            with self.server.shelf.path_of(file).open("rb") as stream:
                self._send_head(200 if stretch is None else 206, head, end - start)
                if self.command == "GET" and end > start:
                    self.connection.sendfile(stream, start, end - start)
        except FileNotFoundError as error:
            raise AbsentError("EntryNotFound", "it was removed from the cache just now") from error

    def _send_json(self, status: int, document: Any, more: Mapping[str, str]) -> None:
        body = json.dumps(document).encode()
        self._send_head(status, {"Content-Type": "application/json"} | dict(more), len(body))
        if self.command == "GET":
            self.wfile.write(body)

    def _send_head(self, status: int, headers: Mapping[str, str], length_bytes: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, _one_line(value))
        self.send_header("Content-Length", str(length_bytes))
        self.end_headers()
        self.wfile.flush()


def parse_range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """The stretch of a file that a Range header asks for, its end not part of it.

    A stretch that the file does not have is empty (status 416).

    Returns:
        None for all of it. A header of several stretches, or of another form, is ignored, as
        RFC 9110, 14.2 allows.
    """
    found = _RANGE.fullmatch((header or "").strip())
    if found is None:
        return None
    first, last, count = found.groups()
    if count is not None:
        return max(0, size_bytes - int(count)), size_bytes
    return int(first), min(size_bytes, int(last) + 1 if last else size_bytes)


def _tree_entry(shelf: Shelf, file: CachedFile) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": file.path, "size": file.size_bytes}
    digest = shelf.digest_of(file)
    if digest.algorithm == "git-sha1":
        return entry | {"oid": digest.hex}
    lfs = {"oid": file.sha256, "size": file.size_bytes, "pointerSize": pointer_size_bytes(file)}
    return entry | {"oid": pointer_sha1(file), "lfs": lfs}


def _one_line(text: str) -> str:
    """Safe in a header, whatever a client put into the address that it quotes."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def serve_mirror(
    cache: Cache, host: str, port: int, on_ready: Callable[[MirrorServer], None]
) -> None:
    """Serve the cache until Ctrl-C.

    Raises:
        OSError: the address cannot be bound.
        KeyboardInterrupt: the user ends it.
    """
    with MirrorServer(cache, host, port) as server:
        on_ready(server)
        server.serve_forever(poll_interval=0.2)
