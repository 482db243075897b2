"""Counts and ages, and the numbers of `fairlane top`: of one organization, or, for operators, of all."""

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Connection, Select, Table, func, select

from fairlane.domain.statuses import JobStatus, Resolution
from fairlane.store.sql import fixed
from fairlane.store.statements.rows import progress_of
from fairlane.store.tables import AnyRow, dead_letters, ended, live, pauses, progress, workers

S = TypeVar("S", bound=Select[*tuple[object, ...]])


def within(statement: S, table: Table, organization: str | None) -> S:
    """Restrict a statement to one organization; None = mark it as a statement across all organizations."""
    if organization is None:
        return statement.execution_options(fairlane_across="operator reads")
    return statement.where(table.c.organization_id == organization)


def jobs_by_status(connection: Connection, organization: str | None) -> dict[str, int]:
    """Count the jobs in each status that has any, by one pass over an index."""
    found: Counter[str] = Counter()
    for table in (live, ended):
        statement = select(table.c.status, func.count().label("size")).group_by(table.c.status)
        found.update({row.status: row.size for row in connection.execute(within(statement, table, organization))})
    return found


def ready_by_priority(connection: Connection, organization: str | None) -> Sequence[AnyRow]:
    """Return each priority with ready jobs: `priority` (its rank), `size`, and `since`, when the first was due.

    For a retry that is its retry time: a planned delay does not count as waiting.
    """
    due = func.coalesce(live.c.next_retry_at, live.c.run_at, type_=live.c.run_at.type)
    statement = (
        select(
            live.c.priority,
            func.count().label("size"),
            func.min(due, type_=live.c.run_at.type).label("since"),
        )
        .where(live.c.ready)
        .group_by(live.c.priority)
    )
    return connection.execute(within(statement, live, organization)).all()


def dead_letter_depth(connection: Connection, organization: str | None) -> int:
    """Count the undecided dead letters."""
    statement = select(func.count()).select_from(dead_letters).where(dead_letters.c.resolution == Resolution.PENDING)
    return connection.execute(within(statement, dead_letters, organization)).scalar_one()


def running_by_worker(connection: Connection) -> Counter[UUID]:
    """Count the running jobs of each worker."""
    statement = (
        select(live.c.worker_id, func.count())
        .where(live.c.status == fixed(JobStatus.RUNNING))
        .group_by(live.c.worker_id)
        .execution_options(fairlane_across="operator reads")
    )
    return Counter(dict(connection.execute(statement).all()))


def running(connection: Connection, organization: str | None, limit: int) -> Sequence[AnyRow]:
    """Return running jobs with their worker's name and their progress, the longest-running first."""
    statement = (
        select(
            live,
            workers.c.name.label("worker"),
            progress.c.percent,
            progress.c.message,
        )
        .select_from(live)
        .outerjoin(workers, workers.c.id == live.c.worker_id)
        .outerjoin(progress, progress_of(live, live.c.attempt))
        .where(live.c.status == fixed(JobStatus.RUNNING))
        .order_by(live.c.started_at, live.c.id)
        .limit(limit)
    )
    return connection.execute(within(statement, live, organization)).all()


def queue_names(connection: Connection, organization: str | None, after: str | None, limit: int) -> list[str]:
    """Return the first queues after this one, in the database's order of names.

    These are queues with live jobs of the organization; None = of all organizations, and paused queues.
    """
    found = within(select(live.c.queue.label("name")).distinct(), live, organization)
    names = found.subquery()
    if organization is None:
        names = found.union(select(pauses.c.name).where(pauses.c.subject == "queue")).subquery()
    page = select(names.c.name).order_by(names.c.name).limit(limit)
    page = page.where(names.c.name > after) if after is not None else page
    return list(connection.execute(within(page, live, None) if organization is None else page).scalars())


def live_by_lane(
    connection: Connection, organization: str | None = None, queues: Sequence[str] | None = None
) -> Sequence[AnyRow]:
    """Count live jobs in groups of `queue`, `organization`, `job_type`, `status` and `ready`; `size` is the count.

    Args:
        organization: None = all organizations.
        queues: only these queues; None = all.
    """
    owner = live.c.organization_id.label("organization")
    group = (live.c.queue, owner, live.c.job_type, live.c.status, live.c.ready)
    statement = select(*group, func.count().label("size")).group_by(*group)
    statement = statement.where(live.c.queue.in_(queues)) if queues is not None else statement
    return connection.execute(within(statement, live, organization)).all()
