"""What large bodies and slow readers cost: delay of other streams, and memory of the gateway.

    python tests/benchmarks/gateway_load.py

Streams are paced by a fake engine; how late a chunk comes is counted from the stream's own earliest
one. Bodies of 8 MB go the same way, one after the other; the same without the gateway says how much
of the delay is the engine's and the client's. Linux only.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from gateway_rig import Engine, post

GATEWAY = Path(__file__).with_name("gateway_cpu.py")
INTERVAL_S, CHUNKS, STREAMS = 0.02, 250, 16
BODY_BYTES = 8_000_000
READERS = 50


def start_gateway(engine):
    """A gateway in a process of its own; its port and process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(GATEWAY), "--role", "gateway", "--uds", engine.uds]
    process = subprocess.Popen([*command, "--port", str(port)])
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return port, process
        time.sleep(0.02)
    raise SystemExit("the gateway did not start")


def connect(place):
    """Reader and writer to a port or a unix socket."""
    if isinstance(place, int):
        return asyncio.open_connection("127.0.0.1", place)
    return asyncio.open_unix_connection(place)


async def time_chunks(place):
    """Seconds each chunk of one stream came late."""
    fields = {"chunks": CHUNKS, "interval_ms": INTERVAL_S * 1000, "ttft_ms": 0}
    reader, writer = await connect(place)
    writer.write(post(stream=True, fake=fields))
    times_s = []
    while len(times_s) < CHUNKS:
        line = await reader.readline()
        if line.startswith(b"data: {"):
            times_s.append(time.perf_counter())
    writer.close()
    due_s = [at_s - number * INTERVAL_S for number, at_s in enumerate(times_s)]
    return [one - min(due_s) for one in due_s]


async def send_bodies(place, sent):
    """Large bodies one after the other, until cancelled; `sent` counts them."""
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
    data = head.encode() + b"x" * BODY_BYTES
    reader, writer = await connect(place)
    while True:
        writer.write(data)
        await writer.drain()
        await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"}]}")
        sent.append(1)


async def measure_delay(place, *, bodies):
    """Late chunks of all streams in seconds, sorted, and how many bodies went through meanwhile."""
    sent = []
    sender = asyncio.create_task(send_bodies(place, sent)) if bodies else None
    late_s = [
        s
        for one in await asyncio.gather(*(time_chunks(place) for _ in range(STREAMS)))
        for s in one
    ]
    if sender:
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sender
    return sorted(late_s), len(sent)


def show_delay(what, place, *, bodies):
    """One line: median and 99th percentile of the delay."""
    late_s, sent = asyncio.run(measure_delay(place, bodies=bodies))
    middle, last = late_s[len(late_s) // 2], late_s[int(len(late_s) * 0.99)]
    print(f"{what:<52} {middle * 1000:8.2f} {last * 1000:8.2f}   {sent} bodies")


def resident_bytes(process):
    """Resident memory of the gateway."""
    pages = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def show_slow_readers(port, process):
    """Bytes the gateway grew for each reader that reads nothing of a fast, long stream."""
    fields = {"chunks": 40_000, "interval_ms": 0, "ttft_ms": 0, "pad_bytes": 1000}
    before, readers = resident_bytes(process), []
    for _ in range(READERS):
        reader = socket.create_connection(("127.0.0.1", port))
        reader.sendall(post(stream=True, fake=fields))
        readers.append(reader)
    last = 0
    while (now := resident_bytes(process)) != last:  # until nothing moves any more
        last = now
        time.sleep(1)
    for reader in readers:
        reader.close()
    grown_mb = (now - before) / READERS / 1e6
    print(f"slow readers, growth for each of {READERS}: {grown_mb:.2f} MB (bar: 1 MB)")


def main():
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        engine = Engine(Path(name))
        port, process = start_gateway(engine)
        try:
            print(f"{'milliseconds a chunk comes late':<52} {'p50':>8} {'p99':>8}")
            show_delay("engine alone", engine.uds, bodies=False)
            show_delay("engine alone, beside bodies of 8 MB", engine.uds, bodies=True)
            show_delay("through the gateway", port, bodies=False)
            show_delay("through the gateway, beside bodies (bar: p99 12 ms)", port, bodies=True)
            show_slow_readers(port, process)
        finally:
            process.terminate()
            process.wait()
            engine.kill()


if __name__ == "__main__":
    main()
