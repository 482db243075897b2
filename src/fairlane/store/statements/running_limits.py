"""Limits on what runs, exact under concurrency: whoever holds a subject's quota row counts real rows, then claims.

A row that another worker's claim holds is passed over, so that a limit never holds up what is not under it. Nothing is
counted up or down, so a worker that is killed leaks no slot.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, TextClause, delete, select, text

from fairlane.domain.limits import Limit, Subject
from fairlane.store.clock import Clock
from fairlane.store.dialects import as_given, given, is_sqlite
from fairlane.store.inserts import insert_many, rows_from_json, upsert
from fairlane.store.tables import Instant, limits, quotas, starts

# In place of an organization, for what is about all of them: no organization has an empty id.
_ALL: Final = ""
_FIELDS: Final = frozenset(field.name for field in fields(Limit))

OVERRIDES: Final = select(limits.c.organization_id, limits.c.job_type, limits.c.document)
# A lock each by the key. One condition on a list of pairs would have PostgreSQL overflow its stack at some thousands.
_LOCK: Final = text(f"""
SELECT given.organization_id, given.subject
FROM {given("organization_id", "subject")} CROSS JOIN LATERAL (
  SELECT FROM fairlane_quotas AS quota
  WHERE quota.organization_id = given.organization_id AND quota.subject = given.subject
  FOR NO KEY UPDATE SKIP LOCKED) AS free
""").execution_options(fairlane_across="claim")  # noqa: S608 - a constant of ours
_STARTED: Final = """
SELECT given.organization_id, given.job_type, (
  SELECT coalesce(sum(one.number), 0) FROM fairlane_starts AS one
  WHERE one.organization_id = given.organization_id AND one.job_type = given.job_type AND one.at > {begin}
    AND one.at <= {now})
FROM {given}
"""
# Or still to come, since a clock was set back: they would count for an hour that has been.
_OLD: Final = (
    "one.organization_id = given.organization_id AND one.job_type = given.job_type "
    "AND (one.at <= {begin} OR one.at > {now})"
)
# By key: the planner could read all starts to join them. No more at once than keeps a claim short.
_FORGET_ON_POSTGRES: Final = f"""
DELETE FROM fairlane_starts WHERE id = ANY(ARRAY(
  SELECT old.id FROM {{given}} CROSS JOIN LATERAL (
    SELECT id FROM fairlane_starts AS one WHERE {_OLD} ORDER BY one.at LIMIT 100) AS old))
"""  # noqa: S608 - a constant of ours
_FORGET_ON_SQLITE: Final = f"""
DELETE FROM fairlane_starts WHERE id IN (SELECT one.id FROM {{given}} CROSS JOIN fairlane_starts AS one WHERE {_OLD})
"""  # noqa: S608 - a constant of ours


def prepare(connection: Connection, clock: Clock, subjects: Collection[Subject]) -> None:
    """Make these subjects' quota rows, in a short transaction: a claim's would hold up others that make them, too.

    For PostgreSQL. Clean-up takes them a day later, used or not: nothing is written when one is used.
    """
    keys = sorted(_quota_key(subject) for subject in subjects)
    made = {"uses": 0, "used_at": clock.now(connection)}
    rows = [{"organization_id": organization, "subject": name, **made} for organization, name in keys]
    statement, values = rows_from_json(quotas, rows)
    connection.execute(statement.on_conflict_do_nothing(), values)


def lock(connection: Connection, subjects: Collection[Subject]) -> frozenset[Subject]:
    """Lock these subjects' quota rows to the end of the transaction; those that are there and nobody else held."""
    if is_sqlite(connection) or not subjects:
        return frozenset(subjects)  # a write transaction is alone
    keys = {_quota_key(subject): subject for subject in subjects}
    locked = connection.execute(_LOCK, {"given": as_given(sorted(keys))})
    return frozenset(keys[row.organization_id, row.subject] for row in locked)


def started(connection: Connection, now: datetime, windows: Mapping[Subject, float]) -> dict[Subject, int]:
    """Return how many jobs of each subject have started within its window (seconds, up to now)."""
    if not windows:
        return {}
    rows = connection.execute(_on_windows(_STARTED, sqlite=is_sqlite(connection)), _windows(connection, now, windows))
    return {Subject(organization or None, job_type): number for organization, job_type, number in rows}


def forget_starts(connection: Connection, now: datetime, windows: Mapping[Subject, float]) -> None:
    """Delete starts of each subject that are older than its window (seconds, up to now)."""
    if windows:
        forget = _FORGET_ON_SQLITE if is_sqlite(connection) else _FORGET_ON_POSTGRES
        statement = _on_windows(forget, sqlite=is_sqlite(connection))
        connection.execute(statement, _windows(connection, now, windows))


@cache
def _on_windows(statement: str, *, sqlite: bool) -> TextClause:
    begin, now = (one if sqlite else f"CAST({one} AS timestamptz)" for one in ("given.since", ":now"))
    rows = given("organization_id", "job_type", "since")
    return text(statement.format(given=rows, begin=begin, now=now)).execution_options(fairlane_across="claim")


def _windows(connection: Connection, now: datetime, windows: Mapping[Subject, float]) -> dict[str, str]:
    """Return the parameters of `_on_windows`: each subject with the begin of its window, and the time."""

    def stored(moment: datetime) -> str:
        return str(Instant().process_bind_param(moment, connection.dialect))

    begins = {seconds: stored(now - timedelta(seconds=seconds)) for seconds in set(windows.values())}
    rows = [[one.organization or _ALL, one.job_type, begins[each]] for one, each in windows.items()]
    return {"given": as_given(rows), "now": stored(now)}


def latest_starts(connection: Connection, subject: Subject, limit: int) -> list[tuple[datetime, int]]:
    """Return when the last jobs of an execution-limited subject started, and how many then; the newest first."""
    rows = connection.execute(
        select(starts.c.at, starts.c.number)
        .where(starts.c.organization_id == (subject.organization or _ALL), starts.c.job_type == subject.job_type)
        .order_by(starts.c.at.desc())
        .limit(limit)
    )
    return [(at, number) for at, number in rows]


def note_starts(connection: Connection, now: datetime, numbers: Mapping[Subject, int]) -> None:
    """Write down how many jobs of each subject start now, for the executions of its window to be counted."""
    rows = [
        {"organization_id": subject.organization or _ALL, "job_type": subject.job_type, "at": now, "number": number}
        for subject, number in numbers.items()
    ]
    if rows:
        insert_many(connection, starts, rows)


def set_limit(connection: Connection, subject: Subject, changes: Mapping[str, Any]) -> None:
    """Set some of the limits of a job type, for all organizations or one. The caller holds the type's row."""
    key = {"organization_id": subject.organization or _ALL, "job_type": subject.job_type}
    known = connection.scalars(select(limits.c.document).where(_is(subject))).one_or_none()
    document = {**(json.loads(known) if known is not None else {}), **changes}
    upsert(connection, limits, {**key, "document": json.dumps(document, sort_keys=True)})


def reset_limit(connection: Connection, subject: Subject) -> dict[str, Any] | None:
    """Forget what was set, and return it; None if nothing was."""
    forgotten = delete(limits).where(_is(subject)).returning(limits.c.document)
    document = connection.scalars(forgotten).one_or_none()
    return _known(document) if document is not None else None


def forget_type(connection: Connection, job_type: str) -> None:
    """Forget all limits that were set for a job type, and its starts."""
    for table in (limits, starts):
        statement = delete(table).where(table.c.job_type == job_type)
        connection.execute(statement.execution_options(fairlane_across="clean-up"))


def overrides(connection: Connection) -> dict[Subject, dict[str, Any]]:
    """Return what was set beyond the job types' own limits; what a newer version set is left out."""
    return overrides_of(connection.execute(OVERRIDES.execution_options(fairlane_across="claim")))


def overrides_of(rows: Iterable[Iterable[str]]) -> dict[Subject, dict[str, Any]]:
    """Return what `overrides` does, from the rows of `OVERRIDES`."""
    return {Subject(organization or None, job_type): _known(document) for organization, job_type, document in rows}


def _known(document: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(document).items() if name in _FIELDS}


def _is(subject: Subject) -> ColumnElement[bool]:
    organization, job_type = subject
    return (limits.c.organization_id == (organization or _ALL)) & (limits.c.job_type == job_type)


def _quota_key(subject: Subject) -> tuple[str, str]:
    name = "limit" if subject.job_type is None else f"limit/{subject.job_type}"
    return subject.organization or _ALL, name
