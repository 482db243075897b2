"""R15: how jobs went of late, by what was counted of attempts and a sample of the jobs that ended."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.breaker import Outcomes
from fairlane.domain.metrics import Recent, Spread, recent_grid
from fairlane.domain.metrics import recent as numbers_of
from fairlane.domain.timeline import Cell, EndedJob

NOW = datetime(2026, 11, 1, 12, 30, 30, tzinfo=UTC)
CELL = Cell("acme", "report", 0)

counts = st.builds(Outcomes, st.integers(0, 1000), st.integers(0, 1000), st.floats(0, 1e6))
names = st.text("abc", min_size=1, max_size=3)
spans = st.lists(st.tuples(st.floats(0, 1e5), st.none() | st.floats(0, 1e5)), max_size=30)


def ended(ran: float, waited: float | None = 0.0, *, cell: Cell = CELL, number: int = 1) -> EndedJob:
    return EndedJob(cell, UUID(int=number), NOW, waited, ran)


def recent(
    by_type: Mapping[str, Outcomes] | None = None,
    ends: Mapping[Cell, Outcomes] | None = None,
    sample: Sequence[EndedJob] = (),
    minutes: int = 60,
) -> Recent:
    return numbers_of(recent_grid(NOW, minutes), NOW, by_type or {}, ends or {}, sample, each=1)


@given(st.integers(1, 1440))
def test_it_looks_back_as_far_as_asked_for_and_hardly_further(minutes: int) -> None:
    grid = recent_grid(NOW, minutes)

    assert minutes <= recent(minutes=minutes).minutes <= min(minutes + 5, 1440)
    assert grid.number <= 6
    assert grid.place(NOW) == grid.number - 1


@given(st.dictionaries(names, counts))
def test_what_is_told_by_type_adds_up(by_type: dict[str, Outcomes]) -> None:
    told = recent(by_type)
    attempts = sum(one.attempts for one in by_type.values())

    assert sum(told.attempts_by_type.values()) == attempts
    assert told.attempts_by_type.keys() == told.failure_rate_by_type.keys() == told.processing_seconds_by_type.keys()
    assert all(0 <= rate <= 1 for rate in told.failure_rate_by_type.values())


@given(spans, st.integers(1, 10_000))
def test_the_seconds_of_jobs_lie_among_those_of_the_sample(
    times: list[tuple[float, float | None]], attempts: int
) -> None:
    sample = [ended(ran, waited, number=number) for number, (ran, waited) in enumerate(times)]
    told = recent(ends={CELL: Outcomes(attempts)}, sample=sample)
    waits = [waited for _, waited in times if waited is not None]

    for spread, values in ((told.wait_seconds, waits), (told.processing_seconds, [ran for ran, _ in times])):
        for found in (spread.average, spread.p95):
            assert (found is None) == (not values)
            assert found is None or min(values) - 0.001 <= found <= max(values) + 0.001
    assert [one.seconds for one in told.slowest] == [
        round(ran, 3) for ran in sorted((ran for ran, _ in times), reverse=True)[:10]
    ]


def test_of_nothing_nothing_is_told() -> None:
    told = recent({"idle": Outcomes()})

    assert (told.wait_seconds, told.processing_seconds) == (Spread(None, None), Spread(None, None))
    assert (told.throughput_per_minute, told.attempts_by_type, told.failure_rate_by_type) == (0, {}, {})
    assert told.slowest == ()


def test_attempts_are_told_by_type() -> None:
    told = recent({"report": Outcomes(3, 1, 10.0), "fax": Outcomes(0, 2, 1.0)})

    assert told.attempts_by_type == {"report": 4, "fax": 2}
    assert told.processing_seconds_by_type == {"report": Spread(None, None), "fax": Spread(None, None)}
    assert told.failure_rate_by_type == {"report": 0.25, "fax": 1.0}


@pytest.mark.parametrize(("minutes", "per_minute"), [(60, 119 / 59.5), (1, 119.0)])
def test_throughput_is_of_the_time_that_is_over_but_a_minute_at_least(minutes: int, per_minute: float) -> None:
    assert recent({"report": Outcomes(119)}, minutes=minutes).throughput_per_minute == pytest.approx(per_minute)


def test_a_sampled_job_stands_for_those_that_ended_with_it() -> None:
    busy, quiet = CELL, Cell("acme", "fax", 0)
    ends = {busy: Outcomes(90), quiet: Outcomes(10)}
    sample = [ended(1.0, 2.0, cell=busy), ended(9.0, 12.0, cell=quiet)]
    told = recent(ends=ends, sample=sample)

    assert told.wait_seconds == Spread(average=3.0, p95=12.0)
    assert told.processing_seconds == Spread(average=1.8, p95=9.0)
    of_types = recent({"report": ends[busy], "fax": ends[quiet]}, ends, sample).processing_seconds_by_type
    assert of_types == {"report": Spread(1.0, 1.0), "fax": Spread(9.0, 9.0)}


def test_the_busiest_hundred_types_are_told_of_and_all_are_counted() -> None:
    told = recent({f"type{number:03}": Outcomes(200 - number) for number in range(150)})

    assert list(told.attempts_by_type) == [f"type{number:03}" for number in range(100)]
    assert told.throughput_per_minute == pytest.approx(sum(200 - n for n in range(150)) / 59.5, abs=0.001)


def test_the_slowest_come_first_with_whose_they_are() -> None:
    rival = Cell("rival", "fax", 0)
    sample = [ended(float(number), number=number) for number in range(20)] + [ended(99.0, cell=rival, number=77)]
    first, second, *_ = told = recent(sample=sample).slowest

    assert (first.id, first.organization, first.job_type, first.seconds) == (UUID(int=77), "rival", "fax", 99.0)
    assert (second.seconds, second.started_at - NOW, len(told)) == (19.0, timedelta(), 10)
