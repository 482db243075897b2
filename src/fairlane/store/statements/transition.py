"""The one guarded write of a job's status. Every transition but submit and claim goes through `write`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, and_, delete, select, update

from fairlane.domain.outcomes import ErrorReport
from fairlane.domain.statuses import JobStatus, Resolution
from fairlane.domain.transitions import Burial, Transition
from fairlane.store.dialects import upsert
from fairlane.store.tables import (
    NAME_LIMIT,
    AnyRow,
    attempt_errors,
    cancel_requests,
    checkpoints,
    dead_letters,
    execution_log,
    jobs,
    results,
)

SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that this transaction has brought to a terminal status; its children must be told."""

    organization: str
    id: UUID
    job_type: str
    status: JobStatus


def write(
    connection: Connection,
    now: datetime,
    organization: str,
    job_id: UUID,
    transition: Transition,
    *,
    actor: str = SYSTEM,
    lease_token: UUID | None = None,
    caused_by: UUID | None = None,
) -> AnyRow | None:
    """Apply `transition` if the row still has its source status and, where it is running, this lease.

    Returns:
        The row as it now is (log_sequence, attempt, job_type, worker_id), or None if somebody else was first: then
        nothing was changed.
    """
    mine = (jobs.c.organization_id == organization) & (jobs.c.id == job_id)
    # A lease token is there while the job runs and no longer, so it says more than the status. Both together would
    # tempt PostgreSQL into the index of live jobs.
    running = transition.source is JobStatus.RUNNING
    guard = and_(mine, jobs.c.lease_token == lease_token if running else jobs.c.status == transition.source)
    row = connection.execute(
        update(jobs)
        .where(guard)
        .values(
            status=transition.target,
            log_sequence=jobs.c.log_sequence + len(transition.steps),
            **transition.changes,
        )
        .returning(jobs.c.log_sequence, jobs.c.attempt, jobs.c.job_type)
    ).one_or_none()
    if row is None:
        return None
    key = {"organization_id": organization, "job_id": job_id}
    _log(connection, now, key, transition, actor, row)
    _record(connection, now, key, transition, row, caused_by)
    return row


def _log(
    connection: Connection, now: datetime, key: Mapping[str, Any], transition: Transition, actor: str, row: AnyRow
) -> None:
    first = row.log_sequence - len(transition.steps) + 1
    connection.execute(
        execution_log.insert(),
        [
            {
                **key,
                "sequence": first + position,
                "from_status": step.source,
                "to_status": step.target,
                "at": now,
                "actor": actor,
                "message": step.message,
                "attempt": row.attempt,
            }
            for position, step in enumerate(transition.steps)
        ],
    )


def _record(
    connection: Connection,
    now: datetime,
    key: Mapping[str, Any],
    transition: Transition,
    row: AnyRow,
    caused_by: UUID | None,
) -> None:
    """What goes beside the row: the attempt's error, the dead letter, the result."""
    if transition.error is not None:
        upsert(connection, attempt_errors, {**key, "attempt": row.attempt, "at": now, **_columns_of(transition.error)})
    if transition.burial is not None:
        values = _burial(transition.burial, row.job_type, now, caused_by)
        upsert(connection, dead_letters, {**key, **values})
    if transition.result is not None:
        upsert(connection, results, {**key, "value": transition.result, "at": now})
    if transition.target is JobStatus.COMPLETED:
        mine = (checkpoints.c.organization_id == key["organization_id"]) & (checkpoints.c.job_id == key["job_id"])
        connection.execute(delete(checkpoints).where(mine))


def _columns_of(error: ErrorReport) -> dict[str, str]:
    return {
        "error_type": error.error_type[:NAME_LIMIT],
        "message": error.message,
        "traceback": error.traceback,
        "fingerprint": (error.fingerprint or error.error_type)[:NAME_LIMIT],
    }


def _burial(burial: Burial, job_type: str, now: datetime, caused_by: UUID | None) -> dict[str, Any]:
    return {
        "job_type": job_type,
        "reason": burial.reason,
        "error_type": burial.error_type[:NAME_LIMIT],
        "fingerprint": (burial.fingerprint or burial.error_type)[:NAME_LIMIT],
        "caused_by": caused_by,
        "entered_at": now,
        "resolution": Resolution.PENDING,
        "note": None,
        "resolved_by": None,
        "resolved_at": None,
    }


def lock_job(connection: Connection, organization: str, job_id: UUID) -> AnyRow | None:
    """The job's row, locked against every other transition until this transaction ends; None if there is none."""
    return connection.execute(
        select(jobs)
        .where(jobs.c.organization_id == organization, jobs.c.id == job_id)
        # NO KEY: a host's open foreign-key reference to the job must not block this.
        .with_for_update(key_share=True)
    ).one_or_none()


def forget_cancel_request(connection: Connection, organization: str, job_ids: Iterable[UUID]) -> None:
    """A job that starts afresh is not stopped by a cancel of its former life."""
    connection.execute(
        delete(cancel_requests).where(
            cancel_requests.c.organization_id == organization, cancel_requests.c.job_id.in_(list(job_ids))
        )
    )
