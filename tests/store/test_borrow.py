"""Borrowing a connection, once for every kind that a host may have."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from psycopg import IsolationLevel
from psycopg2.extras import RealDictCursor
from sqlalchemy import (
    Connection,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from fairlane.store.engine import engine_of
from tests.store.hosts import (
    Host,
    SqlHost,
    async_host,
    committed,
    django_host,
    parcels,
    psycopg2_host,
    psycopg_block_host,
    psycopg_host,
    psycopg_rows_host,
    put,
    put_then_fail,
    session_host,
    sqlalchemy_begin_host,
    sqlalchemy_host,
    sqlite_host,
    sqlite_rows_host,
)

HOST_ROW, OUR_ROW = 1, 2
AT = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
Builder = Callable[[str], AbstractContextManager[Host]]
PYSQLITE, PSYCOPG, PSYCOPG2 = "sqlite+pysqlite", "postgresql+psycopg", "postgresql+psycopg2"
ASYNCPG, AIOSQLITE = "postgresql+asyncpg", "sqlite+aiosqlite"
REPEATABLE = "REPEATABLE READ"

NOT_LEGACY: dict[str, Builder] = {}
NOT_LEGACY_AUTOCOMMIT: dict[str, Builder] = {}
if sys.version_info >= (3, 12):
    NOT_LEGACY["sqlite: sqlite3 autocommit=False"] = partial(sqlite_host, autocommit=False)
    NOT_LEGACY_AUTOCOMMIT["sqlite: sqlite3 autocommit=True"] = partial(sqlite_host, autocommit=True)

# Hosts with a transaction, begun by them, by their driver or by our first statement.
IN_TRANSACTION: dict[str, Builder] = {
    "sqlite: sqlite3": sqlite_host,
    "sqlite: sqlite3 immediate": partial(sqlite_host, isolation_level="IMMEDIATE"),
    "sqlite: sqlite3 autocommit, begun by SQL": partial(sqlite_host, kind=SqlHost, isolation_level=None),
    "sqlite: sqlite3 with rows of its own": sqlite_rows_host,
    "sqlite: SQLAlchemy": partial(sqlalchemy_host, driver=PYSQLITE),
    "sqlite: SQLAlchemy that emits BEGIN": sqlalchemy_begin_host,
    "sqlite: Session": partial(session_host, driver=PYSQLITE),
    "sqlite: AsyncConnection aiosqlite": partial(async_host, driver=AIOSQLITE),
    "sqlite: AsyncSession aiosqlite": partial(async_host, driver=AIOSQLITE, session=True),
    "sqlite: Django": partial(django_host, atomic=True),
    **NOT_LEGACY,
    "postgres: psycopg": psycopg_host,
    "postgres: psycopg repeatable read": partial(psycopg_host, isolation_level=IsolationLevel.REPEATABLE_READ),
    "postgres: psycopg with rows of its own": psycopg_rows_host,
    "postgres: psycopg autocommit, begun by SQL": partial(psycopg_host, kind=SqlHost, autocommit=True),
    "postgres: psycopg transaction block": psycopg_block_host,
    "postgres: psycopg2": psycopg2_host,
    "postgres: psycopg2 repeatable read": partial(psycopg2_host, isolation_level=REPEATABLE),
    "postgres: psycopg2 with rows of its own": partial(psycopg2_host, cursor_factory=RealDictCursor),
    "postgres: psycopg2 autocommit, begun by SQL": partial(psycopg2_host, kind=SqlHost, autocommit=True),
    "postgres: SQLAlchemy psycopg": partial(sqlalchemy_host, driver=PSYCOPG),
    "postgres: SQLAlchemy psycopg repeatable read": partial(
        sqlalchemy_host, driver=PSYCOPG, isolation_level=REPEATABLE
    ),
    "postgres: SQLAlchemy psycopg2": partial(sqlalchemy_host, driver=PSYCOPG2),
    "postgres: SQLAlchemy with options of its own": partial(
        sqlalchemy_host, driver=PSYCOPG, schema_translate_map={None: "elsewhere"}
    ),
    "postgres: Session psycopg": partial(session_host, driver=PSYCOPG),
    "postgres: Session psycopg2 repeatable read": partial(session_host, driver=PSYCOPG2, isolation_level=REPEATABLE),
    "postgres: scoped Session": partial(session_host, driver=PSYCOPG, scoped=True),
    "postgres: AsyncConnection asyncpg": partial(async_host, driver=ASYNCPG),
    "postgres: AsyncConnection asyncpg repeatable read": partial(
        async_host, driver=ASYNCPG, isolation_level=REPEATABLE
    ),
    "postgres: AsyncSession asyncpg": partial(async_host, driver=ASYNCPG, session=True),
    "postgres: AsyncConnection psycopg": partial(async_host, driver=PSYCOPG),
    "postgres: AsyncSession psycopg": partial(async_host, driver=PSYCOPG, session=True),
    "postgres: Django": partial(django_host, atomic=True),
}
# Hosts with no transaction, where each statement takes effect at once.
AUTOCOMMIT: dict[str, Builder] = {
    "sqlite: sqlite3": partial(sqlite_host, isolation_level=None),
    "sqlite: SQLAlchemy": partial(sqlalchemy_host, driver=PYSQLITE, isolation_level="AUTOCOMMIT"),
    "sqlite: AsyncConnection aiosqlite": partial(async_host, driver=AIOSQLITE, isolation_level="AUTOCOMMIT"),
    "sqlite: Django": partial(django_host, atomic=False),
    **NOT_LEGACY_AUTOCOMMIT,
    "postgres: psycopg": partial(psycopg_host, autocommit=True),
    "postgres: psycopg2": partial(psycopg2_host, autocommit=True),
    "postgres: SQLAlchemy psycopg": partial(sqlalchemy_host, driver=PSYCOPG, isolation_level="AUTOCOMMIT"),
    "postgres: SQLAlchemy psycopg2": partial(sqlalchemy_host, driver=PSYCOPG2, isolation_level="AUTOCOMMIT"),
    "postgres: Session psycopg": partial(session_host, driver=PSYCOPG, isolation_level="AUTOCOMMIT"),
    "postgres: AsyncConnection asyncpg": partial(async_host, driver=ASYNCPG, isolation_level="AUTOCOMMIT"),
    "postgres: AsyncConnection psycopg": partial(async_host, driver=PSYCOPG, isolation_level="AUTOCOMMIT"),
    "postgres: Django": partial(django_host, atomic=False),
}


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """The URL of a database of the kind that the test's host needs."""
    url: str = request.getfixturevalue(request.getfixturevalue("name").partition(":")[0])
    return url


@pytest.fixture
def host(database: str, name: str) -> Iterator[Host]:
    with IN_TRANSACTION[name](database) as host:
        yield host


@pytest.fixture
def autocommitter(database: str, name: str) -> Iterator[Host]:
    with AUTOCOMMIT[name](database) as host:
        yield host


in_transaction = pytest.mark.parametrize("name", IN_TRANSACTION)
in_autocommit = pytest.mark.parametrize("name", AUTOCOMMIT)


@in_transaction
def test_first_use_spares_the_hosts_uncommitted_row_and_shows_nobody_anything(host: Host, database: str) -> None:
    host.insert(HOST_ROW)
    host.lend(put(OUR_ROW))
    assert committed(database) == set()
    host.commit()
    assert committed(database) == {HOST_ROW, OUR_ROW}


@in_transaction
def test_hosts_rollback_leaves_nothing(host: Host, database: str) -> None:
    host.insert(HOST_ROW)
    host.lend(put(OUR_ROW))
    host.rollback()
    assert committed(database) == set()


@in_transaction
@pytest.mark.parametrize(("end", "left"), [("commit", {OUR_ROW}), ("rollback", set())])
def test_our_row_waits_for_the_host_also_where_ours_is_the_first_statement(
    host: Host, database: str, end: str, left: set[int]
) -> None:
    host.lend(put(OUR_ROW))
    assert committed(database) == set()
    getattr(host, end)()
    assert committed(database) == left


@pytest.mark.slow
@in_transaction
def test_our_error_takes_back_ours_and_leaves_the_host_a_usable_transaction(host: Host, database: str) -> None:
    host.insert(HOST_ROW)
    with pytest.raises(IntegrityError):
        host.lend(put_then_fail)
    host.insert(3)
    assert committed(database) == set()
    host.commit()
    assert committed(database) == {HOST_ROW, 3}


@in_transaction
def test_our_error_in_the_first_statement_leaves_the_host_a_usable_connection(host: Host, database: str) -> None:
    with pytest.raises(IntegrityError):
        host.lend(put_then_fail)
    host.insert(HOST_ROW)
    host.commit()
    assert committed(database) == {HOST_ROW}


@in_transaction
def test_two_borrows_in_one_transaction_stand_or_fall_on_their_own(host: Host, database: str) -> None:
    host.lend(put(OUR_ROW))
    with pytest.raises(IntegrityError):
        host.lend(put_then_fail)
    host.lend(put(3))
    host.commit()
    assert committed(database) == {OUR_ROW, 3}


@in_transaction
def test_settings_are_the_hosts_again(host: Host, name: str) -> None:
    host.insert(HOST_ROW)
    settings = host.settings()
    timeout = name.startswith("postgres") and host.execute("SHOW lock_timeout")

    def bounded(connection: Connection) -> None:
        with engine_of(connection).lock_timeout(connection, 0.25):
            put_then_fail(connection)

    def bounded_well(connection: Connection) -> None:
        with engine_of(connection).lock_timeout(connection, 0.25):
            put(OUR_ROW)(connection)

    for work in (put(3), bounded_well):
        host.lend(work)
    with pytest.raises(IntegrityError):
        host.lend(bounded)
    assert host.settings() == settings
    assert (name.startswith("postgres") and host.execute("SHOW lock_timeout")) == timeout


@in_transaction
def test_values_arrive_as_what_they_were(host: Host) -> None:
    parcel = {"number": 7, "id": uuid4(), "label": "böx", "fragile": True}

    def work(connection: Connection) -> list[Any]:
        at = AT.isoformat() if connection.dialect.name == "sqlite" else AT
        returned = connection.execute(insert(parcels).values(sent_at=at, **parcel).returning(parcels)).mappings().one()
        changed = connection.execute(update(parcels).where(parcels.c.number == 7).values(label="bag")).rowcount
        selected = connection.execute(select(parcels)).mappings().one()
        assert returned["sent_at"] == selected["sent_at"] == at
        return [{key: returned[key] for key in parcel}, changed, selected["label"]]

    assert host.lend(work) == [parcel, 1, "bag"]


@in_autocommit
def test_in_autocommit_mode_a_borrow_takes_effect_at_once_and_whole(autocommitter: Host, database: str) -> None:
    settings = autocommitter.settings()
    autocommitter.lend(put(OUR_ROW))
    assert committed(database) == {OUR_ROW}
    with pytest.raises(IntegrityError):
        autocommitter.lend(put_then_fail)
    assert committed(database) == {OUR_ROW}
    autocommitter.insert(3)
    assert committed(database) == {OUR_ROW, 3}
    assert autocommitter.settings() == settings


@in_autocommit
def test_in_autocommit_mode_nothing_shows_before_the_end_of_the_borrow(autocommitter: Host, database: str) -> None:
    def work(connection: Connection) -> set[int]:
        put(OUR_ROW)(connection)
        return committed(database)

    assert autocommitter.lend(work) == set()
