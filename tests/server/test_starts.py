"""How starts go and how they fail: slowly, stuck, in circles, or for good."""

import json
import signal

import pytest


def read_events(child, until):
    events = []
    for line in child.process.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == until:
            return events
    raise AssertionError(events)


def test_a_slow_load_tells_its_phases_and_how_far_it_is(serve):
    child = serve("--load-pieces", "3", "--piece-ms", "250", own=("--timeout", "20"))
    events = read_events(child, "served")
    names = [one["event"] for one in events if one["event"] != "progress"]
    assert names == ["listening", "starting", "loading", "compiling", "warming", "ready", "served"]
    told = [(one["done"], one["total"]) for one in events if one["event"] == "progress"]
    assert told[-1] == (3, 3)
    assert told == sorted(told)
    phases_s = events[-1]["phases_s"]
    assert list(phases_s) == ["starting", "loading", "compiling", "warming"]
    assert phases_s["loading"] > 0.4
    child.send(signal.SIGTERM)
    assert child.end() == (0, None)


def test_a_load_may_take_many_times_the_timeout_while_it_moves(serve):
    child = serve("--load-pieces", "10", "--piece-ms", "300", own=("--timeout", "1.5"))
    child.wait_for("served")


def test_an_engine_that_prints_the_same_for_ever_is_given_up(serve):
    code, error = serve("--mode", "repeat", own=("--timeout", "1.5")).end()
    assert code == 5
    assert "printed nothing new" in error["message"]
    assert "NIMCTL_START_TIMEOUT_S" in error["hint"]


def test_an_engine_that_computes_in_circles_is_given_up(serve):
    code, error = serve("--mode", "spin", own=("--timeout", "0.5")).end()
    assert code == 5
    assert "nothing new" in error["message"]


def test_the_memory_it_gave_back_is_in_its_peak(serve):
    now, peak = serve("--swell-mib", "64").wait_for("served")["memory"]
    assert peak - now > 50 * 2**20


def test_what_it_is_first_asked_is_as_long_as_its_launch_says(serve, tmp_path):
    seen = tmp_path / "seen"
    serve("--seen", str(seen), own=("--first-words", "64")).wait_for("served")
    assert [json.loads(line)["words"] for line in seen.read_text().splitlines()][:1] == [64]


GPU = ("--must-use-gpu",)


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ("no driver: it is too old", "it uses no GPU: it is too old"),
        ("no driver: it is too old\non GPU 0", "it uses no GPU: it is too old"),
        ("no GPU", "it uses no GPU"),
    ],
)
def test_an_engine_that_uses_no_gpu_although_it_was_given_one_is_ended(serve, printed, told):
    child = serve("--print", printed, own=GPU)
    code, error = child.end()
    assert (code, error["message"], error["hint"]) == (5, told, "buy one")
    child.assert_nothing_left()


@pytest.mark.parametrize(
    ("printed", "own"),
    [("no GPU\non GPU 0", GPU), ("it is all quiet", GPU), ("no driver: it is too old", ())],
)
def test_an_engine_that_uses_one_or_need_not_is_served(serve, printed, own):
    serve("--print", printed, own=own).wait_for("served")
