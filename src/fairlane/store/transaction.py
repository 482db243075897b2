"""Transactions: the only place that begins and commits. It retries some errors, and translates the others."""

import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, PoolProxiedConnection
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from fairlane.config import FULL, Synchronous
from fairlane.domain.errors import (
    CommitUnanswered,
    ConfigurationError,
    InstallationError,
    StatementTooSlow,
    StorageUnavailable,
)
from fairlane.domain.redact import safe_url
from fairlane.domain.timing import LOCK_TIMEOUT, LOCK_WAIT_OF_ONE
from fairlane.store import row_logins, row_security
from fairlane.store.clock import Clock, DatabaseClock
from fairlane.store.dead_letter_alarm import DeadLetterAlarm
from fairlane.store.driver_errors import (
    by_sqlalchemy,
    is_held_up,
    is_lost_race,
    is_stopped,
    is_unanswered,
    is_unique_violation,
    translate,
)
from fairlane.store.engine import LOCK_SECONDS, WRITE, NoConnection, engine_at, engine_of
from fairlane.store.gathering import Gathering
from fairlane.store.pool_health import close_all, replace_all
from fairlane.store.response_timeout import ResponseTimeout
from fairlane.store.row_security import DatabaseRole, Scope

T = TypeVar("T")

_TRIES = 5
_FIRST_WAIT = 0.02  # seconds; doubles, with jitter
_read_seconds: ContextVar[float | None] = ContextVar("fairlane_read_seconds", default=None)
_UNANSWERED = (
    "The connection to the database broke during a commit: the change was made or it was not. "
    "Check which before you try again."
)


class Database:
    """A database, with its engine, its clock and its transactions.

    Args:
        url: `sqlite:///…` or `postgresql://…`.
        clock: the clock of all times in the database; tests set their own.
        pool_size: connections kept open; as many more may be opened for a while.
        lock_seconds: how long to wait for a lock of another transaction.
        synchronous: whether a commit on SQLite waits for the disk.
        role: the database role of its sessions, if the database has row security; None = the role of the URL's login.
        production: refuse logins that row security does not bind.
        is_default: True if nobody configured the URL, which the error for a missing SQLite file mentions.
        response_timeout: how long to wait for PostgreSQL's answers; None = no timeout.

        A transaction names the organizations whose rows it sees, `of`: one, several, or `EVERYONE`. A session of the
        app does not see other rows. A transaction that names none may not ask for such rows: `ScopeForgotten`.

    `hint` is called after a commit that may have made jobs claimable, and `alarm` after a commit that wrote dead
    letters. The application's composition sets them. `commits` counts the commits of `write`, and grows just before
    each.
    """

    def __init__(  # noqa: PLR0913 - keywords, each with a default
        self,
        url: str,
        *,
        clock: Clock | None = None,
        pool_size: int = 5,
        lock_seconds: float = LOCK_TIMEOUT,
        synchronous: Synchronous = FULL,
        role: DatabaseRole | None = None,
        production: bool = False,
        is_default: bool = False,
        response_timeout: ResponseTimeout | None = None,
    ) -> None:
        self.url = url
        self.kind = engine_at(url)
        self.engine = self.kind.connect(
            url,
            pool_size=pool_size,
            lock_seconds=lock_seconds,
            synchronous=synchronous,
            is_default=is_default,
            response_timeout=response_timeout,
        )
        self.response_timeout = response_timeout
        self.is_in_memory = self.kind.is_in_memory(url)
        self.file = self.kind.file_of(url)
        self.hint: Callable[[], None] = _no_hint
        self.commits = 0
        self.alarm: DeadLetterAlarm | None = None
        self._where = safe_url(url)
        self.clock: Clock = clock or DatabaseClock()
        self.lock_seconds, self.synchronous = lock_seconds, synchronous
        self.role, self.production, self.is_default = role, production, is_default
        # A database in memory has one connection for all users, even for workers.
        if role is not None and not self.is_in_memory:
            self.engine.update_execution_options(**{row_security.SESSION_ROLE: role})
        if self.kind.has_row_security and role is not None:
            row_security.take_on(self.engine, role, lock_seconds, row_logins.guard(role) if production else None)
        self._writing = self.engine.execution_options(**{WRITE: True})
        self._reading = self.engine.execution_options(**self.kind.one_snapshot)
        self._looking = self.engine.execution_options(**self.kind.each_by_itself)
        self._gathering = Gathering(lambda work: self.write(work, of=()))

    def create(self) -> None:
        """Create a missing SQLite file. Nothing else creates it, so a mistyped URL leaves no file.

        Raises:
            ConfigurationError: the file system does not allow it.
        """
        if self.file is None:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            if not self.file.exists():
                self.file.touch()
        except OSError as error:
            raise ConfigurationError(
                f"The database {self.file} can't be created ({error.strerror}); give this user the right, or another "
                "URL."
            ) from error

    def write(
        self,
        work: Callable[[Connection], T],
        *,
        of: Scope | None = None,
        lock_seconds: float | None = None,
        row_seconds: float | None = None,
    ) -> T:
        """Run `work` in one transaction and commit it. Retry it after a deadlock or a serialization failure.

        Args:
            lock_seconds: how long to wait for locks; None = the usual time.
            row_seconds: the same, only for row locks; it has no effect on a database without row locks.

        Raises:
            CommitUnanswered: the connection broke during the commit, so it may have taken effect; `work` has returned.
            StorageUnavailable: the database is unavailable, locked or full; nothing was changed.
            ConfigurationError: its schema is missing or old, or SQLite's file does not exist.
        """
        if not self.kind.writers_are_serial:
            lock_seconds = row_seconds or lock_seconds
        wait = _FIRST_WAIT
        for last in [False] * (_TRIES - 1) + [True]:
            try:
                return self._write_once(work, of, lock_seconds)
            except StorageUnavailable as error:
                if last or not is_lost_race(error):
                    raise
            time.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
            wait *= 2
        raise AssertionError("unreachable: the last try returns or raises")

    def write_each(
        self,
        work: Callable[[Connection, Sequence[T]], object],
        items: Sequence[T],
        *,
        lock_seconds: float,
        of: Scope | None = None,
    ) -> Sequence[T]:
        """Run `work` for all items in one transaction. If a row is locked, run it for each item separately.

        Args:
            lock_seconds: how long to wait for row locks.

        Returns:
            The items whose rows are locked: nothing was done for them.

        Raises:
            CommitUnanswered, StorageUnavailable, ConfigurationError: as for `write`.
        """
        if not items:
            return ()
        try:
            self.write(lambda connection: work(connection, items), of=of, row_seconds=lock_seconds)
        except StorageUnavailable as error:
            if not is_held_up(error):
                raise
            if len(items) == 1:
                return items
            # A locked row was locked all that time, and a thousand rows may be locked.
            each = partial(self.write_each, work, lock_seconds=min(lock_seconds, LOCK_WAIT_OF_ONE), of=of)
            return [held for one in items for held in each([one])]
        return ()

    def _write_once(self, work: Callable[[Connection], T], of: Scope | None, lock_seconds: float | None) -> T:
        is_committing = False
        engine = self._writing
        if lock_seconds is not None:
            engine = engine.execution_options(**{LOCK_SECONDS: lock_seconds})
        try:
            with self.translated(), engine.begin() as connection:
                row_security.open_to(connection, of, lock_seconds=lock_seconds)
                before = self.alarm.watch(connection) if self.alarm is not None else {}
                done = work(connection)
                is_committing = True
                self.commits += 1  # before the commit: a thread that sees the commit also sees the number
        except StorageUnavailable as error:
            raise of_commit(error) if is_committing else error from error.__cause__
        if before and self.alarm is not None:
            self.alarm.ring(before, self.read)
        return done

    def write_one(
        self,
        statement: str,
        values: Callable[[], Iterable[Mapping[str, str | None] | None]] = lambda: ({},),
        accepts: Callable[[Sequence[tuple[Any, ...]]], bool] | None = None,
    ) -> Sequence[tuple[Any, ...]] | None:
        """Run one statement that writes, and that itself names the organizations whose rows it sees.

        This is for PostgreSQL. The statement is in psycopg's style, and goes to the driver: SQLAlchemy would take twice
        as long as the rest of a plain submission. It is not retried.

        Args:
            values: makes the parameters, all texts, once there is a connection; None = give up. With several, the
                statement runs for each, in one transaction. PostgreSQL works on one while the next is made.
            accepts: the transaction is committed if this is true for each answer. None = the statement runs once, and
                commits with its answer, except behind a pooler.

        Returns:
            The rows of the first answer; None if `values` gave up or another transaction came first: nothing was done.

        Raises:
            CommitUnanswered: the connection broke before the answer, so the statement may have been committed.
            StorageUnavailable, ConfigurationError: as for `write`.
        """
        is_committing = False
        try:
            with self.translated(), by_sqlalchemy(self.engine), _lent(self.engine) as pooled:
                driver: Any = pooled.driver_connection
                cursors: list[Any] = []
                is_prepared = accepts is None and not row_security.is_pooled(pooled.info)
                with nullcontext() if is_prepared else driver.pipeline():
                    settings = row_security.for_alone(pooled.info)
                    if settings:
                        driver.execute(row_security.set_locally(settings), settings)
                    for given in values():
                        if given is None:
                            return None
                        cursors.append(_prepared(pooled, statement) if is_prepared else pooled.cursor())
                        is_committing = is_prepared
                        # Sent as SQLAlchemy sends statements, so that tests can make it fail.
                        self.engine.dialect.do_execute(cursors[-1], statement, given)
                answers: list[Sequence[tuple[Any, ...]]] = [cursor.fetchall() for cursor in cursors]
                if not is_prepared:
                    if accepts is not None and not all(map(accepts, answers)):
                        return None
                    is_committing = True
                    self.engine.dialect.do_commit(pooled)
                return answers[0]
        except StorageUnavailable as error:
            if is_lost_race(error):
                return None
            raise of_commit(error) if is_committing else error from error.__cause__
        except IntegrityError as error:
            if is_unique_violation(error):
                return None
            raise

    def write_with_others(self, work: Callable[[Connection], T], *, of: Scope, lock_seconds: float | None = None) -> T:
        """Run `work` in one transaction, and return its value. On SQLite, other threads' work shares the commit.

        An error of one `work` undoes only this work. On SQLite, `lock_seconds` has no effect.
        """
        if not self.kind.writers_are_serial:
            return self.write(work, of=of, lock_seconds=lock_seconds)
        with self.translated():
            return self._gathering.commit(work)

    def read(self, work: Callable[[Connection], T], *, of: Scope | None = None) -> T:
        """Run `work` in one read transaction on one snapshot, so that its statements agree.

        Raises:
            StatementTooSlow: it took longer than allowed: see `reading_within`.
            StorageUnavailable, ConfigurationError: as for `write`.
        """
        seconds = _read_seconds.get()
        with self.translated(), self._reading.begin() as connection, _stopped_after(connection, seconds):
            row_security.open_to(connection, of, seconds=seconds)
            return work(connection)

    def look(self, work: Callable[[Connection], T], *, of: Scope | None = None) -> T:
        """Run `work`, a single statement that reads, without BEGIN and COMMIT if the database allows that.

        Raises:
            StatementTooSlow, StorageUnavailable, ConfigurationError: as for `read`.
        """
        seconds = _read_seconds.get()
        with self.translated(), self._looking.connect() as connection, _stopped_after(connection, seconds):
            row_security.open_each_to(connection, of, seconds=seconds)
            return work(connection)

    def translated(self) -> AbstractContextManager[None]:
        """Translate a driver's errors into Fairlane's."""
        return translated(self._where, self.role)

    def sibling(
        self,
        *,
        pool_size: int,
        lock_seconds: float | None = None,
        url: str | None = None,
        role: DatabaseRole | None = None,
        response_timeout: ResponseTimeout | None = None,
    ) -> "Database":
        """Return the same database with separate connections.

        If one set of connections is used up, the other one is not.

        A database in memory has only one connection, so it is its own sibling.

        Args:
            pool_size: connections kept open.
            lock_seconds: None = the same.
            url: of another login; None = the same. role: the database role of its sessions; None = the role of the
            login. response_timeout: how long to wait for PostgreSQL's answers; None = no timeout.
        """
        if self.is_in_memory:
            return self
        return Database(
            url or self.url,
            clock=self.clock,
            pool_size=pool_size,
            lock_seconds=lock_seconds or self.lock_seconds,
            synchronous=self.synchronous,
            role=role,
            production=self.production and role is not None,
            is_default=self.is_default and url is None,
            response_timeout=response_timeout,
        )

    def scrub(self, table: str, url: str | None = None) -> None:
        """Remove deleted data of a table from the database's files, as far as possible now.

        PostgreSQL does this by VACUUM FULL, which keeps rows that open transactions see; SQLite by emptying its
        write-ahead log. If the login may not, or a lock is in the way, nothing happens: the database's own cleanup
        comes later.

        Args:
            url: the owner's; None = the same.
        """
        if self.is_in_memory:
            return
        single = self.sibling(pool_size=1, url=url)
        with closing(single), suppress(StorageUnavailable, ConfigurationError, sqlite3.OperationalError):
            single.look(lambda connection: self.kind.scrub(connection, table))

    def renew(self) -> None:
        """Replace the connections: those from before a migration have not taken on their role."""
        if self.role is not None and self.kind.has_row_security:
            replace_all(self.engine)

    def close(self) -> None:
        """Close the pooled connections, and connections in use when they are returned."""
        close_all(self.engine)


@contextmanager
def _lent(engine: Engine) -> Iterator[PoolProxiedConnection]:
    """Lend a pooled connection. On its return, an open transaction is rolled back."""
    pooled = engine.pool.connect()
    driver: Any = pooled.driver_connection
    try:
        yield pooled
    except BaseException as error:
        # After an interrupt the connection's state is unknown. A new connection takes only a login.
        if not isinstance(error, Exception) or _is_stuck(driver.pgconn):
            pooled.invalidate()
        raise
    finally:
        if pooled.is_valid:
            pooled.close()


def _is_stuck(connection: Any) -> bool:
    """Return True if libpq's connection can't roll back: it is closed, in a pipeline, or waits for an answer."""
    from psycopg.pq import TransactionStatus  # noqa: PLC0415 - only PostgreSQL needs its driver

    lost = (TransactionStatus.ACTIVE, TransactionStatus.UNKNOWN)
    return bool(connection.pipeline_status) or connection.transaction_status in lost


def _prepared(pooled: PoolProxiedConnection, statement: str) -> Any:
    """Return the connection's prepared statement, which is stored with the connection."""
    found = pooled.info.get(statement)
    if found is None:
        from fairlane.store.prepared import Prepared  # noqa: PLC0415 - only PostgreSQL needs its driver

        driver: Any = pooled.driver_connection
        found = pooled.info[statement] = Prepared(driver, statement)
    return found


def of_commit(error: StorageUnavailable) -> StorageUnavailable:
    """Return the same error, or `CommitUnanswered` if it is unknown whether the commit took effect."""
    cause = error.__cause__
    is_open = isinstance(cause, DBAPIError) and is_unanswered(cause)
    return CommitUnanswered(_UNANSWERED) if is_open else error


def _no_hint() -> None:
    """Do nothing: workers poll."""


@contextmanager
def translated(where: str, role: DatabaseRole | None = None) -> Iterator[None]:
    """Translate a driver's error into Fairlane's; pass an error that has no translation.

    Args:
        where, role: as for `translate`.
    """
    try:
        yield
    except PoolTimeout as error:
        raise StorageUnavailable("All database connections are busy; nothing was changed, try again.") from error
    except NoConnection as error:
        # Without the context: the state of SQLAlchemy's pool does not help the reader.
        raise InstallationError(str(error)) from None
    except DBAPIError as error:
        ours = translate(error, where, role)
        if ours is None:
            raise
        raise ours from error


@contextmanager
def reading_within(seconds: float) -> Iterator[None]:
    """Stop reads within the block that take longer, with `StatementTooSlow`.

    This is a context variable, which a request's threads inherit. So the verbs between the interface and the database
    need not pass it on.
    """
    token = _read_seconds.set(seconds)
    try:
        yield
    finally:
        _read_seconds.reset(token)


@contextmanager
def _stopped_after(connection: Connection, seconds: float | None) -> Iterator[None]:
    """Stop the block's statements after so many seconds, and translate the error.

    Args:
        seconds: None = never.

    Raises:
        StatementTooSlow
    """
    if seconds is None:
        yield
        return
    try:
        with engine_of(connection).interrupt_after(connection, seconds):
            yield
    except DBAPIError as error:
        if is_stopped(error):
            raise StatementTooSlow(
                "The database took too long for this and was stopped; nothing was changed. "
                "Ask for less: with more filters, of less time, or fewer at once."
            ) from error
        raise
