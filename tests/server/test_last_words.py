"""The cause of an engine's end comes from the end of its own life's log."""

import signal

import pytest

from nimctl.core.symptom import Symptom
from nimctl.engines.symptoms import LLAMA_CPP
from nimctl.server.guard import START_MARK
from nimctl.server.last_words import explain_end, read_tail

SICK = Symptom(code="sick", pattern=r"I am (?P<detail>\w+)", cause="it is sick", hint="rest")
MARK = f"{START_MARK}2026-01-01 00:00:00 ---\n"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "engine.log"


def test_only_the_last_life_speaks(log):
    log.write_text(f"{MARK}I am feverish\n{MARK}I was fine\n")
    assert read_tail(log) == "I was fine\n"
    assert "sick" not in explain_end(1, log, (SICK,)).message


def test_a_log_that_was_just_set_aside_still_speaks(log):
    log.with_name("engine.log.1").write_text(f"{MARK}I am feverish\n")
    log.write_text("and now I am done\n")
    assert read_tail(log) == "I am feverish\nand now I am done\n"


def test_a_log_that_is_gone_says_nothing(log):
    error = explain_end(3, log, (SICK,))
    assert error.message == "the engine ended with exit code 3"


@pytest.mark.parametrize(
    ("code", "how"),
    [
        (0, "ended by itself"),
        (7, "ended with exit code 7"),
        (128 + 11, "was ended by SIGSEGV"),
        (128 + 99, "was ended by signal 99"),
        (-9, "lost its guard to SIGKILL"),
    ],
)
def test_how_it_ended(log, code, how):
    log.write_text(f"{MARK}some\n\nlines\n")
    assert explain_end(code, log, ()).message == (
        f"the engine {how}; its last words:\n    some\n    lines"
    )


@pytest.mark.parametrize(
    ("number", "symptom", "told"),
    [
        (signal.SIGKILL, "killed", "memory most likely ran out (the engine was ended by SIGKILL)"),
        (
            signal.SIGILL,
            "illegal-instruction",
            "the engine was built for a newer processor than this one (the engine was ended by "
            "SIGILL)",
        ),
    ],
)
def test_some_signals_say_why(log, number, symptom, told):
    error = explain_end(128 + number, log, LLAMA_CPP)
    assert (error.symptom, error.message) == (symptom, told)
