"""A connection to PostgreSQL on the event loop. A statement takes one round trip, no thread and no transaction.

The engine makes the connection in a thread, so login, role and response timeout are the same as for other connections.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import UUID

from sqlalchemy import Connection, Float, Select, Text, TextClause, TextualSelect, Uuid, cast, extract, func, select
from sqlalchemy.types import TypeEngine

from fairlane.domain.errors import ConfigurationError, StorageUnavailable
from fairlane.store.clock import beforehand
from fairlane.store.driver_errors import by_sqlalchemy, driver_error
from fairlane.store.engine import Question, Rows
from fairlane.store.pool_health import FRESH, PING, has_news
from fairlane.store.response_timeout import answered_within, on_loop
from fairlane.store.row_security import is_pooled
from fairlane.store.tables import Instant
from fairlane.store.transaction import Database, of_commit

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from fairlane.store.prepared import Prepared

Statement: TypeAlias = TextClause | TextualSelect | Select[*tuple[Any, ...]]
_SETTING: Final = "SELECT set_config(%(name)s, %(value)s, false)"
# A line repeats the same few statements. Planning a claim for its values took three times as long as the claim itself,
# and gave the same plan.
_PLANNED_ONCE: Final = {"plan_cache_mode": "force_generic_plan"}


class NeedsSession(ConfigurationError):
    """The connection goes through a pooler, which keeps no session."""


class Line:
    """A connection, made at its first use and again after it broke. Only one task at a time may use it.

    Args:
        threads: the threads in which the connection is made; None = the loop's own.
        settings: the session's settings, for example `lock_timeout`.
    """

    def __init__(self, database: Database, threads: Executor | None, settings: Mapping[str, str]) -> None:
        self.database = database
        self._threads = threads
        self._settings = settings
        self._compiled: dict[Statement, tuple[str, dict[str, Any]]] = {}
        self._driver: AsyncConnection[tuple[Any, ...]] | None = None
        self._prepared: dict[str, Prepared] = {}
        self._session: Connection | None = None  # a reference, which keeps its connection open
        self._used = 0.0

    async def fetch(self, statement: Statement, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run a statement, which commits with its answer, and return its rows.

        Args:
            values: of its parameters, without `now` and `lease_now`: those are None, or come from a clock other than
                PostgreSQL's.

        Raises:
            CommitUnanswered: the connection broke before the answer, so the statement may have been committed.
            StorageUnavailable, ConfigurationError: as for `Database.write`.
        """
        text, constants = self._compiled.get(statement) or self._compile(statement)
        driver = await self._living()
        now, lease_now = self.moment() or (None, None)
        given = {**constants, **values, "now": now, "lease_now": lease_now}
        with self._sending(driver):
            return await (await driver.execute(text, given)).fetchall()

    async def fetch_prepared(self, statement: str, values: Mapping[str, str | None]) -> list[tuple[Any, ...]]:
        """Do the same for a statement in psycopg's style, with texts as parameters."""
        driver = await self._living()
        moment = self.moment()
        given = {**values, "now": moment[0].isoformat() if moment is not None else None}
        prepared = self._prepared.get(statement)
        if prepared is None:
            from fairlane.store.prepared import Prepared  # noqa: PLC0415 - only PostgreSQL needs its driver

            prepared = self._prepared[statement] = Prepared(driver, statement)
        with self._sending(driver):
            return await driver.wait(prepared.run(given))

    async def ask(self, questions: Sequence[Question], values: Mapping[str, Any]) -> tuple[datetime, float, list[Rows]]:
        """Return the time, the lease seconds, and the rows of each question."""
        ((now, seconds, *found),) = await self.fetch(combined(tuple(questions)), values)
        now, seconds = self.moment() or (now.astimezone(UTC), seconds)
        return now, seconds, rows_of(questions, found)

    @contextmanager
    def _sending(self, driver: "AsyncConnection[tuple[Any, ...]]") -> Iterator[None]:
        try:
            with self.database.translated(), by_sqlalchemy(self.database.engine):
                yield
        except StorageUnavailable as error:
            raise of_commit(error) from error.__cause__
        finally:
            self._used = time.monotonic()
            if driver.closed:
                self._driver = None

    async def connect(self) -> None:
        """Make the connection, if there is none.

        Raises:
            StorageUnavailable, ConfigurationError: as for `Database.write`.
        """
        await self._living()

    def _compile(self, statement: Statement) -> tuple[str, dict[str, Any]]:
        """Return the statement's text, and the parameters with values of its own."""
        dialect = self.database.engine.dialect
        if isinstance(statement, TextClause):
            made = str(statement.compile(dialect=dialect)), dict[str, Any]()
        else:
            compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
            made = str(compiled), dict(compiled.params)
        self._compiled[statement] = made
        return made

    def moment(self) -> tuple[datetime, float] | None:
        """Return the time and the lease seconds of a clock other than PostgreSQL's; None for PostgreSQL's."""
        clock, session = self.database.clock, self._session
        assert session is not None, "there is a connection"
        now = beforehand(clock, session)
        return None if now is None else (now, clock.lease_seconds(session))

    async def close(self) -> None:
        """Close the connection; the next statement makes another."""
        driver, self._driver = self._driver, None
        if driver is not None:
            await driver.close()

    def abandon(self) -> None:
        """Close the connection after its loop has ended."""
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.pgconn.finish()

    def leave_to_parent(self) -> None:
        """Forget the connection in a forked child, without a message to the server: it belongs to the parent."""
        self._driver = None

    @property
    def is_there(self) -> bool:
        """Return True if there is a connection that is not known to be broken."""
        return self._driver is not None

    async def _living(self) -> "AsyncConnection[tuple[Any, ...]]":
        """Return the connection, or a new one if it was idle and turns out to be dead."""
        driver = self._driver
        if driver is not None and not driver.closed and not self._may_be_dead(driver):
            return driver
        with self.database.translated(), by_sqlalchemy(self.database.engine):
            if driver is not None and not driver.closed:
                with suppress(driver_error(self.database.engine)), answered_within(PING):
                    await driver.execute("")
            if driver is None or driver.closed:
                self._driver = None
                self._driver = driver = await self._made()
                self._prepared = {}
        return driver

    def _may_be_dead(self, driver: "AsyncConnection[tuple[Any, ...]]") -> bool:
        return time.monotonic() - self._used > FRESH or has_news(driver.fileno())

    async def _made(self) -> "AsyncConnection[tuple[Any, ...]]":
        loop = asyncio.get_running_loop()
        driver = await loop.run_in_executor(self._threads, copy_context().run, self._connected)
        try:
            await driver.set_autocommit(True)
            # The session may have another user's prepared statements, of the same names as this line's.
            await driver.execute("DEALLOCATE ALL")
            for name, value in {**_PLANNED_ONCE, **self._settings}.items():
                await driver.execute(_SETTING, {"name": name, "value": value})
        except BaseException:
            await driver.close()
            raise
        return driver

    def _connected(self) -> "AsyncConnection[tuple[Any, ...]]":
        """Return a connection of the engine, detached from its pool. This runs in a thread."""
        session = self.database.engine.connect()
        if is_pooled(session.info):
            session.close()
            raise NeedsSession("A pooler like PgBouncer keeps no session, which this needs; connect to PostgreSQL.")
        self._session = session
        driver = session.connection.driver_connection
        assert driver is not None
        session.detach()
        return on_loop(driver, self.database.response_timeout)


@cache
def combined(questions: tuple[Question, ...]) -> Select[*tuple[Any, ...]]:
    """Return a statement that reads the time, the lease seconds, and the rows of each question as JSON."""
    answers = []
    for one in questions:
        rows = one.subquery()
        # As text: the host may change how the driver reads JSON in the whole process.
        array = select(cast(func.json_agg(func.json_build_array(*rows.c)), Text)).select_from(rows)
        answers.append(array.scalar_subquery())
    moment = func.clock_timestamp()
    seconds = cast(extract("epoch", moment), Float)
    return select(moment, seconds, *answers).execution_options(fairlane_across="claim")


def rows_of(questions: Sequence[Question], found: Sequence[str | None]) -> list[Rows]:
    """Return the rows of each question from the answer to `combined`."""
    return [_read(one, json.loads(rows or "[]")) for one, rows in zip(questions, found, strict=True)]


def _read(question: Question, rows: Rows) -> Rows:
    """Convert the values to the types of the question's columns."""
    readers = [_reader(column.type) for column in question.selected_columns]
    if not any(readers):
        return [tuple(row) for row in rows]
    return [
        tuple(value if read is None or value is None else read(value) for read, value in zip(readers, row, strict=True))
        for row in rows
    ]


def _reader(kind: TypeEngine[Any]) -> Callable[[str], object] | None:
    """Return the function that reads a value of this type from JSON's text; None if there is nothing to convert."""
    match kind:
        case Uuid():
            return UUID
        case Instant():
            return lambda text: datetime.fromisoformat(text).astimezone(UTC)
        case _:
            return None
