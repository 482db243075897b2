"""A worker that leaves writes the ends of its jobs, and gives back the others to be done again."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any

import pytest

from fairlane import Job, JobContext
from fairlane.domain.events import WorkerStopped, WorkerStopping
from fairlane.encryption.artifacts import ObjectStorage
from fairlane.engine.claiming import Claims
from fairlane.engine.results import Results
from tests.engine.worker_kit import Engine, Hold, engine, running, started
from tests.engine.worker_outages import held_job, held_table, locked
from tests.engine.worker_store import registered
from tests.patience import PATIENCE

OBSTACLES: dict[str, Callable[[Engine, Job], AbstractContextManager[None]]] = {
    "the file": lambda fl, _: locked(fl.settings.url),
    "the results": lambda fl, _: held_table(fl.settings.url, "fairlane_results"),
    "the log lines": lambda fl, _: held_table(fl.settings.url, "fairlane_log_lines"),
    "the job": held_job,
}


def lines(fl: Engine, job: Job) -> list[str]:
    return [line.message for line in fl.log_lines(job.id, organization="acme")]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["stopped", "cancelled", "taken down"])
@pytest.mark.parametrize("held", OBSTACLES)
def test_what_handlers_have_done_is_written_if_it_can_be_before_the_worker_has_left(
    request: pytest.FixtureRequest, held: str, way: str
) -> None:
    """It was given back, and done twice. A worker is taken down with its loop, where its host does that."""
    url = request.getfixturevalue("sqlite_url" if held == "the file" else "postgres_url")
    with engine(url, lock_timeout=0.1) as fl, ThreadPoolExecutor(1) as threads, ExitStack() as obstacle:
        hold = Hold()
        hold.job_type(fl, "work")
        done, endless = fl.give("work"), fl.give("work")

        def hold_up() -> None:
            started(fl, endless)
            started(fl, done)
            obstacle.enter_context(OBSTACLES[held](fl, done))
            hold.let_go(done)

        def let_in() -> None:
            if way != "taken down":
                fl.events.wait(WorkerStopping)
            obstacle.close()

        async def host() -> None:
            worker = fl.worker()
            run = asyncio.create_task(worker.run_async())
            await asyncio.to_thread(hold_up)
            threads.submit(let_in)
            if way == "taken down":
                return
            worker.stop(at_once=True) if way == "stopped" else run.cancel()
            with suppress(asyncio.CancelledError):
                await run

        asyncio.run(host())
        assert (fl.look(done).status, fl.look(done).attempt) == ("completed", 1)
        assert fl.value(done) == "done"
        assert lines(fl, done) == ["all done"]
        assert (fl.look(endless).status, fl.look(endless).attempt) == ("queued", 1)
        assert registered(fl) == set()


@pytest.mark.slow
def test_a_job_whose_last_lines_can_t_be_written_is_given_back(postgres_url: str) -> None:
    """No completed job lacks its last lines."""
    with engine(postgres_url) as fl:
        hold = Hold()
        hold.job_type(fl, "work")
        job = fl.give("work")
        with running(fl.worker()) as worker:
            started(fl, job)
            with held_table(postgres_url, "fairlane_log_lines"):
                hold.let_go(job)
                worker.stop(at_once=True)
                fl.events.wait(WorkerStopped, released=1)
        assert (fl.look(job).status, fl.look(job).retry_count) == ("queued", 0)
        assert "its worker left before its end was written" in fl.reasons(job)
        with running(fl.worker()):
            hold.let_go(job)
            assert fl.ended(job).status == "completed"
        assert lines(fl, job) == ["all done"]


@pytest.mark.slow
def test_a_file_that_is_on_its_way_is_not_waited_for(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's heartbeat kept all its jobs meanwhile."""
    is_on_its_way, arrives, put = threading.Event(), threading.Event(), ObjectStorage.put

    def slowly(*file: Any) -> Any:
        is_on_its_way.set()
        assert arrives.wait(PATIENCE)
        return put(*file)

    monkeypatch.setattr(ObjectStorage, "put", slowly)
    with engine(database_url) as fl:

        @fl.job_type("keep")
        async def keep(ctx: JobContext) -> None:
            await ctx.artifact("large.bin", b"large")

        job = fl.give("keep")
        with running(fl.worker()) as worker:
            assert is_on_its_way.wait(PATIENCE)
            worker.stop(at_once=True)
            try:
                fl.events.wait(WorkerStopped, released=1)
            finally:
                arrives.set()
        assert fl.look(job).status == "queued"
        assert fl.list_artifacts(job.id, organization="acme").artifacts == ()


@pytest.mark.slow
def test_a_worker_that_is_cancelled_while_it_waits_to_write_signs_off_all_the_same(postgres_url: str) -> None:
    with engine(postgres_url) as fl:
        hold = Hold()
        hold.job_type(fl, "work")
        done, endless = fl.give("work"), fl.give("work")

        async def host() -> None:
            worker = fl.worker()
            run = asyncio.create_task(worker.run_async())
            await asyncio.to_thread(started, fl, endless)
            with held_table(postgres_url, "fairlane_results"):
                await asyncio.to_thread(hold.let_go, done)
                worker.stop(at_once=True)
                await asyncio.to_thread(fl.events.wait, WorkerStopping)
                run.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await run

        asyncio.run(host())
        assert registered(fl) == set()
        assert {(fl.look(job).status, fl.look(job).attempt) for job in (done, endless)} == {("queued", 1)}


@pytest.mark.slow
def test_a_claim_that_is_still_on_its_way_takes_nothing_that_the_leaving_worker_gives_back(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim of a cancelled worker began the job anew that it had given back just before."""
    is_on_its_way, goes_on, is_over = (threading.Event() for _ in range(3))
    claim, close = Results.write_with, Claims.close

    def later(self: Results, work: Callable[[Any], Any]) -> Any:
        if not started_all:
            return claim(self, work)
        is_on_its_way.set()
        assert goes_on.wait(PATIENCE)
        try:
            return claim(self, work)
        finally:
            is_over.set()

    async def close_once_it_is_over(self: Claims) -> None:
        goes_on.set()
        await asyncio.to_thread(is_over.wait, PATIENCE)
        await close(self)

    monkeypatch.setattr(Results, "write_with", later)
    monkeypatch.setattr(Claims, "close", close_once_it_is_over)
    started_all: list[Job] = []
    with engine(sqlite_url) as fl:
        hold = Hold()
        hold.job_type(fl, "work")
        endless = fl.give("work")

        async def host() -> Job:
            run = asyncio.create_task(fl.worker().run_async())
            await asyncio.to_thread(started, fl, endless)
            started_all.append(endless)
            behind = await asyncio.to_thread(fl.give, "work")
            assert await asyncio.to_thread(is_on_its_way.wait, PATIENCE)
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run
            return behind

        behind = asyncio.run(host())
        assert is_over.is_set()
        assert [(fl.look(job).status, fl.look(job).attempt) for job in (endless, behind)] == [
            ("queued", 1),
            ("queued", 0),
        ]
