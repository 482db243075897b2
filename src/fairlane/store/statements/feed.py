"""Reads of the realtime feed: the end of the execution log, progress, alerts. See `domain.log_cursor`.

The feed is a service that reads across organizations. It sorts rows into rooms by organization, and the members of each
room were checked before.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from secrets import token_hex
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    Uuid,
    and_,
    case,
    cast,
    func,
    or_,
    select,
    text,
    true,
)

from fairlane.domain.log_cursor import Position, Range
from fairlane.domain.statuses import JobStatus
from fairlane.store.engine import engine_of
from fairlane.store.sql import as_given, fixed, given, is_row, rows_given
from fairlane.store.tables import AnyRow, alerts, execution_log, feed_floors, feed_keys, jobs, live, progress

_ACROSS: Final = {"fairlane_across": "feed"}
# The existing numbers, as ranges: few of many rows belong to somebody who listens.
_FRESH: Final = text("""
SELECT min(id), max(id) FROM (
  SELECT id, id - row_number() OVER (ORDER BY id) AS island FROM (
    SELECT id FROM fairlane_execution_log WHERE id > :high ORDER BY id LIMIT :limit) AS fresh) AS numbered
GROUP BY island ORDER BY 1
""").execution_options(**_ACROSS)
_WATCHED: Final = rows_given("id")
_OF_ATTEMPT: Final = and_(
    is_row(progress, live.c.organization_id, live.c.id),
    progress.c.attempt == live.c.attempt,
)


@dataclass(frozen=True, slots=True)
class Audience:
    """The organizations and jobs that somebody listens to. `everyone`: all organizations.

    `job_ids`: the ids of `jobs`, in the form of `as_given`. There may be many thousands, and each read sends them.
    """

    organizations: frozenset[str] = frozenset()
    jobs: frozenset[tuple[str, UUID]] = frozenset()
    everyone: bool = False
    job_ids: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "job_ids", as_given([job_id.hex] for _, job_id in self.jobs))

    def __bool__(self) -> bool:
        return bool(self.everyone or self.organizations or self.jobs)


def newest(connection: Connection) -> int:
    """Return the highest number in the log; 0 if it is empty."""
    return connection.scalar(select(func.max(execution_log.c.id)).execution_options(**_ACROSS)) or 0


def fresh(connection: Connection, high: int, limit: int) -> list[Range]:
    """Return the ranges of existing numbers above `high`, ascending, with up to `limit` numbers."""
    return [(first, last) for first, last in connection.execute(_FRESH, {"high": high, "limit": limit})]


def come_late(connection: Connection, gaps: Sequence[Range], limit: int) -> list[int]:
    """Return the numbers of the gaps that exist now, ascending."""
    if not gaps:
        return []
    ranges = given("first", "last")
    statement = text(f"""
SELECT entry.id FROM {ranges} JOIN fairlane_execution_log AS entry
  ON entry.id BETWEEN CAST(given.first AS bigint) AND CAST(given.last AS bigint)
ORDER BY entry.id LIMIT :limit
""").execution_options(**_ACROSS)  # noqa: S608 - a constant
    return list(connection.execute(statement, {"given": as_given(gaps), "limit": limit}).scalars())


def entries(
    connection: Connection, audience: Audience, above: int, up_to: int, late: Collection[int], most: int
) -> Sequence[AnyRow]:
    """Return rows of the log for an audience, ascending: those in the range, and late ones.

    Each row has its job's type, queue and user, and `is_stray`: the organization has no such job. Each organization
    gets up to `most` rows and one more, which says that there are too many to send one by one.
    """
    new = and_(execution_log.c.id > above, execution_log.c.id <= up_to)
    wanted = or_(new, execution_log.c.id.in_(sorted(late))) if late else new
    place = func.row_number().over(partition_by=execution_log.c.organization_id, order_by=execution_log.c.id)
    heard = select(execution_log, place.label("place")).where(wanted, _heard(audience)).subquery()
    return connection.execute(_with_job(heard).where(heard.c.place <= most + 1).order_by(heard.c.id)).all()


def missed(connection: Connection, audience: Audience, position: Position, up_to: int, most: int) -> Sequence[AnyRow]:
    """Return rows up to a number that a reader at the position has not read, ascending, up to `most`."""
    number = execution_log.c.id
    unread = or_(number > position.high, *(number.between(first, last) for first, last in position.gaps))
    heard = (
        select(execution_log)
        # In one range of the key, which bounds the read whatever plan is used.
        .where(number.between(position.first_missing, up_to), unread, _heard(audience))
        .order_by(execution_log.c.id)
        .limit(most)
        .subquery()
    )
    return connection.execute(_with_job(heard).order_by(heard.c.id)).all()


def _heard(audience: Audience) -> ColumnElement[bool]:
    if audience.everyone:
        return true()
    of_organizations = execution_log.c.organization_id.in_(sorted(audience.organizations))
    if not audience.jobs:
        return of_organizations
    return or_(of_organizations, _is_watched(execution_log.c.job_id, audience))


def _is_watched(column: Column[UUID], audience: Audience) -> ColumnElement[bool]:
    """Return the condition that a job is watched. A job of the same id in another organization has no room.

    The ids are one parameter: PostgreSQL allows 65,535 parameters, and each costs time. IS TRUE keeps the planner from
    a join that begins with the ids.
    """
    ids = select(cast(_WATCHED.c.id, Uuid)).params(given=audience.job_ids)
    return column.in_(ids).is_(true())


def _with_job(heard: Any) -> Select[*tuple[Any, ...]]:
    mine = is_row(jobs, heard.c.organization_id, heard.c.job_id)
    statement: Select[*tuple[Any, ...]] = select(
        heard, jobs.c.job_type, jobs.c.queue, jobs.c.submitted_by, jobs.c.id.is_(None).label("is_stray")
    ).select_from(heard.outerjoin(jobs, mine))
    return statement.execution_options(**_ACROSS)


def running_progress(connection: Connection, audience: Audience, most: int) -> Sequence[AnyRow]:
    """Return progress of running attempts in the audience's organizations, up to `most` rows."""
    if not audience.everyone and not audience.organizations:
        return []
    statement = _of_running(connection)
    if not audience.everyone:
        statement = statement.where(live.c.organization_id.in_(sorted(audience.organizations)))
    return connection.execute(statement.limit(most)).all()


def watched_progress(connection: Connection, audience: Audience) -> Sequence[AnyRow]:
    """Return progress of the audience's running jobs.

    They are searched among all running jobs, which are few: most watched jobs ended long ago.
    """
    if not audience.jobs:
        return []
    return connection.execute(_of_running(connection).where(_is_watched(live.c.id, audience))).all()


def _of_running(connection: Connection) -> Select[*tuple[Any, ...]]:
    """Return progress of running attempts. Each is looked up, because ended jobs have progress rows, too."""
    # With a plain join PostgreSQL read the whole table of progress, from 2,000 running jobs on.
    found = engine_of(connection).each_looked_up(live, select(progress).where(_OF_ATTEMPT))
    return found.where(live.c.status == fixed(JobStatus.RUNNING)).execution_options(**_ACROSS)


def progress_of(connection: Connection, keys: Iterable[tuple[str, UUID]]) -> Sequence[AnyRow]:
    """Return progress of these jobs, running or not."""
    by_organization: dict[str, list[UUID]] = {}
    for organization, job_id in keys:
        by_organization.setdefault(organization, []).append(job_id)
    found: list[AnyRow] = []
    for organization, ids in by_organization.items():
        its = and_(progress.c.organization_id == organization, progress.c.job_id.in_(sorted(ids)))
        found += connection.execute(select(progress).where(its))
    return found


def floors(connection: Connection, organizations: Collection[str]) -> dict[str, int]:
    """Return the highest number of a deleted row in the log of each of these organizations."""
    found = select(feed_floors).where(feed_floors.c.organization_id.in_(sorted(organizations)))
    return {row.organization_id: row.log_id for row in connection.execute(found)}


def highest_floor(connection: Connection) -> int:
    """Return the highest of all organizations' floors."""
    return connection.scalar(select(func.max(feed_floors.c.log_id)).execution_options(**_ACROSS)) or 0


def raise_floor(connection: Connection, organization: str, rows: Select[tuple[int]]) -> None:
    """Store the highest number of the rows that the organization's log is about to lose.

    Args:
        rows: the ids of these rows.
    """
    log_id = connection.scalar(select(func.max(rows.subquery().c.id)))
    if log_id is None:
        return
    statement = engine_of(connection).insert(feed_floors).values(organization_id=organization, log_id=log_id)
    new, old = statement.excluded.log_id, feed_floors.c.log_id
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["organization_id"], set_={"log_id": case((new > old, new), else_=old)}
        )
    )


def cursor_key(connection: Connection) -> str:
    """Return the key of all nodes, in hex. The first caller creates it."""
    statement = engine_of(connection).insert(feed_keys).values(id=1, key=token_hex(32))
    connection.execute(statement.on_conflict_do_nothing())
    return str(connection.execute(select(feed_keys.c.key)).scalar_one())


def add_alert(connection: Connection, values: Mapping[str, Any]) -> None:
    """Insert an alert of an organization."""
    connection.execute(alerts.insert(), dict(values))


def newest_alert(connection: Connection) -> int:
    """Return the highest number of an alert; 0 if there is none."""
    return connection.scalar(select(func.max(alerts.c.id)).execution_options(**_ACROSS)) or 0


def alerts_after(connection: Connection, position: Position, most: int) -> Sequence[AnyRow]:
    """Return all organizations' alerts that a reader at the position has not read, ascending, up to `most`."""
    number = alerts.c.id
    unread = or_(number > position.high, *(number.between(first, last) for first, last in position.gaps))
    return connection.execute(
        select(alerts).where(unread).order_by(number).limit(most).execution_options(**_ACROSS)
    ).all()


def forget_alerts(connection: Connection, before: datetime, limit: int) -> int:
    """Delete up to `limit` alerts from before this time, except the newest one; return their number.

    SQLite would reuse the newest one's number, and a reader with that position would miss the new alert.
    """
    newest = select(func.max(alerts.c.id)).scalar_subquery()
    some = select(alerts.c.id).where(alerts.c.at < before, alerts.c.id < newest).order_by(alerts.c.id).limit(limit)
    statement = alerts.delete().where(alerts.c.id.in_(some))
    return connection.execute(statement.execution_options(fairlane_across="clean-up")).rowcount
