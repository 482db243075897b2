"""Connections that are lost while Fairlane speaks to its database, now and then, by a seed.

Of every statement and every COMMIT a few fail: before they took effect, or after it, so that only the answer is lost.
As when it really happens, the database rolls back what was open: on PostgreSQL the driver's connection is closed, on
SQLite an I/O error ends the transaction at once or leaves that to us.

Whom it hits:

- what a worker's own threads send. They have to bear it; nothing here helps them, but that their outages' waits, made
  for databases that are away for long, are short.
- what an application's calls send through `Database`. They raise `StorageUnavailable`, so here they are made again, as
  an application would. An application can't know what became of a COMMIT without an answer; a submission can, so only
  that has to bear it. A refusal that it did not hear is no submission, and nobody can tell: those are heard.

Which statements fail depends on the seed, the test, the statement's text and how often the test has sent it before, not
on what the threads do beside each other: with the same seed a run meets the same faults, as far as it sends the same.
"""

import hashlib
import sqlite3
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NoReturn, TypeVar
from unittest.mock import patch

import psycopg
from sqlalchemy import PoolProxiedConnection
from sqlalchemy.engine.default import DefaultDialect

from fairlane.domain.errors import CommitUnanswered, StorageUnavailable
from fairlane.engine import reporter, service
from fairlane.store import hints
from fairlane.store.line import Line
from fairlane.store.prepared import Prepared
from fairlane.store.row_security import DatabaseRole
from fairlane.store.transaction import Database
from tests.faults.fault import Fault, calls

T = TypeVar("T")
Spares = Callable[[Fault], bool]

# Of the worker's own threads. Handlers run in fairlane-handler-…: what they ask for is the application's.
_THREADS: Final = (
    "fairlane-database",
    "fairlane-reports",
    "fairlane-files",
    "fairlane-heartbeat",
    "fairlane-listener",
    "fairlane-hints",
)
_LOST: Final = "server closed the connection unexpectedly"
_SHUT_DOWN: Final = "terminating connection due to administrator command"
_TRIES: Final = 100  # of one call; so many faults in a row are not injected


class _Here(threading.local):
    """The state of a thread: its last statement, whether an application calls, and the fault that hit the call."""

    statement = "nothing"
    is_called = False
    fault: Fault | None = None


@dataclass
class Faults:
    """The faults to inject, and the injected ones.

    Args:
        rate: the part of all statements that fails, from 0 to 1.
        seed: draws the statements.
        test: the test's name; it draws other statements for each test.
        spares: says which faults not to inject.
    """

    rate: float
    seed: int
    test: str
    spares: Spares = lambda _: False
    injected: list[Fault] = field(default_factory=list)
    _sent: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _here: _Here = field(default_factory=_Here)

    def statement(self, cursor: Any, statement: str, execute: Callable[[], None]) -> None:
        """Let the statement be executed, or fail."""
        self._here.statement = statement
        # The cursors of async drivers know of no connection; ours are of others.
        self._meet(getattr(cursor, "connection", None), statement, execute, cursor)

    def commit(self, driver: Any, commit: Callable[[], None]) -> None:
        """Let a transaction be committed, or not, or only its answer be lost."""
        self._meet(driver, f"COMMIT after {self._here.statement}", commit)

    async def line(self, line: Line, statement: str, fetch: Callable[[], Awaitable[T]]) -> T:
        """Let a statement of a worker's loop be executed, or not, or only its answer be lost."""
        fault, _ = self._drawn(statement, is_a_workers=True)
        if fault is None:
            return await fetch()
        if fault.has_effect:
            await fetch()
        with self._lock:
            self.injected.append(fault)
        await line.close()
        raise CommitUnanswered(_LOST)

    def call(self, call: Callable[[], T]) -> T:
        """Let an application call; again if that met a fault which left nothing behind."""
        if _is_a_workers() or self._here.is_called:
            return call()
        self._here.is_called = True
        try:
            for _ in range(_TRIES):
                self._here.fault = None
                try:
                    return call()
                except StorageUnavailable:
                    fault: Fault | None = self._here.fault
                    if fault is None or fault.may_be_kept:
                        raise
        finally:
            self._here.is_called = False
        raise AssertionError(f"a call met {_TRIES} faults in a row")

    def _meet(self, driver: Any, statement: str, execute: Callable[[], None], cursor: Any = None) -> None:
        is_a_workers = _is_a_workers()
        is_hit = is_a_workers or self._here.is_called
        is_alone = isinstance(cursor, Prepared) or getattr(driver, "autocommit", True)
        fault, dice = self._drawn(statement, is_a_workers=is_a_workers, is_alone=is_alone) if is_hit else (None, b"")
        if fault is None:
            execute()
            return
        if fault.has_effect:
            execute()
            if fault.may_be_kept and cursor is not None and _has_done_nothing(driver, cursor):
                return
        self._here.fault = fault
        with self._lock:
            self.injected.append(fault)
        _lose(driver, dice)

    def _drawn(self, statement: str, *, is_a_workers: bool, is_alone: bool = True) -> tuple[Fault | None, bytes]:
        with self._lock:
            self._sent[statement] += 1
            number = self._sent[statement]
        dice = hashlib.sha256(f"{self.seed}\n{self.test}\n{number}\n{statement}".encode()).digest()
        if int.from_bytes(dice[:8]) >= self.rate * 2**64:
            return None, dice
        fault = Fault(calls(), statement, number, has_effect=bool(dice[8] & 1), is_alone=is_alone)
        is_open = fault.may_be_kept and not (is_a_workers or fault.is_of_a_submission)
        return (None if is_open or self.spares(fault) else fault), dice[9:]


@contextmanager
def injecting(faults: Faults) -> Iterator[Faults]:
    """Inject them into whatever this process sends while the block runs."""
    assert Database.write.__module__ == Database.__module__, "faults are injected already"
    with ExitStack() as patches:
        for name, replacement in (_sending(faults) | _calling(faults)).items():
            owner = Database if hasattr(Database, name) else DefaultDialect
            patches.enter_context(patch.object(owner, name, replacement))
        patches.enter_context(patch.object(Line, "fetch", _fetching(faults)))
        patches.enter_context(patch.object(service, "_FIRST_WAIT", 0.01))
        patches.enter_context(patch.object(service, "_LONGEST_WAIT", 0.1))
        patches.enter_context(patch.object(reporter, "NEXT_TRY", 0.05))
        patches.enter_context(patch.object(hints, "NEXT_TRY", 0.1))
        yield faults


def _sending(faults: Faults) -> dict[str, Callable[..., None]]:
    """Return the methods by which a dialect sends statements, with faults."""
    dialect: Any = DefaultDialect
    commit = dialect.do_commit

    def sending(send: Callable[..., None]) -> Callable[..., None]:
        def do(self: Any, cursor: Any, statement: str, *rest: Any) -> None:
            faults.statement(cursor, statement, partial(send, self, cursor, statement, *rest))

        return do

    def do_commit(self: Any, connection: PoolProxiedConnection) -> None:
        faults.commit(connection.driver_connection, partial(commit, self, connection))

    names = ("do_execute", "do_executemany", "do_execute_no_params")
    return {"do_commit": do_commit} | {name: sending(getattr(dialect, name)) for name in names}


def _fetching(faults: Faults) -> Callable[..., Awaitable[Any]]:
    fetch = Line.fetch

    def fetching(self: Any, statement: Any, values: Any) -> Awaitable[Any]:
        # A submission's of an application would have to be made again by the test.
        is_a_workers = self.database.role is DatabaseRole.WORKER
        wanted = partial(fetch, self, statement, values)
        return faults.line(self, str(statement), wanted) if is_a_workers else wanted()

    return fetching


def _calling(faults: Faults) -> dict[str, Callable[..., Any]]:
    """Return the methods for an application's calls, which are made again after faults."""

    def calling(call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, work, *values, **scope: faults.call(partial(call, self, work, *values, **scope))

    return {name: calling(getattr(Database, name)) for name in ("write", "write_one", "read", "look")}


def _is_a_workers() -> bool:
    return threading.current_thread().name.startswith(_THREADS)


def _has_done_nothing(driver: Any, cursor: Any) -> bool:
    _send(driver)
    return bool(cursor.rowcount == 0)


def _send(driver: Any) -> None:
    """A statement that stands in a pipeline with its scope took effect only when it is sent."""
    if driver.pgconn.pipeline_status:
        with driver.pipeline() as sent:
            sent.sync()


def _lose(driver: Any, dice: bytes) -> NoReturn:
    if isinstance(driver, sqlite3.Connection):
        # After an I/O error SQLite may have rolled back by itself. Whoever goes on as if nothing were is outside of any
        # transaction then, and what it writes takes effect at once.
        if dice[0] & 1 and driver.in_transaction:
            driver.rollback()
        raise sqlite3.OperationalError("disk I/O error")
    _send(driver)
    driver.close()
    raise psycopg.errors.AdminShutdown(_SHUT_DOWN) if dice[0] & 1 else psycopg.OperationalError(_LOST)
