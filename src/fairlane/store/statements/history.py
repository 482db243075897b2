"""The history of a job: its execution log with its attempts' errors, its log lines, and its result."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Select, and_, select

from fairlane.domain.jobs import LogEntry, LogLine
from fairlane.domain.sealing import Field
from fairlane.domain.statuses import JobStatus
from fairlane.store.engine import engine_of
from fairlane.store.sql import is_row
from fairlane.store.statements.rows import Opener
from fairlane.store.tables import AnyRow, attempt_errors, execution_log, log_lines, results

MOST_ENTRIES: Final = 1000  # in one read: each change of priority adds an entry


def entries(connection: Connection, organization: str, job_id: UUID) -> Sequence[AnyRow]:
    """Return the newest entries, oldest first, with error_type and traceback on rows of failed attempts.

    An attempt leaves `running` once, and has an error row only if it failed, timed out or lost its worker.
    """
    error = and_(
        is_row(attempt_errors, execution_log.c.organization_id, execution_log.c.job_id),
        attempt_errors.c.attempt == execution_log.c.attempt,
        execution_log.c.from_status == JobStatus.RUNNING,
    )
    return connection.execute(
        select(execution_log, attempt_errors.c.error_type, attempt_errors.c.traceback)
        .select_from(execution_log)
        .outerjoin(attempt_errors, error)
        .where(execution_log.c.organization_id == organization, execution_log.c.job_id == job_id)
        .order_by(execution_log.c.sequence.desc())
        .limit(MOST_ENTRIES)
    ).all()[::-1]


def entry_of(row: AnyRow, opener: Opener) -> LogEntry:
    """Return the public value of a log row, with the attempt's error if the statement joined it."""
    mine = (row.organization_id, row.job_id)
    return LogEntry(
        sequence=row.sequence,
        from_status=JobStatus(row.from_status) if row.from_status is not None else None,
        to_status=JobStatus(row.to_status),
        at=row.at,
        actor=row.actor,
        message=opener.text(*mine, Field.LOG_ENTRY, row.message) or "",
        attempt=row.attempt,
        error_type=getattr(row, "error_type", None),
        traceback=opener.text(*mine, Field.TRACEBACK, getattr(row, "traceback", None)),
    )


def last_entry(connection: Connection, organization: str, job_id: UUID) -> AnyRow | None:
    """Return the newest row of the execution log; None for a job that was inserted by hand."""
    return connection.execute(_newest_first(organization, job_id).limit(1)).one_or_none()


def last_move(connection: Connection, organization: str, job_id: UUID) -> AnyRow | None:
    """Return the newest row that changed the status: a change of priority does not explain why the job waits.

    None if none of the newest rows in one read did.
    """
    entry = _newest_first(organization, job_id).limit(MOST_ENTRIES).subquery()
    moves = select(entry).where(entry.c.from_status.is_distinct_from(entry.c.to_status))
    return connection.execute(moves.order_by(entry.c.sequence.desc()).limit(1)).one_or_none()


def _newest_first(organization: str, job_id: UUID) -> Select[Any]:
    return (
        select(execution_log)
        .where(execution_log.c.organization_id == organization, execution_log.c.job_id == job_id)
        .order_by(execution_log.c.sequence.desc())
    )


def revived(connection: Connection, organization: str, jobs: Collection[UUID], since: datetime) -> set[UUID]:
    """Return those of the jobs that were dead letters and were revived after this time."""
    entry = execution_log.c
    left = select(entry.job_id).where(
        entry.organization_id == organization, entry.from_status == JobStatus.DEAD_LETTER, entry.at > since
    )
    return set(connection.scalars(engine_of(connection).by_ids(left, entry.job_id, jobs)))


def lines(connection: Connection, organization: str, job_id: UUID, *, skip: int, limit: int) -> Sequence[AnyRow]:
    """Return log lines of the job, oldest first, without the first `skip`.

    Lines are addressed by position: the rows' numbers are shared by all organizations, and reveal how much others log.
    """
    return connection.execute(
        select(log_lines)
        .where(log_lines.c.organization_id == organization, log_lines.c.job_id == job_id)
        .order_by(log_lines.c.id)
        .offset(skip)
        .limit(limit)
    ).all()


def line_of(row: AnyRow, opener: Opener) -> LogLine:
    """Return the public value of a line that a handler wrote."""
    message = opener.text(row.organization_id, row.job_id, Field.LOG_LINE, row.message) or ""
    return LogLine(at=row.at, attempt=row.attempt, level=row.level, message=message)


def result_of(connection: Connection, organization: str, job_id: UUID) -> str | None:
    """Return the handler's return value, as JSON text; None if it returned nothing, or has not returned."""
    return connection.scalars(select(results.c.value).where(is_row(results, organization, job_id))).one_or_none()
