"""R7: how long a failed job waits."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.backoff import DEFAULT_CAP, JITTER, Backoff

RETRIES = st.integers(1, 10_000)
SEEDS = st.integers(0, 2**32)
WAITS = st.floats(0.001, 1e6)


def nominal(backoff: Backoff, retry: int) -> float:
    """The wait without jitter, said in another way than the code does."""
    if backoff.delays:
        return (backoff.delays + (backoff.delays[-1],) * retry)[retry - 1]
    wait = backoff.base
    for _ in range(retry - 1):
        wait = min(wait * 2, backoff.cap)
    return min(wait, backoff.cap)


def assert_within_jitter(wait: float, expected: float) -> None:
    assert expected * (1 - JITTER) * (1 - 1e-9) <= wait <= expected * (1 + JITTER) * (1 + 1e-9)


@pytest.mark.parametrize(("retry", "seconds"), [(1, 60), (2, 120), (3, 240), (4, 480), (5, 960)])
def test_the_default_is_sixty_seconds_doubled_each_time_r7(retry, seconds):
    assert_within_jitter(Backoff().seconds(retry, Random(retry)), seconds)


@given(RETRIES, SEEDS)
def test_no_number_of_retries_waits_longer_than_the_cap_and_its_jitter_r7(retry, seed):
    assert 0 < Backoff().seconds(retry, Random(seed)) <= DEFAULT_CAP * (1 + JITTER)


@given(WAITS, WAITS, st.integers(1, 200), SEEDS)
def test_every_wait_is_within_twenty_percent_of_its_nominal_value_r7(base, cap, retry, seed):
    backoff = Backoff(base, cap)
    assert_within_jitter(backoff.seconds(retry, Random(seed)), nominal(backoff, retry))


@given(st.lists(WAITS, min_size=1, max_size=20), RETRIES, SEEDS)
def test_an_explicit_list_is_followed_and_its_last_wait_serves_all_further_retries_r7(delays, retry, seed):
    backoff = Backoff.of(delays)
    assert_within_jitter(backoff.seconds(retry, Random(seed)), nominal(backoff, retry))


def test_jitter_spreads_jobs_that_failed_together_over_the_whole_range_r7():
    random = Random(7)
    waits = [Backoff().seconds(1, random) for _ in range(1_000)]
    assert min(waits) < 50
    assert max(waits) > 70
    assert len(set(waits)) > 990


@given(RETRIES, SEEDS)
def test_the_same_randomness_gives_the_same_wait_r7(retry, seed):
    assert Backoff().seconds(retry, Random(seed)) == Backoff().seconds(retry, Random(seed))
