"""Hosts in miniature: every kind of connection that can be lent to Fairlane, used in its owner's own way."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any, TypeVar

import psycopg
import psycopg2
import sqlalchemy as sa
from psycopg.rows import dict_row
from sqlalchemy import Connection, create_engine, event, insert, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from fairlane.store.borrow import borrow

T = TypeVar("T")

parcels = sa.Table(
    "parcels",
    sa.MetaData(),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", sa.Uuid),
    sa.Column("label", sa.Text),
    sa.Column("sent_at", sa.DateTime(timezone=True).with_variant(sa.String(32), "sqlite")),
    sa.Column("fragile", sa.Boolean),
)


def create_table(url: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    parcels.metadata.create_all(engine)
    engine.dispose()


def committed(url: str) -> set[int]:
    """Return the committed rows, read by another connection."""
    parsed = make_url(url)
    sqlite = parsed.get_backend_name() == "sqlite"
    with closing(sqlite3.connect(str(parsed.database)) if sqlite else psycopg.connect(url)) as connection:
        return {row[0] for row in connection.execute("SELECT number FROM parcels").fetchall()}


def put(number: int) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        connection.execute(insert(parcels).values(number=number, label="ours"))

    return work


def put_then_fail(connection: Connection) -> None:
    put(77)(connection)
    put(77)(connection)  # a unique violation aborts a PostgreSQL transaction


class Host:
    """A host whose connection is a DB-API connection; the other kinds replace what differs."""

    def __init__(self, connection: Any) -> None:
        self.lent: Any = connection

    def lend(self, work: Callable[[Connection], T]) -> T:
        with borrow(self.lent) as borrowed:
            return work(borrowed)

    def execute(self, statement: str) -> Any:
        """The first value of the result, if there is one."""
        with closing(self.lent.cursor()) as cursor:
            cursor.execute(statement)
            row = cursor.fetchone() if cursor.description else None
        return row and (next(iter(row.values())) if isinstance(row, dict) else row[0])

    def insert(self, number: int) -> None:
        self.execute(f"INSERT INTO parcels (number) VALUES ({number})")

    def commit(self) -> None:
        self.lent.commit()

    def rollback(self) -> None:
        self.lent.rollback()

    def settings(self) -> dict[str, Any]:
        names = ("autocommit", "cursor_factory", "isolation_level", "row_factory", "text_factory")
        return {name: getattr(self.lent, name, None) for name in names}


class SqlHost(Host):
    """A host in autocommit mode that begins and ends its transaction by SQL."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.execute("BEGIN")

    def commit(self) -> None:
        self.execute("COMMIT")

    def rollback(self) -> None:
        self.execute("ROLLBACK")


class SqlAlchemyHost(Host):
    """A host with a SQLAlchemy Connection or Session."""

    def execute(self, statement: str) -> Any:
        result = self.lent.execute(text(statement))
        return result.scalar() if result.returns_rows else None

    def settings(self) -> dict[str, Any]:
        session = isinstance(self.lent, Session | scoped_session)
        connection = self.lent.connection() if session else self.lent
        return {"options": connection.get_execution_options(), "nested": connection.in_nested_transaction()}


class AsyncHost(Host):
    """A host with an AsyncConnection or AsyncSession, and a loop that runs while it is being asked."""

    def __init__(self, connection: AsyncConnection | AsyncSession, runner: asyncio.Runner) -> None:
        super().__init__(connection)
        self._runner = runner

    def lend(self, work: Callable[[Connection], T]) -> T:
        def borrowed(sync: Connection | Session) -> T:
            with borrow(sync) as ours:
                return work(ours)

        done: T = self._runner.run(self.lent.run_sync(borrowed))
        return done

    def execute(self, statement: str) -> Any:
        result = self._runner.run(self.lent.execute(text(statement)))
        return result.scalar() if result.returns_rows else None

    def commit(self) -> None:
        self._runner.run(self.lent.commit())

    def rollback(self) -> None:
        self._runner.run(self.lent.rollback())

    def settings(self) -> dict[str, Any]:
        return {}


class DjangoHost(Host):
    """A host with Django's connection; inside an atomic block unless `atomic` is off."""

    def __init__(self, connection: Any, *, atomic: bool) -> None:
        from django.db import transaction

        super().__init__(connection)
        self._atomic = transaction.atomic()
        if atomic:
            self._atomic.__enter__()

    def commit(self) -> None:
        self._atomic.__exit__(None, None, None)

    def rollback(self) -> None:
        self.lent.set_rollback(True)
        self.commit()

    def settings(self) -> dict[str, Any]:
        return {"autocommit": self.lent.get_autocommit(), "savepoints": list(self.lent.savepoint_ids)}


def sqlite_host(url: str, kind: type[Host] = Host, **options: Any) -> AbstractContextManager[Host]:
    return _closing(kind, sqlite3.connect(str(make_url(url).database), **options))


@contextmanager
def sqlite_rows_host(url: str) -> Iterator[Host]:
    """Yield a host whose sqlite3 connection returns rows that are no tuples of str, by every setting that there is."""
    with sqlite_host(url, detect_types=sqlite3.PARSE_DECLTYPES | sqlite3.PARSE_COLNAMES) as host:
        host.lent.row_factory = lambda cursor, row: dict(
            zip((name[0] for name in cursor.description), row, strict=True)
        )
        host.lent.text_factory = bytes
        yield host


def psycopg_host(url: str, kind: type[Host] = Host, **options: Any) -> AbstractContextManager[Host]:
    isolation_level = options.pop("isolation_level", None)
    connection = psycopg.connect(url, **options)
    connection.isolation_level = isolation_level
    return _closing(kind, connection)


def psycopg_rows_host(url: str) -> AbstractContextManager[Host]:
    return psycopg_host(url, row_factory=dict_row, cursor_factory=psycopg.ClientCursor)


@contextmanager
def psycopg_block_host(url: str) -> Iterator[Host]:
    """Autocommit mode, within `connection.transaction()`."""

    class BlockHost(Host):
        def commit(self) -> None:
            block.__exit__(None, None, None)

        def rollback(self) -> None:
            error = psycopg.Rollback(block)
            block.__exit__(psycopg.Rollback, error, None)

    with psycopg_host(url, BlockHost, autocommit=True) as host:
        block = host.lent.transaction()
        block.__enter__()
        yield host


@contextmanager
def psycopg2_host(url: str, kind: type[Host] = Host, **session: Any) -> Iterator[Host]:
    cursor_factory = session.pop("cursor_factory", None)
    with closing(psycopg2.connect(url, cursor_factory=cursor_factory)) as connection:
        connection.set_session(**session)
        yield kind(connection)


@contextmanager
def sqlalchemy_host(url: str, driver: str, **options: Any) -> Iterator[Host]:
    engine = create_engine(make_url(url).set(drivername=driver))
    with engine.connect().execution_options(**options) as connection:
        yield SqlAlchemyHost(connection)
    engine.dispose()


@contextmanager
def sqlalchemy_begin_host(url: str) -> Iterator[Host]:
    """SQLAlchemy's own recipe for real transactions on SQLite."""
    engine = create_engine(make_url(url).set(drivername="sqlite+pysqlite"))
    event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with engine.connect() as connection:
        yield SqlAlchemyHost(connection)
    engine.dispose()


@contextmanager
def session_host(url: str, driver: str, *, scoped: bool = False, **options: Any) -> Iterator[Host]:
    engine = create_engine(make_url(url).set(drivername=driver), **options)
    factory = sessionmaker(engine)
    with closing(scoped_session(factory) if scoped else factory()) as session:
        yield SqlAlchemyHost(session)
    engine.dispose()


@contextmanager
def async_host(url: str, driver: str, *, session: bool = False, **options: Any) -> Iterator[Host]:
    engine = create_async_engine(make_url(url).set(drivername=driver), **options)
    with asyncio.Runner() as runner:
        connection = AsyncSession(engine) if session else runner.run(_started(engine.connect()))
        yield AsyncHost(connection, runner)
        runner.run(connection.close())
        runner.run(engine.dispose())


async def _started(connection: AsyncConnection) -> AsyncConnection:
    return await connection


@contextmanager
def django_host(url: str, *, atomic: bool, **overrides: Any) -> Iterator[Host]:
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(USE_TZ=False)
        django.setup()
    from django.db import connection, connections
    from django.db.utils import ConnectionHandler

    before = connections["default"]
    wrapper = ConnectionHandler({"default": django_database(url) | overrides})["default"]
    connections["default"] = wrapper
    try:
        yield DjangoHost(connection, atomic=atomic)
    finally:
        wrapper.close()
        connections["default"] = before


def django_database(url: str) -> dict[str, Any]:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": parsed.database}
    host = parsed.query.get("host") or parsed.host or ""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parsed.database,
        "USER": parsed.username or "",
        "PASSWORD": parsed.password or "",
        "HOST": host,
        "PORT": parsed.port or parsed.query.get("port") or "",
    }


@contextmanager
def _closing(kind: type[Host], connection: Any) -> Iterator[Host]:
    with closing(connection):
        yield kind(connection)
