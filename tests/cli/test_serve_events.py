"""What `serve` tells while a model is served, as lines of JSON and to a person."""

import json
import re
from pathlib import Path

import pytest

from nimctl.cli.serve_events import tell_json, telling_person
from nimctl.cli.start_display import LiveLine, describe_phase
from nimctl.cli.started import Started
from nimctl.core.memory_check import MemoryCheck
from nimctl.core.startup import Phase
from nimctl.server import (
    AnswersAgain,
    Listening,
    NotReady,
    PhaseAdvanced,
    PhaseReached,
    Ready,
    ReadyAgain,
    Restarting,
    StartTimes,
    Stopping,
)

NOTHING = Started(checks=(), surprise=None)
SURPRISE = Started(checks=(), surprise="it holds 2.0 GiB, predicted were 1.1 GiB to 1.3 GiB")
URL = "http://127.0.0.1:8000"
TIMES = StartTimes(load_s=1.23456, first_token_s=0.25)
RESTARTING = Restarting(
    cause="the engine ended with exit code 3; its last words:\n    boom",
    attempt=1,
    limit=5,
    window_s=600,
    wait_s=0.5,
)
TIMED = re.compile(r"\d\d:\d\d:\d\d ")


@pytest.mark.parametrize(
    ("event", "document"),
    [
        (Listening(url=URL), {"event": "listening", "url": URL}),
        (PhaseReached(phase=Phase.WARMING), {"event": "phase", "phase": "warming"}),
        (
            PhaseReached(phase=Phase.LOADING),
            {"event": "phase", "phase": "loading", "expected_s": 40.0},
        ),
        (
            PhaseAdvanced(phase=Phase.LOADING, done_bytes=3, total_bytes=8),
            {"event": "progress", "phase": "loading", "done_bytes": 3, "total_bytes": 8},
        ),
        (
            Ready(url=URL, times=TIMES, names=("acme/toy",)),
            {"event": "ready", "url": URL, "load_s": 1.235, "first_token_s": 0.25},
        ),
        (NotReady(cause="It is silent."), {"event": "not_ready", "cause": "It is silent."}),
        (AnswersAgain(silent_s=1.5), {"event": "answers_again", "silent_s": 1.5}),
        (
            RESTARTING,
            {
                "event": "restarting",
                "cause": RESTARTING.cause,
                "attempt": 1,
                "limit": 5,
                "wait_s": 0.5,
            },
        ),
        (
            ReadyAgain(url=URL, times=TIMES, down_s=2.0),
            {
                "event": "ready_again",
                "url": URL,
                "down_s": 2.0,
                "load_s": 1.235,
                "first_token_s": 0.25,
            },
        ),
        (Stopping(signal_name="SIGTERM"), {"event": "stopping", "signal": "SIGTERM"}),
    ],
)
def test_every_event_is_one_line_of_json(event, document, capsys) -> None:
    tell_json({Phase.LOADING: 40.0}, lambda ready: NOTHING)(event)
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert json.loads(told) == document


LOG = Path.home() / "logs" / "toy.log"


def test_a_night_with_a_crash_reads_well(capsys) -> None:
    events = [
        Listening(url=URL),
        PhaseReached(phase=Phase.STARTING),
        PhaseReached(phase=Phase.LOADING),
        PhaseAdvanced(phase=Phase.LOADING, done_bytes=3, total_bytes=8),
        PhaseReached(phase=Phase.WARMING),
        PhaseReached(phase=Phase.READY),
        Ready(url=URL, times=TIMES, names=("acme/toy",)),
        NotReady(cause="The engine has not answered since 03:12:07 UTC."),
        AnswersAgain(silent_s=1.5),
        RESTARTING,
        PhaseReached(phase=Phase.LOADING),
        ReadyAgain(url=URL, times=TIMES, down_s=2.0),
        Stopping(signal_name="SIGTERM"),
    ]
    with telling_person(LOG, {Phase.LOADING: 40.0}, lambda ready: SURPRISE) as tell:
        for event in events:
            tell(event)
    told = capsys.readouterr()
    assert f"acme/toy is ready at {URL} (after 1.5 s; {SURPRISE.surprise})" in told.out
    assert [TIMED.sub("TIME ", line) for line in told.err.splitlines()] == [
        "the engine's log is ~/logs/toy.log",
        "starting the engine",
        "loading, about 40 s",
        "generating the first token",
        "TIME warning: not ready: The engine has not answered since TIME UTC. "
        "New requests wait a little, then are answered 503.",
        "TIME acme/toy answers again (after 1.5 s)",
        "TIME warning: the engine ended with exit code 3; its last words:",
        "    boom",
        "  starting it again in 500 ms (restart 1 of 5 within 10 min 00 s); "
        "its log is ~/logs/toy.log",
        "TIME acme/toy is ready again at http://127.0.0.1:8000 (after 2.0 s)",
        "TIME SIGTERM: finishing open requests; once more stops at once",
    ]


def test_an_engine_elsewhere_is_waited_for_in_words(capsys) -> None:
    with telling_person(None, {}) as tell:
        for event in (
            PhaseReached(phase=Phase.LOADING),
            NotReady(cause="the engine at http://e cannot be used: nobody listens there."),
            PhaseReached(phase=Phase.WARMING),
            Ready(url=URL, times=TIMES, names=("theirs",)),
        ):
            tell(event)
    told = capsys.readouterr()
    assert f"theirs is ready at {URL}" in told.out
    assert told.err.splitlines() == [
        "waiting: the engine at http://e cannot be used: nobody listens there.",
        "found; generating the first token",
    ]


@pytest.mark.parametrize(
    ("advanced", "times", "text"),
    [
        (PhaseAdvanced(phase=Phase.COMPILING), {"passed_s": 12.0}, "compiling, 12 s"),
        (
            PhaseAdvanced(phase=Phase.LOADING, done_bytes=32 * 10**8, total_bytes=149 * 10**8),
            {"passed_s": 12.0, "expected_s": 40.0},
            "loading, 12 s of about 40 s, 3.2 GB of 14.9 GB",
        ),
        (
            PhaseAdvanced(phase=Phase.CAPTURING, done=10, total=67),
            {"passed_s": 2.0},
            "capturing graphs, 2 s, 10 of 67",
        ),
    ],
)
def test_a_phase_in_words(advanced, times, text) -> None:
    assert describe_phase(advanced, **times) == text


def test_the_living_line_can_be_closed_twice(capsys) -> None:
    line = LiveLine({Phase.LOADING: 40.0})
    line.enter(Phase.LOADING)
    line.advance(PhaseAdvanced(phase=Phase.LOADING, done=1, total=2))
    line.close()
    line.close()
    assert "Traceback" not in capsys.readouterr().err


def test_the_memory_of_a_ready_engine_is_told_beside_the_prediction(capsys) -> None:
    checks = (MemoryCheck(part="weights", predicted=8, actual=9),)
    started = Started(checks=checks, surprise=None)
    tell_json({}, lambda ready: started)(Ready(url=URL, times=TIMES, names=("acme/toy",)))
    memory = json.loads(capsys.readouterr().out)["memory"]
    assert memory == {"weights": {"predicted_bytes": 8, "actual_bytes": 9}}
