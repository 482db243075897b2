"""The guarded write of a job's status. Every transition goes through `write_all`, but for those that come by the
hundred and have statements of their own: submissions, claims and, in `complete`, plain completions.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, TextClause, delete, select, text, tuple_, update
from sqlalchemy.sql.dml import ReturningUpdate

from fairlane.domain.outcomes import ErrorReport
from fairlane.domain.statuses import JobStatus, Resolution
from fairlane.domain.transitions import Burial, Transition
from fairlane.store import burials
from fairlane.store.inserts import insert_many, takes_json, upsert
from fairlane.store.tables import (
    NAME_LIMIT,
    AnyRow,
    attempt_errors,
    cancel_requests,
    checkpoints,
    dead_letters,
    execution_log,
    jobs,
    progress,
    results,
)

SYSTEM = "system"
Key = tuple[str, UUID]


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that this transaction has brought to a terminal status; its children must be told."""

    organization: str
    id: UUID
    job_type: str
    status: JobStatus


class Change(NamedTuple):
    """A transition of one job that is to be written.

    `lease_token` proves it where the job runs; `caused_by` is the parent that takes the job down.
    """

    organization: str
    job_id: UUID
    transition: Transition
    actor: str = SYSTEM
    lease_token: UUID | None = None
    caused_by: UUID | None = None

    @property
    def key(self) -> Key:
        """Of the job's row."""
        return self.organization, self.job_id


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
        The row as it now is (log_sequence, attempt, job_type), or None if somebody else was first: then nothing was
        changed.
    """
    change = Change(organization, job_id, transition, actor, lease_token, caused_by)
    return write_all(connection, now, [change]).get(change.key)


def write_all(connection: Connection, now: datetime, changes: Sequence[Change]) -> dict[Key, AnyRow]:
    """Apply each job's transition if the row still has its source status and, where it is running, this lease.

    Args:
        changes: of different jobs.

    Returns:
        The rows as they now are (log_sequence, attempt, job_type), without those where somebody else was first:
        nothing of them was changed.
    """
    alike = defaultdict[tuple[str, ...], list[Change]](list)
    for change in changes:
        alike[tuple(change.transition.changes)].append(change)
    rows: dict[Key, AnyRow] = {}
    for columns, those in alike.items():
        if takes_json(connection, those):
            rows |= _update_together(connection, columns, those)
        else:
            rows |= _update_each(connection, those)
    written = [(change, rows[change.key]) for change in changes if change.key in rows]
    if written:
        insert_many(connection, execution_log, [entry for one in written for entry in _entries(now, *one)])
        _record(connection, now, written)
    return rows


def _update_each(connection: Connection, changes: Iterable[Change]) -> dict[Key, AnyRow]:
    rows = {change.key: connection.execute(_update_one(change)).one_or_none() for change in changes}
    return {key: row for key, row in rows.items() if row is not None}


def _update_one(change: Change) -> ReturningUpdate[Any]:
    transition = change.transition
    mine = (jobs.c.organization_id == change.organization) & (jobs.c.id == change.job_id)
    # A lease token is there while the job runs and no longer, so it says more than the status. Both together would
    # tempt PostgreSQL into the index of live jobs.
    running = transition.source is JobStatus.RUNNING
    guard = jobs.c.lease_token == change.lease_token if running else jobs.c.status == transition.source
    return (
        update(jobs)
        .where(mine, guard)
        .values(
            status=transition.target, log_sequence=jobs.c.log_sequence + len(transition.steps), **transition.changes
        )
        .returning(jobs.c.log_sequence, jobs.c.attempt, jobs.c.job_type)
    )


def _update_together(connection: Connection, columns: tuple[str, ...], changes: Sequence[Change]) -> dict[Key, AnyRow]:
    """On PostgreSQL, in one statement; all set the same columns."""
    given = {
        f"{one.organization}/{one.job_id}": {
            **one.transition.changes,
            "status": one.transition.target,
            "log_sequence": len(one.transition.steps),
            "source": one.transition.source,
            "lease": one.lease_token,
        }
        for one in changes
    }
    values = {
        "given": json.dumps(given, default=str, ensure_ascii=False),
        "ids": " ".join([one.job_id.hex for one in changes]),
    }
    rows = connection.execute(_update_many(columns), values).all()
    return {(row.organization_id, row.id): row for row in rows}


@cache
def _update_many(columns: tuple[str, ...]) -> TextClause:
    """Each row takes its values from `given`, by its key.

    By id from an ARRAY, and never by a join with what is given: there the planner may scan the table, or all that is
    given for each row. What is compared with a value of `given` tempts it into no index.
    """
    names = ", ".join(columns)
    mine = "(SELECT rows FROM given) -> (job.organization_id || '/' || job.id)"
    return text(f"""
WITH given AS (SELECT CAST(:given AS jsonb) AS rows)
UPDATE fairlane_jobs AS job SET (status, log_sequence, {names}) = (
  SELECT status, job.log_sequence + log_sequence, {names}
  FROM jsonb_populate_record(NULL::fairlane_jobs, {mine}))
WHERE id = ANY(CAST(string_to_array(:ids, ' ') AS uuid[]))
  AND status = {mine} ->> 'source' AND lease_token IS NOT DISTINCT FROM CAST({mine} ->> 'lease' AS uuid)
RETURNING organization_id, id, log_sequence, attempt, job_type
""").execution_options(fairlane_across="finish")  # noqa: S608 - names of ours


def _entries(now: datetime, change: Change, row: AnyRow) -> list[dict[str, Any]]:
    """The log's."""
    steps = change.transition.steps
    first = row.log_sequence - len(steps) + 1
    return [
        {
            "organization_id": change.organization,
            "job_id": change.job_id,
            "sequence": first + position,
            "from_status": step.source,
            "to_status": step.target,
            "at": now,
            "actor": change.actor,
            "message": step.message,
            "attempt": row.attempt,
        }
        for position, step in enumerate(steps)
    ]


def _record(connection: Connection, now: datetime, written: Iterable[tuple[Change, AnyRow]]) -> None:
    """What goes beside the rows: attempts' errors, dead letters, results."""
    errors, buried, left, completed = [], [], [], []
    for change, row in written:
        key = {"organization_id": change.organization, "job_id": change.job_id}
        transition = change.transition
        if transition.error is not None:
            errors.append({**key, "attempt": row.attempt, "at": now, **_columns_of(transition.error)})
        if transition.burial is not None:
            buried.append({**key, **_burial(transition.burial, row.job_type, now, change.caused_by)})
        if transition.result is not None:
            left.append({**key, "value": transition.result, "at": now})
        if transition.target is JobStatus.COMPLETED:
            completed.append(change.key)
    if buried:
        burials.note(connection, {one["organization_id"] for one in buried})
    for table, rows in ((attempt_errors, errors), (dead_letters, buried), (results, left)):
        if rows:
            upsert(connection, table, *rows)
    if completed:
        _forget_checkpoints(connection, completed)


def _forget_checkpoints(connection: Connection, completed: Sequence[Key]) -> None:
    """Delete the checkpoints of completed jobs. The progress up to there becomes that of the attempt that resumed."""
    key_of = checkpoints.c.organization_id, checkpoints.c.job_id
    forgotten = delete(checkpoints).where(tuple_(*key_of).in_(completed)).returning(*key_of)
    resumed = [(row.organization_id, row.job_id) for row in connection.execute(forgotten)]
    if not resumed:
        return
    attempt = select(jobs.c.attempt).where(
        jobs.c.organization_id == progress.c.organization_id, jobs.c.id == progress.c.job_id
    )
    theirs = tuple_(progress.c.organization_id, progress.c.job_id).in_(resumed)
    connection.execute(update(progress).where(theirs).values(attempt=attempt.scalar_subquery()))


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
