"""llama.cpp that finds no GPU on a machine with one: told, ended, on the CPU only if allowed.

The machine is a recorded one, whose driver answers in the whole program.
"""

import contextlib
import json
import signal
import sys
from pathlib import Path

import pytest
from bare_weights import gguf_file

from nimctl.probe.snapshot import read_snapshot

TESTS = Path(__file__).parents[1]
DRIVER = """
import json, pynvml
from probe.fake_nvml import FakeNvml
pynvml.nvmlLib = FakeNvml(json.loads({document!r}))
"""
LOGS = TESTS / "engines" / "logs"


@pytest.fixture(params=["llama_cpp_no_cuda.log", "llama_cpp_cpu_build.log"])
def says(request):
    return LOGS / request.param


@pytest.fixture
def engine(tmp_path, says):
    """A llama-server that prints what a real one printed, and goes on."""
    path = tmp_path / "bin" / "llama-server"
    path.parent.mkdir()
    script = (TESTS / "cli" / "healed_engine.py").read_text()
    path.write_text(f"#!{sys.executable}\n{script}")
    path.chmod(0o755)
    rules = {"fake_engine": str(TESTS / "fake_engine.py"), "says": str(says)}
    (path.parent / "rules.json").write_text(json.dumps(rules))
    return path


@pytest.fixture
def serve(program, clean_environment, tmp_path, engine):
    """Its exit code, its events, what it said, and the layers that each start put on a GPU."""
    model = tmp_path / "toy.gguf"
    model.write_bytes(gguf_file())
    snapshot = read_snapshot(TESTS / "machines" / "h100" / "snapshot.json")
    driver = DRIVER.format(document=json.dumps(snapshot.extra["nvml"]))

    def serve(*arguments):
        words = ["nimctl", "serve", str(model), "--engine-path", str(engine), "--port", "0"]
        child = program.start([*words, "--json", *arguments], clean_environment, tmp_path, driver)
        with contextlib.closing(child):
            events = []
            for line in child.stdout:
                events.append(json.loads(line))
                if events[-1]["event"] == "ready":
                    child.send_signal(signal.SIGTERM)
            _, said = child.communicate(timeout=60)
        assert (engine.parent / "starts.jsonl").exists(), said
        starts = (engine.parent / "starts.jsonl").read_text().splitlines()
        return child.returncode, events, said, [json.loads(one)["layers"] for one in starts]

    return serve


def test_it_is_a_failure_with_its_cause_and_the_next_command(serve, says):
    code, events, said, layers = serve()
    assert (code, layers) == (5, ["999"])
    assert [one["event"] for one in events].count("ready") == 0
    assert "does not use the GPU that it was given" in said
    assert ("no CUDA-capable device is detected" in said) == (says.stem == "llama_cpp_no_cuda")
    assert "add --allow-cpu" in said
    assert said.count("error:") == 1


def test_where_that_is_allowed_it_is_planned_for_the_cpu_and_told(serve, run_here):
    code, events, _, layers = serve("--allow-cpu")
    assert (code, layers) == (0, ["999", "0"])
    (new_plan,) = (one for one in events if one["event"] == "new_plan")
    assert new_plan["symptom"] == "fell-to-cpu"
    assert {"what": "on", "from": "GPU 0", "to": "CPU"} in new_plan["changes"]
    # a driver may be well again at the next start
    assert json.loads(run_here("evidence", "ls", "--json").stdout)["learned"] == []


@pytest.mark.parametrize("says", [LOGS / "llama_cpp_no_cuda.log"])
def test_who_said_where_it_computes_is_believed(serve):
    code, events, said, layers = serve("--", "--gpu-layers", "0")
    assert (code, layers) == (0, ["0"]), said
    assert events[-1]["event"] != "new_plan"
