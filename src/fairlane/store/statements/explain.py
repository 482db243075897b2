"""What an explanation asks beside the job itself (R20)."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, func, select, tuple_

from fairlane.domain.statuses import EdgeState
from fairlane.store.sql import is_row
from fairlane.store.tables import AnyRow, job_parents, live, workers


def unmet_parents(connection: Connection, organization: str, job_id: UUID, limit: int) -> Sequence[AnyRow]:
    """Return the first `limit` parents that have not ended: id, job_type, status; `total` on each row counts them all.

    A parent that has ended, but whose edge is still to be settled, is no longer waited for.
    """
    parent = is_row(live, job_parents.c.organization_id, job_parents.c.parent_id)
    return connection.execute(
        select(live.c.id, live.c.job_type, live.c.status, func.count().over().label("total"))
        .select_from(job_parents)
        .join(live, parent)
        .where(is_row(job_parents, organization, job_id), job_parents.c.state != EdgeState.SETTLED)
        .order_by(live.c.id)
        .limit(limit)
    ).all()


def ahead_in_lane(connection: Connection, job: AnyRow, *, up_to: int) -> int:
    """Count the ready jobs of the lane that come before this one, no further than `up_to`; by the ready index."""
    order = (live.c.priority, live.c.run_at, live.c.id)
    earlier = (
        select(live.c.id)
        .where(
            live.c.ready,
            live.c.queue == job.queue,
            live.c.organization_id == job.organization_id,
            live.c.job_type == job.job_type,
            tuple_(*order) < tuple_(job.priority, job.run_at, job.id, types=[column.type for column in order]),
        )
        # The order of the ready index: else a planner may prefer to scan all of the job type.
        .order_by(*order)
        .limit(up_to)
        .subquery()
    )
    return connection.execute(select(func.count()).select_from(earlier)).scalar_one()


def holder(connection: Connection, worker_id: UUID) -> AnyRow | None:
    """Return the lease of the worker that runs a job; None if its row is gone."""
    return connection.execute(
        select(workers.c.name, workers.c.heartbeat_at, workers.c.lease_expires, workers.c.boot_id).where(
            workers.c.id == worker_id
        )
    ).one_or_none()
