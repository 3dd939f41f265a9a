"""Verified downloads against `hf download`, alternated in one run: speed, CPU, memory, limits.

    python tests/benchmarks/download.py --rounds 5 --size-mb 1500
    python tests/benchmarks/download.py --rounds 5 --size-mb 1500 --rate-mb 20
    python tests/benchmarks/download.py --rounds 5 --size-mb 1500 --tls

A hub of loopback (the model API of `tests/fake_hub.py`'s kind, in a process of its own) sends the
files of a made model through nginx, which can limit each connection. nimctl and `hf` of the same
environment fetch all files of it in turn into an empty folder on the same disk; nimctl's time
contains the digests and the fsync, `hf`'s contains neither. "Nothing to do" is the same command
once more; for nimctl also the one that names a profile, and so judges the model before it looks.
The write limit is the same bytes written and fsynced. `hf` takes each file over one connection, so
at a limit of each connection the layout of the model decides how far it can be beaten: four equal
shards at most 4 times; as Llama 3 8B is published (`--last 0.23`), 4.9 times. Absolute figures are
those of this machine in this hour: read the ratios. Needs nginx.
"""

import argparse
import contextlib
import hashlib
import http.server
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

NGINX = """
worker_processes 2; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log {folder}/access.log combined buffer=64k flush=1s; sendfile on; tcp_nopush on;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port}{tls}; root {files}; {limit} }}
}}
"""
MB = 1_000_000
MODEL = "acme/bench"
COMMIT = "c" * 40
CERTIFICATES = Path(__file__).parents[1] / "sources" / "certificates"
ANY_MACHINE = ("--profile", "vllm-bf16-tp1-pp1")
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "torch_dtype": "bfloat16",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}


def make_files(folder, size_bytes, shards, last=1.0):
    """Random shards of that size together, and a config; size and digest by name.

    The last shard is `last` times as large as the others.
    """
    digests = {}
    for number in range(shards):
        path = folder / f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        left = int(size_bytes / (shards - 1 + last) * (last if number == shards - 1 else 1))
        tensor = {"dtype": "U8", "shape": [left], "data_offsets": [0, left]}
        header = json.dumps({f"weight.{number}": tensor}).encode()
        piece = len(header).to_bytes(8, "little") + header
        hasher = hashlib.sha256()
        with path.open("wb") as stream:
            while piece:
                stream.write(piece)
                hasher.update(piece)
                piece = os.urandom(min(left, 8 * MB))
                left -= len(piece)
        digests[path.name] = (path.stat().st_size, hasher.hexdigest())
    config = json.dumps(CONFIG).encode()
    (folder / "config.json").write_bytes(config)
    digests["config.json"] = (len(config), hashlib.sha256(config).hexdigest())
    return digests


def serve_hub(digests, storage_port, scheme="http"):
    """The hub's API, in a thread: its few requests cost nothing."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments):
            pass

        def send(self, status, body=b"", **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self):
            path = self.path.partition("?")[0]
            if "/tree/" in path:
                entries = [
                    {
                        "type": "file",
                        "path": name,
                        "size": size,
                        "oid": "0" * 40,
                        "lfs": {"oid": sha256, "size": size, "pointerSize": 134},
                    }
                    for name, (size, sha256) in digests.items()
                ]
                self.send(200, json.dumps(entries).encode(), Content_Type="application/json")
            elif path.startswith("/api/models/"):
                siblings = [{"rfilename": name} for name in digests]
                body = {"id": MODEL, "modelId": MODEL, "sha": COMMIT, "siblings": siblings}
                self.send(200, json.dumps(body).encode(), Content_Type="application/json")
            elif "/resolve/" in path:
                name = path.rpartition("/")[2]
                size, sha256 = digests[name]
                self.send(
                    302,
                    Location=f"{scheme}://127.0.0.1:{storage_port}/{name}",
                    X_Repo_Commit=COMMIT,
                    X_Linked_ETag=f'"{sha256}"',
                    X_Linked_Size=str(size),
                    ETag=f'"{sha256}"',
                )
            else:
                self.send(404)

        do_HEAD = do_GET  # noqa: N815

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


@contextlib.contextmanager
def serve_storage(folder, files, rate_mb, scheme="http"):
    """nginx on a free port, each connection limited to `rate_mb` where that is not 0."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    limit = f"limit_rate {int(rate_mb * MB)};" if rate_mb else ""
    pair = CERTIFICATES / "good.pem"
    tls = f" ssl; ssl_certificate {pair}; ssl_certificate_key {pair}" if scheme == "https" else ""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, files=files, port=port, limit=limit, tls=tls))
    process = subprocess.Popen(["nginx", "-e", f"{folder}/error.log", "-c", config])
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait()


def run(command, environment):
    """Seconds, CPU seconds and peak memory in MB of a command that must succeed."""
    begun_s = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    output = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command}: {output.decode()[-2000:]}")
    return time.perf_counter() - begun_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def write_limit(files, folder):
    """Seconds to write and fsync the same bytes, already read."""
    seconds = 0.0
    for path in files.iterdir():
        with path.open("rb") as source, (folder / path.name).open("wb") as stream:
            while data := source.read(8 * MB):
                begun_s = time.perf_counter()
                stream.write(data)
                seconds += time.perf_counter() - begun_s
            begun_s = time.perf_counter()
            stream.flush()
            os.fsync(stream.fileno())
            seconds += time.perf_counter() - begun_s
    return seconds


class Contender:
    """One way to download, and what was measured of it."""

    def __init__(self, name, command, environment, choosing=None):
        self.name, self.command, self.environment = name, command, environment
        self.choosing = choosing
        self.seconds, self.cpu_s, self.memory_mb, self.again_s = [], [], [], []
        self.chosen_s = []

    def measure(self, folder):
        """One download into an empty folder, then once more with nothing to do."""
        environment = self.environment | {
            "HOME": str(folder),
            "HF_HOME": str(folder / "hf"),
            "NIMCTL_CACHE_DIR": str(folder / "nimctl"),
        }
        os.sync()
        for into in ((self.seconds, self.cpu_s, self.memory_mb), (self.again_s, [], [])):
            for figures, figure in zip(into, run(self.command, environment), strict=True):
                figures.append(figure)
        if self.choosing is not None:
            run(self.choosing, environment)
            self.chosen_s.append(run(self.choosing, environment)[0])


def spread(values):
    """Median [least to most]."""
    return f"{statistics.median(values):.2f} [{min(values):.2f} to {max(values):.2f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size-mb", type=int, default=1500)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument(
        "--last", type=float, default=1.0, help="size of the last shard, in those of the others"
    )
    parser.add_argument("--rate-mb", type=float, default=0, help="limit of one connection, MB/s")
    parser.add_argument("--tls", action="store_true", help="the storage speaks TLS, as hubs' do")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default the temporary")
    options = parser.parse_args()
    scripts = Path(sys.executable).parent
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        top = Path(name)
        files, logs = top / "files", top / "logs"
        files.mkdir()
        logs.mkdir()
        top.chmod(0o755)
        digests = make_files(files, options.size_mb * MB, options.shards, options.last)
        size_gb = sum(size for size, _ in digests.values()) / 1e9
        scheme = "https" if options.tls else "http"
        with serve_storage(logs, files, options.rate_mb, scheme) as storage_port:
            hub = f"http://127.0.0.1:{serve_hub(digests, storage_port, scheme)}"
            environment = {
                name: value for name, value in os.environ.items() if not name.startswith("HF_")
            } | {
                "HF_ENDPOINT": hub,
                "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "SSL_CERT_FILE": str(CERTIFICATES / "authority.pem"),
            }
            fetch = [str(scripts / "nimctl"), "download", f"hf://{MODEL}"]
            nimctl = Contender(
                "nimctl", [*fetch, "--include", "*"], environment, [*fetch, *ANY_MACHINE]
            )
            hf = Contender("hf", [str(scripts / "hf"), "download", MODEL], environment)
            verify = Contender(
                "hf + verify",
                ["sh", "-c", f"{scripts}/hf download {MODEL} && {scripts}/hf cache verify {MODEL}"],
                environment,
            )
            limits = []
            for number in range(options.rounds):
                order = [nimctl, hf, verify]
                for contender in order[number % 3 :] + order[: number % 3]:
                    folder = top / "run"
                    folder.mkdir()
                    contender.measure(folder)
                    shutil.rmtree(folder)
                folder = top / "run"
                folder.mkdir()
                limits.append(write_limit(files, folder))
                shutil.rmtree(folder)
    last = f", the last {options.last:g} of the others" if options.last != 1 else ""
    wire = ", over TLS" if options.tls else ""
    print(f"{size_gb:.2f} GB in {options.shards} files{last}{wire}, {options.rounds} rounds")
    for one in (nimctl, hf, verify):
        print(
            f"{one.name:<12} s {spread(one.seconds)}   CPU s/GB "
            f"{statistics.median(one.cpu_s) / size_gb:.2f}   peak MB {max(one.memory_mb):.0f}"
            f"   again s {spread(one.again_s)}"
        )
    print(f"write+fsync  s {spread(limits)}")
    pairs = lambda a, b: [x / y for x, y in zip(a, b, strict=True)]  # noqa: E731
    print(f"hf / nimctl time                 {spread(pairs(hf.seconds, nimctl.seconds))}")
    print(f"(hf + verify) / nimctl time      {spread(pairs(verify.seconds, nimctl.seconds))}")
    print(f"nimctl / hf CPU                  {spread(pairs(nimctl.cpu_s, hf.cpu_s))}")
    print(f"nimctl / hf, nothing to do       {spread(pairs(nimctl.again_s, hf.again_s))}")
    print(f"  with a profile named           {spread(pairs(nimctl.chosen_s, hf.again_s))}")
    print(f"share of write+fsync limit       {spread(pairs(limits, nimctl.seconds))}")
    if options.rate_mb:
        limit_s = size_gb * 1000 / (16 * options.rate_mb)
        print(f"share of 16 connections x limit  {spread([limit_s / s for s in nimctl.seconds])}")


if __name__ == "__main__":
    main()
