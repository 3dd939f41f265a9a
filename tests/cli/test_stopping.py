"""SIGTERM (`docker stop`, systemd, a CI job that is cancelled) does what Ctrl-C does, as 143."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bare_weights import gguf_file
from fake_hub import FakeHub, Fault
from forked_program import ForkedChild
from hosted_endpoint import KEY, Endpoint

NAME = "toy-Q8_0.gguf"
ADDRESS = "hf://acme/toy-gguf"
HUGE_BYTES = 1 << 40
"""Of files with nothing in them, which take no room and minutes to be hashed."""

IN_THE_BACKGROUND = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""How a shell that is no terminal's starts `nimctl ... &`."""


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add_model("acme/toy-gguf", {NAME: gguf_file(layers=8)})
        yield hub


@pytest.fixture
def start(program, clean_environment, tmp_path, hub) -> Iterator[Callable[..., ForkedChild]]:
    started: list[ForkedChild] = []

    def start_nimctl(*words: str, prelude: str = "", **more: str) -> ForkedChild:
        environment = clean_environment | {"HF_ENDPOINT": hub.url} | more
        started.append(program.start(["nimctl", *words], environment, tmp_path, prelude))
        return started[-1]

    yield start_nimctl
    for child in started:
        child.kill()
        child.communicate()
        child.close()


def stop(child: ForkedChild) -> str:
    """What it says in the end; it may not take longer than a container is given."""
    child.send_signal(signal.SIGTERM)
    out, said = child.communicate(timeout=9)
    assert (child.returncode, out, "Traceback" in said) == (143, "", False), said
    return said


@pytest.mark.parametrize("prelude", ["", IN_THE_BACKGROUND], ids=["", "in the background"])
def test_while_bytes_arrive(start, hub, prelude):
    hub.add_fault(NAME, Fault(kind="stall", at_byte=2**20))
    child = start("download", ADDRESS, prelude=prelude)
    assert hub.stalled.wait(30)
    said = stop(child).splitlines()[-1]
    assert " of 4.5 MB of hf://acme/toy-gguf" in said
    assert "are kept in " in said and "the same command continues" in said
    hub.released.set()
    again = start("download", ADDRESS)
    assert again.communicate(timeout=30) and again.returncode == 0


def test_while_another_process_brings_it(start, hub):
    hub.add_fault(NAME, Fault(kind="stall", at_byte=2**20))
    first = start("download", ADDRESS)
    assert hub.stalled.wait(30)
    second = start("download", ADDRESS)
    while "waiting for it" not in (line := second.stderr.readline()):
        assert line
    assert "stopped before anything of hf://acme/toy-gguf" in stop(second)
    hub.released.set()
    assert first.communicate(timeout=30) and first.returncode == 0


def test_before_a_server_serves(start, hub):
    hub.add_fault(NAME, Fault(kind="stall", at_byte=2**20))
    child = start("serve", ADDRESS, "--port", "0", "--allow-cpu")
    assert hub.stalled.wait(30)
    assert "are kept in " in stop(child)


def test_while_files_are_verified(start, tmp_path):
    child = start("download", ADDRESS)
    assert child.communicate(timeout=30) and child.returncode == 0
    (blob,) = (path for path in tmp_path.rglob("blobs/**/*") if path.is_file())
    (record,) = tmp_path.glob("cache/models/**/*.json")
    document = json.loads(record.read_text())
    document["files"][0]["size_bytes"] = HUGE_BYTES
    record.write_text(json.dumps(document))
    os.truncate(blob, HUGE_BYTES)
    child = start("cache", "verify", "--deep")
    wait_until_it_reads(child, HUGE_BYTES)
    assert "stopped while files were checked" in stop(child)


def test_while_files_are_taken_over(start, tmp_path):
    theirs = tmp_path / "theirs" / "acme" / "toy"
    theirs.mkdir(parents=True)
    for number in range(8):
        (theirs / f"{number}-Q8_0.gguf").touch()
        os.truncate(theirs / f"{number}-Q8_0.gguf", HUGE_BYTES)
    child = start("cache", "import", str(theirs.parents[1]))
    wait_until_it_reads(child, HUGE_BYTES)
    said = stop(child).splitlines()[-1]
    assert "those that are whole are kept" in said and "the same command goes on" in said
    assert not list(tmp_path.glob("cache/**/*.tmp"))


@pytest.mark.parametrize("prelude", ["", IN_THE_BACKGROUND], ids=["", "in the background"])
def test_a_bench_reports_what_was_over(start, prelude):
    endpoint = Endpoint(base="/v1")
    try:
        url = endpoint.url.removesuffix("/v1")
        child = start(
            "bench", "--url", url, "--model-name", "acme/small", "-n", "100000", "--json",
            prelude=prelude, NIMCTL_API_KEY=KEY,
        )  # fmt: skip
        wait_for(child, lambda: len(endpoint.heard) >= 50)
        child.send_signal(signal.SIGTERM)
        out, said = child.communicate(timeout=9)
    finally:
        endpoint.close()
    assert (child.returncode, "the bench was stopped early" in said) == (143, True), said
    assert json.loads(out)["stop"] == "interrupted"


def wait_until_it_reads(child: ForkedChild, size_bytes: int) -> None:
    """Until a file of that size is open."""
    folder = Path(f"/proc/{child.pid}/fd")
    wait_for(
        child,
        lambda: any(
            file.stat().st_size == size_bytes for file in folder.iterdir() if file.exists()
        ),
    )


def wait_for(child: ForkedChild, condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 30
    while not condition():
        assert child.poll() is None and time.monotonic() < end_s
        time.sleep(0.01)
