"""A worker's slots: who takes one, and when it is free again."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection

from fairlane import JobContext, JobStatus, StorageUnavailable
from fairlane.domain.events import JobEnded, JobStarted, WorkerStopped
from fairlane.registry.artifacts import store_file
from fairlane.runtime.breakers import Tally
from fairlane.runtime.crew import Crew
from fairlane.runtime.reporter import AttemptChannel, LeaseLostError
from fairlane.runtime.reports import Checkpoint
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
            with suppress(StorageUnavailable):  # unless the thread of `close` is at it still
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
    patience, permitted = 0.1, list[UUID]()
    add_line = attempts.add_line

    def add_permitted(connection: Connection, now: datetime, lease: attempts.Lease, **line: Any) -> bool:
        if lease.job_id not in permitted:
            raise StorageUnavailable("The database did not answer.")
        return add_line(connection, now, lease, **line)

    async def wait(event: asyncio.Event, seconds: float) -> bool:
        if seconds == fl.settings.stop_grace:
            return event.is_set()  # the handlers have ended
        if seconds != patience:
            return await wait_until(event, seconds)
        permitted.append(jobs[len(permitted)].id)
        await asyncio.to_thread(fl.events.wait, JobEnded, times=len(permitted))
        return event.is_set()

    @fl.job_type("tell", dedup_window=0)
    async def tell(ctx: JobContext) -> None:
        ctx.log("the last line")

    jobs = [fl.give("tell") for _ in range(3)]
    monkeypatch.setattr("fairlane.runtime.crew._LAST_WRITES", patience)
    monkeypatch.setattr("fairlane.runtime.reporter.SOON", 0.01)
    monkeypatch.setattr("fairlane.runtime.crew.wait_until", wait)
    monkeypatch.setattr(attempts, "add_line", add_permitted)
    with running(fl.worker()) as worker:
        fl.events.wait(JobStarted, times=3)
        worker.stop(at_once=True)
        fl.events.wait(WorkerStopped, released=0)
    assert len(permitted) == 3
    assert {fl.look(job).status for job in jobs} == {JobStatus.COMPLETED}


async def test_handlers_that_merely_stop_are_not_taken_for_something_that_is_written(
    fl: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round in which one stopped gave a database that is away another ten seconds."""
    waited, stopping = list[float | None](), asyncio.Event()

    async def wait(event: asyncio.Event, seconds: float | None) -> bool:
        waited.append(seconds)
        return await wait_until(stopping if seconds == fl.settings.stop_grace else event, seconds)

    @fl.job_type("tell", dedup_window=0)
    async def tell(ctx: JobContext) -> None:
        ctx.log("the last line")
        try:
            await asyncio.Event().wait()
        finally:
            stopping.set()

    monkeypatch.setattr("fairlane.runtime.crew._LAST_WRITES", 0.1)
    monkeypatch.setattr("fairlane.runtime.crew.wait_until", wait)
    monkeypatch.setattr(attempts, "add_line", away)
    for _ in range(3):
        fl.give("tell")
    with ThreadPoolExecutor(1) as threads:
        crew = crew_of(fl, slots=3, threads=threads)
        await crew.start()
        for ready in member(fl).claim(3):
            crew.begin(ready)
        await asyncio.sleep(0)  # they begin
        async with asyncio.timeout(PATIENCE):
            await crew.finish_all()
            await crew.stop()
    assert waited == [fl.settings.stop_grace, 0.1]


def away(*_: Any, **__: Any) -> bool:
    raise StorageUnavailable("The database did not answer.")


async def test_where_ends_can_t_be_written_as_a_worker_leaves_no_last_lines_are_tried(
    fl: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A silent database would be waited for once for each."""
    closing, asked = threading.Event(), threading.Event()

    class Silent(AttemptChannel):
        def write_waiting(self, *, last: bool = False) -> bool:
            closing.set()
            return False

        def write_left(self) -> bool:
            asked.set()
            return False

    @fl.job_type("tell", dedup_window=0)
    async def tell(ctx: JobContext) -> None:
        ctx.log("the last line")

    monkeypatch.setattr("fairlane.runtime.crew.AttemptChannel", Silent)
    monkeypatch.setattr("fairlane.runtime.finisher.finish", away)
    fl.give("tell")
    with ThreadPoolExecutor(1) as threads:
        crew = crew_of(fl, slots=2, threads=threads)
        await crew.start()
        crew.begin(*member(fl).claim())
        fl.give("tell")
        crew.begin(*member(fl).claim(), release=True)
        async with asyncio.timeout(PATIENCE):
            await asyncio.to_thread(closing.wait)
            await crew.stop()
            with pytest.raises(StorageUnavailable):
                await crew.write_left()
    assert not asked.is_set()


def test_a_worker_that_leaves_does_not_wait_for_a_file_that_is_on_its_way(
    fl: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its heartbeat kept all its jobs meanwhile."""
    is_on_its_way, arrives = threading.Event(), threading.Event()

    def slowly(*file: Any) -> Any:
        is_on_its_way.set()
        assert arrives.wait(PATIENCE)
        return store_file(*file)

    @fl.job_type("keep", dedup_window=0)
    async def keep(ctx: JobContext) -> None:
        await ctx.artifact("large.bin", b"large")

    monkeypatch.setattr("fairlane.runtime.reporter.store_file", slowly)
    monkeypatch.setattr("fairlane.runtime.crew._LAST_WRITES", 0.01)
    job = fl.give("keep")
    with running(fl.worker()) as worker:
        assert is_on_its_way.wait(PATIENCE)
        worker.stop(at_once=True)
        try:
            fl.events.wait(WorkerStopped, released=1)
        finally:
            arrives.set()
    assert fl.look(job).status == JobStatus.QUEUED
    assert fl.list_artifacts(job.id, organization="acme").artifacts == ()


async def test_an_attempt_whose_file_is_on_its_way_keeps_no_other_from_its_end(
    fl: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those behind it were given back, and done again."""
    closing = threading.Semaphore(0)

    class Slow(AttemptChannel):
        def write_waiting(self, *, last: bool = False) -> bool:
            if last:
                closing.release()
            return False

        def write_left(self) -> bool:
            return self._claimed.id != busy.id and super().write_left()

    @fl.job_type("tell", dedup_window=0)
    async def tell(ctx: JobContext) -> None:
        ctx.log("the last line")

    busy = fl.give("tell")
    others = [fl.give("tell") for _ in range(3)]
    monkeypatch.setattr("fairlane.runtime.crew.AttemptChannel", Slow)
    with ThreadPoolExecutor(1) as threads:
        crew = crew_of(fl, slots=4, threads=threads)
        await crew.start()
        for ready in member(fl).claim(4):
            crew.begin(ready)
        for _ in range(4):
            assert await asyncio.to_thread(closing.acquire, timeout=PATIENCE)
        await crew.stop()
        assert not await crew.write_left()
    assert fl.look(busy).status == JobStatus.RUNNING
    assert {fl.look(job).status for job in others} == {JobStatus.COMPLETED}


async def test_nobody_waits_for_the_ends_that_a_finisher_which_is_gone_has_left(
    fl: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlane.runtime.crew._LAST_WRITES", 100 * PATIENCE)
    monkeypatch.setattr("fairlane.runtime.finisher.finish", away)
    fl.give("work")
    with ThreadPoolExecutor(1) as threads:
        crew = crew_of(fl, slots=1, threads=threads)
        await crew.start()
        crew.begin(*member(fl).claim(), release=True)
        assert crew._finishing is not None
        crew._finishing.cancel()
        async with asyncio.timeout(PATIENCE):
            await crew.finish_all()
            await crew.stop()
    assert crew.unwritten == 1


def test_a_lease_that_is_found_lost_when_the_worker_has_left_is_told_to_nobody(fl: Engine) -> None:
    """By a file that arrives then; it has to end in order, as its handler's thread may wait for it still."""

    async def made() -> Crew:
        return crew_of(fl, slots=1)

    asyncio.run(made())._on_lost(uuid4())


@pytest.mark.parametrize("is_silent", [True, False], ids=["silent", "all rows are held for long"])
async def test_a_worker_that_leaves_does_not_wait_for_each_attempt_by_itself(
    fl: Engine, monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    closing, asked = threading.Semaphore(0), list[UUID]()

    class Silent(AttemptChannel):
        def write_waiting(self, *, last: bool = False) -> bool:
            if last:
                closing.release()
            return False

        def write_left(self) -> bool:
            asked.append(self._claimed.id)
            if is_silent:
                raise StorageUnavailable("The database did not answer.")
            return False

    @fl.job_type("tell", dedup_window=0)
    async def tell(ctx: JobContext) -> None:
        ctx.log("the last line")

    monkeypatch.setattr("fairlane.runtime.crew.AttemptChannel", Silent)
    monkeypatch.setattr("fairlane.runtime.crew._MOST_WAITING", -1.0)
    jobs = [fl.give("tell") for _ in range(2)]
    with ThreadPoolExecutor(1) as threads:
        crew = crew_of(fl, slots=2, threads=threads)
        await crew.start()
        for ready in member(fl).claim(2):
            crew.begin(ready)
        for _ in jobs:
            assert await asyncio.to_thread(closing.acquire, timeout=PATIENCE)
        await crew.stop()
        for tries in (1, 2):
            with pytest.raises(StorageUnavailable) if is_silent else nullcontext():
                assert not await crew.write_left()
            assert len(asked) == tries
    assert set(asked) == {job.id for job in jobs}


async def test_an_attempt_whose_reports_nobody_began_to_write_is_written_as_the_worker_leaves(
    fl: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its task was cancelled before its first step, and the attempt forgotten, though its handler had returned."""
    returns = asyncio.Event()
    monkeypatch.setattr(AttemptChannel, "_schedule", lambda _: None)

    class Cancelled(Crew):
        def _on_end(self, *end: Any) -> None:
            super()._on_end(*end)
            for task in self._closing:
                task.cancel()

    @fl.job_type("tell", dedup_window=0)
    async def tell(ctx: JobContext) -> None:
        ctx.log("the last line")
        ctx.progress(100)
        returns.set()

    job, worker = fl.give("tell"), fl.worker(concurrency=1)
    with ThreadPoolExecutor(1) as threads:
        crew = Cancelled(worker._parts, worker._card, threads, Tally(), lambda _: None)
        await crew.start()
        crew.begin(*member(fl).claim())
        async with asyncio.timeout(PATIENCE):
            await returns.wait()
            await crew.finish_all()
            await crew.stop()
            assert await crew.write_left()
    assert fl.look(job).status == JobStatus.COMPLETED
    assert [line.message for line in fl.log_lines(job.id, organization="acme")] == ["the last line"]


async def test_handlers_that_are_left_behind_do_not_wait_for_what_is_never_written(
    fl: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AttemptChannel, "_schedule", lambda _: None)  # no thread is free for it
    kept: list[Future[Any]] = []
    closing = asyncio.Event()

    async def close(*_: object) -> None:
        closing.set()
        await asyncio.Event().wait()

    @fl.job_type("keep", dedup_window=0)
    async def keep(ctx: JobContext) -> None:
        kept.append(ctx._channel.send(Checkpoint("1")))

    crew = crew_of(fl, slots=1)
    fl.give("keep")
    monkeypatch.setattr(Crew, "_close", close)
    await crew.start()
    crew.begin(*member(fl).claim())
    await closing.wait()
    await crew.stop()
    crew.give_up()
    assert isinstance(kept[0].exception(PATIENCE), LeaseLostError)
