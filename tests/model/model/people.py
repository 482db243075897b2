"""People's actions on jobs: R8, R10, R19."""

from datetime import timedelta
from uuid import UUID

from fairlane import IllegalTransition, JobNotFound, JobStatus, OrganizationNotFound, PermissionDenied, Priority, Role
from fairlane.domain.statuses import LIVE, TERMINAL, WAITING, EdgeState, Resolution
from tests.model.model.dependencies import settle
from tests.model.model.organizations import why_not_touch
from tests.model.model.retention import delete, is_needed
from tests.model.model.world import Job, Refusal, Step, World, move, queue


def why_not_cancel(world: World, job: Job, user: str) -> Refusal:
    """Refuse a job that has ended."""
    return why_not_touch(world, job, user) or (IllegalTransition if job.status in TERMINAL else None)


def cancel(world: World, job: Job) -> None:
    """Cancel at once, or request it if the job runs."""
    if job.status is JobStatus.RUNNING:
        job.cancel_requested = True
        return
    move(world, job, JobStatus.CANCELED)
    settle(world, [job])


def why_not_change(world: World, job: Job, user: str) -> Refusal:
    """Refuse a job that has started."""
    return why_not_touch(world, job, user) or (None if job.status in WAITING else IllegalTransition)


def why_not_run_now(world: World, job: Job, user: str) -> Refusal:
    """Refuse a job that has started, or waits for parents."""
    return why_not_change(world, job, user) or (IllegalTransition if job.unmet else None)


def run_now(world: World, job: Job) -> None:
    """It is ready, as it may be already."""
    if not job.ready:
        queue(world, job)
        job.run_at = world.now


def reschedule(world: World, job: Job, seconds: float) -> None:
    """It waits for so many seconds; where these have passed, it waits for its parents alone."""
    at = world.now + timedelta(seconds=seconds)
    if job.status is JobStatus.PENDING and job.run_at == at:
        return
    if seconds > 0 or job.unmet:
        move(world, job, JobStatus.PENDING)
        job.run_at = max(at, world.now)
    else:
        run_now(world, job)


def prioritize(world: World, job: Job, priority: Priority) -> None:
    """It is as urgent as that: it may start before others, and nothing else changes."""
    if job.priority is not priority:
        job.priority = priority
        job.log.append(Step(job.status, job.status, job.attempt))


def why_not_retry(world: World, job: Job, user: str) -> Refusal:
    """Of what is no dead letter; of what a dead letter took down, since that one's retry brings it back.

    Nor is anything retried in an organization that was deleted.
    """
    if job.asked.organization in world.deleted:
        return OrganizationNotFound
    if stranger := why_not_touch(world, job, user):
        return stranger
    if job.status is not JobStatus.DEAD_LETTER or job.dead_letter is None:
        return IllegalTransition
    culprits = [world.jobs[one] for one in job.dead_letter.culprits if one in world.jobs]
    return IllegalTransition if any(one.status is JobStatus.DEAD_LETTER for one in culprits) else None


def retry(world: World, job: Job) -> None:
    """It waits for parents that are live, and for no other: the person decided so. What it took down is revived."""
    assert job.dead_letter is not None
    job.dead_letter.resolution = Resolution.RETRIED
    job.parents = {
        parent: EdgeState.NEW if world.jobs[parent].status in LIVE else EdgeState.SETTLED for parent in job.parents
    }
    _revive(world, job)
    wave = {job.asked.id}
    while wave:
        wave = {child.asked.id for child in world.jobs.values() if _follows(child, wave)}
        for child in (world.jobs[one] for one in wave):
            child.dead_letter = None
            child.parents = {
                parent: EdgeState.SETTLED if world.jobs[parent].status is JobStatus.COMPLETED else EdgeState.NEW
                for parent in child.parents
            }
            _revive(world, child)


def _follows(child: Job, retried: set[UUID]) -> bool:
    letter = child.dead_letter
    return letter is not None and letter.resolution is Resolution.PENDING and bool(letter.culprits & retried)


def _revive(world: World, job: Job) -> None:
    job.retry_count, job.rescue_count, job.cancel_requested, job.ended_at = 0, 0, False, None
    if job.unmet:
        move(world, job, JobStatus.PENDING)
    else:
        queue(world, job)


def why_not_decide(world: World, job: Job, user: str) -> Refusal:
    """A resolution is for dead letters."""
    return why_not_touch(world, job, user) or (None if job.status is JobStatus.DEAD_LETTER else JobNotFound)


def decide(world: World, job: Job, resolution: Resolution) -> None:
    """Write down a person's decision."""
    assert job.dead_letter is not None
    job.dead_letter.resolution = resolution


def why_not_discard(world: World, job: Job, user: str) -> Refusal:
    """Refuse users who are no admins, a job that never was a dead letter, a live job, and a job that is needed."""
    if job.dead_letter is None:
        return JobNotFound
    if refusal := why_not_touch(world, job, user):
        return refusal
    if world.members[job.asked.organization, user].role is not Role.ADMIN:
        return PermissionDenied
    return IllegalTransition if job.status not in TERMINAL or is_needed(world, job) else None


def discard(world: World, job: Job) -> None:
    """Delete it."""
    delete(world, [job.asked.id])
