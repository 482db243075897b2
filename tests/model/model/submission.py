"""Submission of jobs: R1, R3, R9."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from fairlane import DuplicateJob, JobStatus, ParentNotFound, PermissionDenied
from fairlane.domain.statuses import ENDED_BADLY, LIVE, TERMINAL, WAITING, EdgeState, ParentPolicy
from tests.model.model.dependencies import settle
from tests.model.model.organizations import may_submit, why_not_enter, why_not_touch
from tests.model.model.world import Asked, Job, Key, Refusal, Step, World, children_of, find, move

WINDOW: Final = 300.0  # seconds of deduplication (R3)


def why_not_submit(world: World, batch: Sequence[Asked]) -> Refusal:
    """The first reason against it: all or nothing."""
    for asked in batch:
        if closed := why_not_enter(world, asked.organization):
            return closed
    if not all(may_submit(world, asked.organization, asked.user, asked.job_type) for asked in batch):
        return PermissionDenied
    for asked in batch:
        holder = holder_of(world, asked)
        if holder is not None and (
            asked.on_duplicate == "reject"
            or (asked.on_duplicate == "replace" and not _may_replace(world, holder, asked))
        ):
            return DuplicateJob
    members = {asked.id for asked in batch}
    known = all(
        parent in members or find(world, parent, asked.organization) for asked in batch for parent in asked.parents
    )
    return None if known else ParentNotFound


def _may_replace(world: World, holder: Job, asked: Asked) -> bool:
    """Return True if it has not started, and the submitter may cancel it."""
    is_theirs = asked.user is None or why_not_touch(world, holder, asked.user) is None
    return holder.status in WAITING and is_theirs


def holder_of(world: World, asked: Asked) -> Job | None:
    """The live job that holds the key: an expired key, or that of a job that has ended, is free."""
    key = world.keys.get((asked.organization, asked.job_type, asked.key)) if asked.key is not None else None
    holder = world.jobs.get(key.job_id) if key is not None and key.expires_at > world.now else None
    return holder if holder is not None and holder.status in LIVE else None


def submit(world: World, batch: Sequence[Asked]) -> list[UUID]:
    """The ids that the submitter gets."""
    members = {asked.id for asked in batch}
    ids = []
    for asked in batch:
        holder = holder_of(world, asked)
        if holder is not None and asked.on_duplicate == "return":
            ids.append(holder.asked.id)
            continue
        if holder is not None:
            move(world, holder, JobStatus.CANCELED)
        if asked.key is not None:
            world.keys[asked.organization, asked.job_type, asked.key] = Key(
                asked.id, world.now + timedelta(seconds=WINDOW)
            )
        _insert(world, asked, members)
        if holder is not None:
            _take_place(world, holder, asked)
        ids.append(asked.id)
    # A parent that ended badly before its child came speaks at once.
    parents = [world.jobs[parent] for asked in batch for parent in asked.parents]
    settle(world, [parent for parent in parents if parent.status in ENDED_BADLY])
    return ids


def _insert(world: World, asked: Asked, batch: set[UUID]) -> None:
    run_at = world.now + timedelta(seconds=asked.delay)
    parents = {parent: _edge(world, asked, parent, batch) for parent in asked.parents}
    job = Job(asked, run_at, JobStatus.PENDING, parents)
    if not job.unmet and run_at <= world.now:
        job.status, job.ready = JobStatus.QUEUED, True
    job.log = [Step(None, job.status, 0)]
    world.jobs[asked.id] = job


def _edge(world: World, asked: Asked, parent: UUID, batch: set[UUID]) -> EdgeState:
    if parent in batch:
        return EdgeState.WATCHED
    status = world.jobs[parent].status
    anyway = asked.policy is ParentPolicy.RUN_ANYWAY and status in TERMINAL
    return EdgeState.SETTLED if status is JobStatus.COMPLETED or anyway else EdgeState.NEW


def _take_place(world: World, earlier: Job, asked: Asked) -> None:
    """Children of a replaced job wait for the one in its place, unless that might wait for them in turn."""
    if asked.parents:
        settle(world, [earlier])
        return
    for child in children_of(world, earlier.asked.id):
        if child.parents[earlier.asked.id] is not EdgeState.SETTLED:
            del child.parents[earlier.asked.id]
            child.parents[asked.id] = EdgeState.NEW
