"""Making due jobs ready: scheduled ones whose time has come, retries whose wait is over."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, exists, func, literal, literal_column, select, tuple_, update

from fairlane.domain import transitions
from fairlane.domain.statuses import EdgeState, JobStatus
from fairlane.store.clock import Clock, beforehand
from fairlane.store.dialects import fixed
from fairlane.store.statements.transition import Change, write_all
from fairlane.store.tables import job_parents, jobs

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Due:
    """Say whether a scheduled job is due, whether a retry is, and whether there are new edges."""

    scheduled: bool
    retry: bool
    has_new_edges: bool


def look(connection: Connection, clock: Clock) -> Due:
    """Return what there is to stage, by one statement: mostly nothing.

    The database compares: one moment that Python can't hold would end the looks of all.
    """
    moment = beforehand(clock, connection)
    now = func.clock_timestamp() if moment is None else literal(moment, jobs.c.run_at.type)
    pending = and_(jobs.c.status == fixed(JobStatus.PENDING), jobs.c.unmet_parents == literal_column("0"))
    retrying = and_(jobs.c.status == fixed(JobStatus.QUEUED), ~jobs.c.ready)
    new = exists().where(job_parents.c.state == fixed(EdgeState.NEW))
    scheduled = select(func.min(jobs.c.run_at)).where(pending).scalar_subquery()
    retry = select(func.min(jobs.c.next_retry_at)).where(retrying).scalar_subquery()
    statement = select((scheduled <= now).label("scheduled"), (retry <= now).label("retry"), new.label("new"))
    row = connection.execute(statement.execution_options(fairlane_across="stage")).one()
    return Due(bool(row.scheduled), bool(row.retry), bool(row.new))


def release_scheduled(connection: Connection, now: datetime, limit: int = _BATCH) -> int:
    """Queue pending jobs whose `run_at` is reached and whose parents are met; how many."""
    due = connection.execute(
        select(jobs.c.organization_id, jobs.c.id)
        .where(jobs.c.status == fixed(JobStatus.PENDING), jobs.c.unmet_parents == literal_column("0"))
        # The write proves that there is no lease, so a row that has one would stand at the head of each batch.
        .where(jobs.c.run_at <= now, jobs.c.lease_token.is_(None))
        .order_by(jobs.c.run_at)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
        .execution_options(fairlane_across="stage")
    ).all()
    transition = transitions.release("its time has come")
    return len(write_all(connection, now, [Change(row.organization_id, row.id, transition) for row in due]))


def ready_retries(connection: Connection, now: datetime, limit: int = _BATCH) -> int:
    """Let claims see the queued jobs whose `next_retry_at` is reached; how many. No transition: they stay queued.

    From then on they are due: one that comes again and again would otherwise always go before what came later.
    """
    due = connection.execute(
        select(jobs.c.organization_id, jobs.c.id)
        .where(jobs.c.status == fixed(JobStatus.QUEUED), ~jobs.c.ready, jobs.c.next_retry_at <= now)
        .order_by(jobs.c.next_retry_at)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
        .execution_options(fairlane_across="stage")
    ).all()
    if not due:
        return 0
    made_ready = connection.execute(
        update(jobs)
        .where(tuple_(jobs.c.organization_id, jobs.c.id).in_([(row.organization_id, row.id) for row in due]))
        # Canceled meanwhile: then it is not for us.
        .where(jobs.c.status == JobStatus.QUEUED)
        .values(ready=True, run_at=jobs.c.next_retry_at)
    )
    return made_ready.rowcount
