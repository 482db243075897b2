"""From rows of the execution log and of log lines to the values that people see."""

from fairlane.domain.jobs import Artifact, LogEntry, LogLine
from fairlane.domain.sealing import Field
from fairlane.domain.statuses import JobStatus
from fairlane.store.statements.rows import Opener
from fairlane.store.tables import AnyRow


def log_entry(row: AnyRow, opener: Opener) -> LogEntry:
    """Return a row of the execution log, with the attempt's error where the statement joined it."""
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


def log_line(row: AnyRow, opener: Opener) -> LogLine:
    """Return one line that a handler wrote."""
    message = opener.text(row.organization_id, row.job_id, Field.LOG_LINE, row.message) or ""
    return LogLine(at=row.at, attempt=row.attempt, level=row.level, message=message)


def artifact(row: AnyRow) -> Artifact:
    """Return what is known of an artifact."""
    return Artifact(
        name=row.name,
        size=row.size,
        content_type=row.content_type,
        sha256=row.sha256,
        created_at=row.at,
        job_id=row.job_id,
        organization=row.organization_id,
        path=row.path,
    )
