"""Jobs that may not start cost the starts of other jobs nothing, however many they are (R4)."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from fairlane import Fairlane, JobContext, Submission
from tests.engine.worker_kit import Engine, engine, until

pytestmark = pytest.mark.slow

BACKLOG = 20_000
QUEUES = 1000
MAILS = 60


class Cost:
    """The reads of a drain: rows and index entries on PostgreSQL; instructions of the virtual machine on SQLite."""

    def __init__(self, fl: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self._fl = fl
        self._steps = 0
        if not fl.database.kind.is_server:
            self._count_steps(monkeypatch)

    def of_drain(self) -> int:
        with self._fl.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
        sessions, before = self._sessions(), self._read()
        self._fl.drain(concurrency=100)
        if self._fl.database.kind.is_server:
            self._fl.database.engine.dispose()
            # What a session has read is known once it has ended, a moment after its client's end.
            until(lambda: self._sessions() <= sessions)
        return self._read() - before

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Leave out what sessions read that begin here, and that end with it."""
        sessions = self._sessions()
        yield
        until(lambda: self._sessions() <= sessions)

    def _sessions(self) -> set[int]:
        if not self._fl.database.kind.is_server:
            return set()
        others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return {pid for (pid,) in self._ask(others)}

    def _read(self) -> int:
        if not self._fl.database.kind.is_server:
            return self._steps
        rows = "SELECT sum(seq_tup_read) FROM pg_stat_user_tables"
        entries = "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes"
        ((number,),) = self._ask(f"SELECT ({rows}) + ({entries})")
        return int(number)

    def _ask(self, question: str) -> list[Any]:
        with psycopg.connect(self._fl.settings.url) as connection:
            return connection.execute(question.encode()).fetchall()

    def _count_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        connect = sqlite3.dbapi2.connect

        def counted(*args: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **options)
            connection.set_progress_handler(self._step, 100)
            return connection

        monkeypatch.setattr(sqlite3.dbapi2, "connect", counted)
        monkeypatch.setattr(sqlite3, "connect", counted)

    def _step(self) -> None:
        self._steps += 100


def test_a_long_backlog_that_is_limited_out_costs_the_others_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine(database_url) as fl:
        fl.organizations.create("rival")

        @fl.job_type("pdf", priority="high", dedup_window=0, execution_rate=1, execution_rate_window=86_400)
        async def pdf(ctx: JobContext) -> None: ...

        @fl.job_type("mail", dedup_window=0)
        async def mail(ctx: JobContext) -> None: ...

        fl.give("pdf")
        fl.drain()
        cost, costs = Cost(fl, monkeypatch), list[int]()
        for backlog in (1, BACKLOG):
            names = ("acme", "rival")
            with cost.apart(), Fairlane(fl.settings) as other:
                for _ in range(0, backlog, 1000):
                    other.submit_many([Submission("pdf", organization="acme") for _ in range(min(backlog, 1000))])
                mail_of = [Submission("mail", organization=name) for name in names for _ in range(MAILS // 2)]
                mails = other.submit_many(mail_of)
            costs.append(cost.of_drain())
            assert {fl.look(job).status for job in mails} == {"completed"}
        few, many = costs
        assert many <= few + BACKLOG / 4


def test_queues_that_a_worker_does_not_serve_cost_it_nothing_however_many_there_are(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine(database_url) as fl:
        fl.organizations.create("rival")

        @fl.job_type("mail", dedup_window=0)
        async def mail(ctx: JobContext) -> None: ...

        cost, costs = Cost(fl, monkeypatch), list[int]()
        for queues in (1, QUEUES):
            job = fl.submit("mail", organization="rival")
            with cost.apart(), Fairlane(fl.settings) as other:
                mails = [Submission("mail", organization="acme", queue=f"{queues}/{n}") for n in range(queues)]
                other.submit_many(mails)
            costs.append(cost.of_drain())
            assert fl.look(job).status == "completed"
        few, many = costs
        assert many <= few + 2 * QUEUES
