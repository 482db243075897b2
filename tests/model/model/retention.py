"""Jobs that are kept, and jobs that are deleted: R14."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from fairlane.domain.statuses import LIVE, Resolution
from tests.model.model.world import Job, World, children_of


def is_needed(world: World, job: Job) -> bool:
    """Return True if a child needs it that lives, or may be retried."""
    return any(child.status in LIVE or is_unresolved(child) for child in children_of(world, job.asked.id))


def is_unresolved(job: Job) -> bool:
    """A dead letter about which nobody has decided."""
    return job.dead_letter is not None and job.dead_letter.resolution is Resolution.PENDING


def delete(world: World, job_ids: Iterable[UUID]) -> None:
    """Delete jobs with all that is kept of them."""
    gone = set(job_ids)
    world.jobs = {job_id: job for job_id, job in world.jobs.items() if job_id not in gone}
    world.keys = {name: key for name, key in world.keys.items() if key.job_id not in gone}
    for job in world.jobs.values():
        job.parents = {parent: state for parent, state in job.parents.items() if parent not in gone}


def expired(world: World, retention: float) -> list[UUID]:
    """Return the jobs that clean-up deletes (R14)."""
    moment = world.now - timedelta(seconds=retention)
    return [
        job.asked.id
        for job in world.jobs.values()
        if job.ended_at is not None and job.ended_at < moment and not is_unresolved(job) and not is_needed(world, job)
    ]
