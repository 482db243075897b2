"""Bulk actions: of an organization, and the unfinished ones of all organizations."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, and_, delete, func, insert, select, tuple_, update

from fairlane.domain.timing import BULK_TAKEN
from fairlane.store.sql import is_row
from fairlane.store.tables import AnyRow, bulk_actions

TAKEN_FOR: Final = timedelta(seconds=BULK_TAKEN)


def create(connection: Connection, values: Mapping[str, Any]) -> None:
    """Insert one."""
    connection.execute(insert(bulk_actions), dict(values))


def find(connection: Connection, organization: str, action: UUID) -> AnyRow | None:
    """Return a bulk action by its id."""
    return connection.execute(select(bulk_actions).where(is_row(bulk_actions, organization, action))).one_or_none()


def working(connection: Connection, organization: str) -> int:
    """Count an organization's unfinished bulk actions."""
    live = (bulk_actions.c.organization_id == organization) & bulk_actions.c.look_at.is_not(None)
    return connection.execute(select(func.count()).select_from(bulk_actions).where(live)).scalar_one()


def of(connection: Connection, organization: str, before: UUID | None, limit: int) -> Sequence[AnyRow]:
    """Return an organization's bulk actions, newest first, from just after `before`."""
    statement = select(bulk_actions).where(bulk_actions.c.organization_id == organization)
    if before is not None:
        statement = statement.where(bulk_actions.c.id < before)
    return connection.execute(statement.order_by(bulk_actions.c.id.desc()).limit(limit)).all()


def live(connection: Connection) -> Sequence[AnyRow]:
    """Return each organization's unfinished bulk action that has waited longest: its id and time."""
    columns = (bulk_actions.c.organization_id, bulk_actions.c.id, bulk_actions.c.look_at)
    place = func.row_number().over(partition_by=bulk_actions.c.organization_id, order_by=bulk_actions.c.look_at)
    all_live = select(*columns, place.label("place")).where(bulk_actions.c.look_at.is_not(None)).subquery()
    statement = select(all_live).where(all_live.c.place == 1).order_by(all_live.c.organization_id)
    return connection.execute(statement.execution_options(fairlane_across="bulk actions")).all()


def take(connection: Connection, organization: str, action: UUID, now: datetime, token: UUID) -> AnyRow | None:
    """Take a bulk action that is due; None if another worker has it, or it has ended."""
    due = and_(is_row(bulk_actions, organization, action), bulk_actions.c.look_at <= now)
    row = connection.execute(select(bulk_actions).where(due).with_for_update(skip_locked=True)).one_or_none()
    if row is not None:
        change(connection, organization, action, {"taken": token, "look_at": now + TAKEN_FOR})
    return row


def lock(connection: Connection, organization: str, action: UUID) -> AnyRow | None:
    """Lock a bulk action until the transaction ends, and return it."""
    return connection.execute(
        select(bulk_actions).where(is_row(bulk_actions, organization, action)).with_for_update()
    ).one_or_none()


def change(connection: Connection, organization: str, action: UUID, values: Mapping[str, Any]) -> None:
    """Set columns of a bulk action whose row is locked."""
    connection.execute(update(bulk_actions).where(is_row(bulk_actions, organization, action)).values(dict(values)))


def remove_all(connection: Connection, organization: str) -> None:
    """Delete an organization's."""
    connection.execute(delete(bulk_actions).where(bulk_actions.c.organization_id == organization))


def forget(connection: Connection, before: datetime, limit: int) -> None:
    """Delete up to `limit` bulk actions that ended before this time."""
    key = (bulk_actions.c.organization_id, bulk_actions.c.id)
    ended = select(*key).where(bulk_actions.c.ended_at < before).order_by(bulk_actions.c.ended_at).limit(limit)
    found = [tuple(row) for row in connection.execute(ended.execution_options(fairlane_across="clean-up"))]
    if found:
        gone = delete(bulk_actions).where(tuple_(*key).in_(found))
        connection.execute(gone.execution_options(fairlane_across="clean-up"))
