"""What may not start costs the claims of the others nothing, however much of it there is (R4)."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import pytest
from sqlalchemy import Connection, event, insert, literal_column, select, text, true

from fairlane.store.dialects import is_sqlite
from fairlane.store.tables import jobs
from fairlane.store.transaction import Database
from tests.runtime.worker_kit import Engine, engine
from tests.runtime.worker_store import give, job_type, member

pytestmark = pytest.mark.slow

T = TypeVar("T")

BACKLOG = 100_000


@dataclass
class Measured:
    """A database that counts what is executed through it, and what it reads.

    Attributes:
        statements: how many were executed.
        work: PostgreSQL: rows of jobs that were read; SQLite: instructions of its virtual machine.
    """

    database: Database
    statements: int = 0
    work: int = 0
    clock: Any = field(init=False)
    is_postgres: bool = field(init=False)

    def __post_init__(self) -> None:
        self.clock = self.database.clock
        self.is_postgres = self.database.is_postgres

    def read(self, work: Callable[[Connection], T]) -> T:
        return self.database.read(lambda connection: self._measure(connection, work))

    def look(self, work: Callable[[Connection], T], **_scope: Any) -> T:
        """In a transaction, since what PostgreSQL counts it counts by transaction."""
        return self.read(work)

    def write(self, work: Callable[[Connection], T]) -> T:
        return self.database.write(lambda connection: self._measure(connection, work))

    def _measure(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        with self._counted(connection), self._steps(connection):
            return work(connection)

    @contextmanager
    def _counted(self, connection: Connection) -> Iterator[None]:
        def count(*_: object) -> None:
            self.statements += 1

        event.listen(connection, "before_cursor_execute", count)
        yield
        event.remove(connection, "before_cursor_execute", count)

    @contextmanager
    def _steps(self, connection: Connection) -> Iterator[None]:
        if not is_sqlite(connection):
            yield
            read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'fairlane_jobs'"
            self.work += connection.execute(text(read)).scalar_one()
            return

        def step() -> None:
            self.work += 1

        driver = cast("sqlite3.Connection", connection.connection.driver_connection)
        driver.set_progress_handler(step, 1)
        yield
        driver.set_progress_handler(None, 1)


def copies(fl: Engine, name: str, number: int) -> None:
    """So many ready jobs more, like the one that waits."""

    def work(connection: Connection) -> None:
        sqlite = is_sqlite(connection)
        new_id: Any = literal_column("lower(hex(randomblob(16)))" if sqlite else "gen_random_uuid()")
        columns = [new_id if column is jobs.c.id else column for column in jobs.c]
        series = (
            text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :number) SELECT i FROM n")
            if sqlite
            else text("SELECT generate_series(1, :number) AS i")
        )
        many = series.bindparams(number=number).columns(literal_column("i")).subquery()
        one = select(*columns).select_from(jobs.join(many, true())).where(jobs.c.job_type == name, jobs.c.ready)
        connection.execute(insert(jobs).from_select(list(jobs.c), one))

    fl.database.write(work)
    with fl.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def test_a_long_backlog_that_is_limited_out_costs_the_others_nothing(database_url: str) -> None:
    with engine(database_url) as fl:
        fl.organizations.create("rival")
        job_type(fl, "pdf", priority="high", max_running=1, execution_rate=1)
        job_type(fl, "mail")
        give(fl, 2)
        for organization in ("acme", "rival"):
            give(fl, 30, "mail", organization)
        assert len(member(fl, slots=100).claim(2)) == 2
        costs = []
        for backlog in (1, BACKLOG):
            copies(fl, "pdf", backlog)
            worker = member(fl, slots=100)
            measured = Measured(fl.database)
            worker.claims.database = worker.claims.outlooks.database = cast("Database", measured)
            assert {one.claimed.job_type for one in worker.claim(22)} == {"mail"}
            costs.append(measured)
        few, many = costs
        assert many.statements == few.statements
        assert many.work <= few.work * 1.2 + 100
