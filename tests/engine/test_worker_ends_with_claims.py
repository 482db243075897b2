"""A claim on SQLite writes the waiting ends in its transaction, and neither of the two undoes the other."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine as SomeEngine
from sqlalchemy import event, make_url

from fairlane import Job, JobContext, Submission
from fairlane.domain.events import ServiceFailed
from tests.engine.worker_kit import Engine, engine, running, until

CLAIMS, ENDS = "UPDATE fairlane_live SET status", "INSERT INTO fairlane_ended"


@pytest.fixture
def fl(sqlite_url: str) -> Iterator[Engine]:
    with engine(sqlite_url) as fl:

        @fl.job_type("work", dedup_window=0)
        async def work(ctx: JobContext, number: int) -> None: ...

        yield fl


def give(fl: Engine, jobs: int) -> list[Job]:
    return fl.submit_many([Submission("work", organization="acme", parameters={"number": n}) for n in range(jobs)])


@contextmanager
def transactions() -> Iterator[list[str]]:
    """Return what each transaction has sent, as one text."""
    found, open_ = list[str](), dict[int, str]()

    def send(_connection: Any, cursor: Any, statement: str, *_: object) -> None:
        key = id(cursor.connection)
        open_[key] = open_.get(key, "") + statement

    def commit(connection: Any) -> None:
        found.append(open_.pop(id(connection.connection.driver_connection), ""))

    event.listen(SomeEngine, "before_cursor_execute", send)
    event.listen(SomeEngine, "commit", commit)
    try:
        yield found
    finally:
        event.remove(SomeEngine, "before_cursor_execute", send)
        event.remove(SomeEngine, "commit", commit)


@contextmanager
def refusing(url: str, job: Job, change: str, condition: str = "") -> Iterator[None]:
    """Refuse this change of a row of the job, as SQLite refuses what breaks a rule of the schema."""
    file = make_url(url).database
    assert file is not None
    with closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as host:
        host.execute(
            f"CREATE TRIGGER refuse BEFORE {change} WHEN NEW.id = '{job.id.hex}' {condition}"
            " BEGIN SELECT RAISE(ABORT, 'lost'); END"
        )
        yield
        host.execute("DROP TRIGGER refuse")


def test_a_claim_takes_the_ends_that_wait_into_its_transaction(fl: Engine) -> None:
    """Every commit waits for the disk: apart, the two wait twice for each batch."""
    give(fl, 100)
    with transactions() as sent:
        assert fl.worker(concurrency=10).drain().completed == 100
    ending = [one for one in sent if ENDS in one]
    assert sum(CLAIMS in one for one in ending) > len(ending) / 2


def test_an_end_is_written_though_the_claim_of_its_transaction_fails(fl: Engine, sqlite_url: str) -> None:
    *before, refused = give(fl, 5)
    with refusing(sqlite_url, refused, "UPDATE OF lease_token ON fairlane_live"), running(fl.worker(concurrency=2)):
        for job in before:
            assert fl.ended(job).status == "completed"
        until(lambda: bool(fl.events.of(ServiceFailed)))
    assert [fl.look(job).attempt for job in before] == [1] * 4


def test_a_claim_goes_on_though_an_end_of_its_transaction_can_t_be_written(fl: Engine, sqlite_url: str) -> None:
    refused, *behind = give(fl, 5)
    completion = "INSERT ON fairlane_ended"
    with refusing(sqlite_url, refused, completion, "AND NEW.status = 'completed'"), running(fl.worker(concurrency=1)):
        for job in behind:
            assert fl.ended(job).status == "completed"
        now = fl.ended(refused)
    assert (now.status, now.error_type, now.attempt) == ("dead_letter", "UnstorableOutcome", 1)
    assert [fl.look(job).attempt for job in behind] == [1] * 4
    assert not fl.events.of(ServiceFailed)
