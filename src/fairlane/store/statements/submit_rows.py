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
from fairlane.store.tables import Instant, execution_log, jobs, live

FIRST_STEPS: Final = {status: Step(None, status, SUBMITTED) for status in WAITING}

# Nothing is sent twice: all rows are made of the same text.
_INSERT_MANY: Final = text("""
WITH given AS MATERIALIZED (
  SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS given(
    organization_id text, id uuid, queue text, job_type text, submitted_by text, parameters text, labels text,
    required_permission text, max_retries int, timeout_seconds float8, on_parent_failure text,
    status text, ready boolean, priority smallint, run_at timestamptz, unmet_parents int, has_children boolean)
), job AS (
  INSERT INTO fairlane_jobs
    (organization_id, id, queue, job_type, parameters, labels, submitted_by, required_permission, max_retries,
     timeout_seconds, on_parent_failure, created_at)
  SELECT organization_id, id, queue, job_type, parameters, labels, submitted_by, required_permission, max_retries,
    timeout_seconds, on_parent_failure, :now
  FROM given
), live AS (
  INSERT INTO fairlane_live
    (organization_id, id, queue, job_type, submitted_by, created_at, status, ready, priority, run_at, unmet_parents,
     has_children)
  SELECT organization_id, id, queue, job_type, submitted_by, :now, status, ready, priority, run_at, unmet_parents,
    has_children
  FROM given
)
INSERT INTO fairlane_execution_log
  (organization_id, job_id, sequence, from_status, to_status, at, actor, message, attempt)
SELECT organization_id, id, 1, NULL, status, :now, coalesce(submitted_by, :system), :message, 0 FROM given
""").bindparams(bindparam("now", type_=Instant))


class Fresh(NamedTuple):
    """A job to be inserted: its draft, how many parents it waits for, and what follows from both."""

    draft: Draft
    unmet_parents: int
    run_at: datetime
    status: JobStatus
    has_children: bool


def fresh(draft: Draft, now: datetime, unmet_parents: int, *, has_children: bool) -> Fresh:
    """Return the job of a draft. A moment that has passed is now, so that no job is due before those that came earlier.

    Args:
        has_children: a job that is inserted with it waits for it.
    """
    run_at = max(draft.run_at or now + timedelta(seconds=draft.delay), now)
    waits = unmet_parents > 0 or run_at > now
    return Fresh(draft, unmet_parents, run_at, JobStatus.PENDING if waits else JobStatus.QUEUED, has_children)


def insert(connection: Connection, now: datetime, new: Sequence[Fresh], replaced: Mapping[UUID, UUID]) -> None:
    """Insert the jobs and their logs.

    Args:
        replaced: which job a new one replaces, for its log: children of the earlier one knew it by that id.

    Raises:
        IntegrityError, DataError
    """
    if not replaced and takes_json(connection, new):
        rows = [_facts(one.draft) | _state(one) for one in new]
        given = json.dumps(rows, default=str, ensure_ascii=False)
        values = {"rows": given, "now": now, "system": SYSTEM, "message": SUBMITTED}
        connection.execute(_INSERT_MANY, values)
        return
    insert_many(connection, jobs, [_facts(one.draft) | {"created_at": now} for one in new])
    insert_many(connection, live, [_state(one) | {"created_at": now} for one in new])
    insert_many(connection, execution_log, [_first_entry(one, now, replaced.get(one.draft.id)) for one in new])


def _facts(draft: Draft) -> dict[str, Any]:
    """Return what differs between the rows of new jobs in `jobs`."""
    return {
        "organization_id": draft.organization,
        "id": draft.id,
        "queue": draft.queue,
        "job_type": draft.job_type,
        "submitted_by": draft.user,
        "parameters": draft.parameters,
        "labels": draft.labels,
        "required_permission": draft.required_permission,
        "max_retries": draft.max_retries,
        "timeout_seconds": draft.timeout,
        "on_parent_failure": draft.on_parent_failure,
    }


def _state(new: Fresh) -> dict[str, Any]:
    """Return what differs between their rows in `live`."""
    draft = new.draft
    return {
        "organization_id": draft.organization,
        "id": draft.id,
        "queue": draft.queue,
        "job_type": draft.job_type,
        "submitted_by": draft.user,
        "status": new.status,
        "ready": new.status is JobStatus.QUEUED,
        "priority": draft.priority,
        "run_at": new.run_at,
        "unmet_parents": new.unmet_parents,
        "has_children": new.has_children,
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
