"""How soon an engine knows that its client left, and clients that their engine died.

    python tests/benchmarks/gateway_faults.py [--times N]

Prints median and 99th percentile in milliseconds over raw sockets, with a fake engine.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from gateway_rig import MODEL, Engine, RunningGateway, post, read_all, read_until, wait_until

from nimctl.server.gateway import GatewayConfig, new_event_loop

SLOW = {"ttft_ms": 30_000, "interval_ms": 0}
LONG = {"ttft_ms": 1, "interval_ms": 5, "chunks": 10_000}
PHASES = {
    "mid-stream": ({"stream": True, "fake": LONG}, "first"),
    "in prefill": ({"stream": True, "fake": SLOW}, "begun"),
    "non-streaming": ({"stream": False, "fake": SLOW}, "begun"),
}


def start(folder):
    """An engine and a gateway in front of it."""
    engine = Engine(folder)
    gateway = RunningGateway(folder, GatewayConfig(port=0), MODEL, new_event_loop)
    gateway.state.ready(engine.address)
    return engine, gateway


def leave(engine, gateway, fields, phase):
    """Seconds from a client's leaving until the engine knows."""
    engine.forget()
    client = gateway.connect()
    client.sendall(post(**fields))
    wait_until(lambda: engine.events(phase))
    left_s = time.monotonic()
    client.close()
    [aborted] = wait_until(lambda: engine.events("aborted"))
    return aborted["at_s"] - left_s


def kill(folder):
    """Seconds from an engine's death to the end of a stream, and of the next request."""
    engine, gateway = start(folder)
    try:
        with gateway.connect() as client:
            client.sendall(post(stream=True, fake=LONG))
            read_until(client, b"data: ")
            engine.kill()
            killed_s = time.monotonic()
            read_all(client)
            told_s = time.monotonic() - killed_s
        asked_s = time.monotonic()
        gateway.exchange(post(headers=["Connection: close"]))
        return told_s, time.monotonic() - asked_s
    finally:
        gateway.close()


def show(what, bar_ms, times_s):
    """One line: what, median, 99th percentile, and the bar."""
    ordered = sorted(times_s)
    last = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    middle = ordered[len(ordered) // 2]
    print(f"{what:<44} {middle * 1000:8.2f} {last * 1000:8.2f}   (bar: {bar_ms} ms)")


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=100)
    times = parser.parse_args().times
    print(f"{'milliseconds, ' + str(times) + ' times':<44} {'p50':>8} {'p99':>8}")
    with tempfile.TemporaryDirectory() as name:
        engine, gateway = start(Path(name))
        for phase, (fields, event) in PHASES.items():
            taken_s = [leave(engine, gateway, fields, event) for _ in range(times)]
            show(f"client gone {phase}, until the engine knows", 10, taken_s)
        gateway.close()
        engine.kill()
    ends = []
    for _ in range(max(1, times // 10)):
        with tempfile.TemporaryDirectory() as name:
            ends.append(kill(Path(name)))
    show("engine killed, until a stream is told", 50, [told_s for told_s, _ in ends])
    show("engine killed, next request answered", 100, [next_s for _, next_s in ends])


if __name__ == "__main__":
    main()
