"""Lists of an organization's jobs: one page by keyset, and a count that stops at its cap."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select

from fairlane.domain.jobs import Job
from fairlane.domain.sealing import PREFIX
from fairlane.domain.statuses import JobStatus
from fairlane.store.statements.rows import WITHOUT_KEYS, Opener, jobs_of, select_jobs
from fairlane.store.tables import AnyRow, jobs, labels


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs to list; None or empty = whatever it is.

    `ids` is the first and the last id of a range. `words` is looked for in job type and error, from the id
    `words_from` on; in errors only where `in_errors` says so. `created_after` is included, `created_before` is not.
    """

    statuses: frozenset[JobStatus] = frozenset()
    job_type: str | None = None
    user: str | None = None
    queue: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None
    ids: tuple[UUID, UUID] | None = None
    words: str | None = None
    words_from: UUID | None = None
    in_errors: bool = True


def find(connection: Connection, organization: str, job_id: UUID) -> AnyRow | None:
    """A job's row with its progress and cancel request, for `rows.to_job`; None if there is none."""
    return connection.execute(
        select_jobs().where(jobs.c.organization_id == organization, jobs.c.id == job_id)
    ).one_or_none()


def is_there(connection: Connection, organization: str, job_id: UUID) -> bool:
    """Whether the organization has the job."""
    there = exists().where(jobs.c.organization_id == organization, jobs.c.id == job_id)
    return connection.execute(select(there)).scalar_one()


def page(
    connection: Connection,
    organization: str,
    wanted: Wanted,
    *,
    before: UUID | None,
    limit: int,
    opener: Opener = WITHOUT_KEYS,
) -> tuple[Job, ...]:
    """Jobs, newest first, from just after `before`. Ids are UUIDv7, so the primary key has them in this order."""
    statement = select_jobs().where(jobs.c.organization_id == organization, *_conditions(organization, wanted))
    if before is not None:
        statement = statement.where(jobs.c.id < before)
    return jobs_of(connection, organization, statement.order_by(jobs.c.id.desc()).limit(limit), opener)


def ids(
    connection: Connection, organization: str, wanted: Wanted, *, before: UUID | None, limit: int
) -> tuple[UUID, ...]:
    """The ids of a page, without reading what else there is of its jobs."""
    statement = select(jobs.c.id).where(jobs.c.organization_id == organization, *_conditions(organization, wanted))
    if before is not None:
        statement = statement.where(jobs.c.id < before)
    return tuple(connection.scalars(statement.order_by(jobs.c.id.desc()).limit(limit)))


def count(connection: Connection, organization: str, wanted: Wanted, *, up_to: int) -> int:
    """How many there are, counted no further than `up_to`."""
    some = (
        select(jobs.c.id)
        .where(jobs.c.organization_id == organization, *_conditions(organization, wanted))
        .limit(up_to)
        .subquery()
    )
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def nth_newest(connection: Connection, organization: str, nth: int) -> UUID | None:
    """The id of the `nth` newest job, from 1; None if there are fewer. Reads the primary key alone."""
    return connection.scalars(
        select(jobs.c.id)
        .where(jobs.c.organization_id == organization)
        .order_by(jobs.c.id.desc())
        .offset(nth - 1)
        .limit(1)
    ).one_or_none()


def has_id_in(connection: Connection, organization: str, ids: tuple[UUID, UUID]) -> bool:
    """Whether any job's id is in the range: one probe of the primary key."""
    there = exists().where(jobs.c.organization_id == organization, jobs.c.id.between(*ids))
    return connection.execute(select(there)).scalar_one()


def _conditions(organization: str, wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    equal = {jobs.c.job_type: wanted.job_type, jobs.c.submitted_by: wanted.user, jobs.c.queue: wanted.queue}
    yield from (column == value for column, value in equal.items() if value is not None)
    if wanted.statuses:
        yield jobs.c.status.in_(sorted(wanted.statuses))
    for name, value in wanted.labels:
        # IN and not EXISTS: SQLite would look at every job of the organization for its label.
        labeled = select(labels.c.job_id).where(
            labels.c.organization_id == organization, labels.c.name == name, labels.c.value == value
        )
        yield jobs.c.id.in_(labeled)
    if wanted.created_after is not None:
        yield jobs.c.created_at >= wanted.created_after
    if wanted.created_before is not None:
        yield jobs.c.created_at < wanted.created_before
    if wanted.ids is not None:
        yield jobs.c.id.between(*wanted.ids)
    if wanted.words is not None:
        words = (jobs.c.job_type, jobs.c.error_type, jobs.c.error_message)
        in_type, in_error_type, in_error = (one.icontains(wanted.words, autoescape=True) for one in words)
        # Chance finds any three letters in a sealed text.
        told = (and_(in_error, ~jobs.c.error_message.startswith(PREFIX)),) if wanted.in_errors else ()
        yield or_(in_type, in_error_type, *told)
    if wanted.words_from is not None:
        yield jobs.c.id >= wanted.words_from
