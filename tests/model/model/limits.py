"""Jobs that may start: R4, R16, R17."""

from collections import Counter
from uuid import UUID

from fairlane.domain.limits import Subject
from fairlane.domain.statuses import JobStatus
from tests.model.model.breakers import lets_start
from tests.model.model.world import Hold, Job, World


def startable(world: World) -> set[UUID]:
    """Return the jobs that a worker may start next: ready, not held, and with capacity under each of their limits.

    Every job is judged by itself: a job that starts may take the capacity of others.
    """
    running = Counter[Subject]()
    for job in world.jobs.values():
        if job.status is JobStatus.RUNNING:
            running.update(_limits_of(job))
    full = {subject for subject, limit in world.limits.items() if running[subject] >= limit}
    return {
        job.asked.id
        for job in world.jobs.values()
        if job.ready and not world.held & _holds(job) and full.isdisjoint(_limits_of(job)) and lets_start(world, job)
    }


def is_restricted(world: World) -> bool:
    """Return True if a job that starts may keep another from starting."""
    return bool(world.limits) or any(breaker.closed_at is None for breaker in world.breakers.values())


def _limits_of(job: Job) -> tuple[Subject, Subject, Subject]:
    """Return all that may limit it: its organization, its type everywhere, and its type there."""
    organization, job_type = job.pair
    return Subject(organization, None), Subject(None, job_type), Subject(organization, job_type)


def _holds(job: Job) -> set[Hold]:
    organization = job.asked.organization
    return {
        *(("suspension", organization), ("organization", organization)),
        *(("queue", job.asked.queue), ("job_type", job.asked.job_type)),
    }
