"""Migrations of the schema, and checks whether a database's schema fits this code.

Alembic runs in-process on Fairlane's own connection. It reads no ini file and sets up no logging. Its version table has
a name of its own, so it does not disturb a host application's alembic tables.

A release has one revision at most, and its code also runs on the revisions of the releases before and after. So a
deployment needs no pause, whether the workers or the schema come first. CONTRIBUTING.md has the rules for this.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Identity, inspect, text
from sqlalchemy.exc import DBAPIError

from fairlane.domain.errors import ConfigurationError, InstallationError, StorageUnavailable
from fairlane.domain.timing import LOCK_WAIT_OF_UPKEEP
from fairlane.store import row_logins, row_policies
from fairlane.store.driver_errors import is_lock_timeout, is_retryable
from fairlane.store.engine import engine_of
from fairlane.store.row_security import is_behind_a_pooler
from fairlane.store.tables import metadata
from fairlane.store.transaction import Database

if TYPE_CHECKING:
    from alembic.config import Config

# Alembic is imported only where it is used: it would take a quarter of a process's start, and few processes need it.

_PREFIX: Final = "fairlane_"
_VERSION_TABLE: Final = "fairlane_schema_version"
_LOCK_TIMEOUT: Final = 60.0  # seconds to wait for another migration, and for a table's lock
_NO_POOLER: Final = (
    "A migration keeps its session, so it can't go through a pooler like PgBouncer; "
    "let FAIRLANE_OWNER_URL lead to PostgreSQL itself."
)
_PAUSE: Final = 0.5  # seconds between two attempts
_LOCK_KEY: Final = int.from_bytes(b"fairlane", "big")
# The session that holds the lock of migrations. Any login may take such a lock.
_HOLDER: Final = text("""
SELECT 'login ' || coalesce(usename, 'unknown') || ', process ' || pid
FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND objsubid = 1
  AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND CAST(classid AS bigint) << 32 | CAST(objid AS bigint) = :key
""")
# Alembic's `op` and `context` are module globals: one migration at a time per process, whatever its database.
_ONE_AT_A_TIME: Final = threading.Lock()


class Condition(StrEnum):
    """The relation of a database's schema to this code. They work together in the middle three conditions."""

    MISSING = "missing"
    BEHIND = "behind"
    PREVIOUS = "previous"  # one revision older
    CURRENT = "current"
    NEXT = "next"  # one revision newer
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """The database's revision (None without a schema), this code's revision, and their relation."""

    current: str | None
    head: str
    condition: Condition


def migrate(database: Database, url: str | None = None) -> tuple[str | None, str]:
    """Create the schema or bring it up to date, while workers run. It waits for another migration.

    A missing SQLite file is created, with its folder. Each revision is one transaction. On PostgreSQL some indexes are
    built outside it.

    Row security is switched on if the login may create its roles, or was granted them: see `row_policies`.

    Args:
        url: the owner's; None = the database's.

    Returns:
        The revisions before (None for an empty database) and after. They are the same if there was nothing to do, for
        example because the schema is one revision newer than this code.

    Raises:
        ConfigurationError: the schema is still newer, or PostgreSQL's database is not in UTF-8; nothing was changed.
        StorageUnavailable: the database is unavailable, locked or full; complete revisions stay.
    """
    database.create()
    # Before the transaction, whose lock makes all others wait.
    import alembic.command  # noqa: F401, PLC0415 - used by what runs in the transaction

    patient = database.sibling(pool_size=1, lock_seconds=_LOCK_TIMEOUT, url=url)
    try:
        with _ONE_AT_A_TIME:
            return patient.write(_upgrade) if patient.kind.writers_are_serial else _upgrade_online(patient)
    finally:
        if patient is not database:
            patient.close()


def state(database: Database) -> SchemaState:
    """Return the state of the database's schema.

    Raises:
        ConfigurationError: SQLite's file does not exist, or PostgreSQL's database is not in UTF-8.
        StorageUnavailable: the database is unavailable or locked.
    """
    return database.read(_state)


def lacks_row_security(database: Database, url: str | None = None) -> str | None:
    """Say why PostgreSQL does not enforce the tenant boundary, and what to do; None if it does.

    Also return None if there are no tables yet, and on SQLite.

    Args:
        url: the owner's; None = the database's.
    """
    if not database.kind.has_row_security:
        return None
    # Without a role: in production the role of the database's URL may be refused.
    single = database.sibling(pool_size=1, url=url)
    try:
        return single.read(lambda connection: row_logins.what_is_missing(row_policies.asking(connection)))
    finally:
        single.close()


def rights_not_ours(database: Database) -> str | None:
    """Say who has rights on Fairlane's tables that Fairlane did not grant, on PostgreSQL; None = nobody."""
    return database.read(lambda connection: row_logins.rights_not_ours(row_policies.asking(connection)))


def check(database: Database) -> None:
    """Refuse a database if this code can't work with its schema.

    Raises:
        ConfigurationError: there is no schema, it is older or newer than this code's by more than one revision, or
            PostgreSQL's database is not in UTF-8; the message says what to do.
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
        case Condition.PREVIOUS | Condition.CURRENT | Condition.NEXT:
            return


def comparison(connection: Connection) -> dict[str, Any]:
    """Return Alembic's options for comparing a database with `store.tables`: only Fairlane's tables are compared."""
    return {
        "version_table": _VERSION_TABLE,
        "target_metadata": metadata,
        "include_name": lambda name, kind, _parents: kind != "table" or is_ours(name, kind),
        "compare_type": True,
        "compare_server_default": True if connection.dialect.supports_identity_columns else _ignore_identity,
    }


def is_ours(name: str | None, kind: str) -> bool:
    """Return True if alembic has found a table of Fairlane, by its name and kind."""
    return kind == "table" and name is not None and name.startswith(_PREFIX)


def _ignore_identity(
    _context: object, _there: object, _column: object, _found: object, default: object, _rendered: object
) -> bool | None:
    # SQLite has no IDENTITY: an INTEGER PRIMARY KEY gets numbers without it. None leaves the comparison to alembic.
    return False if isinstance(default, Identity) else None


def _upgrade(connection: Connection) -> tuple[str | None, str]:
    """Upgrade in one transaction, which excludes other migrations where writers are serial."""
    found, missing = _missing(connection)
    for revision in missing:
        _run(connection, revision)
    return found.current, missing[-1] if missing else found.current or found.head


def _upgrade_online(database: Database) -> tuple[str | None, str]:
    """Upgrade while others write: no lock is held, or waited for, longer than a moment."""
    deadline = time.monotonic() + _LOCK_TIMEOUT
    with database.translated(), database.engine.connect() as connection:
        if is_behind_a_pooler(connection.connection.driver_connection):
            raise InstallationError(_NO_POOLER)
    with database.translated(), database.engine.connect() as connection, _alone(connection, deadline):
        # Only now, without other migrations, the revision can't change after it is read.
        found, missing = _missing(connection)
        # While a migration waits for a table's lock, all others wait behind it. So it gives up soon and lets them pass.
        # Set before alembic runs: it begins its own transactions only if there is none.
        connection.execute(text(f"SET lock_timeout = '{LOCK_WAIT_OF_UPKEEP}s'"))
        connection.commit()
        for revision in missing:
            _run_patiently(connection, lambda: _run(connection, revision), deadline)  # noqa: B023 - it is run at once
        _run_patiently(connection, lambda: _secure(connection), deadline)
    return found.current, missing[-1] if missing else found.current or found.head


@contextmanager
def _alone(connection: Connection, deadline: float) -> Iterator[None]:
    """Exclude other migrations of this database.

    A waiting migration polls for the lock. If it waited in a statement, an index built concurrently would wait for that
    statement, and the statement for the lock.
    """
    key = {"key": _LOCK_KEY}
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), key):
        connection.rollback()
        if time.monotonic() > deadline:
            holder = connection.scalar(_HOLDER, key) or "it has just ended"
            raise StorageUnavailable(
                f"Another session has been migrating this database for a minute ({holder}); try again, or end that "
                "session if it is no migration."
            )
        time.sleep(_PAUSE)
    connection.commit()
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
            connection.commit()


def _run_patiently(connection: Connection, change: Callable[[], None], deadline: float) -> None:
    """Make a change, and retry while another transaction locks the table."""
    while True:
        try:
            return change()
        except DBAPIError as error:
            connection.rollback()
            if not (is_lock_timeout(error) or is_retryable(error)) or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE)


def _secure(connection: Connection) -> None:
    row_policies.establish(connection)
    connection.commit()


def _missing(connection: Connection) -> tuple[SchemaState, list[str]]:
    """Return the database's state, and its missing revisions.

    Raises ConfigurationError if the schema is too new.
    """
    found = _state(connection)
    if found.condition is Condition.NEWER:
        raise _newer(found)
    if found.condition is Condition.NEXT:
        return found, []
    revisions = _revisions()
    return found, revisions[revisions.index(found.current) + 1 :] if found.current else revisions


def _run(connection: Connection, revision: str) -> None:
    from alembic import command  # noqa: PLC0415

    command.upgrade(_config(connection), revision)


def _state(connection: Connection) -> SchemaState:
    if engine_of(connection).is_server:
        _require_utf8(connection.connection.driver_connection)
    revisions = _revisions()
    current = None
    if inspect(connection).has_table(_VERSION_TABLE):
        current = connection.scalar(text(f"SELECT version_num FROM {_VERSION_TABLE}"))  # noqa: S608 - a constant
    return SchemaState(current, revisions[-1], _condition(current, revisions))


def _require_utf8(driver: Any) -> None:
    encoding = driver.info.parameter_status("server_encoding")  # the server reports it at the login
    if encoding != "UTF8":
        raise ConfigurationError(
            f"The database's encoding is {encoding}, which can't hold all texts of jobs; make one for Fairlane by "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and let FAIRLANE_URL lead there."
        )


@cache
def _revisions() -> list[str]:
    """Return this code's revisions in their order, by their files' names: <number>_<what>.py."""
    names = (file.name for file in files("fairlane.store.migrations.versions").iterdir())
    return sorted(name.split("_")[0] for name in names if name[0].isdigit() and name.endswith(".py"))


def _condition(current: str | None, revisions: list[str]) -> Condition:
    if current is None:
        return Condition.MISSING
    if current not in revisions:
        is_next = current.isdecimal() and int(current) == int(revisions[-1]) + 1
        return Condition.NEXT if is_next else Condition.NEWER
    match revisions[::-1].index(current):
        case 0:
            return Condition.CURRENT
        case 1:
            return Condition.PREVIOUS
        case _:
            return Condition.BEHIND


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
