"""Connections that can't be borrowed, and the errors that their owners get."""

from contextlib import suppress
from typing import Any

import psycopg
import psycopg2
import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, registry

from fairlane.domain.errors import ConfigurationError, SubmissionError
from fairlane.store.borrow import borrow
from tests.store.hosts import (
    SqlAlchemyHost,
    async_host,
    committed,
    django_host,
    parcels,
    psycopg2_host,
    psycopg_host,
    put,
    session_host,
    sqlalchemy_host,
    sqlite_host,
)

PSYCOPG = "postgresql+psycopg"


@pytest.mark.parametrize("thing", [None, "postgresql:///db", object(), create_engine("sqlite://")])
def test_what_is_no_connection_is_refused_with_a_list_of_what_is(thing: object) -> None:
    with pytest.raises(ConfigurationError, match="SQLAlchemy Connection or Session, a sqlite3, psycopg or psycopg2"):
        borrow(thing).__enter__()


async def test_async_connections_are_sent_to_the_async_verbs(sqlite: str) -> None:
    engine = create_async_engine(make_url(sqlite).set(drivername="sqlite+aiosqlite"))
    for lent in (engine.connect(), AsyncSession(engine)):
        with pytest.raises(ConfigurationError, match=r"await fl\.aio\.submit"):
            borrow(lent).__enter__()
    await engine.dispose()


def test_other_drivers_are_refused(sqlite: str) -> None:
    with sqlalchemy_host(sqlite, "sqlite+pysqlite") as host:
        host.lent.dialect.driver = "pysqlcipher"
        with pytest.raises(ConfigurationError, match=r"sqlite\+pysqlcipher"):
            host.lend(put(1))


def test_pipeline_mode_is_refused(postgres: str) -> None:
    with psycopg_host(postgres) as host, host.lent.pipeline(), pytest.raises(ConfigurationError, match="pipeline"):
        host.lend(put(1))


@pytest.mark.parametrize("builder", [psycopg_host, psycopg2_host, lambda url: session_host(url, PSYCOPG)])
def test_a_connection_that_is_not_in_utf_8_is_refused(builder: Any, postgres: str) -> None:
    url = make_url(postgres).update_query_dict({"client_encoding": "LATIN1"}).render_as_string(hide_password=False)
    with builder(url) as host, pytest.raises(ConfigurationError, match=r"as LATIN1.* SET client_encoding = 'UTF8'"):
        host.lend(put(1))


@pytest.mark.parametrize(
    "builder",
    [
        psycopg_host,
        psycopg2_host,
        lambda url: sqlalchemy_host(url, PSYCOPG),
        lambda url: sqlalchemy_host(url, "postgresql+psycopg2"),
    ],
    ids=["psycopg", "psycopg2", "SQLAlchemy psycopg", "SQLAlchemy psycopg2"],
)
def test_a_closed_connection_is_refused(builder: Any, postgres: str) -> None:
    with builder(postgres) as host:
        driver = host.lent.connection.driver_connection if isinstance(host, SqlAlchemyHost) else host.lent
        for closing in (driver, host.lent):
            closing.close()
            with pytest.raises(SubmissionError, match=r"Your connection is closed.* open another one"):
                host.lend(put(1))


def test_a_closed_sqlite_connection_is_refused(sqlite: str) -> None:
    with sqlite_host(sqlite) as host:
        host.lent.close()
        with pytest.raises(SubmissionError, match=r"Your connection is closed.* open another one"):
            host.lend(put(1))


def test_session_without_an_engine_for_our_tables_is_refused() -> None:
    with Session() as session, pytest.raises(ConfigurationError, match=r"session\.connection"):
        borrow(session).__enter__()


@pytest.mark.parametrize(
    "builder",
    [
        psycopg_host,
        psycopg2_host,
        lambda url: sqlalchemy_host(url, PSYCOPG),
        lambda url: session_host(url, "postgresql+psycopg2"),
        lambda url: async_host(url, "postgresql+asyncpg"),
        lambda url: async_host(url, PSYCOPG, session=True),
    ],
    ids=["psycopg", "psycopg2", "SQLAlchemy", "Session", "AsyncConnection", "AsyncSession"],
)
def test_failed_transaction_is_named_and_can_be_rolled_back_by_its_owner(builder: Any, postgres: str) -> None:
    with builder(postgres) as host:
        with suppress(DBAPIError, psycopg.Error, psycopg2.Error):
            host.execute("SELECT 1 / 0")
        with pytest.raises(SubmissionError, match="has failed already"):
            host.lend(put(1))
        host.rollback()
        host.lend(put(1))
        host.commit()
    assert committed(postgres) == {1}


@pytest.mark.parametrize(
    "builder",
    [
        lambda url: sqlalchemy_host(url, PSYCOPG),
        lambda url: session_host(url, PSYCOPG),
        lambda url: async_host(url, "postgresql+asyncpg"),
    ],
    ids=["Connection", "Session", "AsyncConnection"],
)
def test_connection_that_broke_amid_the_transaction_is_named(builder: Any, postgres: str) -> None:
    with builder(postgres) as host:
        host.insert(1)
        with suppress(DBAPIError):
            host.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        with pytest.raises(SubmissionError, match="has failed already"):
            host.lend(put(1))
        host.rollback()
        host.lend(put(2))
        host.commit()
    assert committed(postgres) == {2}


def test_session_after_a_failed_flush_is_named(sqlite: str) -> None:
    mapped = type("Parcel", (), {})
    registry().map_imperatively(mapped, parcels)
    with session_host(sqlite, "sqlite+pysqlite") as host:
        host.insert(1)
        pending = mapped()
        pending.number = 1
        host.lent.add(pending)
        with pytest.raises(IntegrityError):
            host.lent.flush()
        with pytest.raises(SubmissionError, match="has failed already"):
            host.lend(put(2))


def test_django_transaction_marked_for_rollback_is_named(sqlite: str) -> None:
    with django_host(sqlite, atomic=True) as host:
        host.lent.set_rollback(True)
        with pytest.raises(SubmissionError, match="atomic block"):
            host.lend(put(1))
        host.rollback()


async def test_the_lender_of_an_async_engine_is_told_of_its_connections(sqlite: str) -> None:
    engine = create_async_engine(sqlite.replace("sqlite:", "sqlite+aiosqlite:"))
    with (
        pytest.raises(ConfigurationError, match=r"also takes SQLAlchemy's AsyncConnection or AsyncSession\.$"),
        borrow(engine),
    ):
        pass
