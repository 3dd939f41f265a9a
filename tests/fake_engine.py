"""A fake OpenAI-compatible engine as a real process: paced streams, bad manners on request.

    python tests/fake_engine.py --uds /tmp/e.sock --chunks 32 --interval-ms 5 --ttft-ms 50

Serves /health, /v1/models, /metrics, /tokenize, /v1/embeddings and the generating routes; other
routes of engines answer with what they heard. A request may change the options for itself with a
field `fake`, e.g. `{"fake": {"chunks": 4}}`. With `--seen FILE` it appends a line of JSON for each
thing that happens to a generating request:
`{"event": "begun|first|finished|aborted", "id": "the x-request-id", "at_s": CLOCK_MONOTONIC}`.

Modes: `ok`; `die-mid-stream` exits 1 after half of a stream; `hang` accepts and never answers
anything; `health-only` answers all but generating requests; `exit-0` ends as if all were well
where it would have begun to listen; `refuse` runs and never listens; `spin` computes instead of
that for ever; `repeat` prints a line of the same kind for ever.

`--load-pieces 4` prints `loading 1/4` and so on before it listens, one each `--piece-ms`;
`--swell-mib 64` takes so much memory before that, and gives it back.

A request may also make the whole engine go wrong, e.g. `{"fake": {"deed": "stop"}}`: `exit-0` ends
it as if all were well; `stop` is SIGSTOP; `deadlock` blocks it for ever with its port open; `mute`
lets it answer its health path and generate no more; `deaf` the opposite; `sick` answers 500 there.
"""

import argparse
import asyncio
import functools
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from httptools import HttpRequestParser

GENERATING = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")
ECHOING = (
    "/v1/messages/count_tokens",
    "/v1/rerank",
    "/rerank",
    "/detokenize",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
)
MODES = ("ok", "die-mid-stream", "hang", "exit-0", "health-only", "refuse", "spin", "repeat")
WORDS = ("Über", " 猫", "🙂", " chunk", "é", " plain", " naïve", "…")
METRICS = """# HELP fake_tokens_total Tokens made.
# TYPE fake_tokens_total counter
fake_tokens_total{model="fake"} 7
# HELP num_requests_running The engine's own idea.
# TYPE num_requests_running gauge
num_requests_running 99
this line is not of the format at all
# TYPE fake_wait_seconds histogram
fake_wait_seconds_bucket{le="+Inf"} 1
fake_wait_seconds_sum 0.5
fake_wait_seconds_count 1
"""


class Connection(asyncio.Protocol):
    """One connection to the engine; requests are answered one after the other."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.stream = None
        self.parser = HttpRequestParser(self)

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.parser.feed_data(data)

    def connection_lost(self, exc):
        if self.stream is not None:
            self.stream.abort()

    def pause_writing(self):
        if self.stream is not None:
            self.stream.paused = True

    def resume_writing(self):
        if self.stream is not None:
            self.stream.paused = False
            self.stream.tick()

    def on_message_begin(self):
        self.path, self.headers, self.body = "", {}, bytearray()

    def on_url(self, url):
        self.path += url.decode()

    def on_header(self, name, value):
        self.headers[name.decode().lower()] = value.decode("latin-1")

    def on_body(self, data):
        self.body += data

    def on_message_complete(self):
        options, path = self.options, self.path.partition("?")[0]
        if options.mode == "hang":
            return
        if path == "/health":
            self.tell_health()
        elif path == "/v1/models":
            self.answer({"object": "list", "data": [{"id": options.model, "object": "model"}]})
        elif path == "/metrics":
            self.answer(METRICS, "text/plain; version=0.0.4")
        elif path in GENERATING:
            self.generate()
        elif path == "/tokenize":
            self.answer({"tokens": [1, 2, 3], "heard": json.loads(self.body or b"{}")})
        elif path == "/v1/embeddings":
            self.answer({"object": "list", "data": [{"embedding": [0.0], "index": 0}]})
        elif path in ECHOING or path.startswith("/v1/responses/"):
            method = self.parser.get_method().decode()
            self.answer({"asked": f"{method} {path}", "heard": json.loads(self.body or b"{}")})
        else:
            self.answer({"error": {"message": f"no {path}"}}, status="404 Not Found")

    def tell_health(self):
        if self.options.deed == "sick":
            self.answer({"status": "sick"}, status="500 Internal Server Error")
        elif self.options.deed != "deaf":
            self.answer({"status": "ok"})

    def do(self, deed):
        """Go wrong as a whole."""
        self.options.deed = deed
        if deed == "exit-0":
            os._exit(0)
        elif deed == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif deed == "deadlock":
            time.sleep(1e6)

    def generate(self):
        asked = json.loads(self.body)
        if "deed" in asked.get("fake", {}):
            self.do(asked["fake"].pop("deed"))
        if self.options.deed == "mute":
            return
        until_s = time.monotonic() + asked.get("fake", {}).pop("compute_s", 0)
        while time.monotonic() < until_s:  # a long prompt in an engine of one thread
            pass
        options = argparse.Namespace(**{**vars(self.options), **asked.get("fake", {})})
        options.request_id = self.headers.get("x-request-id", "")
        if "max_tokens" in asked:
            options.chunks = asked["max_tokens"]
        options.words = len(str(asked.get("prompt", "")).split())
        record(options, "begun")
        self.options.served += 1
        if self.options.served == self.options.dies_after:
            asyncio.get_running_loop().call_later(0.2, os._exit, 3)
        if options.mode != "health-only":
            kind = Stream if asked.get("stream") else Whole
            self.stream = kind(self, options, asked)

    def answer(self, document, content_type="application/json", status="200 OK"):
        body = (document if isinstance(document, str) else json.dumps(document)).encode()
        head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}"
        self.transport.write(f"{head}\r\n\r\n".encode() + body)


def record(options, event):
    """Tell the test what happened."""
    if options.seen:
        words = getattr(options, "words", None)
        line = json.dumps(
            {"event": event, "id": options.request_id, "at_s": time.monotonic(), "words": words}
        )
        fd = os.open(options.seen, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, f"{line}\n".encode())
        os.close(fd)


class Whole:
    """A completion that comes at once, when all of it is there."""

    def __init__(self, connection, options, asked):
        self.connection, self.options = connection, options
        self.paused = False
        wait_s = (options.ttft_ms + options.chunks * options.interval_ms) / 1000
        self.timer = asyncio.get_running_loop().call_later(wait_s, self.tick)

    def tick(self):
        options, connection = self.options, self.connection
        if self.timer is None:
            return
        self.timer = connection.stream = None
        text = "".join(WORDS[i % len(WORDS)] for i in range(options.chunks))
        message = {"role": "assistant", "content": text}
        record(options, "finished")
        connection.answer(
            {
                "id": "fake",
                "object": "chat.completion",
                "created": 1,
                "model": options.model,
                "choices": [
                    {"index": 0, "message": message, "text": text, "finish_reason": "stop"}
                ],
                "usage": usage(options),
            }
        )

    def abort(self):
        self.timer.cancel()
        record(self.options, "aborted")


class Stream:
    """A completion in paced server-sent events, on an absolute schedule."""

    def __init__(self, connection, options, asked):
        self.connection, self.options = connection, options
        self.loop = asyncio.get_running_loop()
        self.sent = 0
        self.paused = False
        self.wants_usage = (asked.get("stream_options") or {}).get("include_usage", False)
        self.start_s = self.loop.time() + options.ttft_ms / 1000
        self.timer = self.loop.call_at(self.start_s, self.tick)

    def tick(self):
        """Send what is due by now."""
        self.timer.cancel()
        options = self.options
        while not self.paused and self.connection.stream is self:
            due_s = self.start_s + self.sent * options.interval_ms / 1000
            if due_s > self.loop.time():
                self.timer = self.loop.call_at(due_s, self.tick)
                return
            self.send_next()

    def send_next(self):
        options, first = self.options, self.sent == 0
        if first:
            record(options, "first")
            self.connection.transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                b"transfer-encoding: chunked\r\n\r\n"
            )
        if options.mode == "die-mid-stream" and self.sent >= options.chunks // 2:
            os._exit(1)
        if self.sent < options.chunks:
            word = WORDS[self.sent % len(WORDS)]
            self.write_event(render_event(options.model, word, first, options.pad_bytes))
            self.sent += 1
            return
        self.write_event(render_event(options.model, None, False, 0))
        if self.wants_usage:
            self.write_event(render_usage(options))
        self.write_event(b"data: [DONE]\n\n")
        self.connection.transport.write(b"0\r\n\r\n")
        self.connection.stream = None
        record(options, "finished")

    def write_event(self, event):
        step = self.options.split_bytes or len(event)
        for start in range(0, len(event), step):
            part = event[start : start + step]
            self.connection.transport.write(b"%x\r\n%b\r\n" % (len(part), part))

    def abort(self):
        self.timer.cancel()
        record(self.options, "aborted")


@functools.cache
def render_event(model, word, first, pad_bytes):
    """One event; without a word, the last one."""
    delta = {} if word is None else {"content": word}
    if first:
        delta["role"] = "assistant"
    finish = "stop" if word is None else None
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return render_chunk(model, [choice], system_fingerprint="x" * pad_bytes)


def render_usage(options):
    """The event that tells how many tokens there were."""
    return render_chunk(options.model, [], usage=usage(options))


def render_chunk(model, choices, **fields):
    """A `chat.completion.chunk` as a server-sent event."""
    document = {
        "id": "chatcmpl-fake",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": choices,
        **fields,
    }
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n".encode()


def usage(options):
    """OpenAI's usage block."""
    tokens = options.chunks
    return {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": tokens + 5}


async def load(options):
    """What happens before it listens."""
    bytearray(b"x" * options.swell_mib * 2**20)
    for piece in range(options.load_pieces):
        await asyncio.sleep(options.piece_ms / 1000)
        print(f"loading {piece + 1}/{options.load_pieces}", flush=True)
    if options.load_pieces:
        print("compiling", flush=True)


async def serve(options):
    """Listen for ever, or do what the mode says instead."""
    if options.grandchild:
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        with Path(options.grandchild).open("a") as file:
            file.write(f"{child.pid}\n")
    if options.print:
        print(options.print, flush=True)
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    await asyncio.sleep(options.start_delay_s)
    await load(options)
    while options.start_when and not Path(options.start_when).exists():
        await asyncio.sleep(0.01)
    if options.mode == "exit-0":
        return
    while options.mode == "spin":
        pass
    while options.mode == "repeat":
        print(f"{time.time()}: waiting for 1/2 workers", flush=True)
        await asyncio.sleep(0.1)
    loop = asyncio.get_running_loop()
    if options.mode != "refuse":
        if options.uds:
            await loop.create_unix_server(lambda: Connection(options), options.uds, backlog=2048)
        else:
            server = await loop.create_server(
                lambda: Connection(options), "127.0.0.1", options.port, backlog=2048
            )
            options.port = server.sockets[0].getsockname()[1]
        print(f"listening on {options.uds or options.port}", flush=True)
    await asyncio.Event().wait()


def parse_options():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--uds", help="path of the unix socket to listen on")
    where.add_argument("--port", type=int, help="port of 127.0.0.1; 0 prints the one it took")
    parser.add_argument("--model", default="fake")
    parser.add_argument("--chunks", type=int, default=32)
    parser.add_argument("--interval-ms", type=float, default=5)
    parser.add_argument("--ttft-ms", type=float, default=50)
    parser.add_argument("--pad-bytes", type=int, default=40, help="makes each chunk so much longer")
    parser.add_argument("--split-bytes", type=int, default=0, help="cut events into such pieces")
    parser.add_argument("--start-delay-s", type=float, default=0)
    parser.add_argument("--print", help="what it prints before anything else")
    parser.add_argument("--load-pieces", type=int, default=0)
    parser.add_argument("--piece-ms", type=float, default=50)
    parser.add_argument("--swell-mib", type=int, default=0)
    parser.add_argument("--start-when", help="a file that is waited for")
    parser.add_argument("--mode", choices=MODES, default="ok")
    parser.add_argument("--seen", help="file to append what happens to")
    parser.add_argument("--dies-after", type=int, help="exit 3 soon after so many requests came")
    parser.add_argument(
        "--grandchild", help="start a process that leaves; its pid goes to this file"
    )
    parser.add_argument("--stubborn", action="store_true", help="ignore SIGTERM")
    parser.set_defaults(deed=None, served=0)
    return parser.parse_args()


def main():
    """Run until killed."""
    options = parse_options()
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(options))
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(options))


if __name__ == "__main__":
    main()
