"""Submission limits, exact under concurrency: lock a quota row until the commit, then count rows.

Only limited submissions pay for this. The lock is an UPDATE: at repeatable read, a caller gets a serialization failure
instead of an outdated count.
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

_SYSTEM: Final = ""  # stands for the system; no user has an empty id


def lock(connection: Connection, clock: Clock, keys: Iterable[tuple[str, str]]) -> None:
    """Lock the quota rows (organization, subject) until the transaction ends, in sorted order against deadlocks."""
    ordered = sorted(set(keys))
    if not ordered:
        return
    now = clock.now(connection)
    for organization, subject in ordered:
        statement = (
            engine_of(connection).insert(quotas).values(organization_id=organization, subject=subject, used_at=now)
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[quotas.c.organization_id, quotas.c.subject],
                set_={"used_at": now},
            )
        )


def forget_unused(
    connection: Connection, before: datetime, after: tuple[str, str], limit: int
) -> tuple[str, str] | None:
    """Delete those of the `limit` quota rows after `after` that no submission has needed since `before`.

    For rows of claims the time of their creation counts. Locked rows stay. A deleted row is created again when needed.

    Returns:
        The last row that was checked; None = there are no more.
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
    """Return the time of the `nth` newest submission of this type and user, if it was after `since`."""
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
    """Note these submissions for the submission rates."""
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


def forget_submissions(connection: Connection, before: datetime, limit: int) -> int:
    """Delete the oldest notes of submissions before this time, up to `limit`; return their number."""
    oldest = select(submissions.c.id).where(submissions.c.at < before).order_by(submissions.c.at).limit(limit)
    statement = delete(submissions).where(submissions.c.id.in_(oldest)).execution_options(fairlane_across="clean-up")
    return connection.execute(statement).rowcount


def live_jobs(connection: Connection, organization: str, *, up_to: int) -> int:
    """Count the organization's live jobs, up to `up_to`."""
    some = (
        select(live.c.id)
        .where(live.c.organization_id == organization)
        # In the order of the key: otherwise the planner may scan the table, and expect to find enough rows soon.
        .order_by(live.c.id)
        .limit(up_to)
        .subquery()
    )
    return connection.execute(select(func.count()).select_from(some)).scalar_one()
