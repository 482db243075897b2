"""Counts and ages, and what `fairlane top` shows. For one organization, or, for operators only, over all of them."""

from collections import Counter
from collections.abc import Sequence
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Select, Table, func, select, text

from fairlane.domain.statuses import LIVE, JobStatus, Resolution
from fairlane.store.dialects import fixed, is_sqlite
from fairlane.store.statements.rows import PROGRESS_OF_JOB
from fairlane.store.tables import AnyRow, cancel_requests, dead_letters, jobs, progress, workers

S = TypeVar("S", bound=Select[*tuple[object, ...]])


def within(statement: S, table: Table, organization: str | None) -> S:
    """Keep to one organization; None = across all, and then the statement says so."""
    if organization is None:
        return statement.execution_options(fairlane_across="operator reads")
    return statement.where(table.c.organization_id == organization)


def jobs_by_status(connection: Connection, organization: str | None) -> dict[str, int]:
    """How many jobs rest in each status that any rests in; one pass over an index."""
    statement = select(jobs.c.status, func.count().label("size")).group_by(jobs.c.status)
    return {row.status: row.size for row in connection.execute(within(statement, jobs, organization))}


def ready_by_priority(connection: Connection, organization: str | None) -> Sequence[AnyRow]:
    """For each priority with ready jobs: `priority` as its rank, `size`, and `since`, when the first was due.

    That is its retry time, if it had one: a job that was to wait five hours has not been kept waiting for five hours.
    """
    due = func.coalesce(jobs.c.next_retry_at, jobs.c.run_at, type_=jobs.c.run_at.type)
    statement = (
        select(
            jobs.c.priority,
            func.count().label("size"),
            func.min(due, type_=jobs.c.run_at.type).label("since"),
        )
        .where(jobs.c.ready)
        .group_by(jobs.c.priority)
    )
    return connection.execute(within(statement, jobs, organization)).all()


def dead_letter_depth(connection: Connection, organization: str | None) -> int:
    """How many dead letters nobody has decided about."""
    statement = select(func.count()).select_from(dead_letters).where(dead_letters.c.resolution == Resolution.PENDING)
    return connection.execute(within(statement, dead_letters, organization)).scalar_one()


def running_by_worker(connection: Connection) -> Counter[UUID]:
    """Return how many jobs each worker runs."""
    statement = (
        select(jobs.c.worker_id, func.count())
        .where(jobs.c.status == fixed(JobStatus.RUNNING))
        .group_by(jobs.c.worker_id)
        .execution_options(fairlane_across="operator reads")
    )
    return Counter(dict(connection.execute(statement).all()))


def running(connection: Connection, organization: str | None, limit: int) -> Sequence[AnyRow]:
    """Running jobs with their worker's name and their progress, the longest-running first."""
    statement = (
        select(
            jobs,
            workers.c.name.label("worker"),
            progress.c.percent,
            progress.c.message,
            cancel_requests.c.requested_at,
        )
        .select_from(jobs)
        .outerjoin(workers, workers.c.id == jobs.c.worker_id)
        .outerjoin(progress, PROGRESS_OF_JOB)
        .outerjoin(
            cancel_requests,
            (cancel_requests.c.organization_id == jobs.c.organization_id) & (cancel_requests.c.job_id == jobs.c.id),
        )
        .where(jobs.c.status == fixed(JobStatus.RUNNING))
        .order_by(jobs.c.started_at, jobs.c.id)
        .limit(limit)
    )
    return connection.execute(within(statement, jobs, organization)).all()


# Organization by organization, each by its index: there are ever more jobs that have ended.
_LIVE_BY_LANE: Final = """
WITH RECURSIVE organization AS (
  SELECT min(organization_id) AS id FROM fairlane_jobs
  UNION ALL
  SELECT (SELECT min(organization_id) FROM fairlane_jobs WHERE organization_id > organization.id)
  FROM organization WHERE organization.id IS NOT NULL
)
SELECT job.queue, organization.id AS organization, job.job_type, job.status, job.ready, count(*) AS size
FROM organization
  JOIN {lateral} (SELECT queue, job_type, status, ready, organization_id FROM fairlane_jobs
    WHERE {bound} status IN (:one, :two, :three) {fence}) AS job ON job.organization_id = organization.id
GROUP BY job.queue, organization.id, job.job_type, job.status, job.ready
"""
_ON_POSTGRES: Final = text(
    _LIVE_BY_LANE.format(lateral="LATERAL", bound="organization_id = organization.id AND", fence="OFFSET 0")
).execution_options(fairlane_across="operator reads")
_ON_SQLITE: Final = text(_LIVE_BY_LANE.format(lateral="", bound="", fence="")).execution_options(
    fairlane_across="operator reads"
)


def live_by_lane(connection: Connection, organization: str | None = None) -> Sequence[AnyRow]:
    """`queue`, `organization`, `job_type`, `status`, `ready` and the `size` of each such group of live jobs.

    Args:
        organization: whose; None = all organizations'.
    """
    if organization is not None:
        owner = jobs.c.organization_id.label("organization")
        group = (jobs.c.queue, owner, jobs.c.job_type, jobs.c.status, jobs.c.ready)
        of_one = select(*group, func.count().label("size")).group_by(*group)
        chosen = (jobs.c.organization_id == organization, jobs.c.status.in_(sorted(LIVE)))
        return connection.execute(of_one.where(*chosen)).all()
    statement = _ON_SQLITE if is_sqlite(connection) else _ON_POSTGRES
    return connection.execute(statement, dict(zip(("one", "two", "three"), sorted(LIVE), strict=True))).all()
