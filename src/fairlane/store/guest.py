"""Guests: a caller's own DB-API connection, dressed so that SQLAlchemy runs statements on it but can't end its work.

SQLAlchemy reaches a connection through a `PoolProxiedConnection`, the thing its pool hands out. A `Guest` is one that
no pool made: cursors come from the caller's connection; commit, rollback, close and invalidate do nothing. That is the
one seam where all drivers look alike. Below it, psycopg refuses a proxy in place of its connection; above it, a
`StaticPool` rolls the caller's work back at first connect and at close. And since no pool takes part, pool events that
the host listens to (`PRAGMA …`, `SET …` at connect) don't run again on a connection that has long been set up.

The engine behind guests is ours, one per driver and server version, and connects to nothing. It is kept, so a statement
is compiled once per process and not once per borrowed connection.
"""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any, ClassVar, Final, NoReturn, cast

from sqlalchemy import Connection, Engine, NullPool, PoolProxiedConnection, create_engine
from sqlalchemy.engine.interfaces import DBAPICursor

from fairlane.domain.errors import ConfigurationError, SubmissionError

ACCEPTED: Final = (
    "Pass a SQLAlchemy Connection or Session, a sqlite3, psycopg or psycopg2 connection, or a Django connection to "
    "SQLite or PostgreSQL; `await fl.aio.submit(…)` also takes SQLAlchemy's AsyncConnection or AsyncSession."
)


def receive(connection: object) -> "Guest":
    """Return the guest for a caller's DB-API connection or Django connection.

    Raises:
        ConfigurationError: it is neither, or in a mode that can't take our statements.
        SubmissionError: Django says that its transaction has failed already.
    """
    owned = _unwrap_django(connection)
    if isinstance(owned, sqlite3.Connection):
        return SQLiteGuest(owned)
    if _is_a(owned, "psycopg", "Connection"):
        return PsycopgGuest(owned)
    if _is_a(owned, "psycopg2.extensions", "connection"):
        return Psycopg2Guest(owned)
    kind = f"{type(owned).__module__}.{type(owned).__qualname__}"
    raise ConfigurationError(f"Fairlane can't use a {kind} as connection. {ACCEPTED}")


def require_open(driver: Any) -> None:
    """Raise SubmissionError if psycopg's, psycopg2's or sqlite3's connection, or SQLAlchemy's, is closed."""
    try:
        is_closed = driver.total_changes < 0 if isinstance(driver, sqlite3.Connection) else getattr(driver, "closed", 0)
    except sqlite3.ProgrammingError:
        is_closed = True
    if is_closed:
        raise SubmissionError("Your connection is closed, so it can't take a job; open another one, then submit again.")


class Guest(PoolProxiedConnection):
    """A caller's connection in SQLAlchemy's hands: it ends no transaction, closes nothing, changes no setting.

    Args:
        owned: the DB-API connection.
    """

    drivername: ClassVar[str]

    def __init__(self, owned: Any) -> None:
        require_open(owned)
        self.owned = owned
        self.dbapi_connection = self.driver_connection = owned
        self._valid = True

    @cached_property
    def info(self) -> dict[str, Any]:
        """Return what our code notes of this connection: nothing yet."""
        return {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.owned, name)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Yield a SQLAlchemy connection over the caller's. Leaving it, in any way, leaves the caller's as it is."""
        engine = _engine(self.drivername, self.server_version)
        # A transaction in SQLAlchemy's books only: BEGIN is the driver's, and its commit and rollback come to nothing.
        with Connection(engine, self) as connection, connection.begin():
            yield connection

    @property
    def server_version(self) -> tuple[int, ...]:
        """Return the database's version, as the driver knows it without asking."""
        return divmod(int(self.owned.info.server_version), 10_000)

    def cursor(self, *_args: Any, **_kwargs: Any) -> DBAPICursor:
        """Return a cursor with the driver's plain rows and types, whatever the caller has set for its own."""
        raise NotImplementedError

    @property
    def is_valid(self) -> bool:
        """Return False once the driver found the connection broken."""
        return self._valid

    def commit(self) -> None:
        """Do nothing: the caller commits."""

    def rollback(self) -> None:
        """Do nothing: the caller rolls back."""

    def close(self) -> None:
        """Do nothing: the caller closes."""

    def invalidate(self, _error: BaseException | None = None, _soft: bool = False) -> None:
        """Send nothing more; the caller finds out for itself and reconnects."""
        self._valid = False


class SQLiteGuest(Guest):
    """A `sqlite3.Connection`, in any of its transaction modes."""

    drivername = "sqlite+pysqlite"

    @property
    def server_version(self) -> tuple[int, ...]:
        """Return the version of the library that this process has loaded."""
        return sqlite3.sqlite_version_info

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Yield one as in `Guest`, where text arrives as str: unlike rows, it can be chosen per connection only."""
        text_factory, self.owned.text_factory = self.owned.text_factory, str
        try:
            with super().connect() as connection:
                yield connection
        finally:
            self.owned.text_factory = text_factory

    def cursor(self, *_args: Any, **_kwargs: Any) -> DBAPICursor:
        """Return a cursor of plain tuples."""
        cursor = self.owned.cursor(sqlite3.Cursor)
        cursor.row_factory = None
        return cast(DBAPICursor, cursor)


class PsycopgGuest(Guest):
    """A `psycopg.Connection`, in autocommit mode or not.

    Raises:
        ConfigurationError: it is in pipeline mode, where an error shows only after the statements that follow it.
    """

    drivername = "postgresql+psycopg"

    def __init__(self, owned: Any) -> None:
        super().__init__(owned)
        if owned.pgconn.pipeline_status:
            raise ConfigurationError(
                "Fairlane can't use a psycopg connection in pipeline mode; leave the pipeline first."
            )

    def cursor(self, *_args: Any, **_kwargs: Any) -> DBAPICursor:
        """Return a cursor of plain tuples with psycopg's own types (Django's JSON and time zones are adapters, too)."""
        return cast(DBAPICursor, _psycopg_cursor_class()(self.owned))


class Psycopg2Guest(Guest):
    """A psycopg2 connection, in autocommit mode or not."""

    drivername = "postgresql+psycopg2"

    def cursor(self, *_args: Any, **_kwargs: Any) -> DBAPICursor:
        """Return a cursor of plain tuples and with psycopg2's own types."""
        import psycopg2.extras  # noqa: PLC0415 - an optional driver; here it is the caller's

        cursor = self.owned.cursor(cursor_factory=psycopg2.extensions.cursor)
        psycopg2.extras.register_uuid(conn_or_curs=cursor)
        psycopg2.extras.register_default_json(conn_or_curs=cursor)
        psycopg2.extras.register_default_jsonb(conn_or_curs=cursor)
        return cast(DBAPICursor, cursor)


@cache
def _engine(drivername: str, server_version: tuple[int, ...]) -> Engine:
    engine = create_engine(f"{drivername}://", poolclass=NullPool, creator=_never, hide_parameters=True)
    # `Dialect.initialize` would ask the server, in the caller's transaction, for this and for what only reflection and
    # literals in SQL need: the schema, the isolation level, how to quote. Our statements have neither.
    engine.dialect.server_version_info = server_version
    return engine


def _never() -> NoReturn:
    raise AssertionError("unreachable: the engine of guests opens no connection")


@cache
def _psycopg_cursor_class() -> Any:
    import psycopg  # noqa: PLC0415 - an optional driver; here it is the caller's
    from psycopg.rows import tuple_row  # noqa: PLC0415

    class GuestCursor(psycopg.Cursor[tuple[Any, ...]]):
        def __init__(self, connection: psycopg.Connection[Any]) -> None:
            super().__init__(connection, row_factory=tuple_row)

        @property
        def adapters(self) -> psycopg.adapt.AdaptersMap:
            return psycopg.adapters

    return GuestCursor


def _unwrap_django(connection: object) -> object:
    if not (
        _is_a(connection, "django.db.backends.base.base", "BaseDatabaseWrapper")
        or _is_a(connection, "django.utils.connection", "ConnectionProxy")
    ):
        return connection
    wrapper: Any = connection
    if wrapper.needs_rollback:
        raise SubmissionError("Your Django transaction has failed already; leave its atomic block, then submit again.")
    wrapper.ensure_connection()
    owned: object = wrapper.connection
    return owned


def _is_a(thing: object, module: str, name: str) -> bool:
    # Whoever holds an instance has imported the class; so we needn't, nor have it installed.
    return isinstance(thing, getattr(sys.modules.get(module), name, ()))
