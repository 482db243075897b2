"""Beside a session that keeps an old snapshot, as a dump does: what starts, and in which order, is as ever.

Meanwhile PostgreSQL can't clear away what ended, and workers read less of it by going on where they were.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from fairlane import JobContext, Priority, Submission
from tests.engine.worker_kit import Engine, engine

pytestmark = pytest.mark.slow

ENDED = 2_000
LIMIT = 2


@contextmanager
def old_snapshot(fl: Engine) -> Iterator[None]:
    """A session keeps a snapshot from before so many jobs were submitted and ended."""
    with psycopg.connect(fl.settings.url) as session:
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        session.execute("SELECT count(*) FROM fairlane_execution_log")
        fl.submit_many([Submission("end", organization="acme") for _ in range(ENDED)])
        fl.drain(concurrency=500)
        yield
        session.rollback()


def test_each_job_starts_once_and_the_most_urgent_first(postgres_url: str) -> None:
    with engine(postgres_url) as fl:
        starts: list[tuple[str, int]] = []

        @fl.job_type("end", dedup_window=0)
        async def end(ctx: JobContext, priority: str = "") -> None:
            if priority:
                starts.append((priority, ctx.attempt))

        with old_snapshot(fl):
            for priority in (*Priority, *reversed(Priority)):
                fl.give("end", priority=priority, parameters={"priority": priority})
            fl.drain(concurrency=1)
        assert starts == [(priority, 1) for priority in ("critical", "high", "normal", "low") for _ in range(2)]


def test_a_limit_is_not_passed_and_used_in_full(postgres_url: str) -> None:
    with engine(postgres_url) as fl:
        now, most = 0, 0

        @fl.job_type("end", dedup_window=0)
        async def end(ctx: JobContext) -> None: ...

        @fl.job_type("limited", dedup_window=0, max_running=LIMIT)
        async def limited(ctx: JobContext) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.01)
            now -= 1

        with old_snapshot(fl):
            jobs = fl.submit_many([Submission("limited", organization="acme") for _ in range(12)])
            fl.submit_many([Submission("end", organization="acme") for _ in range(100)])
            fl.drain(concurrency=10)
        assert most == LIMIT
        assert {fl.look(job).status for job in jobs} == {"completed"}
