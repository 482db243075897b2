"""Limits on running jobs, exact under concurrency: a claim locks a subject's quota row, and counts real rows.

A row that another worker's claim has locked is skipped, so a limit never holds up jobs that are not under it. There are
no counters to keep, so a killed worker leaks no slot.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, TextClause, delete, select, text, update

from fairlane.domain.limits import Limit, Subject
from fairlane.store.clock import Clock
from fairlane.store.engine import DatabaseEngine, engine_of
from fairlane.store.sql import as_given, given, insert_many, insert_missing, is_row, upsert
from fairlane.store.tables import Instant, limits, quotas, starts

# In place of an organization, for rows about all organizations: no organization has an empty id.
_ALL: Final = ""
_SLICES: Final = 10_000  # of a window
_FIELDS: Final = frozenset(field.name for field in fields(Limit))

OVERRIDES: Final = select(limits.c.organization_id, limits.c.job_type, limits.c.document)
_STARTED: Final = """
SELECT given.organization_id, given.job_type, (
  SELECT coalesce(sum(one.number), 0) FROM fairlane_starts AS one
  WHERE one.organization_id = given.organization_id AND one.job_type = given.job_type AND one.at > {begin}
    AND one.at <= {now})
FROM {given}
"""
# A row's xmax is the last transaction that locked or changed it. A transaction with a number holds a lock on that
# number until it ends.
_HELD: Final = """
SELECT given.organization_id, given.subject
FROM {given} JOIN fairlane_quotas AS quota
  ON quota.organization_id = given.organization_id AND quota.subject = given.subject
JOIN pg_locks AS holder ON holder.locktype = 'transactionid' AND holder.granted AND holder.transactionid = quota.xmax
"""


def prepare(connection: Connection, clock: Clock, subjects: Collection[Subject]) -> None:
    """Create these subjects' quota rows in a short transaction: a claim's would hold up others that create them.

    For PostgreSQL. The clean-up deletes them a day later, used or not: a claim does not write to the row.
    """
    keys = sorted(_quota_key(subject) for subject in subjects)
    now = clock.now(connection)
    rows = [{"organization_id": organization, "subject": name, "used_at": now} for organization, name in keys]
    insert_missing(connection, quotas, rows)


def lock(connection: Connection, subjects: Collection[Subject]) -> frozenset[Subject]:
    """Lock those of these subjects' quota rows that exist and are free, until the transaction ends; return them."""
    engine = engine_of(connection)
    if engine.writers_are_serial or not subjects:
        return frozenset(subjects)
    keys = {_quota_key(subject): subject for subject in subjects}
    lock_quotas = engine.statement("lock_quotas").execution_options(fairlane_across="claim")
    locked = connection.execute(lock_quotas, {"given": as_given(sorted(keys))})
    return frozenset(keys[row.organization_id, row.subject] for row in locked)


def held(connection: Connection, subjects: Collection[Subject]) -> frozenset[Subject]:
    """Return those subjects whose quota rows another transaction has locked. Reads may use it: it takes no lock."""
    if engine_of(connection).writers_are_serial or not subjects:
        return frozenset()
    keys = {_quota_key(subject): subject for subject in subjects}
    statement = text(_HELD.format(given=given("organization_id", "subject"))).execution_options(fairlane_across="claim")
    found = connection.execute(statement, {"given": as_given(sorted(keys))})
    return frozenset(keys[row.organization_id, row.subject] for row in found)


def started(connection: Connection, now: datetime, windows: Mapping[Subject, float]) -> dict[Subject, int]:
    """Count the starts of each subject within its window (seconds, up to now)."""
    if not windows:
        return {}
    rows = connection.execute(_started(engine_of(connection)), _windows(now, windows))
    return {Subject(organization or None, job_type): number for organization, job_type, number in rows}


def forget_starts(connection: Connection, now: datetime, windows: Mapping[Subject, float]) -> None:
    """Delete starts of each subject outside its window (seconds, up to now).

    That includes starts in the future, after a clock was set back: they would count at a wrong time.
    """
    if windows:
        forget = engine_of(connection).statement("forget_starts").execution_options(fairlane_across="claim")
        connection.execute(forget, _windows(now, windows))


@cache
def _started(engine: DatabaseEngine) -> TextClause:
    rows = given("organization_id", "job_type", "since")
    statement = _STARTED.format(given=rows, begin=engine.moment("given.since"), now=engine.moment(":now"))
    return text(statement).execution_options(fairlane_across="claim")


def _windows(now: datetime, windows: Mapping[Subject, float]) -> dict[str, str]:
    """Return the parameters of both statements: each subject with the beginning of its window, and the time."""
    begins = {seconds: Instant.as_text(now - timedelta(seconds=seconds)) for seconds in set(windows.values())}
    rows = [[one.organization or _ALL, one.job_type, begins[each]] for one, each in windows.items()]
    return {"given": as_given(rows), "now": Instant.as_text(now)}


def latest_starts(connection: Connection, subject: Subject, limit: int) -> list[tuple[datetime, int]]:
    """Return the last starts of an execution-limited subject, each with its time and number, the newest first."""
    rows = connection.execute(
        select(starts.c.at, starts.c.number)
        .where(starts.c.organization_id == (subject.organization or _ALL), starts.c.job_type == subject.job_type)
        .order_by(starts.c.at.desc())
        .limit(limit)
    )
    return [(at, number) for at, number in rows]


def note_starts(
    connection: Connection, now: datetime, numbers: Mapping[Subject, int], windows: Mapping[Subject, float]
) -> None:
    """Store the numbers of jobs of each subject that start now, for the count within its window (seconds).

    The starts of a slice of the window share one row, with the time of the last start: each claim reads all rows of a
    window, which may be a day. The caller has locked the subjects' quota rows.
    """
    for subject, number in numbers.items():
        seconds = windows[subject] / _SLICES
        begin = datetime.fromtimestamp(now.timestamp() // seconds * seconds, UTC)
        key = {"organization_id": subject.organization or _ALL, "job_type": subject.job_type}
        of_slice = [starts.c[name] == value for name, value in key.items()] + [starts.c.at.between(begin, now)]
        # Merge into one row: a longer window, or an earlier release, may have left several rows in a slice. Only by its
        # key: otherwise PostgreSQL may look for it among all rows of the subject.
        newest = select(starts.c.id).where(*of_slice).order_by(starts.c.at.desc()).limit(1).scalar_subquery()
        more = update(starts).where(starts.c.id == newest).values(at=now, number=starts.c.number + number)
        if not connection.execute(more.execution_options(fairlane_across="claim")).rowcount:
            insert_many(connection, starts, [{**key, "at": now, "number": number}])


def set_limit(connection: Connection, subject: Subject, changes: Mapping[str, Any]) -> None:
    """Set some limits of a job type, for all organizations or one. The caller has locked the type's row."""
    key = {"organization_id": subject.organization or _ALL, "job_type": subject.job_type}
    known = connection.scalars(select(limits.c.document).where(is_row(limits, *_key(subject)))).one_or_none()
    document = {**(json.loads(known) if known is not None else {}), **changes}
    upsert(connection, limits, {**key, "document": json.dumps(document, sort_keys=True)})


def reset_limit(connection: Connection, subject: Subject) -> dict[str, Any] | None:
    """Delete and return the limits that were set; None if there were none."""
    forgotten = delete(limits).where(is_row(limits, *_key(subject))).returning(limits.c.document)
    document = connection.scalars(forgotten).one_or_none()
    return _known(document) if document is not None else None


def forget_type(connection: Connection, job_type: str) -> None:
    """Delete all limits that were set for a job type, and its starts."""
    for table in (limits, starts):
        statement = delete(table).where(table.c.job_type == job_type)
        connection.execute(statement.execution_options(fairlane_across="clean-up"))


def overrides(connection: Connection) -> dict[Subject, dict[str, Any]]:
    """Return the limits that were set beside the job types' own. Limits of a newer version are omitted."""
    return overrides_of(connection.execute(OVERRIDES.execution_options(fairlane_across="claim")))


def overrides_of(rows: Iterable[Iterable[str]]) -> dict[Subject, dict[str, Any]]:
    """Return the limits that operators set, from the rows of `OVERRIDES`."""
    return {Subject(organization or None, job_type): _known(document) for organization, job_type, document in rows}


def _known(document: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(document).items() if name in _FIELDS}


def _key(subject: Subject) -> tuple[str, str | None]:
    return subject.organization or _ALL, subject.job_type


def _quota_key(subject: Subject) -> tuple[str, str]:
    name = "limit" if subject.job_type is None else f"limit/{subject.job_type}"
    return subject.organization or _ALL, name
