"""Group commit: small changes of several threads are committed by one transaction.

Each commit of SQLite waits for the disk, and only one transaction writes at a time. With a commit for each thread, a
thread would wait for the commits of all threads before it.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from fairlane.domain.errors import CommitUnanswered, StorageUnavailable
from fairlane.store.driver_errors import by_sqlalchemy
from fairlane.store.forks import in_each_child

T = TypeVar("T")
Work = Callable[[Connection], T]

_INTERRUPTED: Final = (
    "The process was told to stop while it committed the change: the change was made or it was not. "
    "Check which before you try again."
)


_WITHIN: Final = (
    "This thread is committing a submission already, and the handler of a signal can't submit within it; "
    "have the handler note what to submit, and submit it afterwards."
)


class _Refused(Exception):
    """Nothing is left to commit: all work was refused. A commit could lose its answer, and the refusals with it."""


class Savepoint:
    """Work that shares a transaction with other work. `refusal` is its error, which undoes only this work."""

    def __init__(self, work: Work[Any]) -> None:
        self.end = Future[Any]()
        self.refusal: Exception | None = None
        self._work = work
        self.result: Any = None

    def run(self, connection: Connection) -> None:
        """Run the work in a savepoint.

        Raises:
            OperationalError: from the database, which may have ended the transaction.
        """
        driver: Any = connection.connection.driver_connection
        self.refusal = None  # left from a transaction that is retried
        with by_sqlalchemy(connection.engine):
            driver.execute("SAVEPOINT one")
            try:
                self.result = self._work(connection)
            except OperationalError:
                raise
            except Exception as error:  # noqa: BLE001 - it is told
                self.refusal = error
                driver.execute("ROLLBACK TO one")
            driver.execute("RELEASE one")

    def tell(self) -> None:
        """Set the result or the error of its future."""
        if self.refusal is not None:
            self.end.set_exception(self.refusal)
        else:
            self.end.set_result(self.result)


class Gathering:
    """A queue of changes. The thread that has the turn commits all waiting changes.

    Args:
        write: runs a function in one transaction, and commits it.
    """

    def __init__(self, write: Callable[[Work[None]], None]) -> None:
        self.write = write
        self.begin()
        _all.add(self)

    def begin(self) -> None:
        """Start empty in a forked child, which does not have the parent's threads."""
        self._turn = threading.Lock()
        self._holder: int | None = None  # the thread that has the turn
        self._waiting = deque[Savepoint]()

    def commit(self, work: Work[T]) -> T:
        """Run `work` in a transaction and commit it. An error that it raises undoes no other change.

        If the caller is interrupted while it waits, the work is not done, or is being done already, which a note says.

        Raises:
            StorageUnavailable: this thread is already in a commit, and would wait for itself.
            Exception: what `work` raises, or the transaction.
        """
        if self._holder == threading.get_ident():
            raise StorageUnavailable(_WITHIN)
        mine = Savepoint(work)
        try:
            self._waiting.append(mine)
            with self._turn:
                self._holder = threading.get_ident()
                try:
                    if not mine.end.done():
                        self._commit_all()
                finally:
                    self._holder = None
        except BaseException as interrupt:
            if not mine.end.cancel():
                interrupt.add_note(_INTERRUPTED)
            raise
        done: T = mine.end.result()
        return done

    def _commit_all(self) -> None:
        together: list[Savepoint] = []
        error: Exception = CommitUnanswered(_INTERRUPTED)
        try:
            while self._waiting:
                # Removed last: if an interrupt left a change in both places, it gets its outcome, and nobody runs it
                # again.
                together.append(self._waiting[0])
                self._waiting.popleft()
            wanted = [one for one in together if not one.end.done() and one.end.set_running_or_notify_cancel()]
            with suppress(_Refused):
                self.write(partial(_run_all, wanted))
            for one in wanted:
                one.tell()
        except Exception as raised:  # noqa: BLE001 - each is told
            error = raised
        finally:
            for one in together:
                if not one.end.done():
                    one.end.set_exception(error)


def _run_all(together: Sequence[Savepoint], connection: Connection) -> None:
    for one in together:
        one.run(connection)
    if all(one.refusal is not None for one in together):
        raise _Refused


_all: Final = in_each_child(Gathering.begin)
