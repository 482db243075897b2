"""R5: a job that takes its worker down every time goes to dead letter, and the long jobs that ran beside it are not."""

from dataclasses import dataclass
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.poison import POISON_AT, SUSPECT_AT, LostAttempt, RescueDecision, judge

LEASE = 15.0  # seconds until a dead worker's jobs are taken back
RESTART = 2.0  # seconds until there is another worker
LONG = 86_400.0  # seconds that an innocent takes
SECONDS = st.floats(1, 1e6)


@dataclass
class Job:
    """`kills_after`: seconds after which it takes its worker down; None = innocent."""

    kills_after: float | None = None
    rescues: int = 0
    starts: float = 0.0
    is_dead_letter: bool = False


def kills_until_it_is_over(jobs: list[Job], random: Random) -> int:
    """Run the jobs on one worker with room for all until no killer is left; how many workers that took."""
    now, kills, up_from = 0.0, 0, 0.0
    while any(job.kills_after is not None and not job.is_dead_letter for job in jobs):
        for job in jobs:
            job.starts = max(job.starts, up_from)
        alive = [job for job in jobs if not job.is_dead_letter]
        now = min(job.starts + job.kills_after for job in alive if job.kills_after is not None)
        kills, up_from = kills + 1, now + RESTART
        held = [job for job in alive if job.starts <= now]
        seen = [LostAttempt(job.rescues, now + LEASE - job.starts) for job in held]
        for job, decision in zip(held, judge(seen, random), strict=True):
            job.rescues += decision.counts
            job.is_dead_letter = decision.is_poison
            job.starts = now + LEASE + decision.wait
        assert now < LONG, "an innocent would have ended by now"
    return kills


@given(st.integers(0, 100), st.floats(0.1, 420), st.integers(0, 2**32))
def test_one_killer_is_dead_lettered_within_the_bound_and_no_innocent_is(innocents, kills_after, seed):
    killer, others = Job(kills_after), [Job() for _ in range(innocents)]
    assert kills_until_it_is_over([killer, *others], Random(seed)) <= POISON_AT
    assert killer.is_dead_letter
    assert not any(job.is_dead_letter for job in others)


def test_two_killers_at_a_time_are_dead_lettered_and_hardly_an_innocent_is():
    """A neighbour of two killers with different rhythms may be taken for one of them: about one in twenty."""
    innocents, dead_lettered = 0, 0
    for seed in range(200):
        random = Random(seed)
        killers = [Job(kills_after=random.choice([1, 10, 60, 300])) for _ in range(2)]
        others = [Job() for _ in range(random.randint(5, 60))]
        assert kills_until_it_is_over([*killers, *others], random) <= 4 * POISON_AT
        assert all(job.is_dead_letter for job in killers)
        innocents += len(others)
        dead_lettered += sum(job.is_dead_letter for job in others)
    assert dead_lettered <= innocents * 0.06


@given(st.lists(st.builds(LostAttempt, st.integers(0, SUSPECT_AT - 2), SECONDS)), st.integers(0, 2**32))
def test_before_its_third_rescue_a_job_runs_again_at_once(lost, seed):
    assert judge(lost, Random(seed)) == [RescueDecision()] * len(lost)


@given(st.integers(SUSPECT_AT - 1, POISON_AT), SECONDS, st.lists(st.builds(LostAttempt, st.just(0), SECONDS)))
def test_a_lone_suspect_is_dead_lettered_at_its_third_rescue_whatever_newcomers_there_are(rescues, seconds, newcomers):
    decisions = judge([LostAttempt(rescues, seconds), *newcomers], Random(0))
    assert decisions == [RescueDecision(is_poison=True), *[RescueDecision()] * len(newcomers)]


@given(st.integers(2, 1000), SECONDS, st.integers(0, 2**32))
def test_suspects_that_started_together_run_apart_and_none_waits_for_long(size, seconds, seed):
    decisions = judge([LostAttempt(SUSPECT_AT, seconds)] * size, Random(seed))
    waits = sorted({one.wait for one in decisions})
    assert not any(one.is_poison for one in decisions)
    assert waits[0] == 0
    assert len(waits) >= min(size, 4)
    assert all(later - earlier >= min(2 * seconds, 3600) - 1e-3 for earlier, later in pairwise(waits))
    assert waits[-1] <= max(3600, 3 * min(2 * seconds, 3600))


def test_a_suspect_that_lived_on_while_another_started_is_cleared():
    decisions = judge([LostAttempt(3, 20), LostAttempt(3, 90)], Random(0))
    assert decisions == [RescueDecision(is_poison=True), RescueDecision(counts=False)]


@pytest.mark.parametrize("seconds", [0.0, -5.0])
def test_a_clock_that_was_set_back_does_no_harm(seconds):
    assert judge([LostAttempt(2, seconds)], Random(0)) == [RescueDecision(is_poison=True)]


def test_a_job_that_was_suspected_often_enough_is_dead_lettered_whatever_its_neighbours():
    often, seldom = LostAttempt(POISON_AT - 1, 20), LostAttempt(3, 20)
    decisions = judge([often, seldom, seldom], Random(0))
    assert [one.is_poison for one in decisions] == [True, False, False]
