"""How often and how soon an engine is started again."""

from hypothesis import given
from hypothesis import strategies as st

from nimctl.server.restarts import RestartLimits, Restarts


def test_pauses_double_and_are_bounded():
    restarts = Restarts(RestartLimits(count=9, window_s=1000, first_wait_s=0.5, longest_wait_s=10))
    assert [restarts.next_wait_s(0) for _ in range(7)] == [0.5, 1, 2, 4, 8, 10, 10]
    assert restarts.attempt == 7


def test_none_are_made_when_they_are_off():
    assert Restarts(RestartLimits(count=0)).next_wait_s(0) is None


def test_the_limit_is_one_of_the_window():
    restarts = Restarts(RestartLimits(count=2, window_s=100, first_wait_s=1))
    assert [restarts.next_wait_s(at_s) for at_s in (0, 60, 99)] == [1, 2, None]
    assert restarts.next_wait_s(100) == 2  # the first one is forgotten
    assert restarts.next_wait_s(159) is None
    assert restarts.next_wait_s(1000) == 1


@given(
    count=st.integers(0, 5),
    gaps=st.lists(st.floats(0, 50), max_size=40),
)
def test_never_more_than_the_limit_in_any_window(count, gaps):
    restarts, now_s, made = Restarts(RestartLimits(count=count, window_s=60)), 0.0, []
    for gap in gaps:
        now_s += gap
        if restarts.next_wait_s(now_s) is not None:
            made.append(now_s)
    assert all(sum(start <= at_s < start + 60 for at_s in made) <= count for start in made)
