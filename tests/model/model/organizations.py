"""Rights of people, and the jobs of an organization that is suspended or deleted: R1, R5, R19."""

from typing import Final

from fairlane import (
    JobNotFound,
    JobStatus,
    OrganizationNotFound,
    OrganizationSuspended,
    PermissionDenied,
)
from fairlane.domain.limits import Subject
from fairlane.domain.statuses import WAITING, Role
from tests.model.model.dependencies import settle
from tests.model.model.world import DeadLetter, Job, Refusal, World, move

ORGANIZATION_GONE: Final = "Organization not found"
PERMISSION_LOST: Final = "Permission denied"
NEEDED: Final = {"report": None, "letter": "letters"}  # the permission that each job type requires


def is_suspended(world: World, organization: str) -> bool:
    """Then nothing can be submitted in it, none of its jobs starts, and its results are locked."""
    return ("suspension", organization) in world.held


def why_not_enter(world: World, organization: str) -> Refusal:
    """Refuse submissions in an organization that is deleted or suspended."""
    if organization in world.deleted:
        return OrganizationNotFound
    return OrganizationSuspended if is_suspended(world, organization) else None


def may_submit(world: World, organization: str, user: str | None, job_type: str) -> bool:
    """Asked when a job is submitted, and again when it starts."""
    if user is None:
        return True
    member = world.members.get((organization, user))
    if member is None or member.role is Role.VIEWER:
        return False
    needed = NEEDED[job_type]
    return needed is None or member.role is Role.ADMIN or needed in member.permissions


def why_not_touch(world: World, job: Job, user: str) -> Refusal:
    """A member may change their own jobs, an admin all; a stranger learns nothing."""
    member = world.members.get((job.asked.organization, user))
    if member is None:
        return JobNotFound
    is_own = member.role is Role.MEMBER and job.asked.user == user
    return None if is_own or member.role is Role.ADMIN else PermissionDenied


def refusal_at_start(world: World, job: Job) -> str | None:
    """Return why a job that was claimed may not run."""
    asked = job.asked
    if asked.organization in world.deleted:
        return ORGANIZATION_GONE
    return None if may_submit(world, asked.organization, asked.user, asked.job_type) else PERMISSION_LOST


def why_not_delete(world: World, organization: str) -> Refusal:
    """It is deleted, and nothing in it waits."""
    return OrganizationNotFound if organization in world.deleted and not _waiting(world, organization) else None


def is_left_over(world: World) -> bool:
    """Return True if a job waits in a deleted organization: it ran during the deletion, or was retried."""
    return any(_waiting(world, organization) for organization in world.deleted)


def delete_organization(world: World, organization: str) -> None:
    """Dead-letter its waiting jobs; running ones finish. Its suspension, its pause and its limit go with it."""
    world.deleted.add(organization)
    world.held -= {("suspension", organization), ("organization", organization)}
    world.limits.pop(Subject(organization, None), None)
    waiting = _waiting(world, organization)
    for job in waiting:
        move(world, job, JobStatus.DEAD_LETTER)
        job.dead_letter = DeadLetter(refusal=ORGANIZATION_GONE)
    settle(world, waiting)


def _waiting(world: World, organization: str) -> list[Job]:
    return [job for job in world.jobs.values() if job.asked.organization == organization and job.status in WAITING]
