"""Insert new jobs: their facts, their live rows and the first entries of their logs.

On PostgreSQL it is one statement, for one job and for many, in transactions of Fairlane's own and of the caller's; on
SQLite it is one for each table.

A job of its own that may run at once, of which nothing is limited, takes nothing else: the statement is then its whole
submission, in one round trip, commit included. Nothing is asked before: the statement opens itself to the organization,
proves what the caller took for granted, and takes the key. If something does not hold, or somebody has had the key, it
does nothing; `submit` then goes step by step and says why. SQLite proves and takes the key in statements of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Boolean, Connection, Float, String, bindparam, text
from sqlalchemy.dialects.postgresql import psycopg

from fairlane.domain.statuses import JobStatus, OrganizationStatus
from fairlane.domain.transitions import SUBMITTED
from fairlane.store.clock import Clock, DatabaseClock
from fairlane.store.dialects import is_sqlite
from fairlane.store.inserts import texts_of, unnest_texts
from fairlane.store.row_security import SETTING, named
from fairlane.store.statements import new_jobs_on_sqlite
from fairlane.store.statements.drafts import Draft, Fresh, Granted
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import Instant
from fairlane.store.transaction import Database

_COLUMNS: Final = {
    "organization_id": "text",
    "id": "uuid",
    "queue": "text",
    "job_type": "text",
    "submitted_by": "text",
    "parameters": "text",
    "labels": "text",
    "required_permission": "text",
    "max_retries": "int",
    "timeout_seconds": "float8",
    "on_parent_failure": "text",
    "status": "text",
    "priority": "smallint",
    "run_at": "timestamptz",
    "unmet_parents": "int",
    "has_children": "boolean",
    "earlier": "text",
}
_TEXTS: Final = ("scope", "type", "documents", "user", "roles", "key", "active", "ready", "system", "message")
# Returns a draft as it is stored; None = it is not to be submitted so.
Stored = Callable[[], Draft | None]
# OFFSET keeps each proof a look of its own, after the scope is set: a join might read before, when no row is there.
# The key is taken by an insert that waits for whoever is taking it, as dedup.take does; it never takes one over.
_INSERT: Final = text(f"""
WITH scope AS MATERIALIZED (
  SELECT CASE WHEN :scope IS NOT NULL THEN set_config('{SETTING}', :scope, true) END AS organization
), proof AS MATERIALIZED (
  SELECT FROM scope CROSS JOIN fairlane_job_types AS type
  WHERE type.name = :type AND type.enabled AND (:documents IS NULL OR type.schema || type.options = :documents)
    AND (:is_host_s OR EXISTS (
      SELECT FROM fairlane_organizations
      WHERE id = scope.organization AND status = :active AND max_live_jobs IS NULL OFFSET 0))
    AND (:is_host_s OR :user IS NULL OR EXISTS (
      SELECT FROM fairlane_members
      WHERE organization_id = scope.organization AND user_id = :user AND role = ANY(string_to_array(:roles, ' '))
      OFFSET 0))
  FOR KEY SHARE OF type
), granted AS MATERIALIZED (
  SELECT coalesce(:now, clock_timestamp()) AS now FROM scope WHERE :is_proved OR EXISTS (SELECT FROM proof)
), given AS MATERIALIZED (
  SELECT * FROM granted CROSS JOIN {unnest_texts(_COLUMNS)}
), taken AS (
  INSERT INTO fairlane_dedup_keys (organization_id, key, job_id, expires_at)
  SELECT organization_id, :key, id, now + make_interval(secs => :window) FROM given WHERE :key IS NOT NULL
  ON CONFLICT DO NOTHING RETURNING job_id
), new AS MATERIALIZED (
  SELECT * FROM given WHERE :key IS NULL OR EXISTS (SELECT FROM taken)
), job AS (
  INSERT INTO fairlane_jobs (organization_id, id, queue, job_type, parameters, labels, submitted_by,
    required_permission, max_retries, timeout_seconds, on_parent_failure, created_at)
  SELECT organization_id, id, queue, job_type, parameters, labels, submitted_by,
    required_permission, max_retries, timeout_seconds, on_parent_failure, now FROM new
), live AS (
  INSERT INTO fairlane_live (organization_id, id, queue, job_type, submitted_by, created_at,
    status, ready, priority, run_at, unmet_parents, has_children)
  SELECT organization_id, id, queue, job_type, submitted_by, now,
    status, status = :ready, priority, coalesce(run_at, now), unmet_parents, has_children FROM new
), logged AS (
  INSERT INTO fairlane_execution_log
    (organization_id, job_id, sequence, from_status, to_status, at, actor, message, attempt)
  SELECT organization_id, id, 1, NULL, status, now, coalesce(submitted_by, :system),
    concat(CAST(:message AS text), ' in place of ' || earlier), 0 FROM new
)
SELECT now FROM new LIMIT 1
""").bindparams(  # noqa: S608 - constants of ours
    *(bindparam(name, type_=String) for name in (*_COLUMNS, *_TEXTS)),
    *(bindparam(name, type_=Boolean) for name in ("is_host_s", "is_proved")),
    bindparam("window", type_=Float(53)),
    bindparam("now", type_=Instant),
)
_CONSTANTS: Final = {
    "active": OrganizationStatus.ACTIVE,
    "ready": JobStatus.QUEUED,
    "system": SYSTEM,
    "message": SUBMITTED,
}
# Of jobs whose submission has gone all steps before.
_PROVED: Final = {
    **dict.fromkeys(_TEXTS),
    **_CONSTANTS,
    "is_host_s": True,
    "is_proved": True,
    "window": 0.0,
}


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
    if is_sqlite(connection):
        new_jobs_on_sqlite.insert(connection, now, new, replaced)
    else:
        connection.execute(_INSERT, {**_PROVED, "now": now, **_columns(new, replaced)})


def is_plain(draft: Draft) -> bool:
    """Return True if the statement has all that the draft needs."""
    waits = draft.parents or draft.delay or draft.run_at is not None
    is_limited = draft.rate is not None or draft.max_live_jobs is not None
    return not (waits or is_limited or draft.label_items)


def at_once(database: Database, granted: Granted, stored: Stored) -> datetime | None:
    """Submit a plain draft by itself, where that takes one statement.

    Args:
        stored: asked when the connection is there.

    Returns:
        When; None: nothing was done.

    Raises:
        CommitUnanswered, StorageUnavailable, ConfigurationError: as for `Database.write`.
    """
    if not database.is_postgres:
        return None
    clock = database.clock
    now = None if isinstance(clock, DatabaseClock) else database.look(clock.now, of=())

    def values() -> Mapping[str, Any] | None:
        draft = stored()
        return values_at_once(draft, granted, now) if draft is not None else None

    done = database.write_one(statement_at_once(), values)
    return done[0][0].astimezone(UTC) if done else None  # the session may have any time zone


def at_once_within(connection: Connection, clock: Clock, granted: Granted, stored: Stored) -> datetime | None:
    """Do the same within a transaction that is open, where `at_once` does nothing."""
    if not is_sqlite(connection):
        return None
    draft, now = stored(), clock.now(connection)
    return now if draft is not None and new_jobs_on_sqlite.at_once(connection, now, draft, granted) else None


@cache
def statement_at_once() -> str:
    """Return the statement as psycopg has it."""
    return str(_INSERT.compile(dialect=psycopg.dialect()))  # type: ignore[no-untyped-call]


def values_at_once(draft: Draft, granted: Granted, now: datetime | None) -> dict[str, Any]:
    """Return what the statement is given for a plain draft, by itself. It returns the moment, or nothing was done.

    Args:
        now: None = by PostgreSQL's clock.
    """
    return {
        **_CONSTANTS,
        **_columns([Fresh(draft, 0, None, JobStatus.QUEUED, has_children=False)], {}),
        "scope": named([draft.organization]),
        "type": draft.job_type,
        "documents": granted.documents,
        "is_host_s": granted.is_host_s,
        "user": draft.user,
        "roles": " ".join(granted.roles),
        "is_proved": False,
        "now": now,
        "key": draft.dedup.key if draft.dedup else None,
        "window": draft.dedup.window if draft.dedup else 0.0,
    }


def _columns(new: Sequence[Fresh], replaced: Mapping[UUID, UUID]) -> dict[str, str]:
    """Return the columns as the statement has them. What is empty is NULL."""
    drafts = [one.draft for one in new]
    return texts_of(
        {
            "organization_id": [draft.organization for draft in drafts],
            "id": [draft.id.hex for draft in drafts],
            "queue": [draft.queue for draft in drafts],
            "job_type": [draft.job_type for draft in drafts],
            "submitted_by": [draft.user or "" for draft in drafts],
            "parameters": [draft.parameters for draft in drafts],
            "labels": [draft.labels for draft in drafts],
            "required_permission": [draft.required_permission or "" for draft in drafts],
            "max_retries": [_number(draft.max_retries) for draft in drafts],
            "timeout_seconds": [_number(draft.timeout) for draft in drafts],
            "on_parent_failure": [draft.on_parent_failure for draft in drafts],
            "status": [one.status for one in new],
            "priority": [str(draft.priority) for draft in drafts],
            "run_at": ["" if one.run_at is None else one.run_at.isoformat() for one in new],
            "unmet_parents": [str(one.unmet_parents) for one in new],
            "has_children": ["t" if one.has_children else "f" for one in new],
            "earlier": [str(replaced.get(draft.id, "")) for draft in drafts] if replaced else [""] * len(drafts),
        }
    )


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)
