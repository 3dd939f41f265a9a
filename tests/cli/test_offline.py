"""`--offline` opens no connection: every command is watched while it runs."""

import json
import subprocess

import pytest
from bare_weights import gguf_file
from fake_hub import FakeHub

WATCHED = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.bind"):
        address = arguments[-1] if event != "socket.getaddrinfo" else arguments[0]
        if not isinstance(address, (str, bytes)) or event == "socket.getaddrinfo":
            raise AssertionError(f"{event} {arguments}")
    if event == "subprocess.Popen" and "pip" in str(arguments):
        raise AssertionError(f"{event} {arguments}")

sys.addaudithook(refuse)
"""


@pytest.fixture
def watched(program, clean_environment, tmp_path):
    def run_watched(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        words = ["nimctl", *arguments]
        return program.run(words, clean_environment | more, tmp_path, prelude=WATCHED)

    return run_watched


ASKED = {"HF_ENDPOINT": "http://127.0.0.1:9", "NIM_REPOSITORY_OVERRIDE": "http://127.0.0.1:9"}
"""Where everybody would be asked, if anybody were."""


def test_the_watch_sees_a_connection(watched):
    result = watched("download", "hf://acme/toy-gguf", **ASKED)
    assert "AssertionError: socket." in result.stderr


@pytest.mark.parametrize(
    "command",
    [("download",), ("select",), ("list-profiles",), ("serve", "--dry-run", "--port", "0")],
    ids=lambda command: command[0],
)
def test_nobody_is_asked(run, watched, command):
    with FakeHub() as hub:
        hub.add_model("acme/toy-gguf", {"toy-Q8_0.gguf": gguf_file()})
        brought = run("download", "hf://acme/toy-gguf", HF_ENDPOINT=hub.url)
        assert brought.returncode == 0, brought.stderr
    result = watched(*command, "hf://acme/toy-gguf", NIMCTL_OFFLINE="1", **ASKED)
    assert result.returncode == 0, result.stderr
    assert "AssertionError" not in result.stderr


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "hf://acme/none", "https://host/file"])
def test_what_is_not_here_is_said_without_asking(watched, name):
    result = watched("download", name, "--offline", "--json", **ASKED)
    assert result.returncode in (3, 9), result.stderr
    assert "AssertionError" not in result.stderr
    assert "offline" in result.stderr


def test_the_whole_catalogue_is_listed_offline(watched):
    result = watched("list-profiles", "--json", NIMCTL_OFFLINE="1", **ASKED)
    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)["models"]) > 10
