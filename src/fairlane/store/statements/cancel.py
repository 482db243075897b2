"""Cancels: at once if the job has not started, otherwise as a stored request that its worker finds."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, update

from fairlane.domain import transitions
from fairlane.domain.errors import IllegalTransition, JobNotFound
from fairlane.domain.jobs import JobState
from fairlane.domain.statuses import TERMINAL, WAITING, JobStatus
from fairlane.store.sql import is_row
from fairlane.store.statements import dependencies
from fairlane.store.statements.locks import lock_job
from fairlane.store.statements.transition import Change, write_all
from fairlane.store.tables import AnyRow, live


def cancel(
    connection: Connection, now: datetime, organization: str, job_id: UUID, *, actor: str, reason: str
) -> JobStatus:
    """Cancel the job, or ask its worker to.

    This holds the job's lock. So a finish comes wholly before (then this raises) or wholly after (then the finish finds
    the request).

    Returns:
        canceled, or running if the request was stored.

    Raises:
        JobNotFound: no such job in the organization.
        IllegalTransition: the job has ended.
    """
    row = lock_job(connection, organization, job_id)
    if row is None:
        raise JobNotFound(f"Organization {organization} has no job {job_id}.")
    status = JobStatus(row.status)
    if status in TERMINAL:
        raise IllegalTransition(f"Job {job_id} has ended as {status}; there is nothing to cancel.")
    if status in WAITING:
        cancel_waiting(connection, now, [row], actor=actor, reason=reason)
        return JobStatus.CANCELED
    if row.cancel_requested_at is None:  # the first request stays; a repeated request is no error
        connection.execute(
            update(live)
            .where(is_row(live, organization, job_id))
            .values(cancel_requested_at=now, cancel_requested_by=actor, cancel_reason=reason)
        )
    return status


def cancel_waiting(connection: Connection, now: datetime, rows: Sequence[AnyRow], *, actor: str, reason: str) -> None:
    """Cancel waiting jobs, which are locked, together."""
    reason = reason or "canceled before it started"
    changes = [
        Change(row.organization_id, row.id, transitions.cancel(JobStatus(row.status), actor, reason, now), actor)
        for row in rows
    ]
    write_all(connection, now, changes)
    ended = [JobState(row.organization_id, row.id, row.job_type, JobStatus.CANCELED) for row in rows]
    dependencies.settle(connection, now, ended)
