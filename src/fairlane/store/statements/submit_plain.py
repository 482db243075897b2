"""Submitting the plain job in one statement and one round trip, commit included. PostgreSQL only.

Plain: one job that may run at once, of which nothing is limited and whose key nobody has. Nothing is asked before: the
statement proves what the caller took for granted, under the locks that `submit` takes. Whatever does not hold, also a
key that somebody had, makes it do nothing, and `submit` goes step by step and says why.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Float, Integer, String, Uuid, bindparam, column, text
from sqlalchemy.exc import DBAPIError

from fairlane.domain.jobs import Job
from fairlane.domain.statuses import JobStatus, OrganizationStatus, Role
from fairlane.store.clock import Clock, beforehand
from fairlane.store.driver_errors import is_retryable, is_unique_violation
from fairlane.store.statements import rows
from fairlane.store.statements.drafts import Draft
from fairlane.store.statements.submit_rows import FIRST_STEPS
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import Instant

_TEXTS: Final = (
    *("organization", "queue", "job_type", "parameters", "labels", "user", "permission", "on_parent_failure"),
    *("key", "documents", "active", "roles", "source", "target", "actor", "message"),
)
# The key is taken by an insert that waits for whoever is taking it, as dedup.take does; it never takes one over.
_SUBMIT: Final = (
    text("""
WITH granted AS (
  SELECT coalesce(:now, clock_timestamp()) AS now
  FROM fairlane_job_types
  WHERE name = :job_type AND enabled AND (:documents IS NULL OR schema || options = :documents)
    AND (:is_host_s OR EXISTS (
      SELECT FROM fairlane_organizations
      WHERE id = :organization AND status = :active AND max_live_jobs IS NULL))
    AND (:is_host_s OR :user IS NULL OR EXISTS (
      SELECT FROM fairlane_members
      WHERE organization_id = :organization AND user_id = :user AND role = ANY(string_to_array(:roles, ' '))))
  FOR KEY SHARE
), taken AS (
  INSERT INTO fairlane_dedup_keys (organization_id, key, job_id, expires_at)
  SELECT :organization, :key, :id, now + make_interval(secs => :window) FROM granted WHERE :key IS NOT NULL
  ON CONFLICT DO NOTHING RETURNING job_id
), job AS (
  INSERT INTO fairlane_jobs
    (organization_id, id, queue, job_type, parameters, labels, submitted_by, required_permission, max_retries,
     timeout_seconds, on_parent_failure, created_at)
  SELECT :organization, :id, :queue, :job_type, :parameters, :labels, :user, :permission, :max_retries,
    :timeout, :on_parent_failure, now
  FROM granted WHERE :key IS NULL OR EXISTS (SELECT FROM taken)
  RETURNING created_at
), live AS (
  INSERT INTO fairlane_live
    (organization_id, id, queue, job_type, submitted_by, created_at, status, ready, priority, run_at)
  SELECT :organization, :id, :queue, :job_type, :user, created_at, :target, true, :priority, created_at FROM job
), logged AS (
  INSERT INTO fairlane_execution_log
    (organization_id, job_id, sequence, from_status, to_status, at, actor, message, attempt)
  SELECT :organization, :id, 1, :source, :target, created_at, :actor, :message, 0 FROM job
)
SELECT created_at FROM job
""")
    .columns(column("created_at", Instant))
    .bindparams(
        *(bindparam(name, type_=String) for name in _TEXTS),
        *(bindparam(name, type_=Integer) for name in ("priority", "max_retries")),
        *(bindparam(name, type_=Float(53)) for name in ("window", "timeout")),
        bindparam("id", type_=Uuid),
        bindparam("now", type_=Instant),
    )
)


@dataclass(frozen=True, slots=True)
class Granted:
    """What was taken for granted of a draft, for the statement to prove.

    `documents` is what the registered type's schema and options must be, None = anything. `roles` may submit it. Where
    the directory `is_host_s`, it was asked before: nothing is to be proved of organization and member.
    """

    documents: str | None
    roles: Collection[Role]
    is_host_s: bool


def is_plain(draft: Draft) -> bool:
    """Whether the one statement has all that the draft needs."""
    waits = draft.parents or draft.delay or draft.run_at is not None
    is_limited = draft.rate is not None or draft.max_live_jobs is not None
    return not (waits or is_limited or draft.label_items)


def submit(connection: Connection, clock: Clock, draft: Draft, granted: Granted) -> Job | None:
    """Insert a plain draft, on a connection that commits each statement; None if something does not hold: then nothing
    was done."""
    step = FIRST_STEPS[JobStatus.QUEUED]
    values = {
        "now": beforehand(clock, connection),
        "documents": granted.documents,
        "is_host_s": granted.is_host_s,
        "active": OrganizationStatus.ACTIVE,
        "roles": " ".join(granted.roles),
        "organization": draft.organization,
        "id": draft.id,
        "key": draft.dedup.key if draft.dedup else None,
        "window": draft.dedup.window if draft.dedup else 0.0,
        "queue": draft.queue,
        "job_type": draft.job_type,
        "priority": draft.priority,
        "parameters": draft.parameters,
        "labels": draft.labels,
        "user": draft.user,
        "permission": draft.required_permission,
        "max_retries": draft.max_retries,
        "timeout": draft.timeout,
        "on_parent_failure": draft.on_parent_failure,
        "source": step.source,
        "target": step.target,
        "actor": draft.user or SYSTEM,
        "message": step.message,
    }
    try:
        now: datetime | None = connection.execute(_SUBMIT, values).scalar_one_or_none()
    except DBAPIError as error:
        if is_unique_violation(error) or is_retryable(error):
            return None  # `submit` has a sentence for an id that is taken, and its transaction is run again
        raise
    return rows.new_job(draft, now, step.target, run_at=now) if now is not None else None
