"""Lists of an organization's jobs: one page by keyset, and a count that stops at its cap.

Lists go by `created_at`, which is by the database's clock. Ids only tell jobs of one moment apart.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    String,
    Subquery,
    and_,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from fairlane.domain.jobs import Job
from fairlane.domain.sealing import PREFIX
from fairlane.domain.statuses import JobStatus, Resolution
from fairlane.store.dialects import fixed
from fairlane.store.statements.rows import WITHOUT_KEYS, Opener, jobs_of, select_jobs
from fairlane.store.tables import DEFAULT_QUEUE, AnyRow, dead_letters, jobs, labels

_PLACE: Final = (jobs.c.created_at, jobs.c.id)


class Place(NamedTuple):
    """Where a job stands in lists."""

    created_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs to list; None, False or empty = whatever it is, also of a filter that a later release has.

    `ids` is the first and the last id of a range. `words` is looked for in job type and error, and `id_end`, lower hex
    digits, at the end of ids, from the job at `words_from` on; in errors only where `in_errors` says so.
    `created_after` and `there_at` are included, `created_before` is not. `common`: those of the labels that very many
    jobs have. `undecided`: dead letters that nobody has decided about; `fingerprint`: those of them with this error.
    `retry_after`: queued jobs whose retry is due after that moment.
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
    words_from: Place | None = None
    in_errors: bool = True
    common: frozenset[tuple[str, str]] = frozenset()
    there_at: datetime | None = None
    fingerprint: str | None = None
    id_end: str | None = None
    undecided: bool = False
    retry_after: datetime | None = None


class _Start(NamedTuple):
    """Where a page begins: just beyond this job."""

    beyond: Place
    oldest_first: bool = False


def find(connection: Connection, organization: str, job_id: UUID) -> AnyRow | None:
    """A job's row with its progress and cancel request, for `rows.to_job`; None if there is none."""
    return connection.execute(
        select_jobs().where(jobs.c.organization_id == organization, jobs.c.id == job_id)
    ).one_or_none()


def get(connection: Connection, organization: str, job_id: UUID, opener: Opener) -> Job | None:
    """Return a job; None if there is none."""
    return next(iter(jobs_of(connection, organization, select_jobs().where(jobs.c.id == job_id), opener)), None)


def is_there(connection: Connection, organization: str, job_id: UUID) -> bool:
    """Whether the organization has the job."""
    there = exists().where(jobs.c.organization_id == organization, jobs.c.id == job_id)
    return connection.execute(select(there)).scalar_one()


def page(
    connection: Connection,
    organization: str,
    wanted: Wanted,
    *,
    beyond: Place | None,
    limit: int,
    opener: Opener = WITHOUT_KEYS,
    oldest_first: bool = False,
) -> tuple[Job, ...]:
    """Return jobs, newest first or oldest first, from just beyond one."""
    start = _Start(beyond, oldest_first) if beyond is not None else None
    statement = select_jobs().where(jobs.c.organization_id == organization, *_conditions(organization, wanted, start))
    order = _place(wanted) if oldest_first else _newest_first(wanted)
    return jobs_of(connection, organization, statement.order_by(*order).limit(limit), opener)


def places(
    connection: Connection, organization: str, wanted: Wanted, *, before: Place | None, limit: int
) -> tuple[Place, ...]:
    """Return where the jobs of a page stand, without reading what else there is of them."""
    chosen = _conditions(organization, wanted, _Start(before) if before is not None else None)
    statement = select(*_PLACE).where(jobs.c.organization_id == organization, *chosen)
    return tuple(Place(*row) for row in connection.execute(statement.order_by(*_newest_first(wanted)).limit(limit)))


def count(connection: Connection, organization: str, wanted: Wanted, *, up_to: int) -> int:
    """How many there are, counted no further than `up_to`."""
    counted = select(func.count()).select_from(_some(organization, wanted, up_to))
    return connection.execute(counted).scalar_one()


def count_by_status(connection: Connection, organization: str, wanted: Wanted, *, up_to: int) -> dict[str, int]:
    """How many there are in each status, of no more than `up_to` in all, whichever they are."""
    some = _some(organization, wanted, up_to, jobs.c.status)
    found = connection.execute(select(some.c.status, func.count().label("size")).group_by(some.c.status))
    return {row.status: row.size for row in found}


def count_by_themselves(connection: Connection, organization: str, wanted: Wanted, *, up_to: int) -> tuple[int, int]:
    """How many dead letters there are, counted no further than `up_to`; and of these without a parent that is one.

    Those with one follow it when it is retried.
    """
    some, letter, parent = _some(organization, wanted, up_to), dead_letters.c, jobs.alias("parent").c
    # A value and not EXISTS, which PostgreSQL would make a join of all dead letters.
    follows = select(literal(1)).where(
        letter.organization_id == organization,
        letter.job_id == some.c.id,
        parent.organization_id == organization,
        parent.id == letter.caused_by,
        parent.status == fixed(JobStatus.DEAD_LETTER),
    )
    leading = func.count().filter(follows.scalar_subquery().is_(None))
    fitting, by_themselves = connection.execute(select(func.count(), leading).select_from(some)).one()
    return fitting, by_themselves


def _some(organization: str, wanted: Wanted, up_to: int, column: Column[Any] = jobs.c.id) -> Subquery:
    """The ids, or another column, of so many that fit, whichever they are."""
    some = select(column).where(jobs.c.organization_id == organization, *_conditions(organization, wanted))
    return some.limit(up_to).subquery()


def is_common(connection: Connection, organization: str, label: tuple[str, str], *, above: int) -> bool:
    """Whether more jobs than `above` have the label."""
    name, value = label
    mine = (labels.c.organization_id == organization, labels.c.name == name, labels.c.value == value)
    some = select(labels.c.job_id).where(*mine).limit(above + 1).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one() > above


def nth_newest(connection: Connection, organization: str, nth: int) -> Place | None:
    """Return the place of the `nth` newest job, from 1; None if there are fewer. Reads an index alone."""
    statement = select(*_PLACE).where(jobs.c.organization_id == organization).order_by(*_newest_first(Wanted()))
    found = connection.execute(statement.offset(nth - 1).limit(1)).one_or_none()
    return Place(*found) if found is not None else None


def has_id_in(connection: Connection, organization: str, ids: tuple[UUID, UUID]) -> bool:
    """Whether any job's id is in the range: one probe of the primary key."""
    there = exists().where(jobs.c.organization_id == organization, jobs.c.id.between(*ids))
    return connection.execute(select(there)).scalar_one()


def has_id_end(connection: Connection, organization: str, end: str, first: Place | None) -> bool:
    """Whether any job's id, from `first` on, ends with these lower hex digits. Reads an index alone."""
    conditions = _conditions(organization, Wanted(id_end=end, words_from=first))
    there = exists().where(jobs.c.organization_id == organization, *conditions)
    return connection.execute(select(there)).scalar_one()


def _conditions(organization: str, wanted: Wanted, start: _Start | None = None) -> Iterator[ColumnElement[bool]]:
    equal = {jobs.c.job_type: wanted.job_type, jobs.c.submitted_by: wanted.user, jobs.c.queue: wanted.queue}
    yield from (column == value for column, value in equal.items() if value is not None)
    if wanted.queue not in {None, DEFAULT_QUEUE}:
        yield jobs.c.queue != fixed(DEFAULT_QUEUE)  # so that the planner takes the partial index
    if wanted.statuses:
        yield jobs.c.status.in_(sorted(wanted.statuses))
    if wanted.retry_after is not None:
        # The very words of the index's predicate.
        yield jobs.c.status == fixed(JobStatus.QUEUED)
        yield ~jobs.c.ready
        yield jobs.c.next_retry_at > wanted.retry_after
    yield from _labeled(organization, wanted, start)
    if wanted.undecided or wanted.fingerprint is not None:
        # Each dead letter has its entry, which is pending till somebody decides. Without IN, and the other way round,
        # all that was ever decided would be read for the few that were not.
        yield jobs.c.id.in_(select(dead_letters.c.job_id).where(*_undecided(organization, wanted)))
    yield from _within(*_place(wanted), wanted, start)
    if wanted.words_from is not None and _leading_label(wanted) is not None:
        # Also of the jobs: PostgreSQL may read them before the label, and would read the whole table.
        yield tuple_(*_PLACE) >= wanted.words_from
    if wanted.id_end is not None:
        yield func.replace(cast(jobs.c.id, String), "-", "").like(f"%{wanted.id_end}")
    if wanted.words is not None:
        words = (jobs.c.job_type, jobs.c.error_type, jobs.c.error_message)
        in_type, in_error_type, in_error = (one.icontains(wanted.words, autoescape=True) for one in words)
        # Chance finds any three letters in a sealed text.
        told = (and_(in_error, ~jobs.c.error_message.startswith(PREFIX)),) if wanted.in_errors else ()
        yield or_(in_type, in_error_type, *told)


def _undecided(organization: str, wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    letter = dead_letters.c
    yield letter.organization_id == organization
    yield letter.resolution == Resolution.PENDING
    if wanted.fingerprint is not None:
        yield letter.fingerprint == wanted.fingerprint


def _labeled(organization: str, wanted: Wanted, start: _Start | None) -> Iterator[ColumnElement[bool]]:
    """Yield that the jobs have the labels. The leading label is joined, and gives the order of the list."""
    leading = _leading_label(wanted)
    other = labels.alias()
    for label in wanted.labels:
        if label == leading:
            yield from _has(labels, organization, label)
            yield labels.c.job_id == jobs.c.id
        elif label in wanted.common and leading not in wanted.common:
            # Few are found without it. A value and not EXISTS, which PostgreSQL would make a join of all that have it.
            at_job = (other.c.created_at == jobs.c.created_at, other.c.job_id == jobs.c.id)
            found = select(literal(1)).where(*_has(other, organization, label), *at_job)
            yield found.scalar_subquery().is_not(None)
        else:
            # Their indexes have this order, so PostgreSQL may merge two labels that many jobs have, and few have both.
            place = (other.c.created_at, other.c.job_id)
            among = select(*place).where(*_has(other, organization, label), *_within(*place, wanted, start))
            yield tuple_(*_place(wanted)).in_(among)


def _has(table: FromClause, organization: str, label: tuple[str, str]) -> tuple[ColumnElement[bool], ...]:
    name, value = label
    return table.c.organization_id == organization, table.c.name == name, table.c.value == value


def _leading_label(wanted: Wanted) -> tuple[str, str] | None:
    """Return the label that finds the jobs: the rarest, unless it is common and something else finds them."""
    rarest = min(wanted.labels, key=lambda label: label in wanted.common, default=None)
    most = wanted.statuses == {JobStatus.COMPLETED}  # most jobs are: they are found by what is rarer
    is_found = any((wanted.job_type, wanted.user, wanted.queue, wanted.statuses and not most))
    return None if rarest in wanted.common and is_found else rarest


def _place(wanted: Wanted) -> tuple[Column[Any], Column[Any]]:
    """Return the columns by which the list is ordered: those of the table that finds the jobs, for its index."""
    return (labels.c.created_at, labels.c.job_id) if _leading_label(wanted) is not None else _PLACE


def _within(
    moment: ColumnElement[datetime], ids: ColumnElement[UUID], wanted: Wanted, start: _Start | None
) -> Iterator[ColumnElement[bool]]:
    """Yield which part of an index the jobs stand in."""
    place = tuple_(moment, ids)
    if wanted.created_after is not None:
        yield moment >= wanted.created_after
    if wanted.created_before is not None:
        yield moment < wanted.created_before
    if wanted.there_at is not None:
        yield moment <= wanted.there_at
    if wanted.ids is not None:
        yield ids.between(*wanted.ids)
    if wanted.words_from is not None:
        yield place >= wanted.words_from
    if start is not None:
        yield place > start.beyond if start.oldest_first else place < start.beyond


def _newest_first(wanted: Wanted) -> tuple[ColumnElement[Any], ...]:
    return tuple(column.desc() for column in _place(wanted))
