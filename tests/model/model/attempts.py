"""Starts and ends of attempts: R5, R7."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final
from uuid import UUID

from fairlane import JobStatus
from fairlane.domain.outcomes import Completed, Failed, Lost, Outcome, Refused, Released, Snoozed, TimedOut
from fairlane.domain.poison import RescueDecision
from fairlane.domain.statuses import TERMINAL
from tests.model.model.breakers import begin_trial
from tests.model.model.dependencies import settle
from tests.model.model.organizations import ORGANIZATION_GONE
from tests.model.model.world import DeadLetter, End, Job, Span, World, move, queue

POISON: Final = 3  # the rescue that sends a job to dead letter (R5)
_BACKOFF: Final = 60.0  # seconds, doubled for each further retry, ± 20 % (R7)


def claim(world: World, job_id: UUID, worker: UUID, lease: UUID) -> None:
    """The next attempt, under a lease of its own."""
    job = world.jobs[job_id]
    job.attempt += 1
    move(world, job, JobStatus.RUNNING)
    job.lease, job.worker = lease, worker
    begin_trial(world, job, lease)


def finish(world: World, *ends: End) -> None:
    """The ends of attempts; nothing, where a lease is no longer the job's."""
    jobs = []
    for job_id, lease, outcome in ends:
        job = world.jobs.get(job_id)
        if job is not None and job.lease == lease:
            _finish(world, job, outcome)
            jobs.append(job)
    settle(world, [job for job in jobs if job.status in TERMINAL])


def _finish(world: World, job: Job, outcome: Outcome) -> None:
    match outcome:
        case Completed():
            move(world, job, JobStatus.COMPLETED)
            world.untold.append((job.pair, False))
        case _ if job.cancel_requested:
            move(world, job, JobStatus.CANCELED)
        case Refused(reason):
            move(world, job, JobStatus.DEAD_LETTER)
            job.dead_letter = DeadLetter(refusal=reason)
        case Failed(error) | TimedOut(error):
            failed = JobStatus.FAILED if isinstance(outcome, Failed) else JobStatus.TIMED_OUT
            _fail(world, job, failed, permanent=error.permanent)
        case Lost(_, decision) if job.asked.organization in world.deleted and not decision.is_poison:
            job.errors.append(job.attempt)
            _end_with_organization(world, job)
        case _ if job.asked.organization in world.deleted and not isinstance(outcome, Lost):
            _end_with_organization(world, job)
        case Lost(_, decision):
            _rescue(world, job, decision)
        case Snoozed(seconds):
            job.rescue_count = 0  # its worker was well when it ended
            queue(world, job, seconds)
        case Released(_, seconds):
            queue(world, job, seconds)
        case _:
            queue(world, job)


def _fail(world: World, job: Job, failed: JobStatus, *, permanent: bool) -> None:
    job.errors.append(job.attempt)
    world.untold.append((job.pair, True))
    if permanent or job.retry_count >= job.asked.max_retries:
        move(world, job, failed, JobStatus.DEAD_LETTER)
        job.dead_letter = DeadLetter()
        return
    if job.asked.organization in world.deleted:
        _end_with_organization(world, job, failed)
        return
    wait = _BACKOFF * 2**job.retry_count
    job.retry_count, job.rescue_count = job.retry_count + 1, 0
    move(world, job, failed, JobStatus.QUEUED)
    job.due = Span(world.now + timedelta(seconds=0.8 * wait), world.now + timedelta(seconds=1.2 * wait))


def _end_with_organization(world: World, job: Job, *before: JobStatus) -> None:
    """Dead-letter a job whose organization was deleted while it ran, instead of queueing it again."""
    move(world, job, *before, JobStatus.DEAD_LETTER)
    job.dead_letter = DeadLetter(refusal=ORGANIZATION_GONE)


def _rescue(world: World, job: Job, decision: RescueDecision) -> None:
    job.errors.append(job.attempt)
    if decision.is_poison:
        move(world, job, JobStatus.DEAD_LETTER)
        job.dead_letter = DeadLetter()
        return
    job.rescue_count += decision.counts
    queue(world, job, decision.wait)


def held_by(world: World, worker: UUID) -> list[Job]:
    """The jobs that run under this worker's lease."""
    return [job for job in world.jobs.values() if job.status is JobStatus.RUNNING and job.worker == worker]


def release_all(world: World, worker: UUID) -> None:
    """The worker leaves, and gives its jobs back."""
    finish(world, *(_end(job, Released("")) for job in held_by(world, worker)))
    del world.workers[worker]


def rescue(world: World, worker: UUID, engine_says: Mapping[UUID, RescueDecision]) -> None:
    """The worker is lost: its jobs run again, but for the one whose third rescue it is.

    Where several are at their third or later, the engine tells them apart by what it knows of their starts.
    """
    held = held_by(world, worker)
    suspects = {job.asked.id for job in held if job.rescue_count + 1 >= POISON}
    decisions = engine_says if len(suspects) > 1 else dict.fromkeys(suspects, RescueDecision(is_poison=True))
    lost = {
        job.asked.id: Lost("", decisions[job.asked.id] if job.asked.id in suspects else RescueDecision())
        for job in held
    }
    finish(world, *(_end(job, lost[job.asked.id]) for job in held))
    del world.workers[worker]


def _end(job: Job, outcome: Outcome) -> End:
    assert job.lease is not None
    return End(job.asked.id, job.lease, outcome)
