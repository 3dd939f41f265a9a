"""A hosted OpenAI-compatible endpoint as nimctl meets it: a thread that speaks TLS and wants a key.

It answers `/BASE/models` and `/BASE/chat/completions`, nothing else, and keeps every head it heard.
"""

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-theirs"
EVENTS = ("Hel", "lo")


class Endpoint:
    """One endpoint; `url` is what an OpenAI client takes as its base.

    Attributes:
        models: What it lists.
        heard: (method, path, headers, body) of each request.
        status: Answered to everything while it is not 200.
        newer: It takes `max_completion_tokens` only.
    """

    def __init__(self, files=None, *, models=("acme/large", "acme/small"), base="/api/v1", port=0):
        self.models, self.base = models, base
        self.heard, self.status, self.newer = [], 200, False
        endpoint = self

        class Handler(_Handler):
            owner = endpoint

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        if files is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*files)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if files else 'http'}://127.0.0.1:{self.port}{base}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Endpoint

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.hear(b"")
        owner = self.owner
        if self.refuses():
            return
        if self.path == f"{owner.base}/models":
            self.answer(200, {"data": [{"id": name, "object": "model"} for name in owner.models]})
        else:
            self.answer(404, {"error": {"message": "no such page"}})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.hear(body)
        if self.refuses():
            return
        asked = json.loads(body)
        if self.path != f"{self.owner.base}/chat/completions":
            self.answer(404, {"error": {"message": "no such page"}})
        elif self.owner.newer and "max_tokens" in asked:
            self.answer(400, {"error": {"message": "use max_completion_tokens"}})
        elif asked.get("stream"):
            self.stream()
        else:
            message = {"role": "assistant", "content": "".join(EVENTS)}
            self.answer(
                200,
                {
                    "id": "1",
                    "object": "chat.completion",
                    "created": 1,
                    "model": asked["model"],
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                },
            )

    def hear(self, body):
        self.owner.heard.append((self.command, self.path, dict(self.headers.items()), body))

    def refuses(self):
        owner = self.owner
        status = owner.status
        if self.headers["authorization"] != f"Bearer {KEY}":
            status = 401
        if status != 200:
            self.answer(status, {"error": {"message": "Incorrect API key: sk-t***rs"}})
        return status != 200

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "track=1")
        self.send_header("Alt-Svc", 'h3=":443"')
        self.end_headers()
        self.wfile.write(body)

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for text in EVENTS:
            delta = {"choices": [{"index": 0, "delta": {"content": text}}]}
            self.chunk(f"data: {json.dumps({'id': '1', 'object': 'x', **delta})}\n\n")
        self.chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, text):
        self.wfile.write(b"%x\r\n%b\r\n" % (len(text), text.encode()))
