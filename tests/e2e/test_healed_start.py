"""Real engines that really fail: llama.cpp with too little memory, vLLM with too small a cache.

And llama.cpp whose weights are deleted while it serves.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.conftest import WAIT_S, find_descendants
from e2e.vllm_on_cpu import EAGER, VllmServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Of the engine's address space: enough for 2 sequences of 8,192 tokens and too little for 4.
LIMIT_KIB = 950_000
WRAPPER = """#!/bin/sh
ulimit -v {limit}
ulimit -s 1024
export MALLOC_ARENA_MAX=1
exec {python} "$@"
"""


@pytest.fixture
def small_engine(tmp_path):
    """The folder of a llama.cpp that may not take much memory."""
    home = tmp_path / "engines" / "llama.cpp-1.0"
    (home / "bin").mkdir(parents=True)
    record = {"engine": "llama.cpp", "package": "xllamacpp", "version": "1.0"}
    (home / "nimctl-engine.json").write_text(json.dumps(record))
    python = home / "bin" / "python"
    python.write_text(WRAPPER.format(limit=LIMIT_KIB, python=sys.executable))
    python.chmod(0o755)
    return home.parent


def test_llama_cpp_starts_with_the_sequences_that_its_memory_holds(start_server, small_engine):
    folder = {"NIMCTL_ENGINES_DIR": str(small_engine)}
    server = start_server("--engine", "llama.cpp", **folder)
    new_plan = server.wait_for("new_plan")
    assert new_plan["symptom"].startswith("out-of-memory-")  # the cache, or what comes after
    assert new_plan["changes"] == [{"what": "sequences", "from": "4", "to": "2"}]
    server.wait_until_ready()
    server.process.terminate()
    assert server.end()[0] == 0
    again = start_server("--engine", "llama.cpp", **folder)
    learned = again.wait_for("learned")["text"]
    assert learned.startswith("sequences 4 -> ")
    again.wait_until_ready()


def test_weights_deleted_while_serving_end_it_with_one_error(environment, downloaded, tmp_path):
    (gguf,) = Path(downloaded.stdout.strip()).rglob("*.gguf")
    model = tmp_path / "model.gguf"
    shutil.copy(gguf, model)
    process = subprocess.Popen(
        [sys.executable, "-m", "nimctl", "serve", str(model), "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        for line in process.stdout:
            if json.loads(line)["event"] == "ready":
                break
        guard, engine = find_descendants(process.pid)
        weights = Path(read_argument(engine, "--model"))
        weights.unlink()
        os.kill(engine, signal.SIGKILL)
        events, said = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 5
    assert said.count("error: ") == 1
    assert f"the engine cannot be started again without its files: {weights} is gone" in said
    assert "put them back, then start again" in said
    assert "restarting" not in events
    assert not any(Path(f"/proc/{pid}").exists() for pid in (guard, engine))


def read_argument(pid, name):
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return words[words.index(name) + 1]


def test_vllm_starts_with_the_context_that_it_says_fits(vllm, weights, environment):
    # 100 MB are 33 blocks of 128 tokens, and vLLM keeps one empty.
    server = VllmServer(
        environment | {"NIMCTL_ENGINES_DIR": str(vllm.folder.parent)},
        weights,
        *EAGER,
        "--kv-cache-memory-bytes",
        "100000000",
    )
    try:
        told = []
        for line in server.process.stdout:
            told.append(json.loads(line))
            if told[-1]["event"] == "ready":
                break
    finally:
        server.stop()
    (new_plan,) = (event for event in told if event["event"] == "new_plan")
    assert new_plan["symptom"] == "kv-cache-too-small"
    assert new_plan["changes"] == [{"what": "context", "from": "8,192", "to": "4,096"}]
    assert told[-1]["event"] == "ready"
