"""Circuit breakers: R16. Of the half hour, whole minutes are counted, the one in which it begins too."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from fairlane import JobStatus
from fairlane.domain.breaker import Pair
from fairlane.domain.statuses import PASSING
from tests.model.model.world import Breaker, Ends, Job, Trial, World

WINDOW: Final = timedelta(minutes=30)
REST: Final = timedelta(minutes=15)
FEWEST: Final = 10
_MINUTE: Final = timedelta(minutes=1)


def lets_start(world: World, job: Job) -> bool:
    """Anything where the breaker of the job's pair is closed; one job where it has rested."""
    breaker = world.breakers.get(job.pair)
    if breaker is None or breaker.closed_at is not None:
        return True
    return breaker.trial is None and breaker.until <= world.now


def begin_trial(world: World, job: Job, lease: UUID) -> None:
    """A job starts: on trial, where its breaker is open."""
    breaker = world.breakers.get(job.pair)
    if breaker is not None and breaker.closed_at is None:
        assert breaker.trial is None, "a mistake in the model"
        breaker.trial = Trial(job.asked.id, job.attempt, lease)


def tell(world: World) -> None:
    """Workers write down how attempts ended, and judge by it."""
    told = [Ends(pair, _minute(world.now), not failed, failed) for pair, failed in world.untold]
    world.untold = []
    write_down(world, told)


def write_down(world: World, ends: Iterable[Ends]) -> None:
    """Breakers open by what was written down, the last time a failure, and trials that have ended are judged."""
    new = sorted(ends)
    world.ends += new
    for pair in sorted({one.pair for one in new if one.failures}):
        if _too_much_failed(world, pair):
            world.breakers[pair] = Breaker(world.now + REST)
    for breaker in world.breakers.values():
        if breaker.trial is not None and breaker.closed_at is None:
            _judge(world, breaker, breaker.trial)


def written(world: World, pair: Pair, completions: int, failures: int) -> Ends:
    """Return what a worker writes down at this moment."""
    return Ends(pair, _minute(world.now), completions, failures)


def _too_much_failed(world: World, pair: Pair) -> bool:
    """Judge a pair whose breaker is not open; failures that made it open the last time do not count again."""
    begin, last = _minute(world.now - WINDOW), world.breakers.get(pair)
    if last is not None:
        if last.closed_at is None:
            return False
        begin = max(begin, _minute(last.closed_at) + _MINUTE)
    counted = [one for one in world.ends if one.pair == pair and one.minute >= begin]
    failures = sum(one.failures for one in counted)
    attempts = failures + sum(one.completions for one in counted)
    return attempts >= FEWEST and 2 * failures >= attempts


def _judge(world: World, breaker: Breaker, trial: Trial) -> None:
    job = world.jobs.get(trial.job_id)
    if job is not None and job.lease == trial.lease:
        return
    breaker.trial = None
    log = job.log if job is not None else []
    ended = [step.target for step in log if step.source is JobStatus.RUNNING and step.attempt == trial.attempt]
    if ended == [JobStatus.COMPLETED]:
        breaker.closed_at = world.now
    elif PASSING.issuperset(ended) and ended:
        breaker.until = world.now + REST


def is_open(world: World, pair: Pair) -> bool:
    """Return True if there is a breaker to close."""
    breaker = world.breakers.get(pair)
    return breaker is not None and breaker.closed_at is None


def close(world: World, pair: Pair) -> None:
    """Close the breaker as an operator."""
    breaker = world.breakers[pair]
    breaker.trial, breaker.closed_at = None, world.now


def forget(world: World, kept: float) -> None:
    """Clean-up: those of which nothing was heard for so many seconds."""
    before = world.now - timedelta(seconds=kept)
    world.breakers = {
        pair: breaker
        for pair, breaker in world.breakers.items()
        if breaker.until >= before or breaker.trial is not None
    }


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
