"""How many connections a fetch comes to, by what its source gives to each."""

from hypothesis import given
from hypothesis import strategies as st

from nimctl.cache.ramp import Ramp


def settle(ramp, rate_of, *, ticks=20):
    """The limit after some time against a source that gives that many bytes a second."""
    for tick in range(ticks):
        ramp.observe(rate_of(ramp.limit), tick * 0.2)
    return ramp.limit


@given(most=st.integers(1, 64))
def test_a_source_that_limits_each_connection_gets_all_of_them(most):
    assert most * 0.9 <= settle(Ramp(most), lambda connections: 20e6 * connections) <= most


@given(most=st.integers(1, 64))
def test_a_source_that_is_full_with_few_is_left_with_few(most):
    assert settle(Ramp(most), lambda connections: 500e6) == min(most, 4)


def test_it_stops_where_more_bring_no_more():
    assert settle(Ramp(64), lambda connections: min(connections, 16) * 20e6) == 16


def test_a_fetch_that_was_full_tries_again_later():
    ramp = Ramp(16)
    settle(ramp, lambda connections: 500e6)
    for tick in range(100):
        ramp.observe(20e6 * ramp.limit, 10 + tick * 0.2)
    assert ramp.limit == 16


def test_failures_bring_it_down_and_success_up_again():
    ramp = Ramp(16)
    settle(ramp, lambda connections: 20e6 * connections)
    ramp.back_off(alone=False)
    assert ramp.limit == 8
    ramp.back_off(alone=True)
    assert ramp.limit == 1
    assert settle(ramp, lambda connections: 20e6 * connections) == 16
