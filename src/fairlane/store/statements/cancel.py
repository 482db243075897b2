"""Cancel: at once where the job has not started, else a durable request that its worker finds."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, update

from fairlane.domain import transitions
from fairlane.domain.errors import IllegalTransition, JobNotFound
from fairlane.domain.statuses import TERMINAL, WAITING, JobStatus
from fairlane.store.statements import dependencies
from fairlane.store.statements.locks import lock_job
from fairlane.store.statements.transition import Ended, write
from fairlane.store.tables import live


def cancel(
    connection: Connection, now: datetime, organization: str, job_id: UUID, *, actor: str, reason: str
) -> JobStatus:
    """Cancel the job, or ask its worker to.

    Under the job's lock, so that a finish comes wholly before (then this raises) or wholly after (then it finds the
    request).

    Returns:
        canceled, or running where the request was noted.

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
        transition = transitions.cancel(status, actor, reason or "canceled before it started", now)
        write(connection, now, organization, job_id, transition, actor=actor)
        dependencies.settle(connection, now, [Ended(organization, job_id, row.job_type, JobStatus.CANCELED)])
        return JobStatus.CANCELED
    if row.cancel_requested_at is None:  # the first request stands; asking again is no error
        connection.execute(
            update(live)
            .where(live.c.organization_id == organization, live.c.id == job_id)
            .values(cancel_requested_at=now, cancel_requested_by=actor, cancel_reason=reason)
        )
    return status
