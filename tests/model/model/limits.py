"""What may start: R4, R16, R17."""

from uuid import UUID

from tests.model.model.world import Hold, Job, World


def claimable(world: World) -> set[UUID]:
    """What a worker may start: what is ready and not held."""
    return {job.asked.id for job in world.jobs.values() if job.ready and not world.held & _holds(job)}


def _holds(job: Job) -> set[Hold]:
    organization = job.asked.organization
    return {
        *(("suspension", organization), ("organization", organization)),
        *(("queue", job.asked.queue), ("job_type", "report")),
    }


def is_suspended(world: World, organization: str) -> bool:
    """Then nothing can be submitted in it either."""
    return ("suspension", organization) in world.held
