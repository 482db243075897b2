"""R16: when a breaker opens, and what its trial decides."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.breaker import (
    FEWEST_ATTEMPTS,
    REST,
    WINDOW,
    Breaker,
    Outcomes,
    Pair,
    Trial,
    counted_from,
    opened,
)
from fairlane.domain.statuses import PASSING, JobStatus

NOW = datetime(2026, 11, 1, 12, 0, 40, tzinfo=UTC)
PAIR = Pair("acme", "report.pdf")
TRIAL = Trial(UUID(int=1), 3, UUID(int=2))
ENDS = st.none() | st.sampled_from(JobStatus)
MOMENTS = st.timedeltas(timedelta(0), timedelta(days=1)).map(lambda wait: NOW + wait)
BREAKERS = st.builds(
    Breaker, st.just("acme"), st.just("report.pdf"), MOMENTS, MOMENTS, st.none() | st.just(TRIAL), st.none() | MOMENTS
)


@pytest.mark.parametrize(
    ("completions", "failures", "opens"), [(0, 9, False), (0, 10, True), (5, 5, True), (6, 5, False), (500, 499, False)]
)
def test_r16_half_of_ten_attempts_open_it(completions: int, failures: int, opens: bool) -> None:
    assert Outcomes(completions, failures).open_a_breaker == opens


@given(st.integers(0, 200), st.integers(0, 200))
def test_r16_another_failure_never_keeps_it_closed(completions: int, failures: int) -> None:
    before, after = Outcomes(completions, failures), Outcomes(completions, failures + 1)

    assert after.open_a_breaker >= before.open_a_breaker
    assert not before.open_a_breaker or before.attempts >= FEWEST_ATTEMPTS


@given(MOMENTS)
def test_r16_it_rests_for_its_time_and_then_lets_one_be_tried(now: datetime) -> None:
    breaker = opened(PAIR, NOW)

    assert breaker.lets_try(now) == (now >= NOW + REST)
    assert not replace(breaker, trial=TRIAL).lets_try(now)


@given(BREAKERS, ENDS, MOMENTS)
def test_r16_what_follows_from_a_trial(breaker: Breaker, ended: JobStatus | None, now: datetime) -> None:
    breaker = replace(breaker, trial=TRIAL, until=min(breaker.until, now), closed_at=None)

    after = breaker.after_trial(ended, now)

    assert after.trial is None
    assert after.pair == PAIR
    assert (after.closed_at == now) == (ended is JobStatus.COMPLETED)
    assert (after.until == now + REST) == (ended in PASSING)
    assert after.lets_try(now) == (ended is not JobStatus.COMPLETED and ended not in PASSING)


@given(BREAKERS, MOMENTS, MOMENTS)
def test_r16_a_closed_one_holds_back_nothing(breaker: Breaker, now: datetime, later: datetime) -> None:
    closed = breaker.closed(now)

    assert (closed.closed_at, closed.trial) == (now, None)
    assert not closed.lets_try(later)


@given(MOMENTS)
def test_r16_the_whole_window_counts_and_less_than_a_minute_more(now: datetime) -> None:
    assert timedelta(0) <= (now - WINDOW) - counted_from(now, None) < timedelta(minutes=1)


@given(BREAKERS, MOMENTS)
def test_r16_no_minute_counts_that_began_before_it_closed(breaker: Breaker, now: datetime) -> None:
    begin = counted_from(now, breaker)

    assert begin >= counted_from(now, None)
    assert breaker.closed_at is None or begin > breaker.closed_at
