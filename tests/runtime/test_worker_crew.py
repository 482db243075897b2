"""A worker's slots: who takes one, and when it is free again."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection

from fairlane import JobContext, JobStatus, StorageUnavailable
from fairlane.domain.events import JobEnded, JobStarted, WorkerStopped
from fairlane.runtime.breakers import Tally
from fairlane.runtime.crew import Crew
from fairlane.runtime.reporter import AttemptChannel
from fairlane.runtime.service import wait_until
from fairlane.store.statements import attempts
from tests.patience import PATIENCE
from tests.runtime.worker_kit import Engine, engine, running
from tests.runtime.worker_store import member, nothing


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url) as fl:
        nothing(fl)
        yield fl


def crew_of(fl: Engine, slots: int, threads: ThreadPoolExecutor | None = None) -> Crew:
    """A crew whose finisher does not run, if it is not started: nothing is ever written."""
    worker = fl.worker(concurrency=slots)
    return Crew(worker._parts, worker._card, threads or ThreadPoolExecutor(1), Tally(), lambda _: None)


async def test_no_more_ends_wait_to_be_written_than_there_are_slots(fl: Engine) -> None:
    """Where the database is slow, a worker would else claim ever more, and lose it all when it is killed."""
    for _ in range(6):
        fl.give("work")
    crew = crew_of(fl, slots=3)
    free = []
    for ready in member(fl).claim(6):
        crew.begin(ready, release=True)
        free.append(crew.free_slots)
    assert free == [3, 3, 3, 2, 1, 0]
    assert crew.unwritten == 6


async def test_what_runs_and_what_is_being_written_is_known(fl: Engine) -> None:
    @fl.job_type("wait", dedup_window=0)
    async def wait(ctx: JobContext) -> None:
        await asyncio.Event().wait()

    for _ in range(2):
        fl.give("wait")
    crew = crew_of(fl, slots=3)
    first, second = member(fl).claim(2)
    crew.begin(first, release=True)
    crew.begin(second)
    assert crew.leases() == {second.claimed.lease_token}
    assert crew.known_leases() == {first.claimed.lease_token, second.claimed.lease_token}
    assert (crew.running, crew.free_slots) == (1, 2)
    await crew.stop()


async def test_an_attempt_whose_last_reports_can_t_be_written_is_given_back_unfinished(
    fl: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away when the worker stops, and is back for the end: no completed job misses its last lines."""
    closing = asyncio.Event()

    class Cut(AttemptChannel):
        async def close(self) -> None:
            closing.set()
            await super().close()

        def _store_and_insert(self, *_: Any) -> bool:
            raise StorageUnavailable("The database did not answer.")

    @fl.job_type("tell", dedup_window=0)
    async def tell(ctx: JobContext) -> None:
        ctx.log("the last line")
        ctx.progress(100)

    job, worker = fl.give("tell"), member(fl)
    with ThreadPoolExecutor(1) as threads, monkeypatch.context() as patch:
        patch.setattr("fairlane.runtime.crew.AttemptChannel", Cut)
        crew = crew_of(fl, slots=1, threads=threads)
        await crew.start()
        crew.begin(*worker.claim())
        async with asyncio.timeout(PATIENCE):
            await closing.wait()
            await crew.stop()
            assert not await crew.write_left()
    assert worker.claims.leave() == 1
    assert fl.look(job).status == JobStatus.QUEUED
    assert "its worker left before its end was written" in fl.reasons(job)
    assert (crew.running, crew.unwritten) == (0, 0)
    await asyncio.to_thread(fl.drain)
    assert fl.look(job).status == JobStatus.COMPLETED
    assert fl.look(job).progress == 100
    assert [line.message for line in fl.log_lines(job.id, organization="acme")] == ["the last line"]


def test_a_worker_that_stops_waits_on_as_long_as_attempts_end(fl: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a slow database one wait for the last lines of all would be over too soon."""
    patience, permitted = fl.settings.stop_grace + 0.1, list[UUID]()
    add_line = attempts.add_line

    def add_permitted(connection: Connection, now: datetime, lease: attempts.Lease, **line: Any) -> bool:
        if lease.job_id not in permitted:
            raise StorageUnavailable("The database did not answer.")
        return add_line(connection, now, lease, **line)

    async def wait(event: asyncio.Event, seconds: float) -> bool:
        if seconds != patience:
            return await wait_until(event, seconds)
        permitted.append(jobs[len(permitted)].id)
        await asyncio.to_thread(fl.events.wait, JobEnded, times=len(permitted))
        return event.is_set()

    @fl.job_type("tell", dedup_window=0)
    async def tell(ctx: JobContext) -> None:
        ctx.log("the last line")

    jobs = [fl.give("tell") for _ in range(3)]
    monkeypatch.setattr("fairlane.runtime.crew._LAST_WRITES", 0.1)
    monkeypatch.setattr("fairlane.runtime.reporter._RETRY_WAIT", 0.01)
    monkeypatch.setattr("fairlane.runtime.crew.wait_until", wait)
    monkeypatch.setattr(attempts, "add_line", add_permitted)
    with running(fl.worker()) as worker:
        fl.events.wait(JobStarted, times=3)
        worker.stop(at_once=True)
        fl.events.wait(WorkerStopped, released=0)
    assert len(permitted) == 3
    assert {fl.look(job).status for job in jobs} == {JobStatus.COMPLETED}
