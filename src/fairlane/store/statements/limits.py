"""Submission limits, exact under concurrency: a quota row is locked to the commit, then rows are counted.

Only what is limited pays. The lock is an UPDATE, so that a caller at repeatable read gets a serialization failure
instead of a count from before its snapshot.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, delete, func, select, tuple_

from fairlane.store.clock import Clock
from fairlane.store.engine import engine_of
from fairlane.store.sql import insert_many
from fairlane.store.statements.drafts import Draft
from fairlane.store.tables import live, quotas, submissions

_SYSTEM: Final = ""  # in place of a user; no user has an empty id


def lock(connection: Connection, clock: Clock, keys: Iterable[tuple[str, str]]) -> None:
    """Lock the quota rows (organization, subject) to the end of the transaction, in sorted order against deadlocks."""
    ordered = sorted(set(keys))
    if not ordered:
        return
    now = clock.now(connection)
    for organization, subject in ordered:
        statement = (
            engine_of(connection)
            .insert(quotas)
            .values(organization_id=organization, subject=subject, uses=1, used_at=now)
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[quotas.c.organization_id, quotas.c.subject],
                set_={"uses": quotas.c.uses + 1, "used_at": now},
            )
        )


def forget_unused(
    connection: Connection, before: datetime, after: tuple[str, str], limit: int
) -> tuple[str, str] | None:
    """Delete, of the `limit` quota rows that follow `after`, those that no submission has needed since `before`.

    Claims' rows go by when they were made. One that is locked stays. Who needs one that is gone makes it anew.

    Returns:
        The last row that was looked at; None = there are no more.
    """
    key = (quotas.c.organization_id, quotas.c.subject)
    page = connection.execute(
        select(*key, quotas.c.used_at)
        .where(tuple_(*key) > after)
        .order_by(*key)
        .limit(limit)
        .execution_options(fairlane_across="clean-up")
    ).all()
    last = (page[-1].organization_id, page[-1].subject) if len(page) == limit else None
    old = [(row.organization_id, row.subject) for row in page if row.used_at < before]
    if not old:
        return last
    free = connection.execute(
        select(*key)
        .where(tuple_(*key).in_(old), quotas.c.used_at < before)
        .with_for_update(skip_locked=True)
        .execution_options(fairlane_across="clean-up")
    ).all()
    gone = delete(quotas).where(tuple_(*key).in_([(row.organization_id, row.subject) for row in free]))
    connection.execute(gone.execution_options(fairlane_across="clean-up"))
    return last


def nth_newest_submission(
    connection: Connection, organization: str, user: str | None, job_type: str, *, nth: int, since: datetime
) -> datetime | None:
    """Return when the `nth` newest job of this type and user was submitted, if that was after `since`."""
    return connection.scalars(
        select(submissions.c.at)
        .where(
            submissions.c.organization_id == organization,
            submissions.c.job_type == job_type,
            submissions.c.submitted_by == (user or _SYSTEM),
            submissions.c.at > since,
        )
        .order_by(submissions.c.at.desc())
        .offset(nth - 1)
        .limit(1)
    ).one_or_none()


def note_submissions(connection: Connection, now: datetime, drafts: Sequence[Draft]) -> None:
    """Write down, for the rate, that these were submitted."""
    rows = [
        {
            "organization_id": draft.organization,
            "job_type": draft.job_type,
            "submitted_by": draft.user or _SYSTEM,
            "at": now,
        }
        for draft in drafts
        if draft.kind.rate is not None
    ]
    if rows:
        insert_many(connection, submissions, rows)


def forget_submissions(connection: Connection, before: datetime, limit: int) -> None:
    """Delete the oldest of what was submitted before a moment, so many at most."""
    oldest = select(submissions.c.id).where(submissions.c.at < before).order_by(submissions.c.at).limit(limit)
    statement = delete(submissions).where(submissions.c.id.in_(oldest)).execution_options(fairlane_across="clean-up")
    connection.execute(statement)


def live_jobs(connection: Connection, organization: str, *, up_to: int) -> int:
    """Return how many jobs of the organization have not ended, counted no further than `up_to`."""
    some = (
        select(live.c.id)
        .where(live.c.organization_id == organization)
        # The order of the key: else the planner may read the table in hope of finding enough soon.
        .order_by(live.c.id)
        .limit(up_to)
        .subquery()
    )
    return connection.execute(select(func.count()).select_from(some)).scalar_one()
