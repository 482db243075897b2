"""Claiming: ready jobs of the given lanes become running, each under a lease token that is never used again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import Connection, select, text, update

from fairlane.domain.statuses import TRANSITIONS, JobStatus
from fairlane.store.dialects import is_sqlite
from fairlane.store.statements.lanes import Lane
from fairlane.store.tables import AnyRow, execution_log, job_parents, jobs

assert (JobStatus.QUEUED, JobStatus.RUNNING) in TRANSITIONS
_MESSAGE: Final = "claimed by {worker}"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that this worker may run, for as long as `lease_token` is the row's."""

    organization: str
    id: UUID
    job_type: str
    queue: str
    user: str | None
    required_permission: str | None
    parameters: str
    labels: str
    attempt: int
    timeout: float | None
    lease_token: UUID
    has_parents: bool


# One statement. LATERAL with LIMIT reads no further into a lane than its organization's quota; the window merges the
# lanes of an organization by priority, run_at, id. SKIP LOCKED: two workers share a lane. NO KEY: a host's open
# foreign-key reference to a job would make FOR UPDATE skip it. The update goes by key from an ARRAY: joining the picked
# rows to the table lets the planner scan it. An id alone is not a key,
# another organization may have the same; IS TRUE keeps that check from becoming such a join.
_CLAIM: Final = text("""
WITH lane AS (
  SELECT * FROM unnest(CAST(:queues AS text[]), CAST(:organizations AS text[]), CAST(:types AS text[]),
                       CAST(:quotas AS int[])) AS l(queue, organization_id, job_type, quota)
), candidate AS (
  SELECT lane.organization_id, lane.quota, j.id, j.priority, j.run_at FROM lane CROSS JOIN LATERAL (
    SELECT id, priority, run_at FROM fairlane_jobs
    WHERE ready AND queue = lane.queue AND organization_id = lane.organization_id AND job_type = lane.job_type
    ORDER BY priority, run_at, id LIMIT lane.quota FOR NO KEY UPDATE SKIP LOCKED) AS j
), picked AS (
  SELECT organization_id, id FROM (
    SELECT organization_id, id, quota,
      row_number() OVER (PARTITION BY organization_id ORDER BY priority, run_at, id) AS place
    FROM candidate) AS ranked
  WHERE place <= quota
), claimed AS (
  UPDATE fairlane_jobs SET status = :running, ready = false, attempt = attempt + 1, worker_id = :worker_id,
    lease_token = gen_random_uuid(), started_at = :now, next_retry_at = NULL, log_sequence = log_sequence + 1
  WHERE id = ANY(ARRAY(SELECT id FROM picked)) AND ready
    AND ((organization_id, id) IN (SELECT organization_id, id FROM picked)) IS TRUE
  RETURNING organization_id, id, job_type, queue, submitted_by, required_permission, parameters, labels, attempt,
    timeout_seconds, lease_token, log_sequence, priority, run_at
), logged AS (
  INSERT INTO fairlane_execution_log
    (organization_id, job_id, sequence, from_status, to_status, at, actor, message, attempt)
  SELECT organization_id, id, log_sequence, :queued, :running, :now, :actor, :message, attempt FROM claimed
)
SELECT claimed.*, EXISTS (SELECT FROM fairlane_job_parents AS edge
    WHERE edge.organization_id = claimed.organization_id AND edge.job_id = claimed.id) AS has_parents
FROM claimed ORDER BY priority, run_at, id
""").execution_options(fairlane_across="claim")


def claim(
    connection: Connection,
    now: datetime,
    lanes: Sequence[Lane],
    quotas: Mapping[str, int],
    *,
    worker_id: UUID,
    worker: str,
) -> list[Claimed]:
    """Claim up to each organization's quota from its lanes, most urgent first.

    The caller holds the worker's row (`workers.hold`), so that no job is claimed by a worker that was given up.
    """
    open_lanes = [lane for lane in lanes if quotas.get(lane.organization, 0) > 0]
    if not open_lanes:
        return []
    if is_sqlite(connection):
        return _claim_one_by_one(connection, now, open_lanes, quotas, worker_id, worker)
    rows = connection.execute(
        _CLAIM,
        {
            "queues": [lane.queue for lane in open_lanes],
            "organizations": [lane.organization for lane in open_lanes],
            "types": [lane.job_type for lane in open_lanes],
            "quotas": [quotas[lane.organization] for lane in open_lanes],
            "worker_id": worker_id,
            "now": now,
            "queued": JobStatus.QUEUED,
            "running": JobStatus.RUNNING,
            "actor": worker,
            "message": _MESSAGE.format(worker=worker),
        },
    )
    return [_claimed(row, has_parents=row.has_parents) for row in rows]


def _claimed(row: AnyRow, *, has_parents: bool) -> Claimed:
    return Claimed(
        organization=row.organization_id,
        id=row.id,
        job_type=row.job_type,
        queue=row.queue,
        user=row.submitted_by,
        required_permission=row.required_permission,
        parameters=row.parameters,
        labels=row.labels,
        attempt=row.attempt,
        timeout=row.timeout_seconds,
        lease_token=row.lease_token,
        has_parents=has_parents,
    )


def _claim_one_by_one(
    connection: Connection,
    now: datetime,
    lanes: Sequence[Lane],
    quotas: Mapping[str, int],
    worker_id: UUID,
    worker: str,
) -> list[Claimed]:
    """SQLite: its write transaction is exclusive and its statements cost no round trip."""
    claimed: list[Claimed] = []
    for organization in sorted({lane.organization for lane in lanes}):
        mine = [lane for lane in lanes if lane.organization == organization]
        picked = sorted(
            (candidate for lane in mine for candidate in _candidates(connection, lane, quotas[organization])),
            key=lambda row: (row.priority, row.run_at, row.id),
        )
        claimed += [
            _claim_one(connection, now, organization, row.id, worker_id, worker)
            for row in picked[: quotas[organization]]
        ]
    return claimed


def _candidates(connection: Connection, lane: Lane, quota: int) -> Sequence[AnyRow]:
    return connection.execute(
        select(jobs.c.id, jobs.c.priority, jobs.c.run_at)
        .where(
            jobs.c.ready,
            jobs.c.queue == lane.queue,
            jobs.c.organization_id == lane.organization,
            jobs.c.job_type == lane.job_type,
        )
        .order_by(jobs.c.priority, jobs.c.run_at, jobs.c.id)
        .limit(quota)
    ).all()


def _claim_one(
    connection: Connection, now: datetime, organization: str, job_id: UUID, worker_id: UUID, worker: str
) -> Claimed:
    row = connection.execute(
        update(jobs)
        .where(jobs.c.organization_id == organization, jobs.c.id == job_id, jobs.c.ready)
        .values(
            status=JobStatus.RUNNING,
            ready=False,
            attempt=jobs.c.attempt + 1,
            worker_id=worker_id,
            lease_token=uuid4(),
            started_at=now,
            next_retry_at=None,
            log_sequence=jobs.c.log_sequence + 1,
        )
        .returning(*jobs.c)
    ).one()
    connection.execute(
        execution_log.insert().values(
            organization_id=organization,
            job_id=job_id,
            sequence=row.log_sequence,
            from_status=JobStatus.QUEUED,
            to_status=JobStatus.RUNNING,
            at=now,
            actor=worker,
            message=_MESSAGE.format(worker=worker),
            attempt=row.attempt,
        )
    )
    edge = (job_parents.c.organization_id == organization) & (job_parents.c.job_id == job_id)
    has_parents = connection.execute(select(job_parents.c.parent_id).where(edge).limit(1)).first() is not None
    return _claimed(row, has_parents=has_parents)
