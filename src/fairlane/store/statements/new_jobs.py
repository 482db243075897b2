"""Insert new jobs: their facts, their live rows and the first entries of their logs.

On PostgreSQL this is one statement, for one job or many, in Fairlane's or the caller's transaction. The common values
of jobs of one kind are sent and read once.

For jobs without limits that may run at once, the statement is the whole submission. It sets the scope of organizations,
checks the caller's assumptions, and takes the deduplication keys. A job is skipped if an assumption is wrong or its key
is not free, and the answer says so. Then `submit` goes step by step and finds the reason. A caller who wants all jobs
or none rolls back.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any, Final, TypeAlias
from uuid import UUID

from sqlalchemy import Boolean, String, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import psycopg

from fairlane.domain.jobs import Job, job_of
from fairlane.domain.statuses import PRIORITY_OF_RANK, JobStatus, OrganizationStatus
from fairlane.domain.transitions import SUBMITTED
from fairlane.store.clock import DatabaseClock
from fairlane.store.line import Line
from fairlane.store.row_security import SETTING, milliseconds, named
from fairlane.store.sql import joined, texts_of, unnest_texts
from fairlane.store.statements.drafts import Draft, Fresh, Kind, organizations_of_unsealed
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import Instant
from fairlane.store.transaction import Database

# One row: the time, and the inserted ids (None = all). No row: nothing was inserted.
Answer: TypeAlias = Sequence[tuple[Any, ...]]
Chunks: TypeAlias = Callable[[], Iterator[Sequence[Draft] | None]]

_OF_KIND: Final = {
    "organization": "text",
    "job_type": "text",
    "member": "text",
    "queue": "text",
    "priority": "smallint",
    "policy": "text",
    "retries": "int",
    "timeout": "float8",
    "permission": "text",
    "expiry": "float8",
    "documents": "text",
    "roles": "text",
    "is_open": "text",
}
_OF_JOB: Final = {"kind": "int", "id": "uuid", "parameters": "text", "labels": "text", "key": "text"}
# Each of these columns may be omitted, if all jobs have the usual value.
_UNUSUAL: Final = {
    "status": "text",
    "run_at": "timestamptz",
    "unmet_parents": "int",
    "has_children": "boolean",
    "earlier": "text",
    "headers": "text",
}
_USUAL: Final[Mapping[str, Sequence[str]]] = dict.fromkeys(_UNUSUAL, ())
# OFFSET keeps each check a separate read, after the scope is set: a join might read earlier, and see no rows. A FULL
# JOIN is never a nested loop, which would compare a thousand kinds with each of a thousand jobs. Rows are in the order
# of ids, so that indexes grow at their end; a join may change the order. A job whose checks failed has no organization
# there. If parameters are not encrypted, it is checked that the organization has no key. Like dedup.take, the insert of
# keys waits for others who are taking them; it never takes one over.
_SQL: Final = f"""
WITH scope AS MATERIALIZED (
  SELECT CASE WHEN :scope IS NOT NULL
    THEN set_config('{SETTING}', :scope, true) || set_config('lock_timeout', :lock_timeout, true) END
), kinds AS MATERIALIZED (
  SELECT kinds.* FROM scope CROSS JOIN {unnest_texts(_OF_KIND, "kinds", "kind")}
), types AS MATERIALIZED (
  SELECT name, schema || options AS documents FROM fairlane_job_types AS type
  WHERE NOT :is_proved AND enabled AND name IN (SELECT job_type FROM kinds) ORDER BY name FOR KEY SHARE OF type
), granted AS MATERIALIZED (
  SELECT * FROM kinds WHERE :is_proved OR (
    EXISTS (SELECT FROM types WHERE name = job_type AND coalesce(types.documents = kinds.documents, true))
    AND (:is_of_host OR EXISTS (
      SELECT FROM fairlane_organizations
      WHERE id = organization AND status = '{OrganizationStatus.ACTIVE}' AND max_live_jobs IS NULL OFFSET 0))
    AND (:is_of_host OR member IS NULL OR EXISTS (
      SELECT FROM fairlane_members WHERE organization_id = organization AND user_id = member
        AND role = ANY(string_to_array(roles, ' ')) OFFSET 0))
    AND (is_open IS NULL OR NOT EXISTS (
      SELECT FROM fairlane_organization_keys WHERE organization_id = organization OFFSET 0)))
), given AS MATERIALIZED (
  SELECT coalesce(:now, now()) AS now, * FROM granted
  FULL JOIN {unnest_texts(_OF_JOB | _UNUSUAL, "job")} USING (kind) ORDER BY id
), taken AS (
  INSERT INTO fairlane_dedup_keys (organization_id, key, job_id, expires_at)
  SELECT organization, key, id, now + make_interval(secs => expiry) FROM given
  WHERE organization IS NOT NULL AND key IS NOT NULL ORDER BY organization COLLATE "C", key COLLATE "C", id
  ON CONFLICT DO NOTHING RETURNING job_id
), new AS MATERIALIZED (
  SELECT *, coalesce(status, '{JobStatus.QUEUED}') AS state FROM given
  WHERE organization IS NOT NULL AND (key IS NULL OR id IN (SELECT job_id FROM taken))
), job AS (
  INSERT INTO fairlane_jobs (organization_id, id, queue, job_type, parameters, labels, submitted_by,
    required_permission, max_retries, timeout_seconds, on_parent_failure, created_at, headers)
  SELECT organization, id, queue, job_type, parameters, labels, member,
    permission, retries, timeout, policy, now, headers FROM new
), live AS (
  INSERT INTO fairlane_live (organization_id, id, queue, job_type, submitted_by, created_at,
    status, ready, priority, run_at, unmet_parents, has_children)
  SELECT organization, id, queue, job_type, member, now, state,
    state = '{JobStatus.QUEUED}', priority, coalesce(run_at, now),
    coalesce(unmet_parents, 0), coalesce(has_children, false) FROM new
), logged AS (
  INSERT INTO fairlane_execution_log
    (organization_id, job_id, sequence, from_status, to_status, at, actor, message, attempt)
  SELECT organization, id, 1, NULL, state, now, coalesce(member, '{SYSTEM}'),
    concat('{SUBMITTED}', ' in place of ' || earlier), 0 FROM new
)
SELECT min(now), CASE WHEN count(*) < (SELECT count(*) FROM given) THEN array_agg(id) END FROM new
HAVING count(*) > 0
"""  # noqa: S608 - constants
# In one line: psycopg caches the parsing only of statements of up to 4,096 characters.
_INSERT: Final = text(" ".join(_SQL.split())).bindparams(
    *(bindparam(name, type_=Boolean) for name in ("is_of_host", "is_proved")),
    *(bindparam(name, type_=String) for name in ("scope", "lock_timeout")),
    bindparam("now", type_=Instant),
)
# For jobs whose submission has done all checks before.
_PROVED: Final = {"scope": None, "lock_timeout": None, "is_of_host": True, "is_proved": True}


def fresh(draft: Draft, now: datetime, unmet_parents: int, *, has_children: bool) -> Fresh:
    """Return the job of a draft. A past `run_at` becomes now, so that no job is due before earlier jobs.

    Args:
        has_children: another job of the same insert waits for it.
    """
    run_at = max(draft.kind.run_at or now + timedelta(seconds=draft.kind.delay), now)
    waits = unmet_parents > 0 or run_at > now
    return Fresh(draft, unmet_parents, run_at, JobStatus.PENDING if waits else JobStatus.QUEUED, has_children)


def whole_of(now: datetime, new: Sequence[Fresh], replaced: Mapping[UUID, UUID]) -> tuple[TextClause, dict[str, Any]]:
    """Return the statement, and its values, that inserts jobs whose submission has done all checks before."""
    texts = _texts([one.draft for one in new], {**_unusual(new, replaced), "key": ()})
    return _INSERT, {**_PROVED, **texts, "now": now}


def is_plain(draft: Draft) -> bool:
    """Return True if the statement alone can submit the draft."""
    kind = draft.kind
    waits = draft.parents or kind.delay or kind.run_at is not None
    return not (waits or draft.label_items or kind.rate is not None or kind.max_live_jobs is not None)


def place(draft: Draft) -> tuple[str, ...]:
    """Return the sort key of drafts before they are cut into chunks.

    Every transaction takes its keys in this order, which is the statement's: otherwise there could be deadlocks.
    """
    return (draft.kind.organization, draft.dedup.key) if draft.dedup is not None else ()


def at_once(
    database: Database, chunks: Chunks, *, is_alone: bool, lock_seconds: float | None = None
) -> datetime | None:
    """Submit plain drafts in a transaction of their own, with one statement per chunk.

    Args:
        chunks: makes the drafts in stored form, once there is a connection; None = give up.
        is_alone: True if there is only one draft.
        lock_seconds: how long to wait for locks; None = the usual time.

    Returns:
        The time of the submission; None if nothing was done.

    Raises:
        CommitUnanswered, StorageUnavailable, ConfigurationError: as for `Database.write`.
    """
    if database.kind.writers_are_serial:
        return None
    clock = database.clock
    now = None if isinstance(clock, DatabaseClock) else database.look(clock.now, of=())
    timeout = lock_seconds or database.lock_seconds

    def values() -> Iterator[Mapping[str, str | None] | None]:
        return (None if chunk is None else values_at_once(chunk, now, timeout) for chunk in chunks())

    done = database.write_one(statement_at_once(), values, None if is_alone else _are_all)
    return _moment(done) if done and _are_all(done) else None


def _are_all(answer: Answer) -> bool:
    """Return True if all given jobs were inserted."""
    return bool(answer) and answer[0][1] is None


def _moment(answer: Answer) -> datetime:
    moment: datetime = answer[0][0]
    return moment.astimezone(UTC)  # the session may have any time zone


async def at_once_on(line: Line, drafts: Sequence[Draft], lock_seconds: float) -> Mapping[UUID, datetime]:
    """Submit plain drafts on the event loop by one statement, each independent of the others.

    Returns:
        The times of the submitted drafts; nothing was done for the others.

    Raises:
        CommitUnanswered, StorageUnavailable, ConfigurationError: as for `Line.fetch`.
        IntegrityError: a draft's id exists already; nothing was done.
    """
    answer = await line.fetch_prepared(statement_at_once(), values_at_once(drafts, None, lock_seconds))
    if not answer:
        return {}
    done = answer[0][1] or [draft.id for draft in drafts]
    return dict.fromkeys(done, _moment(answer))


@cache
def statement_at_once() -> str:
    """Return the statement in psycopg's style."""
    return str(_INSERT.compile(dialect=psycopg.dialect()))  # type: ignore[no-untyped-call]


def values_at_once(drafts: Sequence[Draft], now: datetime | None, lock_seconds: float) -> dict[str, str | None]:
    """Return the statement's values for plain drafts, without a transaction around it.

    The statement returns the time, and the ids of the inserted drafts if these are not all.

    Args:
        now: None = by PostgreSQL's clock.
        lock_seconds: how long to wait for locks.
    """
    has_headers = any(draft.headers for draft in drafts)
    return {
        **_texts(drafts, {**_USUAL, "headers": _headers(drafts)} if has_headers else {}),
        "scope": named({draft.kind.organization for draft in drafts}),
        "is_of_host": _flag(drafts[0].kind.is_of_host),  # an application has one directory
        "is_proved": _flag(False),
        "lock_timeout": milliseconds(lock_seconds),
        "now": now.isoformat() if now is not None else None,
    }


def _texts(drafts: Sequence[Draft], unusual: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the parameters for the drafts and their kinds."""
    kinds = {id(draft.kind): draft.kind for draft in drafts}  # By identity: hashing them would cost more.
    numbers = {place: str(number) for number, place in enumerate(kinds, 1)}
    unsealed = organizations_of_unsealed(drafts)
    columns = {
        "kind": [numbers[id(draft.kind)] for draft in drafts],
        "id": [draft.id.hex for draft in drafts],
        "parameters": [draft.parameters for draft in drafts],
        "labels": [draft.labels for draft in drafts],
        "key": [draft.dedup.key if draft.dedup is not None else "" for draft in drafts],
    }
    return {
        "kinds": joined([_of_kind(kind, is_open=kind.organization in unsealed) for kind in kinds.values()]),
        "job": texts_of({**columns, **unusual}),
    }


@lru_cache(1_000)
def _of_kind(kind: Kind, *, is_open: bool) -> str:
    """Return the row of a kind, cached because most jobs are of known kinds. An empty value is NULL."""
    columns = {
        "organization": kind.organization,
        "job_type": kind.job_type,
        "member": kind.user or "",
        "queue": kind.queue,
        "priority": str(kind.priority),
        "policy": kind.on_parent_failure,
        "retries": _number(kind.max_retries),
        "timeout": _number(kind.timeout),
        "permission": kind.required_permission or "",
        "expiry": repr(kind.window),
        "documents": kind.documents or "",
        "roles": " ".join(kind.roles),
        "is_open": "t" if is_open else "",
    }
    return texts_of({name: [columns[name]] for name in _OF_KIND})


def _unusual(new: Sequence[Fresh], replaced: Mapping[UUID, UUID]) -> dict[str, Sequence[str]]:
    return {
        "status": [one.status for one in new],
        "run_at": [one.run_at.isoformat() for one in new],
        "unmet_parents": [str(one.unmet_parents) for one in new],
        "has_children": [_flag(one.has_children) for one in new],
        "earlier": [str(replaced.get(one.draft.id, "")) for one in new],
        "headers": _headers([one.draft for one in new]),
    }


def _headers(drafts: Sequence[Draft]) -> Sequence[str]:
    return [draft.headers for draft in drafts]


def _flag(value: bool) -> str:
    return "t" if value else "f"


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


def new_job(draft: Draft, now: datetime, status: JobStatus, run_at: datetime) -> Job:
    """Return the public value of a draft without parents that was just inserted."""
    kind = draft.kind
    return job_of(
        *(draft.id, kind.organization, kind.job_type, kind.user, status, PRIORITY_OF_RANK[kind.priority], kind.queue),
        *(draft.shown_parameters, dict(draft.label_items), 0, 0, kind.max_retries, None, run_at, kind.timeout),
        *(None, None, None, None, None, (), now, None, None, None, None, None),
    )
