"""R17: a worker that is told to stop leaves nothing undone and nothing behind."""

import asyncio
import signal
import threading
from pathlib import Path

import pytest

from fairlane import Job, JobContext, Snooze, TransientError
from fairlane.domain.events import JobStarted, ServiceFailed, WorkerStopped, WorkerStopping
from tests.acceptance.apps.worker import register
from tests.engine.worker_kit import Engine, Gate, engine, running, started, until
from tests.engine.worker_process import worker_process
from tests.engine.worker_store import nothing, registered
from tests.patience import PATIENCE

KINDS = ("async", "thread", "process")


def assert_released(fl: Engine, job: Job) -> None:
    now = fl.look(job)
    assert (now.status, now.attempt, now.retry_count) == ("queued", 1, 0), fl.reasons(job)
    assert "released at shutdown" in fl.reasons(job)


@pytest.mark.slow
def test_sigterm_lets_jobs_finish_within_the_grace_and_releases_the_rest(fl: Engine, tmp_path: Path) -> None:
    register(fl, "process")
    slow = [fl.give(kind) for kind in KINDS]
    quick = fl.give("until there is a file", parameters={"path": str(tmp_path / "file")})
    with worker_process(fl, "process", grace=1.5) as worker:
        for job in (*slow, quick):
            worker.wait("JobProgressed", job_id=job.id)
        worker.send(signal.SIGTERM)
        worker.wait("WorkerStopping")
        late = fl.give("async")
        (tmp_path / "file").touch()
        assert worker.end() == 0
        assert worker.wait("WorkerStopped")["released"] == len(slow)
    assert fl.value(quick) == "found it"
    for job in slow:
        assert_released(fl, job)
    assert (fl.look(late).status, fl.look(late).attempt) == ("queued", 0)
    assert registered(fl) == set()


@pytest.mark.slow
def test_a_second_signal_ends_the_grace(fl: Engine) -> None:
    register(fl)
    job = fl.give("thread")
    with worker_process(fl, grace=600.0) as worker:
        worker.wait("JobProgressed", job_id=job.id)
        worker.send(signal.SIGINT)
        worker.wait("WorkerStopping")
        worker.send(signal.SIGTERM)
        assert worker.end() == 0
    assert_released(fl, job)


@pytest.mark.slow
def test_a_worker_lets_jobs_finish_when_the_main_thread_fails(fl: Engine, tmp_path: Path) -> None:
    """It lived for ever: Python gives no thread of a pool any more, and the worker tried again and kept its lease."""
    register(fl)
    job = fl.give("until there is a file", parameters={"path": str(tmp_path / "file")})
    with worker_process(fl, "run", "raises", program="beside", grace=600.0) as worker:
        worker.wait("WorkerStopping")
        late = fl.give("async")
        (tmp_path / "file").touch()
        assert worker.end() == 1
        assert worker.wait("WorkerStopped")["released"] == 0
    assert fl.value(job) == "found it"
    assert (fl.look(late).status, fl.look(late).attempt) == ("queued", 0)
    assert registered(fl) == set()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["async", "thread"])
def test_a_worker_on_a_hosts_loop_gives_jobs_back_when_the_main_thread_has_ended(fl: Engine, kind: str) -> None:
    register(fl)
    job = fl.give(kind)
    with worker_process(fl, "run_async", "returns", program="beside", grace=0.0) as worker:
        assert worker.end() == 0
    assert_released(fl, job)
    assert registered(fl) == set()


@pytest.mark.slow
def test_a_worker_exits_although_a_handler_swallows_every_cancellation(fl: Engine) -> None:
    register(fl)
    job = fl.give("deaf")
    with worker_process(fl, grace=0.0, stop_grace=0.1) as worker:
        worker.wait("JobProgressed", job_id=job.id)
        worker.send(signal.SIGTERM)
        worker.wait("HandlerAbandoned", job_id=job.id)
        assert worker.end() == 0
    assert_released(fl, job)


def test_stop_from_another_thread_waits_for_what_runs(fl: Engine) -> None:
    gate = Gate()

    @fl.job_type("work", dedup_window=0)
    def work(ctx: JobContext) -> None:
        gate.wait()

    job = fl.give("work")
    worker = fl.worker()
    with running(worker):
        started(fl, job)
        worker.stop()
        worker.stop()  # the same again is not more urgent
        fl.events.wait(WorkerStopping, running=1)
        late = fl.give("work")
        gate.open()
        fl.events.wait(WorkerStopped, released=0)
    assert fl.look(job).status == "completed"
    assert fl.look(late).status == "queued"
    assert fl.events.of(JobStarted, job_id=late.id) == []


def test_stop_at_once_releases_what_runs(fl: Engine) -> None:
    register(fl)
    job = fl.give("async")
    worker = fl.worker()
    with running(worker):
        started(fl, job)
        worker.stop(at_once=True)
        fl.events.wait(WorkerStopped, released=1)
    assert_released(fl, job)


def test_a_handler_that_snoozes_as_its_worker_stops_waits_as_it_said(fl: Engine) -> None:
    gate = Gate()

    @fl.job_type("work")
    def work(ctx: JobContext) -> None:
        gate.wait()
        until(ctx.is_canceled)
        raise Snooze(3600, "not paid yet")

    job = fl.give("work")
    worker = fl.worker()
    with running(worker):
        gate.reached()
        worker.stop(at_once=True)
        gate.open()
        fl.events.wait(WorkerStopped, released=0)
    assert "snoozed by the handler for 3600 s: not paid yet" in fl.reasons(job)
    fl.drain()
    assert fl.look(job).attempt == 1


def test_a_released_job_runs_again_at_once(fl: Engine) -> None:
    register(fl)
    job = fl.give("async")
    with running(fl.worker()):
        started(fl, job)
    fl.drain()
    assert fl.value(job) == "second attempt"
    assert fl.look(job).attempt == 2


def test_a_cancelled_run_releases_what_runs(fl: Engine) -> None:
    """A web application cancels its background tasks so."""
    register(fl)
    job = fl.give("async")

    async def host() -> None:
        task = asyncio.create_task(fl.worker().run_async())
        await asyncio.to_thread(started, fl, job)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(host())
    assert_released(fl, job)
    assert registered(fl) == set()


@pytest.mark.parametrize("also", [(), ("process",)], ids=["no child", "a child"])
def test_a_loop_that_is_taken_down_releases_what_runs(fl: Engine, also: tuple[str, ...]) -> None:
    """Its handlers are cancelled with it, which was taken for their own mistake, and spent a retry."""
    register(fl, *also)
    job, begun = fl.give("async"), list[asyncio.Task[None]]()

    async def host() -> None:
        begun.append(asyncio.create_task(fl.worker().run_async()))
        await asyncio.to_thread(started, fl, job)

    asyncio.run(host())
    assert_released(fl, job)
    assert registered(fl) == set()


def test_a_run_that_is_cancelled_within_the_grace_releases_what_runs(fl: Engine) -> None:
    """A host cancels so that waits for a worker which it has stopped, but not for long."""
    register(fl)
    job = fl.give("async")

    async def host() -> None:
        worker = fl.worker()
        task = asyncio.create_task(worker.run_async())
        await asyncio.to_thread(started, fl, job)
        worker.stop()
        await asyncio.to_thread(fl.events.wait, WorkerStopping)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(host())
    assert_released(fl, job)
    assert registered(fl) == set()


def test_a_run_that_is_cancelled_when_the_grace_is_over_leaves_in_order_all_the_same(database_url: str) -> None:
    """It left its row, its leases and its services behind."""
    with engine(database_url, stop_grace=600.0) as fl:
        is_deaf = threading.Event()

        @fl.job_type("deaf", timeout=None)
        async def deaf(ctx: JobContext) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                is_deaf.set()
                await asyncio.Event().wait()

        job = fl.give("deaf")

        async def host() -> None:
            worker = fl.worker()
            task = asyncio.create_task(worker.run_async())
            await asyncio.to_thread(started, fl, job)
            worker.stop(at_once=True)
            await asyncio.to_thread(is_deaf.wait, PATIENCE)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(host())
        now = fl.look(job)
        assert (now.status, now.attempt, now.retry_count) == ("queued", 1, 0), fl.reasons(job)
        assert registered(fl) == set()


def test_a_run_that_is_cancelled_twice_leaves_what_runs_in_threads_behind_and_releases_it(database_url: str) -> None:
    """A job whose last progress was not written yet was taken for a mistake of Fairlane, and spent a retry."""
    with engine(database_url, stop_grace=600.0, progress_interval=600.0) as fl:
        goes_on, waiting = threading.Event(), threading.Semaphore(0)

        @fl.job_type("deaf", dedup_window=0)
        def deaf(ctx: JobContext, reports: int) -> None:
            for percent in range(reports):
                ctx.progress(percent)
            waiting.release()
            goes_on.wait(PATIENCE)

        jobs = [fl.give("deaf", parameters={"reports": reports}) for reports in (0, 2)]

        async def host() -> None:
            task = asyncio.create_task(fl.worker().run_async())
            for _ in jobs:
                assert await asyncio.to_thread(waiting.acquire, timeout=PATIENCE)
            task.cancel()
            await asyncio.to_thread(fl.events.wait, WorkerStopping, running=2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        try:
            asyncio.run(host())
        finally:
            goes_on.set()
        for job in jobs:
            assert_released(fl, job)
        assert fl.events.of(ServiceFailed) == []
        assert registered(fl) == set()


def test_a_worker_that_was_stopped_before_it_ran_ends_at_once(fl: Engine) -> None:
    nothing(fl)
    job = fl.give("work")
    worker = fl.worker()
    worker.stop()
    worker.run()
    assert fl.look(job).status == "queued"
    worker.drain()  # that stop is spent
    assert fl.look(job).status == "completed"


def test_a_worker_may_drain_again_and_again(fl: Engine) -> None:
    nothing(fl)
    worker = fl.worker()
    for _ in range(3):
        job = fl.give("work")
        worker.drain()
        assert fl.look(job).status == "completed"
    assert registered(fl) == set()


async def test_a_worker_drains_on_a_loop_that_runs(fl: Engine) -> None:
    nothing(fl)
    worker = fl.worker()
    for _ in range(2):
        job = await fl.aio.submit("work", organization="acme")
        with pytest.raises(RuntimeError, match=r"An event loop runs in this thread; .* drain_async\(\)"):
            worker.drain()
        assert (await worker.drain_async()).completed == 1
        assert fl.look(job).status == "completed"
    assert registered(fl) == set()


def test_a_drain_runs_what_becomes_due_beside_what_takes_long(fl: Engine) -> None:
    second = Gate()

    @fl.job_type("long")
    def long(ctx: JobContext) -> None:
        second.wait()

    @fl.job_type("again", backoff=[0.01])
    def again(ctx: JobContext) -> None:
        if ctx.attempt == 1:
            raise TransientError("not yet")
        second.open()

    jobs = [fl.give("long"), fl.give("again")]
    fl.drain()
    assert [fl.look(job).status for job in jobs] == ["completed", "completed"]
