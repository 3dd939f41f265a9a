"""`ps`, `logs` and `stop`: servers that run, that died, and that are not there."""

import json
import signal
from pathlib import Path

import pytest

SERVER = """
import signal, sys, time
from pathlib import Path
from nimctl.cli.registry import describe_self, registered
from nimctl.server import Listening

signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
record = describe_self(
    model="acme/toy", names=("acme/toy", "toy"), profile="llama.cpp-q4_1-tp1-pp1",
    engine="llama.cpp", engine_log=Path(sys.argv[1]),
)
with registered(record) as note:
    note(Listening(url="http://127.0.0.1:1"))
    print("registered", flush=True)
    print("a line of the server", file=sys.stderr, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def start_server(program, clean_environment, tmp_path):
    """Start processes that are registered as servers; what they say goes to a file."""
    children = []

    def start(code=SERVER):
        engine_log = tmp_path / "engine.log"
        engine_log.write_text("a line of the engine\n")
        script = tmp_path / f"server{len(children)}.py"
        script.write_text(code)
        words = [str(script), str(engine_log)]
        log = str(script.with_suffix(".log"))
        prelude = f"import os; os.dup2(os.open({log!r}, os.O_CREAT | os.O_WRONLY), 2)"
        child = program.start(words, clean_environment, tmp_path, prelude)
        children.append(child)
        assert child.stdout.readline() == "registered\n"
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()
        child.close()


def list_pids(run):
    return [one["pid"] for one in json.loads(run("ps", "--json").stdout)["servers"]]


def test_nothing_runs(run):
    result = run("ps")
    assert (result.returncode, result.stdout) == (0, "")
    assert "no server runs" in result.stderr
    for command in ("stop", "logs"):
        result = run(command, "toy")
        assert result.returncode == 2
        assert "no server 'toy' runs here" in result.stderr


def test_server_is_listed_until_it_ends(run, start_server):
    child = start_server()
    shown = run("ps").stdout
    assert "acme/toy" in shown
    assert "starting" in shown
    assert "http://127.0.0.1:1" in shown
    (server,) = json.loads(run("ps", "--json").stdout)["servers"]
    assert (server["pid"], server["state"]) == (child.pid, "starting")
    child.send_signal(signal.SIGTERM)
    child.wait()
    assert list_pids(run) == []


def test_server_that_was_killed_is_forgotten(run, start_server, clean_environment):
    child = start_server()
    child.kill()
    child.wait()
    assert list_pids(run) == []
    assert not list(Path(clean_environment["HOME"]).rglob("servers/*.json"))


@pytest.mark.parametrize("name", ["toy", "acme/toy", "pid"])
def test_stop_waits_for_the_end(name, run, start_server):
    child = start_server()
    result = run("stop", str(child.pid) if name == "pid" else name)
    assert result.stdout == f"stopped toy (pid {child.pid})\n"
    assert child.wait(timeout=5) == 0


def test_stop_now_is_two_signals_that_cannot_be_one(run, start_server):
    patient = SERVER.replace(
        "signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))",
        "heard = set()\n"
        "def hear(number, frame):\n"
        "    heard.add(number)\n"
        "    if len(heard) == 2: sys.exit(0)\n"
        "for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, hear)",
    )
    child = start_server(patient)
    assert run("stop", "toy", "--now").returncode == 0
    assert child.wait(timeout=5) == 0


def test_stop_all_and_none(run, start_server):
    first, second = start_server(), start_server()
    assert run("stop").returncode == 2
    stopped = json.loads(run("stop", "--all", "--json").stdout)["stopped"]
    assert {one["pid"] for one in stopped} == {first.pid, second.pid}
    assert run("stop", "--all").returncode == 0


def test_logs_of_the_server_and_of_its_engine(run, start_server):
    start_server()
    assert run("logs", "toy").stdout == "a line of the server\n"
    assert run("logs", "toy", "--engine").stdout == "a line of the engine\n"


def test_one_of_two_is_named_by_its_pid(run, start_server):
    first, second = start_server(), start_server()
    result = run("logs", "toy")
    assert result.returncode == 2
    assert f"{first.pid}, {second.pid}" in result.stderr
    assert run("logs", str(second.pid)).stdout == "a line of the server\n"


@pytest.fixture
def follow(program, clean_environment, tmp_path):
    """Start `logs --follow`."""
    following = []

    def start(*arguments):
        words = ["nimctl", "logs", "toy", *arguments, "--follow"]
        following.append(program.start(words, clean_environment, tmp_path))
        return following[-1]

    yield start
    for child in following:
        child.kill()
        child.close()


def test_followed_log_ends_with_its_server(start_server, follow):
    child = start_server()
    following = follow()
    assert following.stdout.readline() == "a line of the server\n"
    child.send_signal(signal.SIGTERM)
    child.wait()
    assert following.communicate(timeout=10)[0] == ""
    assert following.returncode == 0


def test_followed_log_goes_on_in_the_next_file(start_server, follow, tmp_path):
    child = start_server()
    following = follow("--engine")
    assert following.stdout.readline() == "a line of the engine\n"
    log = tmp_path / "engine.log"
    with log.open("a") as old:
        old.write("the last of the old file\n")
    log.rename(tmp_path / "engine.log.1")
    log.write_text("the first of the new one\n")
    assert following.stdout.readline() == "the last of the old file\n"
    assert following.stdout.readline() == "the first of the new one\n"
    child.send_signal(signal.SIGTERM)
    child.wait()
    assert following.communicate(timeout=10)[0] == ""


def test_another_process_with_the_same_number_is_no_server(run, start_server, clean_environment):
    start_server()
    (path,) = Path(clean_environment["HOME"]).rglob("servers/*.json")
    document = json.loads(path.read_text())
    machine, namespace, pid, _ = document["owner"].split(" ")
    path.write_text(json.dumps({**document, "owner": f"{machine} {namespace} {pid} 1"}))
    assert list_pids(run) == []


def test_detached_server_that_cannot_start_is_told_as_itself(run, tmp_path):
    result = run("serve", str(tmp_path / "no-such-model.gguf"), "--detach")
    assert result.returncode == 2
    assert "does not exist" in result.stderr
