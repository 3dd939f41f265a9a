"""Every known failure: what real engines printed is told as that failure and no other."""

import csv
import re
from pathlib import Path

import pytest
from typer.main import get_command

from nimctl.cli.app import app
from nimctl.core.symptom import Symptom, find_symptom, list_matches
from nimctl.engines import symptoms
from nimctl.engines.sglang import SYMPTOMS as SGLANG
from nimctl.engines.symptoms.host import COMMON

FOLDER = Path(__file__).with_name("symptoms")
TABLES = {
    "vllm": symptoms.VLLM,
    "tensorrt_llm": symptoms.TENSORRT_LLM,
    "llama.cpp": symptoms.LLAMA_CPP,
}
LOGS = sorted(FOLDER.rglob("*.log"))
HEALTHY = sorted(FOLDER.with_name("logs").rglob("*.log"))
"""Of starts that went well; those in `whole` with all of their lines."""
ALL = sorted({one for table in TABLES.values() for one in table}, key=lambda one: one.code)


def name(path):
    return str(path.relative_to(FOLDER))


@pytest.mark.parametrize("path", LOGS, ids=name)
def test_a_real_log_is_told_as_its_failure_and_no_other(path):
    code = path.name.split(".")[0]
    found = list_matches(TABLES[path.parent.name], path.read_text())
    assert find_symptom(TABLES[path.parent.name], path.read_text()).symptom.code == code
    specific = {one.symptom.code for one in found if not one.symptom.is_general}
    assert specific <= {code}


@pytest.mark.parametrize("exit_code", [0, 143])
@pytest.mark.parametrize("path", HEALTHY, ids=lambda path: path.stem)
def test_an_engine_that_works_is_told_as_no_failure(path, exit_code):
    tables = {"sglang": SGLANG, **TABLES}
    (engine,) = (name for name in tables if path.name.startswith(name.replace(".", "_")))
    assert list_matches(tables[engine], path.read_text(), exit_code) == ()


def test_there_are_whole_logs_of_the_engines_that_run_here():
    whole = [path.name for path in HEALTHY if path.parent.name == "whole"]
    starts = ("llama_cpp_cpu", "llama_cpp_gpu", "vllm_cpu", "vllm_gpu")
    assert all(any(one.startswith(start) for one in whole) for start in starts)


def test_there_are_logs_of_every_failure():
    known = {one.code for one in ALL if one.pattern}
    assert {path.name.split(".")[0] for path in LOGS} == known
    for engine, table in TABLES.items():
        own = {one.code for one in table if one not in COMMON}
        assert own <= {path.name.split(".")[0] for path in (FOLDER / engine).iterdir()}
    assert len(known) >= 25


def test_it_is_known_where_a_log_comes_from():
    rows = list(csv.DictReader((FOLDER / "sources.csv").read_text().splitlines()))
    assert sorted(row["log"] for row in rows) == sorted(map(name, LOGS))
    assert all(row["source"] for row in rows)


@pytest.mark.parametrize("engine", TABLES)
def test_codes_are_stable_names_used_once_in_a_table(engine):
    codes = [one.code for one in TABLES[engine]]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("symptom", ALL, ids=lambda one: one.code)
def test_a_hint_names_commands_and_options_that_exist(symptom):
    program = get_command(app)
    for command in re.findall(r"`nimctl ([^`]+)`", symptom.hint):
        check_command(program, command.split())
    rest = re.sub(r"`[^`]*`|docker run \S+|--ipc=host|apt-get [^;]*", "", symptom.hint)
    serve = program.get_command(None, "serve")
    known = {option for parameter in serve.params for option in parameter.opts}
    assert set(re.findall(r"(?<!\S)--[a-z][a-z-]+", rest)) <= known


def check_command(command, words):
    while hasattr(command, "get_command") and words:
        step = command.get_command(None, words[0])
        assert step is not None, words
        command, words = step, words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


CAUSE = Symptom(code="cause", pattern=r"no room for (?P<detail>\w+)", cause="too much", hint="less")
AFTER = Symptom(code="after", pattern="core failed", is_general=True, cause="it failed", hint="see")
SIGNAL = Symptom(code="signal", exit_code=137, is_general=True, cause="killed", hint="free memory")


@pytest.mark.parametrize(
    ("log", "exit_code", "told"),
    [
        ("core failed\nno room for KV\ncore failed\n", 1, "too much: KV"),
        ("core failed\n", 1, "it failed"),
        ("no room for KV\n", 137, "too much: KV"),
        ("loading\n", 137, "killed"),
        ("loading\n", 1, None),
    ],
)
def test_the_cause_is_told_and_not_what_followed_on_it(log, exit_code, told):
    found = find_symptom((AFTER, SIGNAL, CAUSE), log, exit_code)
    assert (found and found.cause) == told
