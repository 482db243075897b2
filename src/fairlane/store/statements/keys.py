"""The wrapped keys of organizations. Without the master key they are useless."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import Connection, func, select, text, update

from fairlane.domain.statuses import KeyState
from fairlane.store.engine import engine_of
from fairlane.store.line import Line
from fairlane.store.sql import is_row
from fairlane.store.tables import AnyRow, organization_keys

_KEYS = organization_keys.c
_OF: Final = text("""
SELECT organization_id, version, state, wrapped_key FROM fairlane_organization_keys
WHERE organization_id = ANY(:organizations)
""").execution_options(fairlane_across="claim")


class WrappedKey(NamedTuple):
    """A version of an organization's key."""

    organization_id: str
    version: int
    state: str
    wrapped_key: str


class Writer(NamedTuple):
    """A transaction that writes. `pid`: of its session; None for a prepared transaction, which has no session."""

    transaction: str
    pid: int | None


def of(connection: Connection, organizations: Collection[str]) -> Sequence[AnyRow]:
    """Return all keys of these organizations, by version."""
    return connection.execute(
        select(organization_keys)
        .where(_KEYS.organization_id.in_(sorted(organizations)))
        .order_by(_KEYS.organization_id, _KEYS.version)
    ).all()


async def of_on(line: Line, organizations: Collection[str]) -> list[WrappedKey]:
    """Return the keys that encrypt and decrypt texts of these organizations, on the event loop."""
    return [WrappedKey._make(row) for row in await line.fetch(_OF, {"organizations": sorted(organizations)})]


def lock(connection: Connection, organization: str) -> Sequence[AnyRow]:
    """Lock all keys of the organization, by version, so that changes are serialized."""
    return connection.execute(
        select(organization_keys).where(_KEYS.organization_id == organization).order_by(_KEYS.version).with_for_update()
    ).all()


def add(connection: Connection, now: datetime, organization: str, version: int, wrapped: str) -> bool:
    """Insert a key in use; False if this version exists, or another transaction has just added it."""
    values = {
        "organization_id": organization,
        "version": version,
        "wrapped_key": wrapped,
        "state": KeyState.ACTIVE,
        "created_at": now,
    }
    statement = engine_of(connection).insert(organization_keys).values(values).on_conflict_do_nothing()
    return connection.execute(statement.returning(_KEYS.version)).one_or_none() is not None


def replace(connection: Connection, now: datetime, organization: str, version: int, wrapped: str) -> None:
    """Replace a destroyed key by a new one."""
    _set(
        connection, organization, version, wrapped_key=wrapped, state=KeyState.ACTIVE, created_at=now, destroyed_at=None
    )


def wrap_anew(connection: Connection, organization: str, version: int, wrapped: str) -> None:
    """Store the same key, wrapped by another master key."""
    _set(connection, organization, version, wrapped_key=wrapped)


def retire(connection: Connection, organization: str, version: int) -> None:
    """Retire a key: it still decrypts, but encrypts nothing more."""
    _set(connection, organization, version, state=KeyState.RETIRED)


def destroy(connection: Connection, now: datetime, organization: str) -> int:
    """Overwrite all keys of the organization; return their number."""
    engine_of(connection).overwrite_what_is_replaced(connection)
    destroyed = connection.execute(
        update(organization_keys)
        .where(_KEYS.organization_id == organization, _KEYS.state != KeyState.DESTROYED)
        .values(wrapped_key="", state=KeyState.DESTROYED, destroyed_at=now)
        .returning(_KEYS.version)
    )
    return len(destroyed.all())


def sealed_organizations(connection: Connection) -> Sequence[str]:
    """Return the organizations with a key in use, the one whose newest key is oldest first."""
    return connection.scalars(
        select(_KEYS.organization_id)
        .where(_KEYS.state == KeyState.ACTIVE)
        .group_by(_KEYS.organization_id)
        .order_by(func.max(_KEYS.created_at), _KEYS.organization_id)
        .execution_options(fairlane_across="operator reads")
    ).all()


def begun(connection: Connection) -> Sequence[AnyRow]:
    """Return the organizations with a key in use, each with the time of its first key."""
    in_use = func.count().filter(_KEYS.state == KeyState.ACTIVE)
    return connection.execute(
        select(_KEYS.organization_id, func.min(_KEYS.created_at).label("at"))
        .group_by(_KEYS.organization_id)
        .having(in_use > 0)
        .order_by(_KEYS.organization_id)
        .execution_options(fairlane_across="operator reads")
    ).all()


def _set(connection: Connection, organization: str, version: int, **values: object) -> None:
    connection.execute(update(organization_keys).where(is_row(organization_keys, organization, version)).values(values))
