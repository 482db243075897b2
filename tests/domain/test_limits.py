"""R4: what a limit leaves room for, and when."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.limits import Limit, next_start

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
STARTS = st.lists(st.tuples(st.integers(0, 90).map(lambda ago: NOW - timedelta(seconds=ago)), st.integers(1, 4)))


def started(starts: list[tuple[datetime, int]], limit: Limit, now: datetime) -> int:
    begin = now - timedelta(seconds=limit.execution_rate_window)
    return sum(number for at, number in starts if at > begin)


@given(STARTS, st.integers(1, 9))
def test_r4_the_next_start_is_the_first_moment_with_room(starts: list[tuple[datetime, int]], rate: int) -> None:
    limit = Limit(execution_rate=rate, execution_rate_window=60.0)

    found = next_start(limit, sorted(starts, reverse=True), NOW)

    assert (found is None) == (limit.room(0, started(starts, limit, NOW)) > 0)
    if found is not None:
        assert limit.room(0, started(starts, limit, found)) > 0
        assert limit.room(0, started(starts, limit, found - timedelta(microseconds=1))) == 0
