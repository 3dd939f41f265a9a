"""The README's own commands, run as a stranger would: in a copy of the checkout, nothing else."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SHIPPED = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "nimctl", "manifests", "tests")


def shell_blocks():
    return re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def console_commands():
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    for name in SHIPPED:
        source = ROOT / name
        copy = shutil.copy if source.is_file() else shutil.copytree
        copy(source, folder / name, **({} if source.is_file() else {"ignore": ignore}))
    return folder


@pytest.fixture
def environment(tmp_path):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NIM", "HF_", "VIRTUAL_ENV"))}
    return kept | {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_the_first_command_installs_serves_and_answers(checkout, environment, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = shell_blocks()[0].replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    environment |= {"NIMCTL_PORT": str(port), "NIMCTL_CACHE_DIR": str(tmp_path / "cache")}
    log = tmp_path / "output"
    with log.open("wb") as output:
        shell = subprocess.Popen(
            ["bash", "-c", command],
            cwd=checkout,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 400
        while "Paris" not in log.read_text():
            assert shell.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
        shell.wait(60)


def test_the_test_command_is_what_ci_runs():
    ci = (ROOT / ".ci" / "run").read_text()
    assert "--editable '.[test]'" in shell_blocks()[1]
    assert "--editable '.[test]'" in ci
    assert shell_blocks()[1].rstrip().endswith("pytest")


@pytest.mark.parametrize(
    "command", [c for c in console_commands() if c.split()[1] in ("list-profiles", "select")]
)
def test_the_commands_shown_still_work(command, program, environment):
    name, *arguments = command.partition(" | ")[0].split()
    assert name == "nimctl"
    result = program.run(["nimctl", *arguments], environment, ROOT)
    assert result.returncode == 0, result.stderr
