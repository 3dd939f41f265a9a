"""What `serve` tells while a model is served, as lines of JSON and to a person."""

import json
import re
from pathlib import Path

import pytest

from nimctl.cli.serve_events import tell_json, tell_person
from nimctl.server import (
    AnswersAgain,
    Listening,
    NotReady,
    Phase,
    PhaseReached,
    Ready,
    ReadyAgain,
    Restarting,
    StartTimes,
    Stopping,
)

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
    tell_json(event)
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert json.loads(told) == document


def make_teller():
    return tell_person(Path.home() / "logs" / "toy.log")


def test_a_night_with_a_crash_reads_well(capsys) -> None:
    tell = make_teller()
    events = [
        Listening(url=URL),
        PhaseReached(phase=Phase.LOADING),
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
    for event in events:
        tell(event)
    told = capsys.readouterr()
    assert f"acme/toy is ready at {URL} (after 1.5 s)" in told.out
    assert [TIMED.sub("TIME ", line) for line in told.err.splitlines()] == [
        "loading; the engine's log is ~/logs/toy.log",
        "loaded; generating the first token",
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
    tell = tell_person(None)
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
