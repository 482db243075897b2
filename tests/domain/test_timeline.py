"""R15: steps of a timeline, and what a sample says of those that it stands for."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.breaker import Outcomes
from fairlane.domain.timeline import (
    Cell,
    EndedJob,
    Findings,
    cells_to_sample,
    grid_of,
    most_of_each,
    percentile,
    timeline,
    weights,
)

NOW = datetime(2026, 11, 1, 12, 30, 20, tzinfo=UTC)
GRID = grid_of(NOW, minutes=10, step=5)
FIRST = datetime(2026, 11, 1, 12, 21, tzinfo=UTC)
values = st.lists(st.tuples(st.floats(0, 1e6), st.floats(0.5, 1e4)), min_size=1, max_size=50)


def ended(place: int, *, ran: float = 1.0, waited: float | None = 0.0, started: datetime = FIRST) -> EndedJob:
    return EndedJob(Cell("acme", "report", place), UUID(int=1), started, waited, ran)


def test_the_last_step_ends_with_the_minute_that_is_now() -> None:
    assert GRID.beginnings == [FIRST + timedelta(minutes=minutes) for minutes in (0, 5, 10)]
    assert [GRID.place(FIRST + timedelta(minutes=minutes)) for minutes in (-1, 0, 4.9, 5, 9.9, 10)] == [
        None,
        0,
        0,
        1,
        1,
        None,
    ]


@given(st.integers(1, 1440), st.integers(1, 120))
def test_steps_cover_the_time_asked_for(minutes: int, step: int) -> None:
    grid = grid_of(NOW, minutes=minutes, step=step)

    assert grid.place(NOW) == grid.number - 1
    assert grid.start <= NOW - timedelta(minutes=minutes - 1)
    assert grid.number * step < minutes + step


@given(values, st.floats(0, 1))
def test_a_percentile_is_one_of_the_values_and_has_its_share_of_the_weight(
    given_values: list[tuple[float, float]], share: float
) -> None:
    found = percentile(given_values, share)
    total = sum(weight for _, weight in given_values)

    assert found in {round(value, 3) for value, _ in given_values}
    assert found is not None
    assert sum(weight for value, weight in given_values if round(value, 3) < found) <= share * total * 1.0001


def test_a_percentile_of_nothing_is_none() -> None:
    assert percentile([], 0.5) is None


@pytest.mark.parametrize(("share", "value"), [(0.5, 1.0), (0.95, 9.0)])
def test_a_heavy_value_stands_for_many(share: float, value: float) -> None:
    assert percentile([(9.0, 10.0), (1.0, 90.0)], share) == value


def test_a_sampled_end_stands_for_those_that_were_counted_and_at_least_for_itself() -> None:
    ends = {Cell("acme", "report", 0): Outcomes(90, 10, 0.0)}
    sample = [ended(0), ended(0), ended(1)]

    assert weights(ends, sample, each=1) == {Cell("acme", "report", 0): 50.0, Cell("acme", "report", 1): 1.0}
    assert weights(ends, [one._replace(attempts=5) for one in sample], each=1)[Cell("acme", "report", 0)] == 10.0


def test_where_all_were_taken_each_stands_for_itself_however_many_attempts_failed() -> None:
    ends = {Cell("acme", "report", 0): Outcomes(1, 4, 0.0)}
    assert weights(ends, [ended(0)], each=2) == {Cell("acme", "report", 0): 1.0}


def test_ends_are_looked_for_in_the_step_before_their_count_too() -> None:
    assert cells_to_sample({Cell("acme", "b", 2): Outcomes(1), Cell("acme", "a", 0): Outcomes(1)}) == [
        Cell("acme", "a", 0),
        Cell("acme", "b", 1),
        Cell("acme", "b", 2),
    ]


@given(
    st.dictionaries(st.builds(Cell, st.just("acme"), st.sampled_from("abc"), st.integers(0, 9)), st.integers(1, 99)),
    st.integers(1, 500),
)
def test_what_is_sampled_is_all_where_it_fits_and_else_no_more_than_the_budget(
    counts: dict[Cell, int], budget: int
) -> None:
    ends = {cell: Outcomes(count) for cell, count in counts.items()}

    each = most_of_each(ends, budget)

    assert each >= 1
    assert each >= max(counts.values(), default=1) or 2 * sum(counts.values()) > budget
    assert sum(min(each, count) for count in counts.values()) <= max(budget, len(counts))


def test_a_step_tells_what_came_in_started_and_ended() -> None:
    later = FIRST + timedelta(minutes=5)
    found = Findings(
        GRID,
        ends={Cell("acme", "report", 0): Outcomes(2, 1, 9.0), Cell("acme", "fax", 0): Outcomes(1)},
        submitted={0: 7, 1: 11},
        sample=[ended(0, ran=3.0, waited=2.0), ended(0, ran=3.0, waited=None), ended(0, ran=3.0, waited=2.0)],
        running=[later, later - timedelta(days=1)],
        each=100,
    )

    first, second = timeline(found, cap=10).steps

    assert (first.submitted, first.submitted_is_capped, first.started) == (7, False, 3)
    assert (first.completed, first.failed) == (3, 1)
    assert (first.wait_p50, first.wait_p95, first.run_p50, first.run_p95) == (2.0, 2.0, 3.0, 3.0)
    assert (second.submitted, second.submitted_is_capped, second.started) == (10, True, 1)
    assert (second.completed, second.failed, second.wait_p50, second.run_p95) == (0, 0, None, None)


def test_seconds_of_all_steps_are_of_all_jobs_and_no_mean_of_steps() -> None:
    short = [ended(0, ran=1.0, waited=0.5)] * 9
    found = Findings(GRID, {}, {}, sample=[*short, ended(1, ran=600.0, waited=60.0)], running=[], each=100)

    of_all = timeline(found, cap=10)

    assert (of_all.wait_p50, of_all.wait_p95, of_all.run_p50, of_all.run_p95) == (0.5, 60.0, 1.0, 600.0)


@pytest.mark.parametrize(("each", "is_sampled"), [(2, False), (1, True)])
def test_it_says_whether_it_is_an_estimate(each: int, is_sampled: bool) -> None:
    found = Findings(GRID, {}, {}, sample=[ended(0)], running=[], each=each)

    assert timeline(found, cap=10).is_sampled is is_sampled


def test_of_all_organizations_only_ends_are_told() -> None:
    found = Findings(GRID, {Cell("", "", 1): Outcomes(4)}, submitted=None, sample=(), running=(), each=1)

    _, last = timeline(found, cap=10).steps

    assert (last.submitted, last.started, last.completed) == (None, None, 4)
