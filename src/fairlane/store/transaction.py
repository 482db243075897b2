"""The only begin and commit. Knows which errors to run again and what to call the others."""

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
from fairlane.store.engine import PATIENCE, WRITE, NoConnection, engine_at, engine_of
from fairlane.store.gathering import Gathering
from fairlane.store.liveness import close_all, replace_all
from fairlane.store.response_timeout import ResponseTimeout
from fairlane.store.row_security import DatabaseRole, Scope

T = TypeVar("T")

_TRIES = 5
_FIRST_WAIT = 0.02  # seconds; doubles, with jitter
_read_seconds: ContextVar[float | None] = ContextVar("fairlane_read_seconds", default=None)
_UNANSWERED = (
    "The connection to the database broke during a commit: the change was made or it was not. "
    "Look which, before you try again."
)


class Database:
    """One database: its engine, its clock and its transactions.

    Args:
        url: `sqlite:///…` or `postgresql://…`.
        clock: the clock of all times in it; tests set their own.
        pool_size: connections kept open; as many again may be opened for a while.
        lock_seconds: how long to wait for a lock that somebody else's transaction holds.
        synchronous: whether a commit on SQLite waits for the disk.
        role: whose eyes its sessions have, where the database has row security; None = those of the URL's login.
        production: refuse logins that row security does not bind.
        is_default: nobody named the URL; for the sentence where SQLite's file is not there.
        response_timeout: how long to wait for PostgreSQL's answers; None = as long as it takes.

    Transactions say whose rows they are open to, `of`: an organization, several, or `EVERYONE`. To a session of the app
    all others' rows are not there. Where nothing is said, it may not ask for such rows: `ScopeForgotten`.

    `hint` is called after a commit that may have made jobs claimable, and `alarm` rings after one that wrote dead
    letters; who composes the application sets them.
    `commits` grows with what `write` commits, just before it does.
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
        # A database in memory has one connection for all, workers too.
        if role is not None and not self.is_in_memory:
            self.engine.update_execution_options(**{row_security.EYES: role})
        if self.kind.has_row_security and role is not None:
            row_security.take_on(self.engine, role, lock_seconds, row_logins.guard(role) if production else None)
        self._writing = self.engine.execution_options(**{WRITE: True})
        self._reading = self.engine.execution_options(**self.kind.one_snapshot)
        self._looking = self.engine.execution_options(**self.kind.each_by_itself)
        self._gathering = Gathering(lambda work: self.write(work, of=()))

    def create(self) -> None:
        """Make the file of a SQLite database, if it is not there; nothing else does, so that a slip leaves no files.

        Raises:
            ConfigurationError: the file system does not let us.
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
        """Run `work` in one transaction and commit it; run it again after a deadlock or a serialization failure.

        Args:
            lock_seconds: how long to wait for locks; None = as long as others.
            row_seconds: the same for the locks of rows alone; where there are none, it waits as long as others.

        Raises:
            CommitUnanswered: the connection broke during the commit, so it may have been done; `work` has returned.
            StorageUnavailable: the database is away, locked or full; nothing was changed.
            ConfigurationError: its schema is missing or old, or SQLite's file is not there.
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
        """Run `work` for all items in one transaction. Where somebody holds a row, run it for each item by itself.

        Args:
            lock_seconds: how long to wait for the locks of rows.

        Returns:
            The items whose rows somebody holds: nothing was done for them.

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
            # Whoever holds a row has held it all that time, and a thousand may be held.
            each = partial(self.write_each, work, lock_seconds=min(lock_seconds, LOCK_WAIT_OF_ONE), of=of)
            return [held for one in items for held in each([one])]
        return ()

    def _write_once(self, work: Callable[[Connection], T], of: Scope | None, lock_seconds: float | None) -> T:
        is_committing = False
        engine = self._writing
        if lock_seconds is not None:
            engine = engine.execution_options(**{PATIENCE: lock_seconds})
        try:
            with self.translated(), engine.begin() as connection:
                row_security.open_to(connection, of, lock_seconds=lock_seconds)
                before = self.alarm.watch(connection) if self.alarm is not None else {}
                done = work(connection)
                is_committing = True
                self.commits += 1  # before it, so that who sees the commit sees the number, too
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
        """Run one statement that writes, and says itself whose rows it is open to.

        For PostgreSQL. The statement is as psycopg has it, and goes to the driver: SQLAlchemy would take twice as long
        as all else that a plain submission does. It is not run again.

        Args:
            values: makes its parameters, all texts, when the connection is there; None = give up. If there are several,
                it is run for each, in one transaction; PostgreSQL works at one while the next is made.
            accepts: the transaction is committed if this is true of each answer; None = it is run once, and its answer
                is the commit's, but behind a pooler.

        Returns:
            The rows of its first answer; None: somebody gave up, or another transaction came first, and nothing was
            done.

        Raises:
            CommitUnanswered: the connection broke before the answer, so it may have been done.
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
                        # As SQLAlchemy sends what it sends, so that tests can have it fail.
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
        """Do as `write`; where writers are serial, by one commit with the `work` of other threads that came meanwhile.

        What `work` raises undoes nothing of the others'. There it waits as long as others.
        """
        if not self.kind.writers_are_serial:
            return self.write(work, of=of, lock_seconds=lock_seconds)
        with self.translated():
            return self._gathering.commit(work)

    def read(self, work: Callable[[Connection], T], *, of: Scope | None = None) -> T:
        """Run `work` in one read transaction on one snapshot, so that its statements agree with each other.

        Raises:
            StatementTooSlow: it took longer than a look may take here: see `reading_within`.
            StorageUnavailable, ConfigurationError: as for `write`.
        """
        seconds = _read_seconds.get()
        with self.translated(), self._reading.begin() as connection, _stopped_after(connection, seconds):
            row_security.open_to(connection, of, seconds=seconds)
            return work(connection)

    def look(self, work: Callable[[Connection], T], *, of: Scope | None = None) -> T:
        """Run `work`, a single statement that reads, without BEGIN and COMMIT around it where the database can do so.

        Raises:
            StatementTooSlow, StorageUnavailable, ConfigurationError: as for `read`.
        """
        seconds = _read_seconds.get()
        with self.translated(), self._looking.connect() as connection, _stopped_after(connection, seconds):
            row_security.open_each_to(connection, of, seconds=seconds)
            return work(connection)

    def translated(self) -> AbstractContextManager[None]:
        """Give a driver's errors our names."""
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
        """Return the same database through connections of its own.

        Whoever uses up these can't hold up those.

        A database in memory lives in its one connection, so it is its own sibling.

        Args:
            pool_size: connections kept open.
            lock_seconds: None = as here.
            url: another login's; None = as here.
            role: whose eyes its sessions have; None = those of the login.
            response_timeout: how long to wait for PostgreSQL's answers; None = as long as it takes.
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
        """Have the files of the database forget what was deleted from a table, as far as it can be done now.

        That is a VACUUM FULL, which leaves what open transactions see, or with SQLite emptying its write-ahead log.
        Where the login may not, or somebody is in the way, nothing happens: the database's own clean-up comes later.

        Args:
            url: the owner's; None = as here.
        """
        if self.is_in_memory:
            return
        single = self.sibling(pool_size=1, url=url)
        with closing(single), suppress(StorageUnavailable, ConfigurationError, sqlite3.OperationalError):
            single.look(lambda connection: self.kind.scrub(connection, table))

    def renew(self) -> None:
        """Make new connections: those from before a migration have not taken on their role."""
        if self.role is not None and self.kind.has_row_security:
            replace_all(self.engine)

    def close(self) -> None:
        """Close the pooled connections, and what is in use when it is given back."""
        close_all(self.engine)


@contextmanager
def _lent(engine: Engine) -> Iterator[PoolProxiedConnection]:
    """Lend a pooled connection; what is not committed on it is rolled back when it is given back."""
    pooled = engine.pool.connect()
    driver: Any = pooled.driver_connection
    try:
        yield pooled
    except BaseException as error:
        # Whoever was interrupted does not know what the server did. To make another connection takes a login.
        if not isinstance(error, Exception) or _is_stuck(driver.pgconn):
            pooled.invalidate()
        raise
    finally:
        if pooled.is_valid:
            pooled.close()


def _is_stuck(connection: Any) -> bool:
    """Return True if libpq's connection is closed, in a pipeline or still waits for an answer: nobody can roll back."""
    from psycopg.pq import TransactionStatus  # noqa: PLC0415 - only PostgreSQL needs its driver

    lost = (TransactionStatus.ACTIVE, TransactionStatus.UNKNOWN)
    return bool(connection.pipeline_status) or connection.transaction_status in lost


def _prepared(pooled: PoolProxiedConnection, statement: str) -> Any:
    """Return the statement as the connection has it, which is kept with it."""
    found = pooled.info.get(statement)
    if found is None:
        from fairlane.store.prepared import Prepared  # noqa: PLC0415 - only PostgreSQL needs its driver

        driver: Any = pooled.driver_connection
        found = pooled.info[statement] = Prepared(driver, statement)
    return found


def of_commit(error: StorageUnavailable) -> StorageUnavailable:
    """Return the same error, or the one that says that nobody knows whether the commit was done."""
    cause = error.__cause__
    is_open = isinstance(cause, DBAPIError) and is_unanswered(cause)
    return CommitUnanswered(_UNANSWERED) if is_open else error


def _no_hint() -> None:
    """Do nothing: workers poll."""


@contextmanager
def translated(where: str, role: DatabaseRole | None = None) -> Iterator[None]:
    """Give a driver's error our name; what is neither absence nor age of the schema passes as it is.

    Args:
        where, role: as for `translate`.
    """
    try:
        yield
    except PoolTimeout as error:
        raise StorageUnavailable("All database connections are busy; nothing was changed, try again.") from error
    except NoConnection as error:
        # From here: what SQLAlchemy's pool was about then is of no use to who reads the sentence.
        raise InstallationError(str(error)) from None
    except DBAPIError as error:
        ours = translate(error, where, role)
        if ours is None:
            raise
        raise ours from error


@contextmanager
def reading_within(seconds: float) -> Iterator[None]:
    """Stop, within the block, what the database does longer for a look, with `StatementTooSlow`.

    A context variable says so, as a request's threads inherit it: no verb between the face and the database has to
    pass it on.
    """
    token = _read_seconds.set(seconds)
    try:
        yield
    finally:
        _read_seconds.reset(token)


@contextmanager
def _stopped_after(connection: Connection, seconds: float | None) -> Iterator[None]:
    """Stop what runs within the block after so long, and say what it means to be stopped.

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
