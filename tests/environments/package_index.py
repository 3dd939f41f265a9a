"""A package index of a folder of wheels on loopback: the pages of PEP 503, with digests."""

import base64
import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOGIN = "me:hunter2"


class PackageIndex(ThreadingHTTPServer):
    """Serves `/simple/NAME/` and `/files/WHEEL` to who has the login; notes what it is asked."""

    daemon_threads = True

    def __init__(self, wheels):
        super().__init__(("127.0.0.1", 0), _Pages)
        self.wheels = wheels
        self.asked = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://{LOGIN}@127.0.0.1:{self.server_port}/simple"

    def fetched(self):
        """The wheels it has given, by the name of their distribution."""
        files = (path for path in self.asked if path.endswith(".whl"))
        return {path.rpartition("/")[2].partition("-")[0] for path in files}

    def close(self):
        self.shutdown()
        self.server_close()


class _Pages(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        login = base64.b64encode(LOGIN.encode()).decode()
        if self.headers["Authorization"] != f"Basic {login}":
            self._answer(401, b"", {"WWW-Authenticate": 'Basic realm="wheels"'})
            return
        if self.command == "GET":
            self.server.asked.append(self.path)
        page = re.fullmatch(r"/simple/([a-z0-9-]+)/", self.path)
        file = self.server.wheels / self.path.removeprefix("/files/")
        if page:
            self._list(page[1])
        elif file.parent == self.server.wheels and file.exists():
            self._answer(200, file.read_bytes(), {"Content-Type": "application/octet-stream"})
        else:
            self._answer(404, b"")

    def do_HEAD(self):
        """As uv asks before it reads the metadata out of the middle of a wheel."""
        self.do_GET()

    def _list(self, name):
        wheels = sorted(self.server.wheels.glob(f"{name.replace('-', '_')}-*.whl"))
        links = [
            f'<a href="/files/{path.name}#sha256={digest(path)}">{path.name}</a><br>'
            for path in wheels
        ]
        page = "<!DOCTYPE html><html><body>" + "\n".join(links) + "</body></html>"
        self._answer(200 if links else 404, page.encode(), {"Content-Type": "text/html"})

    def _answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
