"""Retention: ended jobs go, in batches, with all that is kept of them.

What stays however old: dead letters that nobody has resolved, and parents of jobs that have not ended.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, tuple_

from fairlane.domain.statuses import LIVE, TERMINAL, Resolution
from fairlane.store.tables import (
    AnyRow,
    artifacts,
    attempt_errors,
    cancel_requests,
    checkpoints,
    dead_letters,
    dedup_keys,
    execution_log,
    job_parents,
    jobs,
    labels,
    log_lines,
    progress,
    results,
)

# All that hangs on a job. The foreign keys would take most of it along; a database whose keys are not enforced
# (SQLite under a host's settings) is cleaned the same.
_OF_JOB = (
    artifacts,
    attempt_errors,
    cancel_requests,
    checkpoints,
    dead_letters,
    dedup_keys,
    execution_log,
    job_parents,
    labels,
    log_lines,
    progress,
    results,
)


def expired(
    connection: Connection,
    older_than: Sequence[tuple[str | None, datetime]],
    limit: int,
    leaving: Collection[UUID] = (),
) -> Sequence[AnyRow]:
    """Ended jobs past their retention, locked so that a second cleaner takes others.

    Args:
        older_than: (job type, moment) for types with a retention of their own, and one (None, moment) for the rest.
        leaving: jobs to pass over.
    """
    own = [name for name, _ in older_than if name is not None]
    past = or_(
        *(
            and_(jobs.c.job_type == name, jobs.c.finished_at < moment)
            if name is not None
            else and_(jobs.c.job_type.not_in(own), jobs.c.finished_at < moment)
            for name, moment in older_than
        )
    )
    locked = connection.execute(
        select(jobs.c.organization_id, jobs.c.id)
        .where(jobs.c.status.in_(sorted(TERMINAL)), past, ~_unresolved(), ~_has_live_child())
        .where(jobs.c.id.not_in(list(leaving)))
        .order_by(jobs.c.finished_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(fairlane_across="clean-up")
    ).all()
    # Again, since a child whose submission was committed between the first snapshot and its locks shows only now; from
    # here on the locks keep new children off.
    return connection.execute(
        select(jobs.c.organization_id, jobs.c.id)
        .where(tuple_(jobs.c.organization_id, jobs.c.id).in_([tuple(row) for row in locked]), ~_has_live_child())
        .execution_options(fairlane_across="clean-up")
    ).all()


def _unresolved() -> ColumnElement[bool]:
    return (
        select(dead_letters.c.job_id)
        .where(
            dead_letters.c.organization_id == jobs.c.organization_id,
            dead_letters.c.job_id == jobs.c.id,
            dead_letters.c.resolution == Resolution.PENDING,
        )
        .exists()
    )


def _has_live_child() -> ColumnElement[bool]:
    child = jobs.alias("child")
    return (
        select(job_parents.c.job_id)
        .join(child, (child.c.organization_id == job_parents.c.organization_id) & (child.c.id == job_parents.c.job_id))
        .where(
            job_parents.c.organization_id == jobs.c.organization_id,
            job_parents.c.parent_id == jobs.c.id,
            # A dead letter that somebody may retry still needs its parent.
            or_(child.c.status.in_(sorted(LIVE)), _unresolved_child(child)),
        )
        .exists()
    )


def _unresolved_child(child: Any) -> ColumnElement[bool]:
    return (
        select(dead_letters.c.job_id)
        .where(
            dead_letters.c.organization_id == child.c.organization_id,
            dead_letters.c.job_id == child.c.id,
            dead_letters.c.resolution == Resolution.PENDING,
        )
        .exists()
    )


def lock_to_delete(connection: Connection, organization: str, job_id: UUID) -> None:
    """Lock the job's row also against new references: a child being submitted is waited for, a later one waits."""
    connection.execute(
        select(jobs.c.id).where(jobs.c.organization_id == organization, jobs.c.id == job_id).with_for_update()
    )


def has_live_child(connection: Connection, organization: str, job_id: UUID) -> bool:
    """Whether a job that has not ended, or a dead letter nobody has resolved, depends on this one."""
    mine = select(jobs.c.id).where(jobs.c.organization_id == organization, jobs.c.id == job_id, _has_live_child())
    return connection.execute(mine).first() is not None


def delete_jobs(connection: Connection, organization: str, job_ids: Sequence[UUID]) -> list[str]:
    """Delete jobs and all that hangs on them.

    Returns:
        The storage paths of their artifacts, for the caller to delete once this has committed.
    """
    mine = list(job_ids)
    paths = connection.scalars(
        select(artifacts.c.path).where(artifacts.c.organization_id == organization, artifacts.c.job_id.in_(mine))
    ).all()
    for table in _OF_JOB:
        connection.execute(delete(table).where(table.c.organization_id == organization, table.c.job_id.in_(mine)))
    connection.execute(
        delete(job_parents).where(job_parents.c.organization_id == organization, job_parents.c.parent_id.in_(mine))
    )
    connection.execute(delete(jobs).where(jobs.c.organization_id == organization, jobs.c.id.in_(mine)))
    return list(paths)
