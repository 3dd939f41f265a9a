"""How a download is told: lines, JSON, what Ctrl-C keeps, and who is waited for."""

import json
import os
import pty
import random
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bare_weights import safetensors_head
from fake_hub import FakeHub, Fault
from forked_program import ForkedChild
from jsonschema import validate

HEAD, SIZE_BYTES = safetensors_head({"a": ("BF16", (4_000_000,))})
SHARDS = {
    f"model-0000{number}-of-00003.safetensors": HEAD
    + random.Random(number).randbytes(SIZE_BYTES - len(HEAD))
    for number in (1, 2, 3)
} | {"notes.txt": b"notes"}
WANTED = ("hf://acme/shards", "--include", "*")
TOTAL_BYTES = sum(map(len, SHARDS.values()))

COUNT = {"type": "integer", "minimum": 0}
TEXT = {"type": "string", "minLength": 1}
FIELDS = {
    "listing": {"text": TEXT},
    "started": {"files": COUNT, "done_bytes": COUNT, "total_bytes": COUNT},
    "advanced": {"done_bytes": COUNT, "total_bytes": COUNT},
    "file": {"path": TEXT, "done_bytes": COUNT, "size_bytes": COUNT},
    "verified": {"path": TEXT, "digest": TEXT},
    "done": {"path": TEXT, "size_bytes": COUNT, "was_cached": {"type": "boolean"}},
    "waiting": {"what": TEXT},
    "other": {"pid": COUNT, "done_bytes": COUNT, "total_bytes": COUNT},
    "retrying": {"what": TEXT, "reason": TEXT, "wait_s": {"type": "number"}},
    "note": {"text": TEXT},
}
OPTIONAL = {"text", "digest", "size_bytes", "pid"}
SCHEMAS = {
    event: {
        "type": "object",
        "properties": {"event": {"const": event}, "source": TEXT} | fields,
        "required": ["event", "source", *(set(fields) - OPTIONAL)],
        "additionalProperties": False,
    }
    for event, fields in FIELDS.items()
}
"""README.md describes the same lines."""


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add_model("acme/shards", SHARDS)
        yield hub


@pytest.fixture
def start(program, clean_environment, tmp_path, hub) -> Iterator[Callable[..., ForkedChild]]:
    """A download in the background."""
    started: list[ForkedChild] = []

    def start_download(*asked: str) -> ForkedChild:
        environment = clean_environment | {"HF_ENDPOINT": hub.url}
        started.append(program.start(["nimctl", "download", *asked], environment, tmp_path))
        return started[-1]

    yield start_download
    for child in started:
        child.kill()
        child.communicate()
        child.close()


def events(text: str) -> list[dict[str, object]]:
    found = [json.loads(line) for line in text.splitlines()]
    for event in found:
        validate(event, SCHEMAS[str(event["event"])])
    return found


def read_until(child: ForkedChild, words: str) -> str:
    """Standard error up to the first line that holds `words`."""
    seen = ""
    for line in child.stderr:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"{words!r} was not said: {seen}")


def test_programs_read_lines_of_json(run, hub):
    hub.add_fault("acme/shards/model-00001-of-00003.safetensors", Fault(kind="drop", at_byte=10**6))
    result = run("download", *WANTED, "--progress", "json", HF_ENDPOINT=hub.url)
    assert result.returncode == 0, result.stderr
    told = events(result.stderr)
    assert {event["source"] for event in told} == {"hf://acme/shards"}
    assert {"listing", "started", "advanced", "file", "verified", "done"} <= {
        event["event"] for event in told
    }
    (started,) = (event for event in told if event["event"] == "started")
    assert (started["files"], started["total_bytes"]) == (4, TOTAL_BYTES)
    counts = [event["done_bytes"] for event in told if event["event"] == "advanced"]
    assert counts == sorted(counts)
    assert counts[-1] == TOTAL_BYTES
    for path in SHARDS:
        own = [e["done_bytes"] for e in told if e["event"] == "file" and e["path"] == path]
        assert own == sorted(own)


def test_nothing_is_told_where_nothing_is_wanted(run, hub):
    result = run("download", *WANTED, "--progress", "none", HF_ENDPOINT=hub.url)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_log_gets_few_lines(run, hub):
    result = run("download", *WANTED, HF_ENDPOINT=hub.url)
    lines = result.stderr.splitlines()
    assert lines[0] == "looking up hf://acme/shards"
    assert lines[1] == "fetching 4 files, 24.0 MB"
    assert lines[-1].startswith("verified 4 files, 24.0 MB in ")
    assert len(lines) == 3


def test_a_long_download_tells_its_rate_in_a_log_every_five_seconds(start, hub):
    hub.rate_bytes_s = 300_000
    child = start(*WANTED, "--connections", "4")
    read_until(child, " left")
    first_s = time.monotonic()
    (line,) = read_until(child, " left").splitlines()
    assert " of 24.0 MB, " in line and "/s, " in line
    assert 4 < time.monotonic() - first_s < 8


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_gets_a_bar_for_all_and_for_each_file_on_its_way(
    clean_environment, tmp_path, hub, columns
):
    hub.rate_bytes_s = 500_000
    grows = r"\S+ +[\d.]+/{} MB +[\d.]+ .?B/s +\d\d:\d\d"
    shown = watch_terminal(
        [sys.executable, "-m", "nimctl", "download", *WANTED],
        clean_environment | {"HF_ENDPOINT": hub.url, "TERM": "xterm", "COLUMNS": str(columns)},
        tmp_path,
        until=("total +" + grows.format("24.0"), "-00001-of-00003\\S* +" + grows.format("8.0")),
    )
    assert re.search(r"\b[01]/4 verified", shown)


def watch_terminal(
    command: list[str], environment: dict[str, str], cwd: Path, *, until: tuple[str, ...]
) -> str:
    """What a terminal shows, without its colours, until it has shown all that, then Ctrl-C."""
    screen, side = pty.openpty()
    child = subprocess.Popen(
        command, stdin=side, stdout=side, stderr=side, cwd=cwd, env=environment
    )
    os.close(side)
    shown, end_s = b"", time.monotonic() + 60
    while not all(re.search(one, as_text(shown)) for one in until):
        assert child.poll() is None and time.monotonic() < end_s, as_text(shown)
        if select.select([screen], [], [], 0.2)[0]:
            shown += os.read(screen, 65536)
    child.send_signal(signal.SIGINT)
    try:
        while select.select([screen], [], [], 10)[0]:
            shown += os.read(screen, 65536)
    except OSError:  # the terminal's other side is closed
        pass
    assert child.wait(30) == 130
    assert b"are kept in" in shown
    os.close(screen)
    return as_text(shown)


def as_text(shown: bytes) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode(errors="replace"))


def test_ctrl_c_while_bytes_arrive_says_what_is_kept_and_the_same_command_continues(start, hub):
    hub.rate_bytes_s = 2_000_000
    child = start(*WANTED, "--progress", "json")
    said = read_until(child, '"advanced"')
    while json.loads(said.splitlines()[-1])["done_bytes"] < 12_000_000:
        said = read_until(child, '"advanced"')
    child.send_signal(signal.SIGINT)
    _, rest = child.communicate(timeout=30)
    assert child.returncode == 130
    last = rest.splitlines()[-1]
    assert "MB of 24.0 MB of hf://acme/shards are kept in " in last
    assert "the same command continues" in last
    hub.rate_bytes_s = None
    before = sum(hub.sent_bytes.values())
    again = start(*WANTED, "--progress", "json")
    _, told = again.communicate(timeout=60)
    assert again.returncode == 0, told
    (started,) = (event for event in events(told) if event["event"] == "started")
    assert started["done_bytes"] > 1_000_000
    assert sum(hub.sent_bytes.values()) - before < TOTAL_BYTES - 1_000_000 + 300_000


def test_ctrl_c_while_the_place_is_asked(start, hub):
    with stalled_server() as address:
        child = start(f"{address}/file.gguf")
        read_until(child, "looking up")
        child.send_signal(signal.SIGINT)
        _, rest = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "stopped before anything of" in rest
    assert "Traceback" not in rest


def test_ctrl_c_before_the_first_word(start, hub):
    child = start("hf://acme/shards")
    wait_for(lambda: bool(hub.seen))
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert child.returncode in (130, 0)
    assert "Traceback" not in said


def test_a_second_process_shows_the_first_ones_progress(start, hub):
    hub.rate_bytes_s = 300_000
    first = start(*WANTED, "--progress", "json")
    read_until(first, '"advanced"')
    second = start(*WANTED, "--progress", "json")
    said = read_until(second, '"other"')
    other = events(said)[-1]
    assert other["pid"] == first.pid
    assert 0 <= int(str(other["done_bytes"])) <= int(str(other["total_bytes"])) <= TOTAL_BYTES
    hub.rate_bytes_s = None
    _, rest = second.communicate(timeout=60)
    assert second.returncode == 0
    assert first.communicate(timeout=60) and first.returncode == 0
    bodies = [hub.served("acme/shards", path) for path in SHARDS]
    assert sum(bodies) < 1.5 * TOTAL_BYTES  # with what was under way where a span was shared out
    events(rest)


def wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@contextmanager
def stalled_server() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
