"""A connection on the event loop: it is there again after it broke, and says what it can't know."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from fairlane import CommitUnanswered, ConfigurationError, InvalidParameters, StorageUnavailable
from fairlane.store.line import Line
from fairlane.store.response_timeout import ResponseTimeout
from fairlane.store.transaction import Database
from fairlane.testing import ManualClock

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

ONE = text("SELECT 1")
WHO = text("SELECT pg_backend_pid()")
END = text("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, response_timeout=ResponseTimeout(0.5))
    yield database
    database.close()


Talk = Callable[[Line], Coroutine[Any, Any, None]]


def refuse() -> None:
    raise psycopg.OperationalError("connection refused")


def talk(database: Database, to: Talk, **settings: str) -> None:
    """Run it with a line to the database."""

    async def run(threads: ThreadPoolExecutor) -> None:
        line = Line(database, threads, settings)
        try:
            await to(line)
        finally:
            await line.close()

    with ThreadPoolExecutor(1) as threads:
        asyncio.run(run(threads))


def test_its_session_has_what_it_was_given_and_no_transaction(database: Database) -> None:
    async def to(line: Line) -> None:
        asked = "SELECT current_setting('lock_timeout'), txid_current_if_assigned()"
        assert await line.fetch(text(asked), {}) == [("100ms", None)]

    talk(database, to, lock_timeout="0.1s")


def test_a_statement_is_planned_once(database: Database) -> None:
    async def to(line: Line) -> None:
        # PostgreSQL would plan this one each time: it guesses a thousand rows where it does not look at the value.
        asked = text("SELECT count(*) FROM generate_series(1, CAST(:last AS int))")
        for _ in range(10):
            assert await line.fetch(asked, {"last": 1}) == [(1,)]
        plans = "SELECT custom_plans FROM pg_prepared_statements WHERE statement LIKE '%generate_series(1%'"
        assert await line.fetch(text(plans), {}) == [(0,)]

    talk(database, to)


def test_it_uses_one_connection_while_that_lives_and_another_after_it(database: Database) -> None:
    async def to(line: Line) -> None:
        (before,) = await line.fetch(WHO, {})
        assert await line.fetch(WHO, {}) == [before]
        with psycopg.connect(database.engine.url.render_as_string(False).replace("+psycopg", "")) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", before)
        (after,) = await line.fetch(WHO, {})
        assert after != before

    talk(database, to)


def test_it_may_have_been_another_s_connection_whose_prepared_statements_are_left(database: Database) -> None:
    with database.engine.connect() as connection:
        for _ in range(10):
            connection.execute(ONE)

    async def to(line: Line) -> None:
        for _ in range(10):
            assert await line.fetch(ONE, {}) == [(1,)]

    talk(database, to)


def test_when_its_server_is_back_it_is_back_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def to(line: Line) -> None:
        with pytest.raises(CommitUnanswered):
            await line.fetch(END, {})
        with monkeypatch.context() as patch:
            patch.setattr(database.engine, "connect", refuse)
            with pytest.raises(StorageUnavailable):
                await line.fetch(ONE, {})
        assert await line.fetch(ONE, {}) == [(1,)]

    talk(database, to)


def test_it_does_not_know_what_became_of_a_statement_without_an_answer(database: Database) -> None:
    async def to(line: Line) -> None:
        with pytest.raises(CommitUnanswered):
            await line.fetch(END, {})
        assert await line.fetch(ONE, {}) == [(1,)]

    talk(database, to)


def test_it_gives_up_a_server_that_says_nothing(database: Database) -> None:
    async def to(line: Line) -> None:
        with pytest.raises(CommitUnanswered) as raised:
            await line.fetch(text("SELECT pg_sleep(60)"), {})
        assert "silent" in str(raised.value.__cause__)
        assert await line.fetch(ONE, {}) == [(1,)]

    talk(database, to)


@pytest.mark.parametrize(
    ("statement", "error"),
    [("SELECT * FROM nowhere", ConfigurationError), ("SELECT CAST('x' AS uuid)", InvalidParameters)],
)
def test_its_errors_are_those_of_every_connection(database: Database, statement: str, error: type[Exception]) -> None:
    async def to(line: Line) -> None:
        with pytest.raises(error):
            await line.fetch(text(statement), {})
        assert await line.fetch(ONE, {}) == [(1,)]

    talk(database, to)


def test_who_is_cancelled_leaves_a_line_that_can_be_used(database: Database) -> None:
    async def to(line: Line) -> None:
        await line.fetch(ONE, {})
        waiting = asyncio.create_task(line.fetch(text("SELECT pg_sleep(60)"), {}))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises((asyncio.CancelledError, StorageUnavailable)):
            await waiting
        assert await line.fetch(ONE, {}) == [(1,)]

    talk(database, to)


def test_it_tells_the_time_of_a_clock_that_is_not_postgresql_s(database_url: str) -> None:
    clock = ManualClock()
    database = Database(database_url, clock=clock)

    async def to(line: Line) -> None:
        asked = text("SELECT CAST(:now AS timestamptz), CAST(:lease_now AS float)")
        ((now, lease_now),) = await line.fetch(asked, {})
        with database.engine.connect() as connection:
            assert (now, lease_now) == (clock.now(connection), clock.lease_seconds(connection))

    talk(database, to)
    database.close()


@pytest.mark.usefixtures("database_url")
def test_a_database_that_is_away_is_told_of_before_anything_is_sent() -> None:
    """And not as a commit of which nobody knows."""
    database = Database("postgresql://nobody@127.0.0.1:1/none")

    async def to(line: Line) -> None:
        with pytest.raises(StorageUnavailable) as raised:
            await line.fetch(ONE, {})
        assert not isinstance(raised.value, CommitUnanswered)

    talk(database, to)
