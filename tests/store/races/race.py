"""Two transactions at the same time, in an order that the test decides."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import psycopg
from sqlalchemy import Connection

from fairlane import FairlaneError
from fairlane.store.engine import WRITE
from fairlane.store.transaction import Database
from tests.engine.worker_kit import until

T = TypeVar("T")

DEADLINE = 20.0  # seconds; only a test that fails waits for so long


class Race:
    """A race: one transaction stays open while others run beside it.

    SQLite's writers are serial: there the others begin when the open one has ended, so only the order that can happen
    is run. `serial` says so.

    Args:
        database: the database whose transactions race.
        url: of a test's own PostgreSQL database, on which only the test waits for locks.
    """

    def __init__(self, database: Database, url: str) -> None:
        self.serial = database.engine.dialect.name == "sqlite"
        self._writing = database.engine.execution_options(**{WRITE: True})
        self._url = url
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="racer")

    def close(self) -> None:
        self._threads.shutdown()

    @contextmanager
    def open(self, *, commit: bool = True) -> Iterator[Connection]:
        """A transaction that stays open for the block, then commits or rolls back."""
        with self._writing.connect() as connection, connection.begin() as transaction:
            yield connection
            if not commit:
                transaction.rollback()

    def waits(self, call: Callable[[], T]) -> "Future[T]":
        """Start `call`, which must wait for a lock of the open transaction; return when it does."""
        future = self.begins(call)
        assert self.serial or not future.done(), f"did not wait: {future}"
        return future

    def passes(self, call: Callable[[], T]) -> "Future[T]":
        """Start `call`, which must not wait for the open transaction; return when it is done."""
        future = self.starts(call)
        if not self.serial:
            assert future in wait([future], DEADLINE).done, "waited for the open transaction"
        return future

    def starts(self, call: Callable[[], T]) -> "Future[T]":
        """Start `call`, and return at once."""
        return self._threads.submit(call)

    def begins(self, call: Callable[[], T]) -> "Future[T]":
        """Start `call`; return when it is done or waits for the open transaction."""
        before = self.waiting()
        future = self.starts(call)
        if not self.serial:
            until(lambda: future.done() or self.waiting() > before)
        return future

    def waiting(self) -> int:
        """Return how many transactions wait for a lock."""
        return 0 if self.serial else waiting_for_locks(self._url)


def waiting_for_locks(url: str) -> int:
    """Return how many sessions of this PostgreSQL database wait for a lock."""
    with psycopg.connect(url, autocommit=True) as observer:
        row = observer.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
        ).fetchone()
    assert row is not None
    return int(row[0])


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Return the results of the calls, each in a thread of its own, all begun together."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        barrier.wait(DEADLINE)
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def answers_at_once(calls: Sequence[Callable[[], T]]) -> list[T | FairlaneError]:
    """The same, where a call may be refused: then its error stands in the answer's place."""

    def answer(call: Callable[[], T]) -> T | FairlaneError:
        try:
            return call()
        except FairlaneError as error:
            return error

    return at_once([partial(answer, call) for call in calls])
