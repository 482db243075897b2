"""Schedules: of an organization, and the due ones of all organizations."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Subquery,
    and_,
    bindparam,
    delete,
    func,
    literal,
    select,
    update,
)

from fairlane.domain.schedules import Timetable
from fairlane.store.engine import engine_of
from fairlane.store.sql import is_row
from fairlane.store.tables import AnyRow, schedules

_BATCH: Final = 50
# The waits before retries of a refused tick. The first retry comes before the tick counts as late.
_SOON, _AGAIN = timedelta(seconds=20), timedelta(seconds=60)
_BUSY = timedelta(seconds=5)  # locks are short, and a schedule that waits a minute each time might starve


def create(connection: Connection, values: Mapping[str, Any]) -> bool:
    """Insert a schedule; False if its name is taken. Wait for a concurrent insert of the same name."""
    columns = [schedules.c.organization_id, schedules.c.name]
    statement = (
        engine_of(connection).insert(schedules).on_conflict_do_nothing(index_elements=columns).returning(schedules.c.id)
    )
    return connection.execute(statement, dict(values)).one_or_none() is not None


def find(connection: Connection, organization: str, name: str) -> AnyRow | None:
    """Return a schedule by its name."""
    return connection.execute(select(schedules).where(_is(organization, name))).one_or_none()


def lock(connection: Connection, organization: str, name: str) -> AnyRow | None:
    """Lock a schedule until the transaction ends, and return it."""
    return connection.execute(select(schedules).where(_is(organization, name)).with_for_update()).one_or_none()


def of(
    connection: Connection, organization: str | None, after: str | None = None, limit: int | None = None
) -> Sequence[AnyRow]:
    """Return up to `limit` schedules of an organization (None: of all), by name, after a name."""
    statement = select(schedules).order_by(schedules.c.organization_id, schedules.c.name).limit(limit)
    if organization is None:
        statement = statement.execution_options(fairlane_across="operator reads")
    else:
        statement = statement.where(schedules.c.organization_id == organization)
    if after is not None:
        statement = statement.where(schedules.c.name > after)
    return connection.execute(statement).all()


def count(connection: Connection, organization: str) -> int:
    """Count an organization's schedules."""
    statement = select(func.count()).select_from(schedules).where(schedules.c.organization_id == organization)
    return connection.execute(statement).scalar_one()


def change(connection: Connection, organization: str, schedule: UUID, values: Mapping[str, Any]) -> None:
    """Set columns of a schedule whose row is locked."""
    connection.execute(update(schedules).where(is_row(schedules, organization, schedule)).values(dict(values)))


def remove(connection: Connection, organization: str, name: str) -> bool:
    """Delete a schedule; False if there is none."""
    return connection.execute(delete(schedules).where(_is(organization, name))).rowcount == 1


def remove_all(connection: Connection, organization: str) -> None:
    """Delete an organization's schedules."""
    connection.execute(delete(schedules).where(schedules.c.organization_id == organization))


def next_look(connection: Connection) -> datetime | None:
    """Return the time when the scheduler has to handle the next schedule; None if there is none."""
    soonest = select(func.min(schedules.c.look_at)).where(schedules.c.look_at.is_not(None))
    moment: datetime | None = connection.execute(soonest.execution_options(fairlane_across="schedules")).scalar_one()
    return moment


def due(
    connection: Connection,
    now: datetime,
    after: str,
    without: Collection[str] = (),
    passed_over: Collection[UUID] = (),
) -> Sequence[AnyRow]:
    """Return the schedule of each organization that has been due longest, up to a batch of organizations.

    This reads the index entries of all due schedules, so many schedules of one organization do not delay others.

    Args:
        after: the organization that had the last turn. Turns go on after it, by the organizations' ids.
        without: organizations that have no turn now.
        passed_over: schedules that have no turn now.
    """
    turns = {"now": now, "after": after, "without": list(without), "passed_over": list(passed_over)}
    return connection.execute(_due(), turns).all()


@cache
def _due() -> Select[Any]:
    # Built once: it runs for each tick, and building it costs as much as running it.
    key = (schedules.c.organization_id, schedules.c.id)
    place = func.row_number().over(partition_by=schedules.c.organization_id, order_by=schedules.c.look_at)
    has_turn = and_(
        schedules.c.organization_id.not_in(bindparam("without", expanding=True)),
        schedules.c.id.not_in(bindparam("passed_over", expanding=True)),
    )
    first = select(*key, place.label("place")).where(schedules.c.look_at <= bindparam("now"), has_turn).subquery()
    # Written into the text: the planner has to see how few of all due schedules are chosen.
    most = literal(_BATCH, literal_execute=True)
    turns = select(first).where(first.c.place == 1).order_by(*_in_turn(first)).limit(most).subquery()
    is_mine = is_row(schedules, turns.c.organization_id, turns.c.id)
    found = select(schedules).join(turns, is_mine).order_by(*_in_turn(turns))
    return found.execution_options(fairlane_across="schedules")


def _in_turn(found: Subquery) -> tuple[ColumnElement[Any], ...]:
    return found.c.organization_id <= bindparam("after"), found.c.organization_id


def lock_due(connection: Connection, organization: str, schedule: UUID, now: datetime) -> AnyRow | None:
    """Lock and return the schedule, if it is still due and not locked."""
    statement = select(schedules).where(is_row(schedules, organization, schedule), schedules.c.look_at <= now)
    return connection.execute(statement.with_for_update(skip_locked=True)).one_or_none()


def note_problem(connection: Connection, seen: AnyRow, now: datetime, problem: str, *, was_busy: bool) -> bool:
    """Store why a tick was refused, and retry later; False if another worker has handled the schedule meanwhile.

    Args:
        was_busy: the tick was not refused, but held up.
    """
    wait = _BUSY if was_busy else _SOON if seen.look_at == seen.next_tick else _AGAIN
    noted = connection.execute(
        update(schedules)
        .where(is_row(schedules, seen.organization_id, seen.id), schedules.c.look_at == seen.look_at)
        .values(problem=problem, look_at=now + wait)
    )
    return noted.rowcount == 1


def timetable_of(row: AnyRow) -> Timetable:
    """Return the timetable of a schedule's row."""
    return Timetable(row.cron, row.every_seconds, row.time_zone, row.start)


def is_same(row: AnyRow | None, seen: AnyRow | None) -> bool:
    """Return True if checks of a schedule before the transaction still hold."""
    if row is None or seen is None:
        return row is seen
    return all(getattr(row, name) == getattr(seen, name) for name in ("id", "job_type", "user_id", "parameters"))


def _is(organization: str, name: str) -> ColumnElement[bool]:
    return and_(schedules.c.organization_id == organization, schedules.c.name == name)
