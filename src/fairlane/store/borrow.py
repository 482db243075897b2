"""Run Fairlane's statements on a caller's connection, as part of the caller's transaction.

There are three promises. Nothing of the caller's is committed, rolled back or closed. An error of Fairlane undoes only
Fairlane's statements, and leaves the transaction usable. The connection's settings are the same afterwards as before.

A frame around the block keeps these promises. The frame depends on the connection:

- a transaction is open, or the driver opens one before Fairlane's first statement: a savepoint;
- sqlite3 in its legacy mode, without a transaction: BEGIN IMMEDIATE, left open for the caller, as sqlite3 does before
  the caller's own first INSERT. A savepoint alone would commit with its RELEASE. After an error the transaction is
  rolled back: it holds the write lock, and nothing of the caller's is in it;
- autocommit, without a transaction: a short transaction of Fairlane's own.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakSet

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, PendingRollbackError, UnboundExecutionError
from sqlalchemy.util.concurrency import await_only, in_greenlet

from fairlane.domain.errors import ConfigurationError, StorageUnavailable, SubmissionError
from fairlane.store.dbapi_adapter import ACCEPTED, receive, require_open
from fairlane.store.engine import engine_of
from fairlane.store.transaction import Database

T = TypeVar("T")

ASYNC: Final = "sqlalchemy.ext.asyncio"
_DRIVERS: Final = frozenset({"pysqlite", "aiosqlite", "psycopg", "psycopg_async", "psycopg2", "asyncpg"})
_MAIN_FILE: Final = "SELECT file FROM pragma_database_list WHERE name = 'main'"
_FAILED_TRANSACTION: Final = "25P02"
_ABORTED: Final = "Your transaction has failed already, so it can't take a job; roll it back, then submit again."
_STARTING: Final = frozenset({"57P03", "53300"})  # the server starts or stops, or has no connection left
# Options that are meant for the caller's tables and statements, not for Fairlane's.
_PLAIN_OPTIONS: Final = {
    "schema_translate_map": None,
    "stream_results": False,
    "yield_per": None,
    "no_parameters": False,
}


class _Frame(NamedTuple):
    enter: str
    keep: tuple[str, ...]
    undo: tuple[str, ...]


# The caller's transaction, or another borrow, may have a savepoint of the same name: the latest one counts.
_SAVEPOINT: Final = _Frame(
    "SAVEPOINT fairlane",
    keep=("RELEASE SAVEPOINT fairlane",),
    undo=("ROLLBACK TO SAVEPOINT fairlane", "RELEASE SAVEPOINT fairlane"),
)


@contextmanager
def borrow(connection: object) -> Iterator[Connection]:
    """Yield a SQLAlchemy connection that works on the caller's connection, within the caller's transaction.

    If the block ends normally, the caller commits its work. An exception undoes its work. In autocommit mode without a
    transaction, the work is committed at once. A Session's pending objects are neither flushed nor expired.

    Args:
        connection: a SQLAlchemy Connection or Session (also scoped, also the sync side of an async one), a sqlite3,
            psycopg or psycopg2 connection, or a Django connection.

    Raises:
        ConfigurationError: the connection is of no such kind, or in a mode that can't run Fairlane's statements.
        SubmissionError: the caller's transaction has failed already, or the connection is closed.
        StorageUnavailable: a Session that had no connection yet found no database.
    """
    if is_a(connection, ASYNC, "AsyncConnection", "AsyncSession", "async_scoped_session"):
        raise ConfigurationError(
            "This connection is async: write `await fl.aio.submit(…)`, and so for the other verbs."
        )
    if is_a(connection, "sqlalchemy.orm", "Session", "scoped_session"):
        connection = _connection_of(connection)
    if isinstance(connection, Connection):
        _check_driver(connection)
        require_open(connection)
        require_open(_driver_of(connection))
        _require_utf8(connection)
        with _plain_options(connection), _framed(connection):
            yield connection
        return
    with receive(connection).connect() as borrowed:
        _require_utf8(borrowed)
        with _framed(borrowed):
            yield borrowed


def is_a(value: object, module: str, *names: str) -> bool:
    """Return True if `value` is of one of these classes, without importing their module.

    The caller who has such an object has imported its module. Importing SQLAlchemy's ORM and its asyncio extension
    would take a third of a worker's start.
    """
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, tuple(getattr(loaded, name) for name in names))


def aside(work: Callable[[], T]) -> T:
    """Do work that may take long: in a thread if the caller's connection is async, so that the loop does not block."""
    return await_only(asyncio.to_thread(work)) if in_greenlet() else work()


def _driver_of(connection: Connection) -> Any:
    try:
        return connection.connection.driver_connection
    except PendingRollbackError as error:  # the server closed it within the caller's transaction
        raise SubmissionError(_ABORTED) from error


def _connection_of(session: Any) -> Connection:
    try:
        connection: Connection = session.connection()
        return connection
    except PendingRollbackError as error:
        raise SubmissionError(_ABORTED) from error
    except UnboundExecutionError as error:
        raise ConfigurationError(
            "This Session has no engine for Fairlane's tables; pass `session.connection(…)` with the one to use."
        ) from error
    except Exception as error:
        # SQLAlchemy does not wrap asyncpg's errors about connecting.
        if isinstance(error, OSError) or getattr(error, "sqlstate", None) in _STARTING:
            kind = type(error).__name__
            raise StorageUnavailable(
                f"The database did not answer ({kind}); nothing was changed, try again."
            ) from error
        raise


def _check_driver(connection: Connection) -> None:
    if connection.dialect.driver not in _DRIVERS:
        kind = f"{connection.dialect.name}+{connection.dialect.driver}"
        raise ConfigurationError(f"Fairlane can't use a SQLAlchemy connection to {kind}. {ACCEPTED}")


def _require_utf8(connection: Connection) -> None:
    if not engine_of(connection).is_server:
        return
    info = getattr(connection.connection.driver_connection, "info", None)  # asyncpg has none: it uses only UTF-8
    encoding = "UTF8" if info is None else info.parameter_status("client_encoding")
    if encoding != "UTF8":
        raise ConfigurationError(
            f"This connection sends texts as {encoding}, which can't hold all texts of jobs; say "
            "SET client_encoding = 'UTF8' on it before you pass it."
        )


@contextmanager
def _plain_options(connection: Connection) -> Iterator[None]:
    theirs = {name: value for name, value in connection.get_execution_options().items() if name in _PLAIN_OPTIONS}
    connection.execution_options(**{name: _PLAIN_OPTIONS[name] for name in theirs})
    try:
        yield
    finally:
        connection.execution_options(**theirs)


@contextmanager
def _framed(connection: Connection) -> Iterator[None]:
    # SQLAlchemy's transaction has to begin first: an event of the engine emits BEGIN then.
    idle = connection.get_transaction() is None and not engine_of(connection).is_open(connection)
    begun = connection.begin() if idle else None
    try:
        with _within_frame(connection, _frame_for(connection)):
            yield
    except BaseException:
        # It has no statement of the caller.
        if begun is not None:
            begun.rollback()
        raise
    if begun is not None and not engine_of(connection).is_open(connection):
        begun.commit()


def _frame_for(connection: Connection) -> _Frame:
    engine = engine_of(connection)
    autocommits = engine.autocommits(connection)
    if engine.is_open(connection) or (engine.is_server and not autocommits):
        return _SAVEPOINT
    return _Frame(engine.begin, keep=("COMMIT",) if autocommits else (), undo=("ROLLBACK",))


@contextmanager
def _within_frame(connection: Connection, frame: _Frame) -> Iterator[None]:
    # By SQL: in autocommit mode the commit of some drivers does nothing. And SQLAlchemy does not roll back a savepoint
    # whose RELEASE failed because `work` swallowed an error.
    try:
        connection.exec_driver_sql(frame.enter)
    except DBAPIError as error:
        if _FAILED_TRANSACTION in (getattr(error.orig, "sqlstate", ""), getattr(error.orig, "pgcode", "")):
            raise SubmissionError(_ABORTED) from error
        raise
    try:
        yield
        for statement in frame.keep:
            connection.exec_driver_sql(statement)
    except BaseException:
        # A full disk of SQLite, or a lost connection, has ended the whole transaction, with the caller's part.
        if not connection.invalidated and engine_of(connection).is_open(connection):
            for statement in frame.undo:
                connection.exec_driver_sql(statement)
        raise


class Home:
    """Fairlane's own database, for a comparison with the database of a caller's connection.

    A job in another database would be lost: no worker of this `Fairlane` starts it, and no read finds it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._place: tuple[Any, ...] | None = None
        self._known = WeakSet[object]()  # driver connections to this database

    def refuse_elsewhere(self, theirs: Connection) -> None:
        """Raise ConfigurationError if the connection leads to another database.

        If only Fairlane's own database has Fairlane's tables, the two are different.
        """
        driver = theirs.connection.driver_connection
        if driver in self._known:
            return
        kind = engine_of(theirs)
        found = kind.place(theirs)
        if found == () and self._database.is_in_memory:
            return  # perhaps the connection that holds this database
        if found is None or found != self._place:
            self._look_again(found, theirs)
        # On SQLite the check is cheap, and its connections can't be remembered.
        if found is not None and kind.is_server:
            self._known.add(driver)

    def _look_again(self, found: tuple[Any, ...] | None, theirs: Connection) -> None:
        # If neither database has the tables, the first statement's error says so. The place is read again, because a
        # restarted server has another place.
        self._place = aside(lambda: self._database.look(self._database.kind.place))
        if found != self._place:
            may_be_schema = found is None and self._database.kind.is_server
            schema = " (or its search_path to another schema)" if may_be_schema else ""
            error = ConfigurationError(
                f"This connection is to another database{schema} than FAIRLANE_URL names, so no worker of this "
                "Fairlane would find the job: pass a connection to the database of FAIRLANE_URL, or set FAIRLANE_URL "
                "to the database of the connection."
            )
            if self._database.file is not None and not engine_of(theirs).is_server:
                # As a note, which only tracebacks show: REST APIs show the error's text to tenants.
                file = theirs.exec_driver_sql(_MAIN_FILE).scalar() or "a database in memory"
                error.add_note(f"The connection is to {file}, and FAIRLANE_URL is {self._database.file}.")
            raise error
