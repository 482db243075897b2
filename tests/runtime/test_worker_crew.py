"""A worker's slots: who takes one, and when it is free again."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fairlane import JobContext, JobStatus, StorageUnavailable
from fairlane.runtime.breakers import Tally
from fairlane.runtime.crew import Crew
from fairlane.runtime.reporter import AttemptChannel
from tests.patience import PATIENCE
from tests.runtime.worker_kit import Engine, engine
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
    assert worker.claims.leave() == 1
    assert fl.look(job).status == JobStatus.QUEUED
    assert "its worker left before its end was written" in fl.reasons(job)
    assert (crew.running, crew.unwritten) == (0, 0)
    await asyncio.to_thread(fl.drain)
    assert fl.look(job).status == JobStatus.COMPLETED
    assert fl.look(job).progress == 100
    assert [line.message for line in fl.log_lines(job.id, organization="acme")] == ["the last line"]
