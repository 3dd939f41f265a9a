"""An engine that is missing, as a user meets it: offered, installed by `serve`, listed, named."""

import contextlib
import json
import shutil
import signal

import httpx
import pytest

from nimctl.environments.managed import list_managed
from nimctl.probe import probe_machine

pytestmark = pytest.mark.skipif(
    bool(probe_machine({}).gpus), reason="the small wheels are vLLM's for machines without a GPU"
)
NO_PIP = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1", "PIP_TIMEOUT": "1"}
"""Where uv fails, pip is tried, and nobody listens there."""

INSTALL = "nimctl engines install vllm"


@pytest.fixture
def environment(quick, wheels, tmp_path):
    """A user who has uv, an index, and no engine but nimctl's own."""
    folders = {
        "HOME": str(tmp_path / "home"),
        "NIMCTL_CACHE_DIR": str(tmp_path / "cache"),
        "NIMCTL_ENGINES_DIR": str(tmp_path / "engines"),
    }
    return quick | folders | {"FAKE_UV_INDEX": str(wheels)}


@pytest.fixture
def run(program, environment, tmp_path):
    def run(*arguments, **more):
        return program.run(["nimctl", *arguments], environment | more, tmp_path)

    return run


def test_where_an_engine_is_missing_its_command_is_the_hint(run, model):
    for command in ("select", "serve"):
        refused = run(command, str(model))
        assert refused.returncode == 3
        assert f"hint:  `{INSTALL}` brings an engine that can" in refused.stderr
    offline = run("select", str(model), NIMCTL_OFFLINE="1")
    assert f"`{INSTALL} --offline --find-links DIR`" in offline.stderr


def test_the_hint_can_be_followed(run, model, wheels):
    done = run(*INSTALL.split()[1:])
    assert done.returncode == 0, done.stderr
    chosen = json.loads(run("select", str(model), "--json").stdout)
    assert (chosen["engine"]["name"], chosen["missing_engine"]) == ("vllm", None)


def test_serve_installs_it_and_goes_on(program, environment, tmp_path, model):
    words = ["nimctl", "serve", str(model), "--install", "--port", "0", "--json"]
    with contextlib.closing(program.start(words, environment, tmp_path)) as server:
        events = []
        for line in server.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] == "ready":
                break
        else:
            raise AssertionError(server.communicate()[1])
        answer = httpx.get(f"{events[-1]['url']}/v1/health/ready")
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    assert answer.status_code == 200
    names = [event["event"] for event in events if event["event"] != "phase"]
    assert list(dict.fromkeys(names))[:3] == ["installing", "installed", "listening"]
    (managed,) = list_managed(tmp_path / "engines")
    installed = next(event for event in events if event["event"] == "installed")
    assert installed["path"] == str(managed.folder)


def test_what_serve_cannot_install_is_its_failure(run, model, tmp_path):
    refused = run("serve", str(model), "--install", "--offline")
    assert refused.returncode == 2, refused.stderr
    assert "only be installed from a folder of wheels" in refused.stderr
    (tmp_path / "empty").mkdir()
    failed = run("serve", str(model), "--install", FAKE_UV_INDEX=str(tmp_path / "empty"), **NO_PIP)
    assert failed.returncode == 9, failed.stderr
    assert "the package index cannot be asked" in failed.stderr
    assert list_managed(tmp_path / "engines") == ()


@pytest.fixture
def cuda_engine(small_engines, tmp_path):
    """A vLLM for GPUs somewhere on this machine, as its files look."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(next(small_engines.glob("vllm-0*")), folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    shutil.rmtree(next(packages.glob("vllm-*.dist-info")))
    info = packages / "vllm-0.20.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.20.0\n")
    (packages / "torch" / "version.py").write_text("cuda: Optional[str] = '12.8'\n")
    return folder / "bin" / "vllm"


def test_an_engine_by_its_path_comes_first_with_its_build(run, cuda_engine):
    listed = run("engines", "ls", "--json", NIMCTL_ENGINE_PATH=str(cuda_engine))
    engine = json.loads(listed.stdout)["engines"][0]
    assert (engine["name"], engine["version"], engine["used"]) == ("vllm", "0.20.0", True)
    assert (engine["cuda"], engine["devices"]) == ("12.8", ["gpu"])
    assert "9.0" in engine["compute_capabilities"]
    shown = run("engines", "ls", NIMCTL_ENGINE_PATH=str(cuda_engine)).stdout
    assert "CUDA 12.8, for compute capability 7.5" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("vllm", "the engine's program {} does not exist"),
        ("python3", "{} is none that nimctl knows by its name"),
    ],
)
def test_a_path_that_is_no_engine_is_refused(run, model, tmp_path, name, told):
    path = tmp_path / "nowhere" / name
    refused = run("select", str(model), "--engine-path", str(path))
    assert refused.returncode == 2
    assert told.format(path) in refused.stderr


def test_an_engine_that_is_not_the_one_asked_for_is_refused(run, model, cuda_engine):
    asked = ("--engine-path", str(cuda_engine), "--engine", "llama.cpp")
    refused = run("select", str(model), *asked)
    assert refused.returncode == 2
    assert "is vLLM, and llama.cpp was asked for" in refused.stderr


def test_an_engine_that_is_not_there(run):
    assert run("engines", "remove", "vllm").returncode == 2
    checked = run("engines", "check", "vllm")
    assert (checked.returncode, f"hint:  {INSTALL}" in checked.stderr) == (5, True)
    unknown = run("engines", "install", "sglang9")
    assert (unknown.returncode, "Traceback" in unknown.stderr) == (2, False)
