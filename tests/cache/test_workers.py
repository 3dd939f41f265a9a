"""Jobs that run at once, and what ends them."""

import signal
from threading import Event

import pytest

from nimctl.cache.progress import OnProgress
from nimctl.cache.workers import run_all


def ignore(event: object) -> None:
    """Nobody listens."""


def test_results_come_in_the_order_of_the_jobs() -> None:
    second_done = Event()

    def first(tell: OnProgress) -> int:
        second_done.wait(10)
        return 1

    def second(tell: OnProgress) -> int:
        second_done.set()
        return 2

    results = run_all(
        [first, second], threads=2, assistants=[], on_end=lambda: None, on_progress=ignore
    )
    assert results == (1, 2)


def test_ctrl_c_while_they_begin_ends_all_of_them() -> None:
    ended = Event()

    def interrupt(tell: OnProgress) -> None:
        signal.raise_signal(signal.SIGINT)
        ended.wait(10)

    def assist(tell: OnProgress) -> None:
        ended.wait(10)

    with pytest.raises(KeyboardInterrupt):
        run_all(
            [interrupt],
            threads=1,
            assistants=[assist] * 200,
            on_end=ended.set,
            on_progress=ignore,
        )
    assert ended.is_set()
