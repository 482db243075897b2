"""Retention: the deletion of expired jobs, in batches, with all their data.

Unresolved dead letters, and parents of live jobs, stay at any age. They may be most of the old jobs. So a cleaner goes
page by page, and a page costs the same whatever was kept before it.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    TextualSelect,
    delete,
    or_,
    select,
    tuple_,
    update,
)

from fairlane.domain.breaker import Pair
from fairlane.domain.statuses import Resolution
from fairlane.store.engine import DatabaseEngine, engine_of
from fairlane.store.sql import is_row
from fairlane.store.statements import doomed_files, feed
from fairlane.store.statements.rows import STATUS, with_state
from fairlane.store.tables import (
    AnyRow,
    artifacts,
    attempt_errors,
    checkpoints,
    dead_letters,
    dedup_keys,
    ended,
    execution_log,
    job_parents,
    jobs,
    labels,
    live,
    log_lines,
    progress,
    results,
    revivals,
)

# All tables with rows of a job.
_OF_JOB = (
    artifacts,
    attempt_errors,
    checkpoints,
    dead_letters,
    dedup_keys,
    execution_log,
    job_parents,
    labels,
    log_lines,
    progress,
    results,
    revivals,
)


# Tables without a foreign key to delete their rows. For a foreign key PostgreSQL looks for rows of each deleted job,
# even if they are gone already.
_NOT_TAKEN_ALONG = tuple(
    table for table in _OF_JOB if not any(key.ondelete == "CASCADE" for key in table.foreign_key_constraints)
)

_MOST = 10_000  # rows of a table, deleted with their jobs in one transaction
_PIECE = 5_000  # rows of a table, deleted at once from a job that has too many
# The tables of which a job may have any number of rows, and their order by age.
_AGE: Final = {
    log_lines.c.job_id: log_lines.c.id,
    execution_log.c.job_id: execution_log.c.sequence,
    attempt_errors.c.job_id: attempt_errors.c.attempt,
}
_COUNTED: Final = (*_AGE, job_parents.c.job_id, job_parents.c.parent_id)


@cache
def _shelves(engine: DatabaseEngine) -> TextualSelect:
    read = engine.statement("shelves").columns(ended.c.organization_id, ended.c.job_type, ended.c.finished_at)
    return read.execution_options(fairlane_across="clean-up")


def shelves(connection: Connection, after: Pair, limit: int) -> list[tuple[Pair, datetime]]:
    """Return the shelves that follow, each with the time at which its oldest job ended.

    A shelf holds the ended jobs of one type and one organization, which have the same retention.
    """
    found = connection.execute(_shelves(engine_of(connection)), {**after._asdict(), "limit": limit})
    return [(Pair(organization, job_type), ended) for organization, job_type, ended in found]


def ended_before(
    connection: Connection, shelf: Pair, moment: datetime, after: tuple[datetime, UUID] | None, limit: int
) -> Sequence[AnyRow]:
    """Return jobs of the shelf that ended before `moment`, oldest first, from just after `after`."""
    statement = select(ended.c.finished_at, ended.c.id).where(
        ended.c.organization_id == shelf.organization,
        ended.c.job_type == shelf.job_type,
        ended.c.finished_at < moment,
    )
    if after is not None:
        statement = statement.where(tuple_(ended.c.finished_at, ended.c.id) > after)
    return connection.execute(statement.order_by(ended.c.finished_at, ended.c.id).limit(limit)).all()


def lock_expired(
    connection: Connection, organization: str, job_ids: Collection[UUID], moment: datetime
) -> Sequence[UUID]:
    """Lock those of the jobs that ended before `moment` and may be deleted, so that a second cleaner skips them."""
    mine = (ended.c.organization_id == organization, engine_of(connection).among(ended.c.id, job_ids))
    is_old = select(ended.c.id).where(*mine, ended.c.finished_at < moment)
    # Lock their facts: this is the lock of an ended job, and it prevents new children.
    locked = connection.scalars(
        select(jobs.c.id)
        .where(jobs.c.organization_id == organization, jobs.c.id.in_(is_old), ~_unresolved(), ~_has_live_child())
        .order_by(jobs.c.id)
        .with_for_update(skip_locked=True)
    ).all()
    # Checked again: a retry, or a new child, that was committed between the first snapshot and its locks is visible
    # only now.
    return connection.scalars(
        select(ended.c.id)
        .where(
            *(ended.c.organization_id == organization, engine_of(connection).among(ended.c.id, locked)),
            ended.c.finished_at < moment,
            ~_has_live_child(ended),
        )
        .order_by(ended.c.id)
    ).all()


def _unresolved(job: FromClause = jobs) -> ColumnElement[bool]:
    return (
        select(dead_letters.c.job_id)
        .where(is_row(dead_letters, job.c.organization_id, job.c.id), dead_letters.c.resolution == Resolution.PENDING)
        .exists()
    )


def _needs_parents(edge: FromClause = job_parents) -> ColumnElement[bool]:
    """Return the condition that the child of an edge may need its parent: it is live, or a retryable dead letter."""
    its = edge.c.organization_id, edge.c.job_id
    is_undecided = (is_row(dead_letters, *its), dead_letters.c.resolution == Resolution.PENDING)
    undecided = select(dead_letters.c.job_id).where(*is_undecided)
    return or_(select(live.c.id).where(is_row(live, *its)).correlate(edge).exists(), undecided.correlate(edge).exists())


def _has_live_child(job: FromClause = jobs) -> ColumnElement[bool]:
    its = (job_parents.c.organization_id == job.c.organization_id, job_parents.c.parent_id == job.c.id)
    return select(job_parents.c.job_id).where(*its, _needs_parents()).exists()


def lock_to_delete(connection: Connection, organization: str, job_id: UUID) -> None:
    """Lock the job's facts against new references: wait for submissions of children, and hold up later ones."""
    connection.execute(select(jobs.c.id).where(is_row(jobs, organization, job_id)).with_for_update())


def live_child(connection: Connection, organization: str, job_id: UUID) -> AnyRow | None:
    """Return the id and status of a live job, or of an unresolved dead letter, that needs this job."""
    child = is_row(jobs, job_parents.c.organization_id, job_parents.c.job_id)
    edges = with_state(job_parents.join(jobs, child))
    mine = (job_parents.c.organization_id == organization, job_parents.c.parent_id == job_id, _needs_parents())
    first = select(jobs.c.id, STATUS).select_from(edges).where(*mine).order_by(jobs.c.id).limit(1)
    return connection.execute(first).first()


def delete_some(connection: Connection, now: datetime, organization: str, job_ids: Sequence[UUID]) -> Sequence[UUID]:
    """Delete the first of the sorted jobs with their rows, up to the limit of a transaction, and return them.

    If the first job alone has too many rows, delete its oldest rows and return no job: the caller repeats the call. If
    the job is revived meanwhile, the newest part of its history is still there.
    """
    beyond = _first_beyond(connection, organization, job_ids)
    few = job_ids[: min(map(job_ids.index, filter(None, beyond.values())), default=len(job_ids))]
    large = [key for key in _AGE if beyond[key] == job_ids[0]]
    if sum(_thin_out(connection, organization, key, job_ids[0]) for key in large):
        return ()
    # A parent of very many children is deleted at once: otherwise each transaction would read all children.
    gone = few or job_ids[:1]
    delete_jobs(connection, now, organization, gone)
    return gone


def _first_beyond(connection: Connection, organization: str, job_ids: Sequence[UUID]) -> dict[Column[Any], UUID | None]:
    """Return for each counted table the job with the first row beyond the limit, by an index; None = no such row."""
    among = engine_of(connection).among
    found = connection.execute(
        select(
            *(
                select(key)
                .where(key.table.c.organization_id == organization, among(key, job_ids))
                .offset(_MOST)
                .limit(1)
                .scalar_subquery()
                for key in _COUNTED
            )
        )
    )
    return dict(zip(_COUNTED, found.one(), strict=True))


def _thin_out(connection: Connection, organization: str, key: Column[Any], job_id: UUID) -> int:
    """Delete the job's oldest rows in the table of `key`, and return their number."""
    table, age = key.table, _AGE[key]
    its = (table.c.organization_id == organization, key == job_id)
    if table is execution_log:
        # By ids: a handler may have inserted any number of rows with one sequence. The ids are read first: if
        # PostgreSQL expects few rows of the job, it runs a subquery for each row.
        ids = connection.scalars(select(execution_log.c.id).where(*its).order_by(age).limit(_PIECE)).all()
        few: ColumnElement[bool] = execution_log.c.id.in_(ids)
        feed.raise_floor(connection, organization, select(execution_log.c.id).where(*its, few))
    else:
        few = age <= select(age).where(*its).order_by(age).offset(_PIECE - 1).limit(1).scalar_subquery()
    return connection.execute(delete(table).where(*its, few)).rowcount


def delete_jobs(connection: Connection, now: datetime, organization: str, job_ids: Sequence[UUID]) -> None:
    """Delete jobs with all their rows. The cleanup deletes their files after the commit."""
    theirs = engine_of(connection).among(artifacts.c.job_id, job_ids)
    paths = select(artifacts.c.path).where(artifacts.c.organization_id == organization, theirs)
    doomed_files.doom(connection, now, organization, connection.scalars(paths).all())
    entries = engine_of(connection).among(execution_log.c.job_id, job_ids)
    log = select(execution_log.c.id).where(execution_log.c.organization_id == organization, entries)
    feed.raise_floor(connection, organization, log)
    _tell_children(connection, now, organization, job_ids)
    # A host's settings may keep SQLite from enforcing foreign keys.
    tables = _NOT_TAKEN_ALONG if engine_of(connection).is_server else _OF_JOB
    of_job = [(table, table.c.job_id) for table in tables]
    for table, key in [*of_job, (job_parents, job_parents.c.parent_id), (ended, ended.c.id), (jobs, jobs.c.id)]:
        connection.execute(
            delete(table).where(table.c.organization_id == organization, engine_of(connection).among(key, job_ids))
        )


def _tell_children(connection: Connection, now: datetime, organization: str, parent_ids: Sequence[UUID]) -> None:
    """Note in the children's dead letters that a parent was deleted: they can't be retried any more."""
    children = select(job_parents.c.job_id).where(
        job_parents.c.organization_id == organization, engine_of(connection).among(job_parents.c.parent_id, parent_ids)
    )
    connection.execute(
        update(dead_letters)
        .where(dead_letters.c.organization_id == organization, dead_letters.c.job_id.in_(children))
        .values(parent_deleted_at=now)
    )
