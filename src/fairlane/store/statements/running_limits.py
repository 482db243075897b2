"""Limits on what runs, exact under concurrency: whoever holds a subject's quota row counts real rows, then claims.

A row that another worker's claim holds is passed over, so that a limit never holds up what is not under it. Nothing is
counted up or down, so a worker that is killed leaks no slot.
"""

import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, delete, func, select, tuple_

from fairlane.domain.limits import Subject
from fairlane.store.dialects import insert, is_sqlite, upsert
from fairlane.store.tables import limits, quotas, starts

# In place of an organization, for what is about all of them: no organization has an empty id.
_ALL: Final = ""


def prepare(connection: Connection, subjects: Collection[Subject]) -> None:
    """Make these subjects' quota rows, in a short transaction: a claim's would hold up others that make them, too."""
    if is_sqlite(connection):
        return  # a write transaction is alone
    keys = sorted(_quota_key(subject) for subject in subjects)
    rows = [{"organization_id": organization, "subject": name, "uses": 0} for organization, name in keys]
    connection.execute(insert(connection, quotas).on_conflict_do_nothing(), rows)


def lock(connection: Connection, subjects: Collection[Subject]) -> frozenset[Subject]:
    """Lock these subjects' quota rows to the end of the transaction; which of them nobody else held."""
    if is_sqlite(connection) or not subjects:
        return frozenset(subjects)  # a write transaction is alone
    keys = {_quota_key(subject): subject for subject in subjects}
    locked = connection.execute(
        select(quotas.c.organization_id, quotas.c.subject)
        .where(tuple_(quotas.c.organization_id, quotas.c.subject).in_(list(keys)))
        .with_for_update(skip_locked=True)
        .execution_options(fairlane_across="claim")
    )
    return frozenset(keys[row.organization_id, row.subject] for row in locked)


def started(connection: Connection, now: datetime, windows: Mapping[Subject, float]) -> dict[Subject, int]:
    """How many jobs of each subject have started within its window (seconds, up to now); older entries are deleted."""
    found: dict[Subject, int] = {}
    for subject, window in windows.items():
        mine = (starts.c.organization_id == (subject.organization or _ALL)) & (starts.c.job_type == subject.job_type)
        begin = now - timedelta(seconds=window)
        connection.execute(delete(starts).where(mine, starts.c.at <= begin))
        found[subject] = connection.execute(
            select(func.coalesce(func.sum(starts.c.number), 0)).where(mine)
        ).scalar_one()
    return found


def latest_starts(connection: Connection, subject: Subject, limit: int) -> list[tuple[datetime, int]]:
    """When the last jobs of an execution-limited subject started, and how many then; the newest first."""
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
        connection.execute(starts.insert(), rows)


def set_limit(connection: Connection, subject: Subject, changes: Mapping[str, Any]) -> None:
    """Set some of the limits of a job type, for all organizations or one. The caller holds the type's row."""
    document = {**overrides(connection).get(subject, {}), **changes}
    key = {"organization_id": subject.organization or _ALL, "job_type": subject.job_type}
    upsert(connection, limits, {**key, "document": json.dumps(document, sort_keys=True)})


def reset_limit(connection: Connection, subject: Subject) -> bool:
    """Forget what was set; False if nothing was."""
    mine = (limits.c.organization_id == (subject.organization or _ALL)) & (limits.c.job_type == subject.job_type)
    return connection.execute(delete(limits).where(mine)).rowcount == 1


def forget_type(connection: Connection, job_type: str) -> None:
    """Forget all limits that were set for a job type, and its starts."""
    for table in (limits, starts):
        statement = delete(table).where(table.c.job_type == job_type)
        connection.execute(statement.execution_options(fairlane_across="clean-up"))


def overrides(connection: Connection) -> dict[Subject, dict[str, Any]]:
    """What was set beyond the job types' own limits: few rows, read in every claim round."""
    statement = select(limits).execution_options(fairlane_across="claim")
    return {
        Subject(row.organization_id or None, row.job_type): json.loads(row.document)
        for row in connection.execute(statement)
    }


def _quota_key(subject: Subject) -> tuple[str, str]:
    name = "limit" if subject.job_type is None else f"limit/{subject.job_type}"
    return subject.organization or _ALL, name
