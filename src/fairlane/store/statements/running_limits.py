"""Limits on what runs, exact under concurrency: whoever holds a subject's quota row counts real rows, then claims.

A row that another worker's claim holds is passed over, so that a limit never holds up what is not under it. Nothing is
counted up or down, so a worker that is killed leaks no slot.
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

# In place of an organization, for what is about all of them: no organization has an empty id.
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
# A row's xmax is who locked or changed it last. A transaction that has a number holds it as a lock until it ends.
_HELD: Final = """
SELECT given.organization_id, given.subject
FROM {given} JOIN fairlane_quotas AS quota
  ON quota.organization_id = given.organization_id AND quota.subject = given.subject
JOIN pg_locks AS holder ON holder.locktype = 'transactionid' AND holder.granted AND holder.transactionid = quota.xmax
"""


def prepare(connection: Connection, clock: Clock, subjects: Collection[Subject]) -> None:
    """Make these subjects' quota rows, in a short transaction: a claim's would hold up others that make them, too.

    For PostgreSQL. Clean-up takes them a day later, used or not: nothing is written when one is used.
    """
    keys = sorted(_quota_key(subject) for subject in subjects)
    made = {"uses": 0, "used_at": clock.now(connection)}
    rows = [{"organization_id": organization, "subject": name, **made} for organization, name in keys]
    insert_missing(connection, quotas, rows)


def lock(connection: Connection, subjects: Collection[Subject]) -> frozenset[Subject]:
    """Lock these subjects' quota rows to the end of the transaction; those that are there and nobody else held."""
    engine = engine_of(connection)
    if engine.writers_are_serial or not subjects:
        return frozenset(subjects)
    keys = {_quota_key(subject): subject for subject in subjects}
    lock_quotas = engine.statement("lock_quotas").execution_options(fairlane_across="claim")
    locked = connection.execute(lock_quotas, {"given": as_given(sorted(keys))})
    return frozenset(keys[row.organization_id, row.subject] for row in locked)


def held(connection: Connection, subjects: Collection[Subject]) -> frozenset[Subject]:
    """Return those subjects whose quota rows an open transaction holds. Nothing is locked, so that a read may ask."""
    if engine_of(connection).writers_are_serial or not subjects:
        return frozenset()
    keys = {_quota_key(subject): subject for subject in subjects}
    statement = text(_HELD.format(given=given("organization_id", "subject"))).execution_options(fairlane_across="claim")
    found = connection.execute(statement, {"given": as_given(sorted(keys))})
    return frozenset(keys[row.organization_id, row.subject] for row in found)


def started(connection: Connection, now: datetime, windows: Mapping[Subject, float]) -> dict[Subject, int]:
    """Return how many jobs of each subject have started within its window (seconds, up to now)."""
    if not windows:
        return {}
    rows = connection.execute(_started(engine_of(connection)), _windows(now, windows))
    return {Subject(organization or None, job_type): number for organization, job_type, number in rows}


def forget_starts(connection: Connection, now: datetime, windows: Mapping[Subject, float]) -> None:
    """Delete starts of each subject that are older than its window (seconds, up to now).

    Or still to come, since a clock was set back: they would count for an hour that has been.
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
    """Return the parameters of the two: each subject with the begin of its window, and the time."""
    begins = {seconds: Instant.as_text(now - timedelta(seconds=seconds)) for seconds in set(windows.values())}
    rows = [[one.organization or _ALL, one.job_type, begins[each]] for one, each in windows.items()]
    return {"given": as_given(rows), "now": Instant.as_text(now)}


def latest_starts(connection: Connection, subject: Subject, limit: int) -> list[tuple[datetime, int]]:
    """Return when the last jobs of an execution-limited subject started, and how many then; the newest first."""
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
    """Write down how many jobs of each subject start now, for the executions of its window (seconds) to be counted.

    Those of a slice of the window are one row, of the last one's time: each claim reads all rows of a window, which may
    be a day. The caller holds the subjects' quota rows.
    """
    for subject, number in numbers.items():
        seconds = windows[subject] / _SLICES
        begin = datetime.fromtimestamp(now.timestamp() // seconds * seconds, UTC)
        key = {"organization_id": subject.organization or _ALL, "job_type": subject.job_type}
        of_slice = [starts.c[name] == value for name, value in key.items()] + [starts.c.at.between(begin, now)]
        # One row: a window that was made longer, or a release before this one, may have left several in a slice. By its
        # key alone: else PostgreSQL may look for it among all rows of the subject.
        newest = select(starts.c.id).where(*of_slice).order_by(starts.c.at.desc()).limit(1).scalar_subquery()
        more = update(starts).where(starts.c.id == newest).values(at=now, number=starts.c.number + number)
        if not connection.execute(more.execution_options(fairlane_across="claim")).rowcount:
            insert_many(connection, starts, [{**key, "at": now, "number": number}])


def set_limit(connection: Connection, subject: Subject, changes: Mapping[str, Any]) -> None:
    """Set some of the limits of a job type, for all organizations or one. The caller holds the type's row."""
    key = {"organization_id": subject.organization or _ALL, "job_type": subject.job_type}
    known = connection.scalars(select(limits.c.document).where(is_row(limits, *_key(subject)))).one_or_none()
    document = {**(json.loads(known) if known is not None else {}), **changes}
    upsert(connection, limits, {**key, "document": json.dumps(document, sort_keys=True)})


def reset_limit(connection: Connection, subject: Subject) -> dict[str, Any] | None:
    """Forget what was set, and return it; None if nothing was."""
    forgotten = delete(limits).where(is_row(limits, *_key(subject))).returning(limits.c.document)
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


def _key(subject: Subject) -> tuple[str, str | None]:
    return subject.organization or _ALL, subject.job_type


def _quota_key(subject: Subject) -> tuple[str, str]:
    name = "limit" if subject.job_type is None else f"limit/{subject.job_type}"
    return subject.organization or _ALL, name
