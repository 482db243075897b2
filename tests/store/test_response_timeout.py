"""A connection with a response timeout is given up and made anew if PostgreSQL does not answer."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, text

from fairlane import StorageUnavailable
from fairlane.domain.errors import CommitUnanswered
from fairlane.store.response_timeout import ResponseTimeout, answered_within
from fairlane.store.transaction import Database
from tests.engine.worker_kit import until
from tests.patience import PATIENCE

FOR_EVER = text("SELECT pg_sleep(3600)")


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url, response_timeout=ResponseTimeout())
    yield database
    database.close()


def one(connection: Connection) -> int:
    number: int = connection.execute(text("SELECT 1")).scalar_one()
    return number


def test_a_connection_that_is_silent_for_too_long_is_given_up(database: Database) -> None:
    with answered_within(0.1), pytest.raises(StorageUnavailable, match="silent for 0"):
        database.write(lambda connection: connection.execute(FOR_EVER))
    assert database.read(one) == 1


def test_a_shorter_bound_holds_for_who_waits_already(database: Database) -> None:
    active = text("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'")
    assert database.response_timeout is not None
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(database.look, lambda connection: connection.execute(FOR_EVER))
        until(lambda: database.look(lambda connection: connection.execute(active).scalar_one()) == 1)
        database.response_timeout.seconds = 0.1
        with pytest.raises(StorageUnavailable, match="silent"):
            waiting.result(PATIENCE)


def test_of_a_commit_without_an_answer_nobody_knows_whether_it_was_done(database: Database) -> None:
    slowly = "BEGIN PERFORM pg_sleep(3600); RETURN NULL; END"
    for statement in (
        "CREATE TABLE slow (id int)",
        f"CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS '{slowly}'",
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slow INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()",
    ):
        database.write(lambda connection, sql=statement: connection.exec_driver_sql(sql))  # type: ignore[misc]
    with answered_within(0.1), pytest.raises(CommitUnanswered):
        database.write(lambda connection: connection.execute(text("INSERT INTO slow VALUES (1)")))
