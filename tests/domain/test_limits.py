"""R4: what a limit leaves room for, and when."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.fairness import Lane
from fairlane.domain.limits import Limit, Subject, beyond_limits, next_start, subjects_of

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


def test_ready_jobs_beyond_what_all_their_limits_leave_wait() -> None:
    mine, other, free = Lane("q", "acme", "report"), Lane("q", "rival", "report"), Lane("q", "rival", "mail")
    left = {Subject(None, "report"): 4, Subject("acme", None): 1}
    assert beyond_limits({mine: 3, other: 5, free: 7}, left) == {mine: 2, other: 2, free: 0}


@given(
    ready=st.dictionaries(
        st.builds(Lane, st.just("q"), st.sampled_from("ab"), st.sampled_from("xy")), st.integers(0, 9)
    ),
    left=st.dictionaries(
        st.builds(Subject, st.sampled_from([None, *"ab"]), st.sampled_from([None, *"xy"])), st.integers(0, 9)
    ),
)
def test_what_does_not_wait_passes_no_limit(ready: dict[Lane, int], left: dict[Subject, int]) -> None:
    waiting = beyond_limits(ready, left)
    for subject, room in left.items():
        assert room >= sum(
            size - waiting[lane]
            for lane, size in ready.items()
            if subject in subjects_of(lane.organization, lane.job_type)
        )
