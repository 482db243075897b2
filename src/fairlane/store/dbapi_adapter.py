"""DB-API adapters, by which SQLAlchemy runs statements on a caller's own connection but can't end its transaction.

SQLAlchemy reaches a connection through a `PoolProxiedConnection`, which its pool hands out. A `DBAPIAdapter` is one
without a pool. Its cursors come from the caller's connection, and its commit, rollback, close and invalidate do
nothing. At this level all drivers look alike. Below it, psycopg refuses a proxy in place of its connection. Above it, a
`StaticPool` rolls back the caller's work at the first connect and at close. Without a pool, pool events that the host
listens to (`PRAGMA …`, `SET …` at connect) don't run again on a connection that was set up long ago.

The adapters have engines of their own, one per driver and server version, which connect to nothing. An engine is kept,
so a statement is compiled once per process, and not once per borrowed connection.
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


def receive(connection: object) -> "DBAPIAdapter":
    """Return the adapter for a caller's DB-API connection or Django connection.

    Raises:
        ConfigurationError: it is neither, or in a mode that can't run Fairlane's statements.
        SubmissionError: Django says that its transaction has failed already.
    """
    owned = _unwrap_django(connection)
    if isinstance(owned, sqlite3.Connection):
        return SQLiteAdapter(owned)
    if _is_a(owned, "psycopg", "Connection"):
        return PsycopgAdapter(owned)
    if _is_a(owned, "psycopg2.extensions", "connection"):
        return Psycopg2Adapter(owned)
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


class DBAPIAdapter(PoolProxiedConnection):
    """A caller's connection for SQLAlchemy. It ends no transaction, closes nothing, and changes no setting.

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
        """Return Fairlane's notes about this connection: none at first."""
        return {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.owned, name)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Yield a SQLAlchemy connection over the caller's. The end of the block leaves the caller's as it is."""
        engine = _engine(self.drivername, self.server_version)
        # A transaction only for SQLAlchemy: the driver sends BEGIN, and commit and rollback do nothing.
        with Connection(engine, self) as connection, connection.begin():
            yield connection

    @property
    def server_version(self) -> tuple[int, ...]:
        """Return the database's version, which the driver knows without a query."""
        return divmod(int(self.owned.info.server_version), 10_000)

    def cursor(self, *_args: Any, **_kwargs: Any) -> DBAPICursor:
        """Return a cursor with the driver's plain rows and types, whatever the caller has set."""
        raise NotImplementedError

    @property
    def is_valid(self) -> bool:
        """Return False if the driver has found the connection broken."""
        return self._valid

    def commit(self) -> None:
        """Do nothing: the caller commits."""

    def rollback(self) -> None:
        """Do nothing: the caller rolls back."""

    def close(self) -> None:
        """Do nothing: the caller closes."""

    def invalidate(self, _error: BaseException | None = None, _soft: bool = False) -> None:
        """Send nothing more. The caller will find the broken connection and reconnect."""
        self._valid = False


class SQLiteAdapter(DBAPIAdapter):
    """A `sqlite3.Connection`, in any of its transaction modes."""

    drivername = "sqlite+pysqlite"

    @property
    def server_version(self) -> tuple[int, ...]:
        """Return the version of the library that this process has loaded."""
        return sqlite3.sqlite_version_info

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Yield a connection that returns text as str: unlike the form of rows, this is the connection's setting."""
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


class PsycopgAdapter(DBAPIAdapter):
    """A `psycopg.Connection`, in autocommit mode or not.

    Raises:
        ConfigurationError: it is in pipeline mode, where an error appears only after later statements.
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


class Psycopg2Adapter(DBAPIAdapter):
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
    # `Dialect.initialize` would query the server, in the caller's transaction, for the version, and for what only
    # reflection and literals in SQL need: the schema, the isolation level, the style of quotes. Fairlane's statements
    # have neither.
    engine.dialect.server_version_info = server_version
    return engine


def _never() -> NoReturn:
    raise AssertionError("unreachable: the engine of an adapter opens no connection")


@cache
def _psycopg_cursor_class() -> Any:
    import psycopg  # noqa: PLC0415 - an optional driver; here it is the caller's
    from psycopg.rows import tuple_row  # noqa: PLC0415

    class AdapterCursor(psycopg.Cursor[tuple[Any, ...]]):
        def __init__(self, connection: psycopg.Connection[Any]) -> None:
            super().__init__(connection, row_factory=tuple_row)

        @property
        def adapters(self) -> psycopg.adapt.AdaptersMap:
            return psycopg.adapters

    return AdapterCursor


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
    # A caller with an instance has imported the class. So Fairlane need not import or install it.
    return isinstance(thing, getattr(sys.modules.get(module), name, ()))
