"""Organizations and members of the built-in directory."""

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.dml import ReturningInsert

from fairlane.domain.statuses import WAITING, JobStatus, OrganizationStatus, Role
from fairlane.domain.texts import ORGANIZATION_IDS, USER_IDS
from fairlane.store.engine import engine_of
from fairlane.store.sql import as_given, fixed, given, is_row, upsert
from fairlane.store.tables import AnyRow, live, members, organizations

# Ready statements for the usual case of a single one.
_FIND_ONE: Final = select(organizations).where(organizations.c.id == bindparam("id"))
_FIND_MEMBER: Final = select(members).where(is_row(members, bindparam("organization"), bindparam("user")))


def create(connection: Connection, values: dict[str, Any]) -> bool:
    """Insert an organization; False if its id is taken, even by a deleted one."""
    statement = _unless_taken(engine_of(connection).insert(organizations))
    return connection.execute(statement, values).one_or_none() is not None


@cache
def _unless_taken(statement: postgresql.Insert) -> ReturningInsert[Any]:
    return statement.on_conflict_do_nothing().returning(organizations.c.id)


def change(connection: Connection, organization: str, values: dict[str, Any]) -> bool:
    """Set columns of an organization that is not deleted; False if there is none."""
    changed = connection.execute(
        update(organizations)
        .where(organizations.c.id == organization, organizations.c.status != OrganizationStatus.DELETED)
        .values(values)
    )
    return changed.rowcount == 1


def hold(connection: Connection, organization: str) -> None:
    """Lock the organization's row against changes until the transaction ends, if there is one."""
    connection.execute(select(organizations.c.id).where(organizations.c.id == organization).with_for_update(read=True))


def deleted(connection: Connection, ids: Collection[str]) -> set[str]:
    """Return those of the organizations that were deleted here."""
    return {row.id for row in find(connection, ids) if row.status == OrganizationStatus.DELETED}


def wait_for_ends(connection: Connection, organization: str) -> None:
    """Wait for the transactions that are ending its running jobs now.

    A later transaction locks the row after this statement, and so sees what was committed before it.
    """
    running = (live.c.organization_id == organization) & (live.c.status == fixed(JobStatus.RUNNING))
    connection.execute(select(live.c.id).where(running).order_by(live.c.id).with_for_update(read=True)).all()


def find(connection: Connection, ids: Collection[str]) -> Sequence[AnyRow]:
    """Return these organizations, deleted ones too."""
    # Invalid ids are not looked up: PostgreSQL would refuse a NUL with its own error.
    possible = [one for one in ids if ORGANIZATION_IDS.fits(one)]
    if len(possible) == 1:
        return connection.execute(_FIND_ONE, {"id": possible[0]}).all()
    these = text(f"id IN (SELECT id FROM {given('id')})")  # noqa: S608 - a constant
    wanted = as_given([one] for one in possible)
    return connection.execute(select(organizations).where(these), {"given": wanted}).all()


def everyone(connection: Connection) -> Sequence[AnyRow]:
    """Return all organizations except deleted ones, by id."""
    return connection.execute(
        select(organizations).where(organizations.c.status != OrganizationStatus.DELETED).order_by(organizations.c.id)
    ).all()


def retentions(connection: Connection) -> dict[str, float]:
    """Return the retention of organizations that have their own, even of deleted ones, in seconds."""
    statement = select(organizations.c.id, organizations.c.retention_seconds)
    rows = connection.execute(statement.where(organizations.c.retention_seconds.is_not(None)))
    return {row.id: row.retention_seconds for row in rows}


def running_limits(connection: Connection) -> dict[str, int]:
    """Return the limits on running jobs of the organizations that have one."""
    statement = select(organizations.c.id, organizations.c.max_running)
    rows = connection.execute(statement.where(organizations.c.max_running.is_not(None)))
    return {row.id: row.max_running for row in rows}


def waiting_jobs(connection: Connection, organization: str, limit: int) -> Sequence[AnyRow]:
    """Lock jobs of the organization that have not started, in id order, and skip locked ones."""
    return connection.execute(
        select(live.c.id, live.c.status, live.c.job_type)
        .where(live.c.organization_id == organization, live.c.status.in_(sorted(WAITING)))
        .order_by(live.c.id)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
    ).all()


def set_member(
    connection: Connection, now: datetime, organization: str, user: str, role: Role, permissions: Iterable[str]
) -> None:
    """Add or change a member."""
    values = {"role": role, "permissions": json.dumps(sorted(set(permissions))), "created_at": now}
    upsert(connection, members, {"organization_id": organization, "user_id": user, **values})


def remove_member(connection: Connection, organization: str, user: str) -> bool:
    """Remove a member; False if there was none."""
    removed = connection.execute(delete(members).where(is_row(members, organization, user)))
    return removed.rowcount == 1


def members_of(
    connection: Connection, organization: str, after: str | None = None, limit: int | None = None
) -> Sequence[AnyRow]:
    """Return up to `limit` members of an organization after this one, in the database's order of users."""
    statement = select(members).where(members.c.organization_id == organization)
    if after is not None:
        statement = statement.where(members.c.user_id > after)
    return connection.execute(statement.order_by(members.c.user_id).limit(limit)).all()


def memberships_of(connection: Connection, user: str) -> Sequence[AnyRow]:
    """Return a user's organizations except deleted ones, by id, with the user's role there."""
    return connection.execute(
        select(organizations.c.id, organizations.c.name, organizations.c.status, members.c.role)
        .join(organizations, organizations.c.id == members.c.organization_id)
        .where(members.c.user_id == user, organizations.c.status != OrganizationStatus.DELETED)
        .order_by(organizations.c.id)
        .execution_options(fairlane_across="credentials")
    ).all()


def lock_member(connection: Connection, organization: str, user: str) -> AnyRow | None:
    """Return a member, locked against changes until this transaction ends; None if the user is no member."""
    if not USER_IDS.fits(user):
        return None
    statement = _FIND_MEMBER.with_for_update(read=True)
    return connection.execute(statement, {"organization": organization, "user": user}).one_or_none()


def find_members(connection: Connection, pairs: Collection[tuple[str, str]]) -> Sequence[AnyRow]:
    """Return the members among these (organization, user) pairs."""
    # Invalid keys are not looked up: PostgreSQL would refuse a NUL with its own error.
    wanted = [pair for pair in pairs if ORGANIZATION_IDS.fits(pair[0]) and USER_IDS.fits(pair[1])]
    if not wanted:
        return []
    if len(wanted) == 1:
        return connection.execute(_FIND_MEMBER, dict(zip(("organization", "user"), wanted[0], strict=True))).all()
    rows = given("organization_id", "user_id")
    statement = text(f"""
SELECT member.organization_id, member.user_id, member.role, member.permissions
FROM {rows} JOIN fairlane_members AS member
  ON member.organization_id = given.organization_id AND member.user_id = given.user_id
""")  # noqa: S608 - a constant
    return connection.execute(statement, {"given": as_given(wanted)}).all()
