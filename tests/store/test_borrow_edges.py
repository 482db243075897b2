"""Edge cases that would surprise a host with unusual settings."""

import os
import sqlite3
import subprocess
import sys
import weakref
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ResourceClosedError
from sqlalchemy.orm import registry

from fairlane import StorageUnavailable, SubmissionError
from fairlane.store.borrow import borrow
from fairlane.store.engine import engine_of
from fairlane.store.transaction import Database
from tests.store.hosts import (
    committed,
    django_database,
    parcels,
    psycopg_host,
    put,
    put_then_fail,
    session_host,
    sqlalchemy_begin_host,
    sqlalchemy_host,
    sqlite_host,
)

PSYCOPG = "postgresql+psycopg"


def test_session_keeps_its_pending_and_loaded_objects_as_they_are(sqlite: str) -> None:
    mapped = type("Parcel", (), {})
    registry().map_imperatively(mapped, parcels)
    with session_host(sqlite, "sqlite+pysqlite") as host:
        host.insert(1)
        loaded = host.lent.get(mapped, 1)
        pending = mapped()
        host.lent.add(pending)
        host.lend(put(2))
        assert list(host.lent.new) == [pending]
        assert "label" in vars(loaded)


@pytest.mark.slow
def test_django_on_psycopg2(postgres: str) -> None:
    # Django takes psycopg where it is installed, so here it must not be.
    program = f"""
import sys
sys.modules["psycopg"] = None
import django
from django.conf import settings
settings.configure(DATABASES={{"default": {django_database(postgres)!r}}})
django.setup()
from django.db import connection, transaction
from sqlalchemy import text
from fairlane.store.borrow import borrow
with transaction.atomic():
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO parcels (number) VALUES (1)")
    with borrow(connection) as borrowed:
        assert borrowed.dialect.driver == "psycopg2"
        assert borrowed.scalar(text("SELECT '[1]'::jsonb")) == [1]
        borrowed.execute(text("INSERT INTO parcels (number) VALUES (2)"))
    try:
        with transaction.atomic(), borrow(connection) as borrowed:
            borrowed.execute(text("INSERT INTO parcels (number) VALUES (3)"))
            raise KeyError
    except KeyError:
        pass
with borrow(connection) as borrowed:
    borrowed.execute(text("INSERT INTO parcels (number) VALUES (4)"))
connection.close()
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2], env=dict(os.environ))
    assert committed(postgres) == {1, 2, 4}


@pytest.mark.parametrize(
    "builder",
    [sqlite_host, sqlalchemy_begin_host, partial(sqlalchemy_host, driver="sqlite+pysqlite")],
    ids=["sqlite3", "SQLAlchemy that emits BEGIN", "SQLAlchemy"],
)
def test_refused_first_statement_does_not_leave_sqlite_locked(builder: Any, sqlite: str) -> None:
    with builder(sqlite) as host, sqlite_host(sqlite, timeout=0) as other:
        with pytest.raises(IntegrityError):
            host.lend(put_then_fail)
        other.insert(1)


def test_rows_that_the_host_wrote_below_sqlalchemy_survive_our_error(postgres: str) -> None:
    with sqlalchemy_host(postgres, PSYCOPG) as host:
        raw = host.lent.connection.driver_connection
        raw.execute("INSERT INTO parcels (number) VALUES (1)")
        with pytest.raises(IntegrityError):
            host.lend(put_then_fail)
        raw.commit()
    assert committed(postgres) == {1}


def test_sqlite_locked_by_another_is_an_error_that_changes_nothing(sqlite: str) -> None:
    with sqlite_host(sqlite, timeout=0) as host, sqlite_host(sqlite) as other:
        other.insert(1)
        with pytest.raises(OperationalError, match="locked"):
            host.lend(put(2))
        assert not host.lent.in_transaction


def test_full_sqlite_says_so_although_it_has_ended_the_hosts_transaction(sqlite: str) -> None:
    with sqlite_host(sqlite) as host:
        host.execute(f"PRAGMA max_page_count = {host.execute('PRAGMA page_count') + 1}")
        host.insert(1)
        with pytest.raises(OperationalError, match="full"):
            host.lend(lambda connection: connection.execute(insert(parcels).values(label="x" * 100_000)))
        assert not host.lent.in_transaction


@pytest.mark.parametrize(
    "builder", [psycopg_host, partial(sqlalchemy_host, driver=PSYCOPG)], ids=["psycopg", "SQLAlchemy"]
)
def test_work_that_swallows_an_error_fails_and_leaves_the_host_a_usable_transaction(
    builder: Any, postgres: str
) -> None:
    def swallow(connection: Connection) -> None:
        with suppress(IntegrityError):
            put_then_fail(connection)

    with builder(postgres) as host:
        host.insert(1)
        with pytest.raises(DBAPIError, match="aborted"):
            host.lend(swallow)
        host.insert(2)
        host.commit()
    assert committed(postgres) == {1, 2}


def test_a_borrow_within_a_borrow_is_a_part_of_it(sqlite: str) -> None:
    with sqlite_host(sqlite) as host:
        host.insert(1)
        with suppress(KeyError), borrow(host.lent) as outer:
            put(2)(outer)
            host.lend(put(3))
            raise KeyError
        with borrow(host.lent) as outer:
            put(4)(outer)
            with pytest.raises(IntegrityError):
                host.lend(put_then_fail)
        host.commit()
    assert committed(sqlite) == {1, 4}


def test_a_borrow_is_our_statements_in_a_savepoint_and_nothing_else(sqlite: str) -> None:
    statements: list[str] = []
    with sqlite_host(sqlite) as host:
        host.insert(1)
        host.lent.set_trace_callback(statements.append)
        host.lend(put(2))
        host.lent.set_trace_callback(None)
    assert [statement.split()[0] for statement in statements] == ["SAVEPOINT", "INSERT", "RELEASE"]


def test_pool_events_of_the_host_do_not_run_on_a_borrowed_connection(sqlite: str) -> None:
    calls: list[Any] = []

    def remember(*arguments: Any) -> None:
        calls.append(arguments)

    for name in ("connect", "checkout", "checkin", "reset"):
        event.listen(Engine, name, remember)
    try:
        with sqlite_host(sqlite) as host:
            host.lend(put(1))
    finally:
        for name in ("connect", "checkout", "checkin", "reset"):
            event.remove(Engine, name, remember)
    assert calls == []


def test_nothing_holds_on_to_the_connection_afterwards(sqlite: str) -> None:
    with sqlite_host(sqlite, factory=type("Mortal", (sqlite3.Connection,), {})) as host:
        with borrow(host.lent) as borrowed:
            put(1)(borrowed)
        with pytest.raises(ResourceClosedError):
            put(2)(borrowed)
        connection = weakref.ref(host.lent)
        host.rollback()
        host.lent.close()
        del host.lent, borrowed
    assert connection() is None


def test_options_for_the_hosts_own_statements_do_not_bend_ours(postgres: str) -> None:
    with sqlalchemy_host(postgres, PSYCOPG) as host:
        host.lent.execution_options(yield_per=10, schema_translate_map={None: "elsewhere"})
        before = host.lent.get_execution_options()
        host.lend(put(1))
        assert host.lend(lambda connection: connection.scalar(select(parcels.c.number))) == 1
        assert host.lent.get_execution_options() == before


@pytest.mark.parametrize("autocommit", [False, True])
def test_connection_that_breaks_within_shows_the_error_that_broke_it(postgres: str, autocommit: bool) -> None:
    def break_it(connection: Connection) -> None:
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with psycopg_host(postgres, autocommit=autocommit) as host:
        with pytest.raises(OperationalError, match="terminating connection"):
            host.lend(break_it)
        with pytest.raises(SubmissionError, match="Your connection is closed"):
            host.lend(put(1))


def test_connection_that_breaks_within_a_lock_timeout_is_a_database_that_is_away(postgres: str) -> None:
    def break_it(connection: Connection) -> None:
        with engine_of(connection).lock_timeout(connection, 5.0):
            connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    database = Database(postgres)
    with pytest.raises(StorageUnavailable, match="did not answer"):
        database.write(break_it)
    database.close()


def test_lock_timeout_bounds_the_wait_for_another_transaction(postgres: str) -> None:
    with psycopg_host(postgres) as host, psycopg_host(postgres) as other:
        other.insert(1)
        host.execute("SET LOCAL lock_timeout = '7s'")

        def work(connection: Connection) -> str:
            with engine_of(connection).lock_timeout(connection, 0.05):
                with pytest.raises(OperationalError, match="lock timeout"), connection.begin_nested():
                    put(1)(connection)
                assert connection.scalar(text("SHOW lock_timeout")) == "50ms"
            return str(connection.scalar(text("SHOW lock_timeout")))

        assert host.lend(work) == "7s"
        with pytest.raises(OperationalError, match="lock timeout"):
            host.lend(_put_bounded)
        assert host.execute("SHOW lock_timeout") == "7s"


def _put_bounded(connection: Connection) -> None:
    with engine_of(connection).lock_timeout(connection, 0):
        put(1)(connection)
