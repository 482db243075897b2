"""Meanings of the errors of all database drivers, and their translation into Fairlane's errors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError

from fairlane.domain.errors import ConfigurationError, FairlaneError, InvalidParameters, StorageUnavailable
from fairlane.store.row_security import DatabaseRole, grant

_RETRYABLE_STATES: Final = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_LOCK_NOT_AVAILABLE: Final = "55P03"
_READ_ONLY: Final = "25006"
_CANCELED: Final = "57014"
_DEPENDENT_PRIVILEGES: Final = "2BP01"
# Ended by an operator or by a crash. With this answer to a COMMIT it is unknown whether it took effect.
_CUT_OFF_STATES: Final = frozenset({"40003", "57P01", "57P02"})
_UNAVAILABLE_CLASSES: Final = ("08", "25", "40", "53", "55", "57", "58")
# The error of a failed connect has no SQLSTATE. A retry alone does not help then.
_NO_DATABASE: Final = re.compile(r'FATAL: +database ".*" does not exist')
_NO_LOGIN: Final = re.compile(r'FATAL: +(role ".*" does not exist|password authentication failed|no pg_hba.conf entry)')
_TOO_MANY_CONNECTIONS: Final = re.compile(
    r"FATAL: +(sorry, too many clients already|remaining connection slots are reserved|too many connections for )"
)
_NO_CONNECTION_LEFT: Final = "53300"
_NO_PRIVILEGE: Final = "42501"
_NOT_GRANTED: Final = re.compile(r"permission denied (for|to set role)")
_SET_ROLE: Final = re.compile('permission denied to set role "([^"]+)"')
_USER: Final = re.compile(r"[a-z0-9+]+://([a-z_][a-z0-9_]*)[:@]")
_OF_VALUES_CLASSES: Final = ("22", "23")  # data exception, integrity constraint violation
_MISSING_STATES: Final = frozenset({"42P01", "42703", "3F000"})  # undefined table, column, schema


def driver_error(engine: Engine) -> type[Exception]:
    """Return the class of all errors of the engine's driver."""
    base: type[Exception] = engine.dialect.loaded_dbapi.Error
    return base


@contextmanager
def by_sqlalchemy(engine: Engine) -> Iterator[None]:
    """Convert an error of the driver itself to SQLAlchemy's class for it."""
    base = driver_error(engine)
    try:
        yield
    except base as error:
        raise DBAPIError.instance(None, None, error, base, hide_parameters=True, dialect=engine.dialect) from error


def is_retryable(error: DBAPIError) -> bool:
    """Return True if the transaction was certainly rolled back and may succeed when run again."""
    return _sqlstate(error) in _RETRYABLE_STATES


def is_unique_violation(error: DBAPIError) -> bool:
    """Return True if a unique or primary key refused the row.

    A retry helps only if another transaction has inserted that row meanwhile.
    """
    return _sqlstate(error) == "23505" or "UNIQUE constraint failed" in str(error.orig)


def is_lost_race(error: StorageUnavailable) -> bool:
    """Return True if a transaction failed because of another one, and may succeed when run again.

    Only `submit`, which races for ids, makes a unique violation StorageUnavailable.
    """
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and (is_retryable(cause) or is_unique_violation(cause))


def is_read_only(error: StorageUnavailable) -> bool:
    """Return True if the transaction, or its database, is read-only."""
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and (_sqlstate(cause) == _READ_ONLY or "readonly database" in str(cause.orig))


def is_lock_timeout(error: DBAPIError) -> bool:
    """Return True if another transaction held a lock for too long, on PostgreSQL."""
    return _sqlstate(error) == _LOCK_NOT_AVAILABLE


def was_granted_on(error: DBAPIError) -> bool:
    """Return True if a right could not be revoked because its holder granted it to others, on PostgreSQL."""
    return _sqlstate(error) == _DEPENDENT_PRIVILEGES


def is_held_up(error: Exception) -> bool:
    """Return the same for one of Fairlane's errors."""
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and is_lock_timeout(cause)


def is_locked(error: Exception) -> bool:
    """Return True if one of Fairlane's errors says that another transaction wrote for too long, on SQLite."""
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and "database is locked" in str(cause.orig)


def is_stopped(error: DBAPIError) -> bool:
    """Return True if the database was told to stop the statement, by a timeout or by SQLite's progress handler."""
    return _sqlstate(error) == _CANCELED or str(error.orig) == "interrupted"


def is_unanswered(error: DBAPIError) -> bool:
    """Return True if it is unknown whether a COMMIT that ended with this error took effect.

    A database that answers with an error has rolled it back. Without an answer both are possible.
    """
    state, text = _sqlstate(error), str(error.orig)
    if state:
        return state.startswith("08") or state in _CUT_OFF_STATES
    return "disk is full" not in text and "database is locked" not in text


def translate(error: DBAPIError, where: str, role: DatabaseRole | None = None) -> FairlaneError | None:
    """Return Fairlane's error for a driver's; None if it is about neither availability nor the schema.

    Args:
        where: the database, to show the reader if it is the wrong one.
        role: the role that the session takes on if its login may.
    """
    state, text = _sqlstate(error), str(error.orig)
    if state in _MISSING_STATES or "no such table" in text or "no such column" in text or "has no column" in text:
        return ConfigurationError(
            "The database's Fairlane schema is missing or older than this code; run `fairlane migrate`, "
            f"or call fl.migrate(). It is {where}."
        )
    if state == _NO_PRIVILEGE and _NOT_GRANTED.search(text):
        return ConfigurationError(_not_granted(text, where, role))
    if isinstance(error, DataError):
        return InvalidParameters("A value is too long, too large or has a character that can't be stored.")
    if "disk is full" in text or state == "53100":
        return StorageUnavailable("The database is full; nothing was changed. Free some space, then try again.")
    if "database is locked" in text or state == _LOCK_NOT_AVAILABLE:
        return StorageUnavailable(
            "The database was locked for too long; nothing was changed, try again. "
            "If your code has a transaction open, pass it as connection= to submit a job; call all other verbs before "
            "that transaction, or after its commit."
        )
    if _NO_DATABASE.search(text):
        return StorageUnavailable(
            f"The server has no such database; create it and run `fairlane migrate`, or correct the URL. It is {where}."
        )
    if _NO_LOGIN.search(text):
        return StorageUnavailable(
            f"The server does not let this user in; correct user or password of the URL, {where}."
        )
    if state == _NO_CONNECTION_LEFT or _TOO_MANY_CONNECTIONS.search(text):
        return StorageUnavailable(
            "The database has too many connections open and refused one more; nothing was changed, try again. "
            "The view pg_stat_activity shows whose they are. Lower the `--concurrency` of workers whose handlers "
            f"connect, or raise max_connections, or the limit of the role or database. It is {where}."
        )
    unavailable = state[:2] in _UNAVAILABLE_CLASSES if state else isinstance(error, OperationalError | InterfaceError)
    if unavailable or error.connection_invalidated:
        first_line = text.partition("\n")[0]
        # The error of a failed connect has no SQLSTATE. The driver names the place, and never the password.
        reason = type(error.orig).__name__ if state else f"{type(error.orig).__name__}: {first_line[:200]}"
        look = "" if state else " See that its server runs and that the URL names it."
        return StorageUnavailable(f"The database did not answer ({reason}); nothing was changed, try again.{look}")
    return None


def _not_granted(text: str, where: str, role: DatabaseRole | None) -> str:
    """Return the sentence about the missing role. PostgreSQL names a role that a transaction could not take on."""
    refused = _SET_ROLE.search(text)
    needed = (
        refused[1]
        if refused is not None
        else role
        if role is DatabaseRole.WORKER
        else f"{DatabaseRole.APP}, {DatabaseRole.TENANT}"
    )
    found = _USER.match(where)
    login = found[1] if found is not None else "its login"
    return f"The login of {where} may not do this: it needs {needed}. {grant(needed, login)}"


def is_of_values(error: Exception) -> bool:
    """Return True if the values were refused, by the database or by its driver.

    A retry would fail again, while any other error may be temporary.
    """
    if isinstance(error, DBAPIError):
        return isinstance(error, DataError | IntegrityError) or _sqlstate(error)[:2] in _OF_VALUES_CLASSES
    return isinstance(error, InvalidParameters | UnicodeError)


def _sqlstate(error: DBAPIError) -> str:
    original = error.orig
    # psycopg and asyncpg's adapter have sqlstate, psycopg2 has pgcode.
    return getattr(original, "sqlstate", None) or getattr(original, "pgcode", None) or ""
