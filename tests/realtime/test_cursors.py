"""Cursors tell nobody anything, and only ours are taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.tail import Position
from fairlane.realtime.cursors import Cursors

KEY, OTHER = "ab" * 32, "cd" * 32


@given(st.integers(0, 2**62), st.lists(st.integers(1, 2**62), max_size=20, unique=True))
def test_what_was_sealed_opens_again(high: int, starts: list[int]):
    gaps = tuple((one, one) for one in sorted(starts))
    cursors, position = Cursors(KEY), Position(high, gaps)
    assert cursors.open(cursors.seal(position)) == position.within(16)


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
    assert len(cursors.seal(Position(100_000))) - len(one) < 10
