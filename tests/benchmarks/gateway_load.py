"""What large bodies and slow readers cost: delay of other streams, and memory of the gateway.

    python tests/benchmarks/gateway_load.py

Streams are paced by a fake engine; how late a chunk comes is counted from the stream's own earliest
one. Bodies of 8 MB go the same way, one after the other; the same without the gateway says how much
of the delay is the engine's and the client's. Linux only.
"""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from gateway_cpu import free_port, wait_for_port
from gateway_rig import Engine, post, read_until

GATEWAY = Path(__file__).with_name("gateway_cpu.py")
INTERVAL_S, CHUNKS, STREAMS = 0.02, 250, 16
BODY_BYTES = 8_000_000
READERS = 50


def start_gateway(engine):
    """A gateway in a process of its own; its port and process."""
    port = free_port()
    command = [sys.executable, str(GATEWAY), "--role", "gateway", "--uds", engine.uds]
    process = subprocess.Popen([*command, "--port", str(port)])
    wait_for_port(port)
    return port, process


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


def send_bodies(place):
    """As a child: large bodies one after the other, until the end; a line for each on stdout."""
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
    data = head.encode() + b"x" * BODY_BYTES
    if place.isdigit():
        sender = socket.create_connection(("127.0.0.1", int(place)))
    else:
        sender = socket.socket(socket.AF_UNIX)
        sender.connect(place)
    while True:
        sender.sendall(data)
        read_until(sender, b"}]}")
        print("sent", flush=True)


async def measure_delay(place):
    """Seconds the chunks of all streams came late, sorted."""
    streams = await asyncio.gather(*(time_chunks(place) for _ in range(STREAMS)))
    return sorted(late_s for stream in streams for late_s in stream)


def show_delay(what, place, *, bodies):
    """One line: median and 99th percentile of the delay."""
    sender = None
    if bodies:
        command = [sys.executable, __file__, "--send-to", str(place)]
        sender = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        sender.stdout.readline()
    late_s = asyncio.run(measure_delay(place))
    sent = 0
    if sender:
        sender.terminate()
        sent = len(sender.communicate()[0].splitlines())
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
    time.sleep(1)
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
            show_slow_readers(port, process)
            print(f"{'milliseconds a chunk comes late':<52} {'p50':>8} {'p99':>8}")
            show_delay("engine alone", engine.uds, bodies=False)
            show_delay("engine alone, beside bodies of 8 MB", engine.uds, bodies=True)
            show_delay("through the gateway", port, bodies=False)
            show_delay("through the gateway, beside bodies (bar: p99 12 ms)", port, bodies=True)
        finally:
            process.terminate()
            process.wait()
            engine.kill()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--send-to"]:
        send_bodies(sys.argv[2])
    else:
        main()
