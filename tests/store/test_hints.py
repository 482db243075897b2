"""Hints tell a worker what other processes did, and whether it was the worker itself."""

import asyncio
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
import pytest
from sqlalchemy import Connection, text

from fairlane import Fairlane, JobContext
from fairlane.store.hints import Hints, Listener
from fairlane.store.tables import organizations
from fairlane.store.transaction import Database
from tests.patience import PATIENCE

pytestmark = pytest.mark.both_databases

on_postgres = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@dataclass
class Ears:
    """Hears hints: of each whether something new may be there."""

    heard: "queue.Queue[bool]" = field(default_factory=queue.Queue)

    def wait_for(self, *, new: bool) -> None:
        """Wait until such a hint came."""
        deadline = time.monotonic() + PATIENCE
        while self.heard.get(timeout=deadline - time.monotonic()) is not new:
            pass


@pytest.fixture
def fl(database_url: str) -> Iterator[Fairlane]:
    with Fairlane(database_url) as fl:

        @fl.job_type("work")
        async def work(ctx: JobContext, number: int) -> None:
            """Nothing."""

        fl.organizations.create("acme")
        yield fl


@pytest.fixture
def database(fl: Fairlane) -> Iterator[Database]:
    """A worker's own connections."""
    database = fl.database.sibling(pool_size=2)
    yield database
    database.close()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Yield a loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def ears(database: Database, loop: asyncio.AbstractEventLoop) -> Iterator[Ears]:
    ears = Ears()
    listener = Listener(database, ears.heard.put, loop)
    listener.start()
    ears.wait_for(new=True)  # it listens
    yield ears
    listener.stop()


def test_a_new_job_is_heard_of_as_new(fl: Fairlane, ears: Ears) -> None:
    for number in range(3):
        fl.submit("work", organization="acme", parameters={"number": number})
        ears.wait_for(new=True)


@on_postgres
def test_hints_that_come_without_end_are_heard_a_hundred_times_a_second_at_most(fl: Fairlane, ears: Ears) -> None:
    began = time.monotonic()
    with psycopg.connect(fl.settings.url, autocommit=True) as flood:
        for number in range(1000):
            flood.execute("SELECT pg_notify('fairlane_ready', %s)", (str(number),))
    assert ears.heard.qsize() <= 2 + (time.monotonic() - began) * 100
    ears.wait_for(new=True)


def test_where_no_thread_can_be_started_the_hint_is_lost_and_the_next_one_is_sent(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, loop: asyncio.AbstractEventLoop
) -> None:
    """The submitter has committed by then, and must not see an error."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sending = Database(postgres_url)
    hints, heard = Hints(sending), Ears()
    listener = Listener(sending, heard.heard.put, loop)
    listener.start()
    heard.wait_for(new=True)  # it listens
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        hints.send()
    hints.send()
    heard.wait_for(new=True)
    hints.close()
    listener.stop()
    sending.close()


@on_postgres
def test_it_listens_again_after_its_connection_broke(fl: Fairlane, ears: Ears) -> None:
    with psycopg.connect(fl.settings.url, autocommit=True) as other:
        found = other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        ).fetchall()
    assert len(found) == 1
    ears.wait_for(new=True)  # it listens again
    fl.submit("work", organization="acme", parameters={"number": 1})
    ears.wait_for(new=True)


@on_sqlite
def test_what_else_others_commit_may_make_something_ready(fl: Fairlane, ears: Ears) -> None:
    """A retry of a dead letter, say."""
    fl.organizations.update("acme", weight=3)
    ears.wait_for(new=True)


@on_sqlite
def test_what_a_worker_commits_itself_is_no_news(database: Database, ears: Ears) -> None:
    """Else a busy one would look at all lanes afresh for each batch."""
    database.write(rename)
    assert ears.heard.get(timeout=PATIENCE) is False


@on_sqlite
def test_a_new_job_is_heard_of_beside_a_workers_own_commits(fl: Fairlane, database: Database, ears: Ears) -> None:
    database.write(rename)
    fl.submit("work", organization="acme", parameters={"number": 1})
    database.write(rename)
    ears.wait_for(new=True)


@on_sqlite
def test_it_goes_on_after_an_error_of_the_driver(
    fl: Fairlane, database: Database, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlane.store.hints.NEXT_TRY", 0.01)
    with fl.database.engine.connect() as connection:
        connection.execute(text("ALTER TABLE fairlane_jobs RENAME TO elsewhere"))
        connection.commit()
        connection.execute(text("ALTER TABLE elsewhere RENAME TO fairlane_jobs"))
        connection.commit()
    for number in range(3):
        fl.submit("work", organization="acme", parameters={"number": number})
        ears.wait_for(new=True)


def rename(connection: Connection) -> None:
    connection.execute(organizations.update().values(name=organizations.c.name + "!"))
