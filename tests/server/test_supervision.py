"""An engine that ends, hangs or is only busy while clients wait: what they and the operator see."""

import contextlib
import json
import os
import signal
import threading
import time

import httpx
import pytest
from served_child import WAIT_S, ask, get, read, stream, wait_until

RESTARTS = ("--restarts", "3")


def get_ready(url):
    return get(f"{url}/v1/health/ready")


def is_ready(url):
    return get_ready(url).status_code == 200


@contextlib.contextmanager
def open_stream(url, **fields):
    """The lines of a stream that has begun; they end where the engine's do."""
    body = {"model": "fake", "prompt": "x", "stream": True, **fields}
    with stream("POST", f"{url}/v1/completions", json=body, timeout=WAIT_S) as answer:
        lines = answer.iter_lines()
        next(lines)
        yield lines


def read_last(lines):
    """The last line before the cut."""
    last = ""
    with contextlib.suppress(httpx.RemoteProtocolError):
        for line in lines:
            last = line or last
    return last


def test_an_engine_that_died_is_started_again(serve):
    child = serve("--chunks", "10000", "--interval-ms", "5", own=RESTARTS)
    url = child.wait_for("served")["url"]
    with open_stream(url) as lines:
        child.kill_engine()
        assert (
            "try again" in json.loads(read_last(lines).removeprefix("data: "))["error"]["message"]
        )
    restarting = child.wait_for("restarting")
    assert "SIGKILL" in restarting["cause"]
    assert (restarting["attempt"], restarting["wait_s"]) == (1, 0.05)
    assert child.wait_for("ready_again")["down_s"] > 0.05
    assert is_ready(url)
    assert ask(url, max_tokens=1).status_code == 200
    metrics = get(f"{url}/v1/metrics").text
    assert 'nimctl_engine_restarts_total{why="ended"} 1' in metrics
    assert 'nimctl_engine_restarts_total{why="hung"} 0' in metrics
    assert 'nimctl_engine_start_phase_seconds{phase="load"}' in metrics
    child.send(signal.SIGTERM)
    assert child.end() == (0, None)
    child.assert_nothing_left()


def test_it_is_not_ready_as_soon_as_the_engine_died(serve):
    child = serve("--start-delay-s", "0.5", own=(*RESTARTS, "--hold", "0"))
    url = child.wait_for("served")["url"]
    child.kill_engine()
    wait_until(lambda: not is_ready(url))
    message = get_ready(url).json()["error"]["message"]
    assert message == "The engine was ended by SIGKILL. It is started again."
    refused = ask(url)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    child.wait_for("ready_again")
    assert ask(url).status_code == 200


def test_a_request_waits_for_an_engine_that_will_soon_be_back(serve):
    child = serve("--start-delay-s", "0.3", own=RESTARTS)
    url = child.wait_for("served")["url"]
    child.kill_engine()
    child.wait_for("restarting")
    assert ask(url).status_code == 200
    with open_stream(url) as lines:
        assert "data: [DONE]" in list(lines)


def test_nobody_waits_for_an_engine_that_loads_for_long(serve):
    child = serve("--start-delay-s", "1", own=(*RESTARTS, "--hold", "0.5"))
    url = child.wait_for("served")["url"]
    child.kill_engine()
    child.wait_for("restarting")
    assert ask(url).status_code == 503
    child.wait_for("ready_again")


def test_a_request_that_waited_in_vain_is_refused(serve):
    child = serve(own=("--restarts", "3", "--hold", "0.3"))
    url = child.wait_for("served")["url"]
    os.kill(child.find_engine(), signal.SIGSTOP)
    child.wait_for("not_ready")
    refused = ask(url)
    assert refused.status_code == 503
    assert "has not answered since" in refused.json()["error"]["message"]


def test_an_engine_that_keeps_dying_is_given_up_with_its_cause(serve):
    child = serve("--dies-after", "1", own=("--restarts", "2"))
    waits = [child.wait_for("restarting")["wait_s"] for _ in range(2)]
    assert waits == [0.05, 0.1]
    code, error = child.end()
    assert code == 5
    assert error["message"].startswith("2 restarts within 10 min 00 s did not help: the engine")
    assert "ended with exit code 3" in error["message"]


def test_a_symptom_of_an_earlier_life_is_not_the_cause(serve):
    child = serve(own=RESTARTS)
    child.wait_for("served")
    with (child.folder / "engine.log").open("a") as log:
        log.write("I am feverish\n")
    child.kill_engine()
    assert "it is sick: feverish" in child.wait_for("restarting")["cause"]
    child.wait_for("ready_again")
    child.kill_engine()
    assert "was ended by SIGKILL" in child.wait_for("restarting")["cause"]


@pytest.mark.parametrize(
    ("spoil", "told"), [("unlink", "is gone"), ("truncate", "has another size")]
)
def test_an_engine_whose_files_are_gone_is_not_started_again(serve, spoil, told):
    kept, lost = serve.folder / "kept.gguf", serve.folder / "lost.gguf"
    for path in (kept, lost):
        path.write_bytes(b"weights")
    child = serve(own=(*RESTARTS, "--needs", str(kept), "--needs", str(lost)))
    child.wait_for("served")
    lost.unlink() if spoil == "unlink" else os.truncate(lost, 3)
    child.kill_engine()
    code, error = child.end()
    assert (code, error["hint"]) == (5, "put it back")
    assert error["message"].endswith(f"without its files: {lost} {told}")
    assert read(child.folder / "engine.log").count(b"nimctl starts the engine") == 1
    child.assert_nothing_left()


def test_a_start_that_fails_is_not_repeated(serve):
    child = serve(own=("--code", "raise SystemExit('no such luck')", *RESTARTS))
    code, error = child.end()
    assert code == 5
    assert "no such luck" in error["message"]
    assert read(child.folder / "engine.log").count(b"nimctl starts the engine") == 1


def test_the_guard_killed_with_its_socket_left_behind(serve):
    file = serve.folder / "grandchildren"
    child = serve("--grandchild", str(file), own=RESTARTS)
    url = child.wait_for("served")["url"]
    os.kill(child.find_guard(), signal.SIGKILL)
    assert "lost its guard to SIGKILL" in child.wait_for("restarting")["cause"]
    child.wait_for("ready_again")
    assert ask(url).status_code == 200
    first, second = map(int, file.read_text().split())
    assert not os.path.exists(f"/proc/{first}") or b" Z " in read_stat(first)  # noqa: PTH110
    os.kill(second, 0)


def read_stat(pid):
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
        return file.read()


def test_an_engine_stopped_in_the_middle_of_answers_is_not_ready(serve):
    child = serve("--chunks", "10000", "--interval-ms", "5", own=RESTARTS)
    url = child.wait_for("served")["url"]
    with open_stream(url):
        os.kill(child.find_engine(), signal.SIGSTOP)
        wait_until(lambda: not is_ready(url))


def test_a_stopped_engine_is_not_ready_and_is_again_at_once(serve):
    child = serve(own=RESTARTS)
    url = child.wait_for("served")["url"]
    engine = child.find_engine()
    os.kill(engine, signal.SIGSTOP)
    wait_until(lambda: not is_ready(url))
    assert "has not answered since" in child.wait_for("not_ready")["cause"]
    asking = threading.Thread(target=lambda: answers.append(ask(url)))
    answers = []
    asking.start()
    os.kill(engine, signal.SIGCONT)
    wait_until(lambda: is_ready(url))
    child.wait_for("answers_again")
    asking.join(WAIT_S)
    assert answers[0].status_code == 200
    assert "nimctl_engine_silences_total 1" in get(f"{url}/v1/metrics").text


@pytest.mark.parametrize("deed", ["stop", "deadlock"])
def test_an_engine_that_hangs_is_ended_and_started_again(serve, deed):
    own = (*RESTARTS, "--watch", '{"hung_s": 0.5}')
    child = serve("--chunks", "10000", "--interval-ms", "5", own=own)
    url = child.wait_for("served")["url"]
    with open_stream(url) as lines:
        assert ask(url, fake={"deed": deed}).status_code == 502
        assert "error" in read_last(lines)
    assert "the engine hangs" in child.wait_for("restarting")["cause"]
    child.wait_for("ready_again")
    assert ask(url, max_tokens=1).status_code == 200
    assert 'restarts_total{why="hung"} 1' in get(f"{url}/v1/metrics").text


def test_an_engine_that_answers_and_does_not_generate_is_not_ready(serve):
    watch = {"busy_token_every_s": 0.2, "idle_token_limit_s": 0.3, "hung_s": 0.3}
    child = serve(own=(*RESTARTS, "--watch", json.dumps(watch)))
    url = child.wait_for("served")["url"]
    assert ask(url, fake={"deed": "mute"}).status_code == 502
    assert "has generated nothing since" in child.wait_for("not_ready")["cause"]
    child.wait_for("ready_again")


def test_an_engine_that_says_it_is_sick_is_not_ready(serve):
    child = serve(own=RESTARTS)
    url = child.wait_for("served")["url"]
    ask(url, fake={"deed": "sick"})
    wait_until(lambda: not is_ready(url))
    assert child.wait_for("not_ready")["cause"] == "The engine says HTTP 500 at /health."


def test_an_engine_too_busy_for_its_health_path_is_ready_while_it_generates(serve):
    child = serve("--chunks", "10000", "--interval-ms", "10", own=RESTARTS)
    url = child.wait_for("served")["url"]
    with open_stream(url, fake={"deed": "deaf"}):
        until_s = time.monotonic() + 1.5
        while time.monotonic() < until_s:
            assert is_ready(url)
            time.sleep(0.05)
    assert "has not answered" in child.wait_for("not_ready")["cause"]  # for the watch did look


def test_a_long_prompt_that_takes_the_whole_engine_is_no_hang(serve):
    child = serve(own=RESTARTS)
    url = child.wait_for("served")["url"]
    answers = []
    asking = threading.Thread(target=lambda: answers.append(ask(url, fake={"compute_s": 2})))
    asking.start()
    while asking.is_alive():
        assert is_ready(url)
        asking.join(0.05)
    assert answers[0].status_code == 200
    assert "nimctl_engine_silences_total 0" in get(f"{url}/v1/metrics").text


def test_sigterm_while_the_engine_is_restarted(serve):
    child = serve(own=("--restarts", "3", "--first-wait", "60"))
    url = child.wait_for("served")["url"]
    child.kill_engine()
    child.wait_for("restarting")
    assert not is_ready(url)
    child.send(signal.SIGTERM)
    assert child.end() == (0, None)
    child.assert_nothing_left()
