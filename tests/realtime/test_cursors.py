"""Cursors tell nobody anything, and only ours are taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.log_cursor import Position
from fairlane.realtime.cursors import Cursors

KEY, OTHER = "ab" * 32, "cd" * 32


BOUNDS = st.lists(st.integers(1, 2**62) | st.integers(10**9, 10**9 + 10**4), max_size=40, unique=True)


@given(st.integers(0, 2**62), BOUNDS)
def test_what_was_sealed_opens_again_and_no_further(high: int, bounds: list[int]):
    ordered = sorted(bounds)
    cursors, position = Cursors(KEY), Position(high, tuple(zip(ordered[::2], ordered[1::2], strict=False)))
    sealed = cursors.seal(position)
    assert cursors.open(sealed) in {position.within(gaps) for gaps in range(17)}
    assert len(sealed) == len(cursors.seal(Position(0)))


def test_the_gaps_that_there_are_at_a_time_all_have_room():
    position = Position(10**9, tuple((one, one + 5) for one in range(10**9 - 100 * 16, 10**9, 100)))
    cursors = Cursors(KEY)
    assert cursors.open(cursors.seal(position)) == position


@pytest.mark.parametrize("cursor", ["", "x", "4711", "é", "A" * 3_000])
def test_what_is_none_of_ours_opens_nothing(cursor: str):
    assert Cursors(KEY).open(cursor) is None
    assert Cursors(KEY).open(Cursors(OTHER).seal(Position(5))) is None


def test_what_was_sealed_under_another_key_opens_nothing():
    assert Cursors(KEY).open(Cursors(OTHER).seal(Position(5))) is None


def test_a_cursor_does_not_tell_how_far_the_log_is():
    cursors = Cursors(KEY)
    one, two = cursors.seal(Position(1)), cursors.seal(Position(1))
    assert one != two
    assert len(cursors.seal(Position(10**12))) == len(one)
