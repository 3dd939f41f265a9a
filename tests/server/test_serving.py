"""The life of a served model around a fake engine: start, ready, trouble, stop, nothing left."""

import contextlib
import os
import signal
import socket
import threading
from pathlib import Path

import httpx
import pytest
from served_child import WAIT_S, ask, get, post, read, stream, wait_until


def test_it_is_live_before_and_ready_after_the_first_token(serve):
    loaded = serve.folder / "loaded"
    child = serve("--start-when", str(loaded))
    url = child.wait_for("listening")["url"]
    assert get(f"{url}/v1/health/live").status_code == 200
    early = get(f"{url}/v1/health/ready")
    assert early.status_code == 503
    assert "retry-after" in early.headers
    assert ask(url).status_code == 503
    loaded.touch()
    child.wait_for("served")
    assert get(f"{url}/v1/health/ready").status_code == 200
    assert ask(url).status_code == 200
    child.send(signal.SIGTERM)
    assert child.end() == (0, None)
    child.assert_nothing_left()


def test_sigterm_lets_open_streams_finish(serve):
    child = serve("--chunks", "40", "--interval-ms", "25")
    url = child.wait_for("served")["url"]
    body = {"model": "fake", "prompt": "x", "stream": True}
    with stream("POST", f"{url}/v1/completions", json=body, timeout=WAIT_S) as answer:
        lines = answer.iter_lines()
        next(lines)
        child.send(signal.SIGTERM)
        assert "data: [DONE]" in list(lines)
    assert child.end() == (0, None)


def test_a_second_signal_does_not_wait_for_streams(serve):
    child = serve("--chunks", "4000", "--interval-ms", "50")
    url = child.wait_for("served")["url"]
    body = {"model": "fake", "prompt": "x", "stream": True}
    reader = threading.Thread(target=read_until_cut, args=(url, body))
    reader.start()
    wait_until(lambda: "num_requests_running 1" in get(f"{url}/v1/metrics").text)
    child.send(signal.SIGINT)
    child.wait_for("stopping")
    child.send(signal.SIGINT)
    assert child.end() == (0, None)
    reader.join(WAIT_S)


def read_until_cut(url, body):
    with contextlib.suppress(httpx.HTTPError):
        post(f"{url}/v1/completions", json=body, timeout=WAIT_S)


def test_a_signal_while_loading_is_an_interruption(serve):
    child = serve("--start-delay-s", "600")
    child.wait_for("starting")
    child.send(signal.SIGINT)
    code, error = child.end()
    assert code == 130
    assert "before the model was ready" in error["message"]
    child.assert_nothing_left()


def test_sigterm_while_loading_is_an_ordinary_stop(serve):
    child = serve("--start-delay-s", "600")
    child.wait_for("starting")
    child.send(signal.SIGTERM)
    assert child.end() == (0, None)
    child.assert_nothing_left()


def test_streams_that_do_not_end_are_cut_when_the_time_is_over(serve):
    child = serve("--chunks", "4000", "--interval-ms", "50", own=("--drain", "0.3"))
    url = child.wait_for("served")["url"]
    body = {"model": "fake", "prompt": "x", "stream": True}
    with stream("POST", f"{url}/v1/completions", json=body, timeout=WAIT_S) as answer:
        lines = answer.iter_lines()
        next(lines)
        child.send(signal.SIGTERM)
        last = ""
        with contextlib.suppress(httpx.RemoteProtocolError):
            for line in lines:
                last = line or last
    assert "shutting down" in last
    assert child.end() == (0, None)
    child.assert_nothing_left()


def test_nothing_new_is_accepted_after_sigterm(serve):
    child = serve("--chunks", "4000", "--interval-ms", "5")
    url = child.wait_for("served")["url"]
    reader = threading.Thread(target=read_until_cut, args=(url, {"model": "fake", "prompt": "x"}))
    reader.start()
    wait_until(lambda: "num_requests_running 1" in get(f"{url}/v1/metrics").text)
    child.send(signal.SIGTERM)
    child.wait_for("stopping")
    with pytest.raises(httpx.ConnectError):
        ask(url)
    child.send(signal.SIGTERM)
    assert child.end() == (0, None)
    reader.join(WAIT_S)


def test_a_second_signal_does_not_wait_for_a_stubborn_engine(serve):
    child = serve("--stubborn")
    child.wait_for("served")
    child.send(signal.SIGTERM)
    child.wait_for("stopping")
    child.send(signal.SIGTERM)
    assert child.end() == (0, None)
    child.assert_nothing_left()


def test_an_engine_that_dies_while_serving_is_an_error_without_restarts(serve):
    child = serve()
    url = child.wait_for("served")["url"]
    child.kill_engine()
    code, error = child.end()
    assert code == 5
    assert "SIGKILL" in error["message"]
    with pytest.raises(httpx.ConnectError):
        ask(url)


def test_an_engine_that_ends_with_0_while_serving_has_failed(serve):
    child = serve()
    url = child.wait_for("served")["url"]
    assert ask(url, fake={"deed": "exit-0"}).status_code == 502
    code, error = child.end()
    assert code == 5
    assert "ended by itself" in error["message"]


def test_an_engine_that_ends_with_0_has_failed_too(serve):
    code, error = serve("--mode", "exit-0").end()
    assert code == 5
    assert "ended by itself" in error["message"]


def test_an_engine_that_never_listens_is_given_up(serve):
    code, error = serve("--mode", "refuse", own=("--timeout", "1")).end()
    assert code == 5
    assert "printed nothing" in error["message"]


def test_health_without_tokens_is_not_ready(serve):
    code, error = serve("--mode", "health-only", own=("--timeout", "2")).end()
    assert code == 5
    assert "cannot generate a token" in error["message"]


def test_a_known_symptom_is_told_instead_of_a_log(serve):
    engine = "print('x\\nI am feverish'); raise SystemExit(3)"
    code, error = serve(own=("--code", engine)).end()
    assert code == 5
    assert error["message"] == "it is sick: feverish (the engine ended with exit code 3)"
    assert error["hint"] == "rest"


def test_an_unknown_death_shows_the_last_words(serve):
    engine = "raise SystemExit('no such luck')"
    code, error = serve(own=("--code", engine)).end()
    assert code == 5
    assert "no such luck" in error["message"]
    assert "engine.log" in error["hint"]


def test_a_taken_port_is_told_before_anything_starts(serve):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        child = serve(own=("--port", str(port)))
        code, error = child.end()
    assert code == 2
    assert str(port) in error["message"]
    assert not (child.folder / "engine.log").exists()


@pytest.mark.parametrize("victim", ["nimctl", "guard", "engine"])
def test_nothing_is_left_whoever_is_killed(serve, victim):
    """Not even a process of the engine's that left its group, its session and its parent."""
    file = "grandchildren"
    child = serve("--grandchild", f"{serve.folder}/{file}")
    child.wait_for("served")
    grandchild = int((child.folder / file).read_text())
    assert is_running(grandchild)
    pids = {
        "nimctl": child.process.pid, "guard": child.find_guard(), "engine": child.find_engine()
    }  # fmt: skip
    os.kill(pids[victim], signal.SIGKILL)
    child.process.wait(WAIT_S)
    child.assert_nothing_left()
    wait_until(lambda: not is_running(grandchild))


def is_running(pid):
    stat = read(Path(f"/proc/{pid}/stat"))
    return bool(stat) and stat.rpartition(b")")[2].split()[0] != b"Z"


def test_no_secret_reaches_the_engine(serve, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "s3cr3t-1")
    monkeypatch.setenv("NIMCTL_API_KEY", "s3cr3t-2")
    monkeypatch.setenv("VLLM_API_KEY", "s3cr3t-3")
    child = serve()
    child.wait_for("served")
    for pid in child.engine_pids():
        started_with = read(Path(f"/proc/{pid}/environ")) + read(Path(f"/proc/{pid}/cmdline"))
        assert b"s3cr3t" not in started_with
