"""A whole served model as a child process around the fake engine."""

import json
import os
import signal
import time
from functools import partial
from pathlib import Path

import httpx

CHILD = Path(__file__).with_name("server") / "serve_child.py"
WAIT_S = 30

# No certificates are read, which takes longer than all else of a request to loopback.
get = partial(httpx.get, verify=False)
post = partial(httpx.post, verify=False)
stream = partial(httpx.stream, verify=False)


class Child:
    """The serving process and what it has told."""

    def __init__(self, program, folder, own, fake):
        self.folder = folder
        words = [str(CHILD), str(folder), *own, "--", *fake]
        self.process = program.start(words, os.environ, folder)

    def wait_for(self, event):
        for line in self.process.stdout:
            told = json.loads(line)
            if told["event"] == event:
                return told
        raise AssertionError(f"ended with {self.process.wait()} before {event!r}")

    def send(self, number):
        self.process.send_signal(number)

    def end(self):
        """Exit code, and the error it told, if any."""
        lines = [json.loads(line) for line in self.process.stdout]
        errors = [line for line in lines if line["event"] == "error"]
        return self.process.wait(WAIT_S), errors[0] if errors else None

    def engine_pids(self):
        """Processes whose command line names this child's socket: the guard and the engine."""
        pids = list_pids(self.folder / "state")
        return [pid for pid in pids if pid != self.process.pid]

    def find_guard(self):
        return next(pid for pid in self.engine_pids() if is_guard(pid))

    def find_engine(self):
        return next(pid for pid in self.engine_pids() if not is_guard(pid))

    def kill_engine(self):
        os.kill(self.find_engine(), signal.SIGKILL)

    def assert_nothing_left(self):
        wait_until(lambda: not self.engine_pids())
        wait_until(lambda: not (self.folder / "state").exists())


def list_pids(folder):
    """Processes whose command line names the folder."""
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if str(folder).encode() in read(path)
    ]


def is_guard(pid):
    return b"guard.py" in read(Path(f"/proc/{pid}/cmdline"))


def read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def wait_until(condition, timeout_s=WAIT_S):
    """Seconds until `condition` holds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s
        time.sleep(0.01)
    return time.monotonic() - began


def ask(url, **fields):
    body = {"model": "fake", "prompt": "x", **fields}
    return post(f"{url}/v1/completions", json=body, timeout=WAIT_S)
