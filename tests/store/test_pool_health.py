"""A pooled connection is asked whether it lives only where it may not."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, text

from fairlane.store import pool_health
from fairlane.store.transaction import Database

pytestmark = pytest.mark.both_databases


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url, pool_size=2)
    yield database
    database.close()


@pytest.fixture
def pings(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Collect the connections that were asked."""
    seen: list[object] = []
    ask: Callable[[Any], bool] = database.engine.dialect.do_ping

    def note(connection: object) -> bool:
        seen.append(connection)
        return ask(connection)

    monkeypatch.setattr(database.engine.dialect, "do_ping", note)
    return seen


def backend(connection: Connection) -> int:
    number: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    return number


def test_one_that_was_used_just_now_is_not_asked(database: Database, pings: list[object]):
    assert database.write(backend) == database.write(backend)
    assert pings == []


def test_one_that_was_idle_is_asked(database: Database, pings: list[object], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pool_health, "FRESH", 0.0)
    assert database.write(backend) == database.write(backend)
    assert len(pings) == 1


@pytest.mark.parametrize("fresh", [0.0, 3600.0])
def test_one_that_the_server_closed_is_replaced(database: Database, monkeypatch: pytest.MonkeyPatch, fresh: float):
    monkeypatch.setattr(pool_health, "FRESH", fresh)
    other = Database(database.url)
    number = database.write(backend)
    # Waits until it is gone.
    ended = other.write(lambda c: c.execute(text("SELECT pg_terminate_backend(:n, 10000)"), {"n": number}).scalar_one())
    other.close()
    assert ended
    assert database.write(backend) != number


def test_one_that_is_in_use_while_all_are_replaced_is_closed_when_it_is_given_back(database_url: str):
    renewed = Database(database_url)
    with renewed.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        pool_health.replace_all(renewed.engine)
        connection.execute(text("SELECT 1"))
    with pytest.raises(renewed.engine.dialect.loaded_dbapi.Error, match="closed"):
        driver.execute("SELECT 1")
    drivers: set[object] = set()
    for _ in range(2):
        with renewed.engine.connect() as connection:
            drivers.add(connection.connection.driver_connection)
    renewed.close()
    assert len(drivers) == 1


def test_one_that_is_in_use_while_its_database_closes_is_closed_when_it_is_given_back(database_url: str):
    closing = Database(database_url)
    with closing.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        closing.close()
        connection.execute(text("SELECT 1"))
    with pytest.raises(closing.engine.dialect.loaded_dbapi.Error, match="closed"):
        driver.execute("SELECT 1")
