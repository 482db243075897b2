"""The rows of new jobs, and the first entries of their logs."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, bindparam, text

from fairlane.domain.statuses import WAITING, JobStatus
from fairlane.domain.transitions import SUBMITTED, Step
from fairlane.store.inserts import insert_many, takes_json
from fairlane.store.statements.drafts import Draft
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import Instant, execution_log, jobs

FIRST_STEPS: Final = {status: Step(None, status, SUBMITTED) for status in WAITING}

# The log's rows are made of the jobs', so nothing is sent twice.
_INSERT_MANY: Final = text("""
WITH job AS (
  INSERT INTO fairlane_jobs
    (organization_id, id, queue, job_type, status, ready, priority, run_at, parameters, labels, submitted_by,
     required_permission, max_retries, timeout_seconds, on_parent_failure, unmet_parents,
     attempt, retry_count, rescue_count, log_sequence, created_at)
  SELECT organization_id, id, queue, job_type, status, ready, priority, run_at, parameters, labels, submitted_by,
    required_permission, max_retries, timeout_seconds, on_parent_failure, unmet_parents,
    0, 0, 0, 1, :now
  FROM json_populate_recordset(NULL::fairlane_jobs, CAST(:rows AS json))
  RETURNING organization_id, id, status, submitted_by
)
INSERT INTO fairlane_execution_log
  (organization_id, job_id, sequence, from_status, to_status, at, actor, message, attempt)
SELECT organization_id, id, 1, NULL, status, :now, coalesce(submitted_by, :system), :message, 0 FROM job
""").bindparams(bindparam("now", type_=Instant))


class Fresh(NamedTuple):
    """A job to be inserted: its draft, how many parents it waits for, and what follows from both."""

    draft: Draft
    unmet_parents: int
    run_at: datetime
    status: JobStatus


def fresh(draft: Draft, now: datetime, unmet_parents: int) -> Fresh:
    """The job of a draft. A moment that has passed is now: so nobody's job is due before those that came earlier."""
    run_at = max(draft.run_at or now + timedelta(seconds=draft.delay), now)
    waits = unmet_parents > 0 or run_at > now
    return Fresh(draft, unmet_parents, run_at, JobStatus.PENDING if waits else JobStatus.QUEUED)


def insert(connection: Connection, now: datetime, new: Sequence[Fresh], replaced: Mapping[UUID, UUID]) -> None:
    """Insert the jobs and their logs.

    Args:
        replaced: which job a new one replaces, for its log: children of the earlier one knew it by that id.

    Raises:
        IntegrityError, DataError
    """
    rows = [_row(one) for one in new]
    if not replaced and takes_json(connection, rows):
        given = json.dumps(rows, default=str, ensure_ascii=False)
        values = {"rows": given, "now": now, "system": SYSTEM, "message": SUBMITTED}
        connection.execute(_INSERT_MANY, values)
        return
    counts = {"attempt": 0, "retry_count": 0, "rescue_count": 0, "log_sequence": 1, "created_at": now}
    insert_many(connection, jobs, [row | counts for row in rows])
    insert_many(connection, execution_log, [_first_entry(one, now, replaced.get(one.draft.id)) for one in new])


def _row(new: Fresh) -> dict[str, Any]:
    """What differs between new jobs."""
    draft = new.draft
    return {
        "organization_id": draft.organization,
        "id": draft.id,
        "queue": draft.queue,
        "job_type": draft.job_type,
        "status": new.status,
        "ready": new.status is JobStatus.QUEUED,
        "priority": draft.priority,
        "run_at": new.run_at,
        "parameters": draft.parameters,
        "labels": draft.labels,
        "submitted_by": draft.user,
        "required_permission": draft.required_permission,
        "max_retries": draft.max_retries,
        "timeout_seconds": draft.timeout,
        "on_parent_failure": draft.on_parent_failure,
        "unmet_parents": new.unmet_parents,
    }


def _first_entry(new: Fresh, now: datetime, earlier: UUID | None) -> dict[str, Any]:
    step = FIRST_STEPS[new.status]
    return {
        "organization_id": new.draft.organization,
        "job_id": new.draft.id,
        "sequence": 1,
        "from_status": step.source,
        "to_status": step.target,
        "at": now,
        "actor": new.draft.user or SYSTEM,
        "message": step.message if earlier is None else f"{step.message} in place of {earlier}",
        "attempt": 0,
    }
