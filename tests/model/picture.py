"""The same picture of all jobs, taken of the model and of the database."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Row, select

from fairlane import JobStatus
from fairlane.domain.breaker import Pair
from fairlane.domain.statuses import EdgeState, Resolution
from fairlane.domain.transitions import REFUSED
from fairlane.store.statements.rows import select_whole
from fairlane.store.tables import (
    attempt_errors,
    breakers,
    dead_letters,
    dedup_keys,
    execution_log,
    job_parents,
)
from tests.model.model.world import Breaker, Job, Key, Span, Step, Trial, World


@dataclass
class Seen:
    """The compared fields of a job. `unmet` counts while it is pending only, `due` while it is queued."""

    organization: str
    status: JobStatus
    ready: bool
    due: Span | None
    attempt: int
    retry_count: int
    rescue_count: int
    unmet: int
    worker: UUID | None
    lease: UUID | None
    ended_at: datetime | None
    cancel_requested: bool = False
    resolution: Resolution | None = None
    refusal: str = ""
    culprits: frozenset[UUID] = frozenset()
    log: list[Step] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)
    parents: dict[UUID, EdgeState] = field(default_factory=dict)


class Picture(NamedTuple):
    """The state to compare: jobs by their ids, deduplication keys by organization, and breakers."""

    jobs: dict[UUID, Seen]
    keys: set[tuple[str, Key]]
    breakers: dict[Pair, Breaker]


def of_model(world: World) -> Picture:
    """Return the required state."""
    return Picture(
        {job_id: _of_job(job) for job_id, job in world.jobs.items()},
        {(organization, key) for (organization, *_), key in world.keys.items()},
        world.breakers,
    )


def _of_job(job: Job) -> Seen:
    letter = job.dead_letter
    return Seen(
        organization=job.asked.organization,
        status=job.status,
        ready=job.ready,
        due=job.due,
        attempt=job.attempt,
        retry_count=job.retry_count,
        rescue_count=job.rescue_count,
        unmet=job.unmet if job.status is JobStatus.PENDING else 0,
        worker=job.worker,
        lease=job.lease,
        ended_at=job.ended_at,
        cancel_requested=job.cancel_requested,
        resolution=letter.resolution if letter is not None else None,
        refusal=letter.refusal if letter is not None else "",
        culprits=letter.culprits if letter is not None else frozenset(),
        log=job.log,
        errors=job.errors,
        parents=job.parents,
    )


def of_database(connection: Connection) -> Picture:
    """Return the actual state; rows of jobs that are gone would fail it."""
    rows = connection.execute(select_whole()).all()
    jobs = {row.id: _of_row(row) for row in rows}
    numbers = defaultdict[UUID, list[int]](list)
    for row in connection.execute(select(execution_log).order_by(execution_log.c.job_id, execution_log.c.sequence)):
        source = JobStatus(row.from_status) if row.from_status is not None else None
        jobs[row.job_id].log.append(Step(source, JobStatus(row.to_status), row.attempt))
        numbers[row.job_id].append(row.sequence)
    assert numbers == {row.id: list(range(1, row.log_sequence + 1)) for row in rows}, "gaps in a log's sequence"
    for row in connection.execute(select(attempt_errors).order_by(attempt_errors.c.job_id, attempt_errors.c.attempt)):
        jobs[row.job_id].errors.append(row.attempt)
    for row in connection.execute(select(job_parents)):
        jobs[row.job_id].parents[row.parent_id] = EdgeState(row.state)
    for row in rows:
        jobs[row.id].cancel_requested = row.cancel_requested_at is not None
    for row in connection.execute(select(dead_letters)):
        jobs[row.job_id].resolution = Resolution(row.resolution)
        if row.error_type == REFUSED:
            jobs[row.job_id].refusal = row.reason.partition(":")[0]
        jobs[row.job_id].culprits = frozenset({row.caused_by} - {None})
    keys = {(row.organization_id, Key(row.job_id, row.expires_at)) for row in connection.execute(select(dedup_keys))}
    return Picture(
        jobs,
        keys,
        {Pair(row.organization_id, row.job_type): _breaker_of(row) for row in connection.execute(select(breakers))},
    )


def _breaker_of(row: Row[Any]) -> Breaker:
    trial = Trial(row.trial_job_id, row.trial_attempt, row.trial_lease_token) if row.trial_lease_token else None
    return Breaker(row.until, trial, row.closed_at)


def _of_row(row: Row[Any]) -> Seen:
    status = JobStatus(row.status)
    waits = status is JobStatus.QUEUED and not row.ready
    return Seen(
        organization=row.organization_id,
        status=status,
        ready=bool(row.ready),  # none of an ended job
        due=Span(row.next_retry_at, row.next_retry_at) if waits else None,
        attempt=row.attempt,
        retry_count=row.retry_count,
        rescue_count=row.rescue_count,
        unmet=row.unmet_parents if status is JobStatus.PENDING else 0,
        worker=row.worker_id,
        lease=row.lease_token,
        ended_at=row.finished_at,
    )
