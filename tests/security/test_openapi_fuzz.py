"""schemathesis over the published OpenAPI document: what it says holds, whatever is asked."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from nimctl.core.engine_address import EngineAddress
from nimctl.core.surface import offer
from nimctl.engines import ENGINES

pytestmark = pytest.mark.slow

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)


class Agreeable(BaseHTTPRequestHandler):
    """An engine that takes everything."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b'{"choices": []}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815


@pytest.fixture
def agreeable():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Agreeable)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield SimpleNamespace(address=EngineAddress(port=server.server_address[1]))
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.timeout(600)
def test_the_document_holds(start_gateway, agreeable, tmp_path):
    """Of vLLM's surface, which is the largest."""
    what = offer(ENGINES["vllm"].surface, version=None, argv=None)
    gateway = start_gateway(agreeable, served={"offer": what})
    result = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "run"),
            *(f"{gateway.url}/openapi.json", "--checks", ",".join(CHECKS)),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "1"),
            *("--request-timeout", "10", "--warnings", "off", "--continue-on-failure"),
        ],
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stdout[-8000:]
    assert gateway.troubles == []
