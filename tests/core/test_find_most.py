"""The search for the most that fits: right for every falling room, quick on straight ones."""

from hypothesis import given
from hypothesis import strategies as st

from nimctl.core.placement import find_most


@given(rooms=st.lists(st.integers(-(10**12), 10**12), max_size=300))
def test_it_finds_the_last_number_with_room(rooms):
    falling = sorted(rooms, reverse=True)
    expected = sum(room >= 0 for room in falling)
    assert find_most(len(falling), lambda n: falling[n - 1]) == expected


@given(
    limit=st.integers(1, 10**6),
    free=st.integers(-(10**9), 10**12),
    each=st.integers(1, 10**9),
)
def test_a_straight_line_is_found_in_a_handful_of_looks(limit, free, each):
    looks = []

    def count_room(number):
        looks.append(number)
        return free - each * number

    assert find_most(limit, count_room) == max(min(free // each, limit), 0)
    assert len(looks) <= 5
