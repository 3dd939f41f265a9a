"""CPU per streamed chunk: this gateway, nginx, and Starlette + httpx, alternated in one run.

    python tests/benchmarks/gateway_cpu.py --rounds 3

A fake engine paces the streams, one client process reads them through each candidate in turn, and
the scheduler's own counters say what the candidate used. The machine's noise falls on all of them
alike, so read the ratios. nginx takes part when it is on PATH, the control when starlette, uvicorn
and httpx can be imported by `--control-python`. Linux only.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LOG_LINE = "{0.method} {0.path} {0.status} {0.duration_s:.3f} {0.sent_bytes} {0.request_id}\n"
ROOT = Path(__file__).parents[2]
FAKE_ENGINE = ROOT / "tests" / "fake_engine.py"
NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  upstream engine {{ server unix:{uds}; keepalive 256; keepalive_timeout 4s; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{
      proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 600;
    }}
  }}
}}
"""


class Candidate:
    """A server between client and engine, and what was measured of it."""

    def __init__(self, name, port, command):
        self.name, self.port = name, port
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        self.cpu_us, self.first_ms, self.grown_mb = [], [], 0.0
        wait_for_port(port)
        self.idle_mb = self.resident_mb()

    def pids(self):
        """The process and its children."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, children.split())]

    def cpu_ns(self):
        """Time on a CPU so far, all threads."""
        files = [f for pid in self.pids() for f in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return sum(int(file.read_text().split()[0]) for file in files)

    def resident_mb(self):
        """Resident memory."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids()]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def wait_for_port(port):
    """Until somebody accepts there."""
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise SystemExit(f"nothing came to listen on {port}")


def free_port():
    """A port nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# The load


class Stream(asyncio.Protocol):
    """Reads one stream and notes when its first byte came."""

    def __init__(self, request, finished):
        self.request, self.finished = request, finished
        self.first_s = None
        self.tail = b""

    def connection_made(self, transport):
        self.transport = transport
        self.sent_s = time.perf_counter()
        transport.write(self.request)

    def data_received(self, data):
        if self.first_s is None:
            self.first_s = time.perf_counter()
        self.tail = data if len(data) > 7 else self.tail + data
        if self.tail.endswith(b"\r\n0\r\n\r\n"):
            self.finished.set_result(None)
            self.transport.close()

    def connection_lost(self, exc):
        if not self.finished.done():
            self.finished.set_exception(RuntimeError("a stream was cut"))


async def read_streams(port, options):
    """Read all streams, begun evenly over a second; milliseconds to the first byte of each."""
    loop = asyncio.get_running_loop()
    fields = {"chunks": options.chunks - 3, "interval_ms": options.interval_ms, "pad_bytes": 12}
    body = json.dumps({"model": "fake", "stream": True, "fake": fields}).encode()
    request = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    start_s = loop.time()

    async def read_one(index):
        due_s = start_s + index / options.streams
        await asyncio.sleep(due_s - loop.time())
        finished = loop.create_future()
        stream = Stream(request, finished)
        await loop.create_connection(lambda: stream, "127.0.0.1", port)
        await finished
        return (stream.first_s - stream.sent_s) * 1000

    return await asyncio.gather(*map(read_one, range(options.streams)))


def run_client(options):
    """As a child: read the streams once, print the times to first byte as JSON."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(read_streams(options.port, options))))


# The candidates


def run_gateway(options):
    """As a child: this gateway with everything on."""
    sys.path.insert(0, str(ROOT))
    from nimctl.core.engine_address import EngineAddress
    from nimctl.server.gateway import (
        EngineState,
        Gateway,
        GatewayConfig,
        ServedModel,
        new_event_loop,
    )

    async def serve(log):
        engine = EngineState()
        engine.ready(EngineAddress(uds=options.uds))
        gateway = Gateway(
            config=GatewayConfig(port=options.port),
            model=ServedModel(names=("fake",), created=0),
            engine=engine,
            on_access=lambda record: log.write(LOG_LINE.format(record)),
        )
        await gateway.start()
        await asyncio.Event().wait()

    log_file = Path(options.uds).with_name("gateway.log")
    with log_file.open("w") as log, asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve(log))


def run_control(options):
    """As a child: the usual pass-through."""
    import httpx
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=256)
    transport = httpx.AsyncHTTPTransport(uds=options.uds, limits=limits)
    client = httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=600)

    async def chat(request):
        upstream = client.build_request(
            "POST", request.url.path, content=await request.body(), headers={"accept": "*/*"}
        )
        response = await client.send(upstream, stream=True)

        async def relay():
            try:
                async for data in response.aiter_raw():
                    yield data
            finally:
                await response.aclose()

        kind = response.headers["content-type"]
        return StreamingResponse(relay(), response.status_code, media_type=kind)

    app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
    uvicorn.run(app, port=options.port, log_level="warning")


def start_candidates(options, uds, folder, stack):
    """All that can take part, ours first, and last the engine itself."""
    me = str(Path(__file__))
    found = []

    def add(name, command, port=None):
        port = port or free_port()
        candidate = Candidate(name, port, [part.format(port=port) for part in command])
        stack.callback(candidate.process.wait)
        stack.callback(candidate.process.terminate)
        found.append(candidate)

    role = ["--uds", uds, "--port", "{port}"]
    add("nimctl", [sys.executable, me, "--role", "gateway", *role])
    if nginx := shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"):
        port = free_port()
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, uds=uds, port=port))
        # A proxy of its own user reads the engine's socket.
        as_root = ["-g", "user root;"] if os.getuid() == 0 else []
        add("nginx", [nginx, "-c", str(config), *as_root], port)
    else:
        print("without nginx: it is not on PATH (apt-get install nginx-light)")
    can_import = [options.control_python, "-c", "import starlette, uvicorn, httpx"]
    if subprocess.run(can_import, stderr=subprocess.DEVNULL, check=False).returncode == 0:
        add("starlette+httpx", [options.control_python, me, "--role", "control", *role])
    else:
        print("without the control: pip install starlette uvicorn httpx uvloop httptools")
    add("no proxy", [sys.executable, str(FAKE_ENGINE), "--port", "{port}"])
    return found


# The comparison


def measure(candidate, options):
    """Read all streams once through a candidate."""
    command = [sys.executable, str(Path(__file__)), "--role", "client"]
    for name in ("streams", "chunks", "interval_ms"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    command += ["--port", str(candidate.port)]
    before_ns = candidate.cpu_ns()
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    peak_mb = 0.0
    while client.poll() is None:
        peak_mb = max(peak_mb, candidate.resident_mb())
        time.sleep(0.05)
    used_ns = candidate.cpu_ns() - before_ns
    output = client.stdout.read()
    client.stdout.close()
    candidate.grown_mb = max(candidate.grown_mb, peak_mb - candidate.idle_mb)
    candidate.cpu_us.append(used_ns / 1000 / (options.streams * options.chunks))
    candidate.first_ms.append(statistics.median(json.loads(output)))


def compare(options):
    """Run all candidates in turn and print the table."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        uds = str(folder / "engine.sock")
        command = [sys.executable, str(FAKE_ENGINE), "--uds", uds]
        engine = subprocess.Popen(command, stdout=subprocess.PIPE)
        stack.callback(engine.wait)
        stack.callback(engine.terminate)
        stack.callback(engine.stdout.close)
        engine.stdout.readline()
        candidates = start_candidates(options, uds, folder, stack)
        if len(os.sched_getaffinity(0)) > 1:
            pin(candidates[:-1], (engine, candidates[-1].process))
        for turn in range(options.rounds + 1):
            for candidate in (
                candidates[turn % len(candidates) :] + candidates[: turn % len(candidates)]
            ):
                measure(candidate, options)
            if turn == 0:  # warming up
                for candidate in candidates:
                    candidate.cpu_us.clear()
                    candidate.first_ms.clear()
        print_table(candidates, options)


def pin(candidates, engines):
    """Candidates on the last CPU; the engines and the clients, which inherit it, on the others."""
    cpus = sorted(os.sched_getaffinity(0))
    for pid in (0, *(engine.pid for engine in engines)):
        os.sched_setaffinity(pid, cpus[:-1])
    for candidate in candidates:
        for pid in candidate.pids():
            os.sched_setaffinity(pid, cpus[-1:])


def print_table(candidates, options):
    """Figures of each candidate, and ours in relation to each."""
    print(
        f"{options.streams} streams x {options.chunks} chunks, {options.interval_ms:g} ms apart, "
        f"{options.rounds} rounds; median [min - max]"
    )
    print(f"{'':16}{'CPU us/chunk':>24}{'first byte ms':>16}{'idle MB':>9}{'grown MB':>10}")
    for each in candidates:
        low, cpu_us, high = min(each.cpu_us), statistics.median(each.cpu_us), max(each.cpu_us)
        cpu = f"{cpu_us:.1f} [{low:.1f} - {high:.1f}]"
        first = statistics.median(each.first_ms)
        print(f"{each.name:16}{cpu:>24}{first:>16.2f}{each.idle_mb:>9.0f}{each.grown_mb:>10.1f}")
    ours = candidates[0]
    for other in candidates[1:-1]:
        ratios = [a / b for a, b in zip(ours.cpu_us, other.cpu_us, strict=True)]
        print(
            f"CPU of nimctl / {other.name}: {statistics.median(ratios):.2f} "
            f"[{min(ratios):.2f} - {max(ratios):.2f}]"
        )


def main():
    """Compare, or play one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--chunks", type=int, default=128)
    parser.add_argument("--interval-ms", type=float, default=20)
    parser.add_argument("--control-python", default=sys.executable)
    parser.add_argument("--role", choices=("gateway", "control", "client"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--uds", help=argparse.SUPPRESS)
    options = parser.parse_args()
    parts = {"gateway": run_gateway, "control": run_control, "client": run_client, None: compare}
    parts[options.role](options)


if __name__ == "__main__":
    main()
