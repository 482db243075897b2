"""What an explanation asks beside the job's own row (R20)."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, func, select, tuple_

from fairlane.domain.statuses import LIVE, EdgeState
from fairlane.store.tables import AnyRow, cancel_requests, job_parents, jobs, workers


def unmet_parents(connection: Connection, organization: str, job_id: UUID, limit: int) -> Sequence[AnyRow]:
    """The first `limit` parents that have not ended: id, job_type, status; `total` on each row counts them all.

    A parent that has ended, but whose edge is still to be settled, is no longer waited for.
    """
    parent = (jobs.c.organization_id == job_parents.c.organization_id) & (jobs.c.id == job_parents.c.parent_id)
    return connection.execute(
        select(jobs.c.id, jobs.c.job_type, jobs.c.status, func.count().over().label("total"))
        .select_from(job_parents)
        .join(jobs, parent)
        .where(
            job_parents.c.organization_id == organization,
            job_parents.c.job_id == job_id,
            job_parents.c.state != EdgeState.SETTLED,
            jobs.c.status.in_(sorted(LIVE)),
        )
        .order_by(jobs.c.id)
        .limit(limit)
    ).all()


def ahead_in_lane(connection: Connection, job: AnyRow, *, up_to: int) -> int:
    """How many ready jobs of the lane come before this one, counted no further than `up_to`; by the ready index."""
    order = (jobs.c.priority, jobs.c.run_at, jobs.c.id)
    earlier = (
        select(jobs.c.id)
        .where(
            jobs.c.ready,
            jobs.c.queue == job.queue,
            jobs.c.organization_id == job.organization_id,
            jobs.c.job_type == job.job_type,
            tuple_(*order) < tuple_(job.priority, job.run_at, job.id, types=[column.type for column in order]),
        )
        # The order of the ready index: else a planner may prefer to scan all of the job type.
        .order_by(*order)
        .limit(up_to)
        .subquery()
    )
    return connection.execute(select(func.count()).select_from(earlier)).scalar_one()


def holder(connection: Connection, worker_id: UUID) -> AnyRow | None:
    """The lease of the worker that runs a job; None if its row is gone."""
    return connection.execute(
        select(workers.c.name, workers.c.heartbeat_at, workers.c.lease_expires, workers.c.boot_id).where(
            workers.c.id == worker_id
        )
    ).one_or_none()


def cancel_request(connection: Connection, organization: str, job_id: UUID) -> AnyRow | None:
    """Who asked for the cancel of a running job, and why; None if nobody did."""
    return connection.execute(
        select(cancel_requests.c.requested_by, cancel_requests.c.reason).where(
            cancel_requests.c.organization_id == organization, cancel_requests.c.job_id == job_id
        )
    ).one_or_none()
