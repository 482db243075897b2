"""The schema's revisions: bring a database to this code's, or say in a sentence why the two do not fit.

Alembic runs in-process on our own connection: no ini file is read, no logging is set up, and its version table has a
name of ours, so that a host application with alembic tables of its own is left alone.
"""

import threading
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Identity, inspect, text

from fairlane.domain.errors import ConfigurationError
from fairlane.store.dialects import is_sqlite
from fairlane.store.tables import metadata
from fairlane.store.transaction import Database

if TYPE_CHECKING:
    from alembic.config import Config

# Alembic is imported where it is used: it is a quarter of the time in which a process starts, and few need it.

_PREFIX: Final = "fairlane_"
_VERSION_TABLE: Final = "fairlane_schema_version"
_PATIENCE: Final = 60.0  # seconds; how long to wait for a migration under way elsewhere
_LOCK_KEY: Final = int.from_bytes(b"fairlane", "big")
# Alembic's `op` and `context` are module globals: one migration at a time per process, whatever its database.
_ONE_AT_A_TIME: Final = threading.Lock()


class Condition(StrEnum):
    """How a database's schema stands to this code."""

    MISSING = "missing"
    BEHIND = "behind"
    CURRENT = "current"
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """The database's revision, None where there is no schema; this code's; and how they compare."""

    current: str | None
    head: str
    condition: Condition


def migrate(database: Database) -> tuple[str | None, str]:
    """Create the schema or bring it up to date, in one transaction. Waits for a migration under way elsewhere.

    A SQLite file that is not there is created, with its folder.

    Returns:
        The revision before, None for an empty database, and after; the same if there was nothing to do.

    Raises:
        ConfigurationError: the schema is newer than this code; nothing was changed.
        StorageUnavailable: the database is away, locked or full; nothing was changed.
    """
    database.create()
    # Before the transaction, whose lock keeps everybody else waiting.
    import alembic.command  # noqa: F401, PLC0415 - used by what runs in the transaction

    patient = database.sibling(pool_size=1, lock_seconds=_PATIENCE)
    try:
        with _ONE_AT_A_TIME:
            return patient.write(_upgrade)
    finally:
        if patient is not database:
            patient.close()


def state(database: Database) -> SchemaState:
    """How the database's schema stands to this code.

    Raises:
        ConfigurationError: SQLite's file is not there.
        StorageUnavailable: the database is away or locked.
    """
    return database.read(_state)


def check(database: Database) -> None:
    """Refuse a database whose schema is not exactly this code's.

    Raises:
        ConfigurationError: there is no schema, or it is older or newer than this code; the message says what to do.
        StorageUnavailable: the database is away or locked.
    """
    found = state(database)
    match found.condition:
        case Condition.MISSING:
            raise ConfigurationError(
                "The database has no Fairlane schema yet; run `fairlane migrate`, or call fl.migrate()."
            )
        case Condition.BEHIND:
            raise ConfigurationError(
                f"The database's Fairlane schema is at revision {found.current}, behind this code's {found.head}; "
                "run `fairlane migrate`, or call fl.migrate()."
            )
        case Condition.NEWER:
            raise _newer(found)
        case Condition.CURRENT:
            return


def comparison(connection: Connection) -> dict[str, Any]:
    """Alembic's options for comparing a database with `store.tables`: nothing but our own tables is looked at."""
    return {
        "version_table": _VERSION_TABLE,
        "target_metadata": metadata,
        "include_name": _is_ours,
        "compare_type": True,
        "compare_server_default": _ignore_identity if is_sqlite(connection) else True,
    }


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or (name is not None and name.startswith(_PREFIX))


def _ignore_identity(
    _context: object, _there: object, _column: object, _found: object, default: object, _rendered: object
) -> bool | None:
    # SQLite has no IDENTITY: an INTEGER PRIMARY KEY counts by itself. None leaves the comparison to alembic.
    return False if isinstance(default, Identity) else None


def _upgrade(connection: Connection) -> tuple[str | None, str]:
    if not is_sqlite(connection):
        # On SQLite the write transaction itself keeps a second one out.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
    # Only now, under the lock, does the revision stay as it is read.
    found = _state(connection)
    if found.condition is Condition.NEWER:
        raise _newer(found)
    if found.condition is not Condition.CURRENT:
        from alembic import command  # noqa: PLC0415

        command.upgrade(_config(connection), "head")
    return found.current, found.head


def _state(connection: Connection) -> SchemaState:
    revisions = _revisions()
    current = None
    if inspect(connection).has_table(_VERSION_TABLE):
        current = connection.scalar(text(f"SELECT version_num FROM {_VERSION_TABLE}"))  # noqa: S608 - a constant
    return SchemaState(current, revisions[-1], _condition(current, revisions))


@cache
def _revisions() -> list[str]:
    """This code's revisions in their order, by their files' names: each is called <number>_<what>.py."""
    names = (file.name for file in files("fairlane.store.migrations.versions").iterdir())
    return sorted(name.split("_")[0] for name in names if name[0].isdigit() and name.endswith(".py"))


def _condition(current: str | None, revisions: list[str]) -> Condition:
    if current is None:
        return Condition.MISSING
    if current == revisions[-1]:
        return Condition.CURRENT
    return Condition.BEHIND if current in revisions else Condition.NEWER


def _newer(found: SchemaState) -> ConfigurationError:
    return ConfigurationError(
        f"The database's Fairlane schema is at revision {found.current}, newer than this code's {found.head}; "
        "upgrade fairlane to the version that migrated it."
    )


def _config(connection: Connection) -> "Config":
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "fairlane.store:migrations")
    return config
