"""When a start counts as stuck: by what an engine prints, reads and computes."""

import pytest

from nimctl.server.movement import COMPUTING_PATIENCE, Movement

LIMIT_S = 10.0


def find_stall(times_s, act=lambda movement, now_s: None, cpu_s=lambda now_s: 0.0):
    """The first stall of a start in which `act` happens at each time.

    Args:
        cpu_s: The processor time by then; None where nobody tells.
    """
    movement = Movement(0.0)
    for now_s in map(float, times_s):
        act(movement, now_s)
        if cpu_s is not None:
            movement.see_cpu(cpu_s(now_s), now_s)
        stall = movement.find_stall(LIMIT_S, now_s)
        if stall:
            return now_s, stall
    return None


def test_silence_is_a_stall_after_the_limit():
    when, stall = find_stall(range(100))
    assert when == 11
    assert stall == "has printed nothing new, read nothing and computed nothing for 11.0 s"


@pytest.mark.parametrize(
    "act",
    [
        lambda movement, now_s: movement.see_lines([f"step {'x' * int(now_s)}"], now_s),
        lambda movement, now_s: movement.see_lines([f"shards: {now_s:.0f}/1000 [00:07]"], now_s),
        lambda movement, now_s: movement.see_bytes(int(now_s) * 100_000, now_s),
    ],
    ids=["new lines", "pieces done", "weights read"],
)
def test_what_gets_somewhere_is_waited_for_for_ever(act):
    assert find_stall(range(1000), act) is None


@pytest.mark.parametrize(
    "act",
    [
        lambda movement, now_s: movement.see_lines([f"{now_s}: waiting for 1/2 workers"], now_s),
        lambda movement, now_s: movement.see_bytes(int(now_s), now_s),
    ],
    ids=["the same line for ever", "a byte a second"],
)
def test_what_gets_nowhere_is_not(act):
    when, _ = find_stall(range(100), act)
    assert when in (11, 12)


def test_a_thread_that_only_polls_is_no_computing():
    when, _ = find_stall(range(100), cpu_s=lambda now_s: 0.02 * now_s)
    assert when == 11


def test_computing_is_waited_for_longer_but_not_for_ever():
    when, stall = find_stall(range(1000), cpu_s=lambda now_s: 2 * now_s)
    assert when == COMPUTING_PATIENCE * LIMIT_S + 1
    assert stall == "computes, but has printed nothing new and read nothing for 41.0 s"


def test_where_nobody_tells_it_may_be_computing():
    when, stall = find_stall(range(1000), cpu_s=None)
    assert when == COMPUTING_PATIENCE * LIMIT_S + 1
    assert stall == "has printed nothing new and read nothing for 41.0 s"


def test_a_compiler_that_says_something_now_and_then_is_waited_for():
    def act(movement, now_s):
        if now_s % 30 == 0:
            movement.see_lines([f"compiled {'graph ' * int(now_s)}"], now_s)

    assert find_stall(range(1000), act, cpu_s=lambda now_s: now_s) is None


def test_processes_that_end_are_no_computing():
    """The sum of the living processes' time falls when one ends."""
    movement = Movement(0.0)
    movement.see_cpu(100.0, 1.0)
    movement.see_cpu(1.0, 2.0)
    assert movement.find_stall(LIMIT_S, 10.5) is not None
