"""Lists of an organization's jobs, a page at a time by keyset, and counts of matching jobs, up to a cap.

Lists are ordered by `created_at`, which is by the database's clock. Ids only order jobs of the same time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    String,
    Subquery,
    Table,
    and_,
    cast,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)

from fairlane.domain.jobs import Job
from fairlane.domain.sealing import PREFIX
from fairlane.domain.statuses import LIVE, TERMINAL, JobStatus, Resolution
from fairlane.store.sql import fixed, is_row
from fairlane.store.statements.rows import STATE, STATUS, WHOLE, WITHOUT_KEYS, Opener, jobs_of, select_jobs
from fairlane.store.tables import DEFAULT_QUEUE, dead_letters, ended, jobs, labels, live


class Place(NamedTuple):
    """The place of a job in lists."""

    created_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class WantedJobs:
    """A filter of jobs. None, False or empty matches everything, so a later release may add filters.

    `ids`: the first and the last id of a range. `words`: a text in the job type or, with `in_errors`, in the error.
    `id_end`: the end of ids, in lower hex digits. Both are searched from the job at `words_from` on. `created_after`
    and `there_at` are inclusive, `created_before` is not. `common`: those of the labels that very many jobs have.
    `undecided`: only dead letters without a decision; `fingerprint`: only those with this error. `retry_after`: queued
    jobs whose retry is due after that time. `are_few`: few jobs have the job type, the user and the queue, so these
    find the jobs, rather than the statuses.
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
    are_few: bool = False


class _Start(NamedTuple):
    """The start of a page: just beyond this job."""

    beyond: Place
    oldest_first: bool = False


def page(
    connection: Connection,
    organization: str,
    wanted: WantedJobs,
    *,
    beyond: Place | None,
    limit: int,
    opener: Opener = WITHOUT_KEYS,
    oldest_first: bool = False,
    with_parameters: bool = True,
) -> tuple[Job, ...]:
    """Return a page of jobs from just beyond a place. Unwanted parameters are empty."""
    start = _Start(beyond, oldest_first) if beyond is not None else None
    found = _first(organization, wanted, limit, start, oldest_first=oldest_first)
    # The other columns are read only for the jobs of the page.
    statement = select_jobs(found, is_row(jobs, organization, found.c.id), with_parameters=with_parameters)
    return jobs_of(connection, organization, statement.order_by(*_in_order(found.c, oldest_first=oldest_first)), opener)


def places(
    connection: Connection, organization: str, wanted: WantedJobs, *, before: Place | None, limit: int
) -> tuple[Place, ...]:
    """Return the places of the jobs of a page, without reading other columns."""
    found = _first(organization, wanted, limit, _Start(before) if before is not None else None)
    return tuple(Place(*row) for row in connection.execute(select(found).order_by(*_in_order(found.c))))


def _first(
    organization: str, wanted: WantedJobs, limit: int, start: _Start | None, *, oldest_first: bool = False
) -> Subquery:
    """Return the places of the first matching jobs: the first ones of each source, merged."""
    each = []
    for one in _sources(wanted):
        place = one.place.created_at.label("created_at"), one.place.id.label("id")
        found = select(*place).select_from(one.rows).where(*_conditions(organization, wanted, one, start))
        each.append(found.order_by(*_in_order(one.place, oldest_first=oldest_first)).limit(limit).subquery())
    if len(each) == 1:
        return each[0]
    merged = union_all(*map(select, each)).subquery()
    return select(merged).order_by(*_in_order(merged.c, oldest_first=oldest_first)).limit(limit).subquery()


def _in_order(place: Any, *, oldest_first: bool = False) -> tuple[ColumnElement[Any], ...]:
    """Return the order of lists by these columns."""
    columns = (place.created_at, place.id)
    return columns if oldest_first else tuple(column.desc() for column in columns)


class _At(NamedTuple):
    """The columns that order a list, of the table that finds the jobs, so that its index is used."""

    created_at: ColumnElement[datetime]
    id: ColumnElement[UUID]


class _Source(NamedTuple):
    """A source of a list's jobs.

    `base` finds the jobs. If they are asked for, `state` has the statuses and errors, and `fits` is the condition for
    the statuses of this source.
    """

    base: Table
    rows: FromClause
    place: _At
    state: Mapping[str, ColumnElement[Any]] = {}
    fits: ColumnElement[bool] | None = None


def _sources(wanted: WantedJobs, *, in_order: bool = True, by_status: bool = False) -> Iterator[_Source]:
    """Yield the sources of the jobs: `jobs`, unless the filter is about states. Few jobs are found there, too.

    With statuses, each status is a source, whose index has the order of lists. But most jobs are completed: a search
    for a user with only old jobs would read all of them.
    """
    statuses = wanted.statuses
    if not statuses and wanted.retry_after is not None:
        statuses = frozenset({JobStatus.QUEUED})
    elif not statuses and (wanted.words is not None or by_status):
        statuses = LIVE | TERMINAL
    looked_up = frozenset() if by_status else statuses & _looked_up(wanted, in_order=in_order)
    if not statuses or (wanted.are_few and statuses != looked_up):
        fits = STATUS.in_(sorted(wanted.statuses)) if wanted.statuses else None
        yield _Source(jobs, WHOLE if statuses else jobs, _place(wanted, jobs), STATE, fits)
        return
    if looked_up:
        yield _Source(jobs, jobs, _place(wanted, jobs), fits=_IS_COMPLETED)
        statuses -= looked_up
    of_live = statuses - TERMINAL if wanted.retry_after is None else statuses
    for table, part in ((live, of_live), (ended, statuses - of_live)):
        by_label = _leading_label(wanted) is not None and part
        for those in [part] if by_label else [frozenset({one}) for one in sorted(part)]:
            yield _Source(table, table, _place(wanted, table), dict(table.c), table.c.status.in_(sorted(those)))


# A value and not EXISTS: PostgreSQL may turn EXISTS into a join with all completed jobs.
_IS_COMPLETED: Final = (
    select(literal(1))
    .where(is_row(ended, jobs.c.organization_id, jobs.c.id), ended.c.status == fixed(JobStatus.COMPLETED))
    .correlate(jobs)
    .scalar_subquery()
    .is_not(None)
)


def _looked_up(wanted: WantedJobs, *, in_order: bool) -> frozenset[JobStatus]:
    """Return the statuses that are looked up for each job of the type, the user or the queue.

    For a type alone, only in the order of the list: without an order, an index of `ended` finds them.
    """
    is_found = bool(_rarer(wanted if in_order else replace(wanted, job_type=None)))
    is_in_facts = is_found and wanted.words is None and wanted.retry_after is None and _leading_label(wanted) is None
    return frozenset({JobStatus.COMPLETED} if is_in_facts else ())


def _rarer(wanted: WantedJobs) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for which `jobs` has an index. The default queue, with most jobs, has none."""
    return tuple(_equal(jobs, replace(wanted, queue=None) if wanted.queue == DEFAULT_QUEUE else wanted))


def _place(wanted: WantedJobs, base: Table) -> _At:
    if _leading_label(wanted) is not None:
        return _At(labels.c.created_at, labels.c.job_id)
    return _At(base.c.created_at, base.c.id)


def are_few(connection: Connection, organization: str, wanted: WantedJobs, *, up_to: int) -> bool:
    """Return True if at most `up_to` jobs have the type, user and queue; False if the filter has none of these."""
    equal = _rarer(wanted)
    some = select(jobs.c.id).where(jobs.c.organization_id == organization, *equal).limit(up_to + 1).subquery()
    return bool(equal) and connection.execute(select(func.count()).select_from(some)).scalar_one() <= up_to


def is_common(connection: Connection, organization: str, label: tuple[str, str], *, above: int) -> bool:
    """Return True if more jobs than `above` have the label."""
    name, value = label
    mine = (labels.c.organization_id == organization, labels.c.name == name, labels.c.value == value)
    some = select(labels.c.job_id).where(*mine).limit(above + 1).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one() > above


def nth_newest(connection: Connection, organization: str, nth: int) -> Place | None:
    """Return the place of the `nth` newest job, from 1; None if there are fewer. This reads only an index."""
    place = _At(jobs.c.created_at, jobs.c.id)
    statement = select(*place).where(jobs.c.organization_id == organization).order_by(*_in_order(place))
    found = connection.execute(statement.offset(nth - 1).limit(1)).one_or_none()
    return Place(*found) if found is not None else None


def has_id_end(connection: Connection, organization: str, end: str, first: Place | None) -> bool:
    """Return True if any job's id, from `first` on, ends with these lower hex digits. This reads only an index."""
    wanted = WantedJobs(id_end=end, words_from=first)
    (source,) = _sources(wanted)
    there = select(jobs.c.id).where(*_conditions(organization, wanted, source)).exists()
    return connection.execute(select(there)).scalar_one()


def _conditions(
    organization: str, wanted: WantedJobs, source: _Source, start: _Start | None = None
) -> Iterator[ColumnElement[bool]]:
    base = source.base.c
    yield base.organization_id == organization
    yield from _equal(source.base, wanted)
    yield from _of_state(wanted, source)
    yield from _labeled(organization, wanted, source, start)
    if wanted.undecided or wanted.fingerprint is not None:
        # Each dead letter has a row, which is pending until somebody decides. With other conditions, all decided rows
        # would be read to find the few undecided ones.
        yield base.id.in_(select(dead_letters.c.job_id).where(*_undecided(organization, wanted)))
    yield from _within(source.place, wanted, start)
    if wanted.words_from is not None and _leading_label(wanted) is not None:
        # Also a condition on the jobs: PostgreSQL may read them before the labels, and would read the whole table.
        yield tuple_(base.created_at, base.id) >= wanted.words_from
    if wanted.id_end is not None:
        yield func.replace(cast(base.id, String), "-", "").like(f"%{wanted.id_end}")


def _equal(base: Table, wanted: WantedJobs) -> Iterator[ColumnElement[bool]]:
    equal = {base.c.job_type: wanted.job_type, base.c.submitted_by: wanted.user, base.c.queue: wanted.queue}
    yield from (column == value for column, value in equal.items() if value is not None)
    if base is jobs and wanted.queue not in {None, DEFAULT_QUEUE}:
        yield base.c.queue != fixed(DEFAULT_QUEUE)  # so that the planner uses the partial index


def _of_state(wanted: WantedJobs, source: _Source) -> Iterator[ColumnElement[bool]]:
    if source.fits is not None:
        yield source.fits
    if wanted.retry_after is not None:
        # The exact words of the index's predicate.
        yield live.c.status == fixed(JobStatus.QUEUED)
        yield ~live.c.ready
        yield live.c.next_retry_at > wanted.retry_after
    if wanted.words is not None:
        words = (source.base.c.job_type, source.state["error_type"], source.state["error_message"])
        in_type, in_error_type, in_error = (one.icontains(wanted.words, autoescape=True) for one in words)
        # In an encrypted text any three letters may occur by chance.
        told = (and_(in_error, ~words[2].startswith(PREFIX)),) if wanted.in_errors else ()
        yield or_(in_type, in_error_type, *told)


def _undecided(organization: str, wanted: WantedJobs) -> Iterator[ColumnElement[bool]]:
    letter = dead_letters.c
    yield letter.organization_id == organization
    yield letter.resolution == Resolution.PENDING
    if wanted.fingerprint is not None:
        yield letter.fingerprint == wanted.fingerprint


def _labeled(
    organization: str, wanted: WantedJobs, source: _Source, start: _Start | None
) -> Iterator[ColumnElement[bool]]:
    """Yield conditions for the labels. The leading label is joined, and orders the list."""
    leading, job = _leading_label(wanted), source.base.c
    other = labels.alias()
    for label in wanted.labels:
        if label == leading:
            yield from _has(labels, organization, label)
            yield labels.c.job_id == source.base.c.id
        elif label in wanted.common and leading not in wanted.common:
            # The other filters leave few jobs. A value and not EXISTS: PostgreSQL would turn EXISTS into a join with
            # all jobs of the label.
            at_job = (other.c.created_at == job.created_at, other.c.job_id == job.id)
            found = select(literal(1)).where(*_has(other, organization, label), *at_job)
            yield found.scalar_subquery().is_not(None)
        else:
            # The indexes have this order, so PostgreSQL may merge two common labels that few jobs have together.
            place = _At(other.c.created_at, other.c.job_id)
            among = select(*place).where(*_has(other, organization, label), *_within(place, wanted, start))
            yield tuple_(*source.place).in_(among)


def _has(table: FromClause, organization: str, label: tuple[str, str]) -> tuple[ColumnElement[bool], ...]:
    name, value = label
    return table.c.organization_id == organization, table.c.name == name, table.c.value == value


def _leading_label(wanted: WantedJobs) -> tuple[str, str] | None:
    """Return the label that finds the jobs: the rarest, unless it is common and another filter finds them."""
    rarest = min(wanted.labels, key=lambda label: label in wanted.common, default=None)
    most = wanted.statuses == {JobStatus.COMPLETED}  # most jobs are completed, so a rarer filter finds them
    is_found = any((wanted.job_type, wanted.user, wanted.queue, wanted.statuses and not most))
    return None if rarest in wanted.common and is_found else rarest


def _within(place: _At, wanted: WantedJobs, start: _Start | None) -> Iterator[ColumnElement[bool]]:
    """Yield conditions for the range of the index that has the jobs."""
    if wanted.created_after is not None:
        yield place.created_at >= wanted.created_after
    if wanted.created_before is not None:
        yield place.created_at < wanted.created_before
    if wanted.there_at is not None:
        yield place.created_at <= wanted.there_at
    if wanted.ids is not None:
        yield place.id.between(*wanted.ids)
    if wanted.words_from is not None:
        yield tuple_(*place) >= wanted.words_from
    if start is not None:
        yield tuple_(*place) > start.beyond if start.oldest_first else tuple_(*place) < start.beyond


def count(connection: Connection, organization: str, wanted: WantedJobs, *, up_to: int) -> int:
    """Count the matching jobs, up to `up_to`."""
    counted = select(func.count()).select_from(_some(organization, wanted, up_to))
    return connection.execute(counted).scalar_one()


def count_by_status(connection: Connection, organization: str, wanted: WantedJobs, *, up_to: int) -> dict[str, int]:
    """Count the matching jobs in each status, among any `up_to` of them."""
    some = _some(organization, wanted, up_to, by_status=True)
    found = connection.execute(select(some.c.status, func.count().label("size")).group_by(some.c.status))
    return {row.status: row.size for row in found}


def count_by_themselves(
    connection: Connection, organization: str, wanted: WantedJobs, *, up_to: int
) -> tuple[int, int]:
    """Count dead letters, up to `up_to`, and those of them without a parent that is a dead letter.

    The others are retried with their parent.
    """
    some, letter, parent = _some(organization, wanted, up_to), dead_letters.c, ended.alias("parent").c
    # A value and not EXISTS: PostgreSQL would turn EXISTS into a join with all dead letters.
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


def _some(organization: str, wanted: WantedJobs, up_to: int, *, by_status: bool = False) -> Subquery:
    """Return the ids of any `up_to` matching jobs; `by_status`: with their statuses."""
    each = []
    for one in _sources(wanted, in_order=False, by_status=by_status):
        shown = (one.base.c.id, *((one.state["status"],) if by_status else ()))
        found = select(*shown).select_from(one.rows).where(*_conditions(organization, wanted, one))
        each.append(select(found.limit(up_to).subquery()))
    return (union_all(*each) if len(each) > 1 else each[0]).limit(up_to).subquery()
