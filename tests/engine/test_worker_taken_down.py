"""The outcome for a worker and its jobs when a handler ends the loop on which all of them run."""

import asyncio
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

import pytest

from fairlane import JobContext, JobStatus
from fairlane.domain.events import JobStarted, ServiceFailed, WorkerUnfit
from fairlane.engine import own_loop
from tests.engine.worker_kit import Engine, Gate, Hold, engine, running, started
from tests.engine.worker_store import registered


async def quits() -> None:
    sys.exit(3)


async def awaits_one_that_quits() -> None:
    await asyncio.gather(quits())


async def interrupts() -> None:
    raise KeyboardInterrupt


async def awaits_one_that_interrupts() -> None:
    await asyncio.gather(interrupts())


async def has_the_loop_quit() -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 4)
    await asyncio.Event().wait()


async def stops_the_loop() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.Event().wait()


async def cancels_all_others() -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.Event().wait()


loops = pytest.mark.parametrize("is_fast", [False, True], ids=["asyncio", "uvloop"])


def evil(fl: Engine, form: Callable[[], object]) -> None:
    @fl.job_type("evil", max_retries=0, dedup_window=0)
    async def handler(ctx: JobContext) -> None:
        await asyncio.sleep(0.05)  # the worker waits for its next round, as it mostly does
        await form()  # type: ignore[misc]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "fails"),
    [
        (awaits_one_that_quits, True),
        (awaits_one_that_interrupts, True),
        (has_the_loop_quit, False),
        (stops_the_loop, False),
    ],
)
@loops
def test_the_loop_goes_on(
    sqlite_url: str, form: Callable[[], object], fails: bool, is_fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker left, gave all jobs back unspent, and so did each after it; no line told of whom."""
    if not is_fast:
        monkeypatch.setattr(own_loop, "_new_loop", asyncio.new_event_loop)
    with engine(sqlite_url) as fl:
        hold = Hold()
        hold.job_type(fl, "long")
        evil(fl, form)
        with running(fl.worker()):
            long = fl.give("long")
            started(fl, long)
            bad = fl.give("evil")
            told = fl.events.wait(ServiceFailed)
            assert told.service == "event loop with async handlers of evil, long"
            if fails:
                assert fl.ended(bad).error_type == "HandlerQuit"
            hold.let_go(long)
            assert (fl.ended(long).status, fl.look(long).attempt) == ("completed", 1)


async def quits_with_words() -> None:
    password = "hunter22"
    sys.exit(f"wrong: {password}")


def test_the_log_says_where_the_loop_was_ended_and_none_of_the_words(sqlite_url: str) -> None:
    with engine(sqlite_url) as fl:
        evil(fl, lambda: asyncio.gather(quits_with_words()))
        with running(fl.worker()):
            fl.give("evil")
            told = "".join(traceback.format_exception(fl.events.wait(ServiceFailed).error))
    assert "in quits_with_words" in told
    assert told.endswith("\nSystemExit\n")
    assert "hunter22" not in told.replace('"hunter22"', "")  # the line of code


@pytest.mark.slow
def test_a_handler_that_cancels_all_tasks_is_a_dead_letter_the_third_time(database_url: str) -> None:
    """It was given back unspent each time, and took down each worker. A handler in a thread is given back as before."""
    with engine(database_url) as fl:
        gate = Gate()

        @fl.job_type("thread")
        def thread(ctx: JobContext) -> None:
            gate.wait()

        evil(fl, cancels_all_others)
        bad, beside = fl.give("evil"), fl.give("thread")
        try:
            for number in range(1, 4):
                worker = fl.worker()
                worker.run()
                assert worker.must_be_replaced
                assert "evil" in fl.events.of(WorkerUnfit)[-1].reason
                assert (fl.look(bad).attempt, fl.look(beside).attempt) == (number, number)
                assert fl.look(beside).status == "queued"
                assert registered(fl) == set()
        finally:
            gate.open()
        assert fl.look(bad).status == "dead_letter"
        assert "worker was lost 3 times" in fl.reasons(bad)
        assert "lost" not in fl.reasons(beside)


@pytest.mark.slow
@pytest.mark.parametrize("form", [awaits_one_that_quits, has_the_loop_quit, stops_the_loop])
def test_a_host_s_loop_that_a_handler_ends_counts(database_url: str, form: Callable[[], object]) -> None:
    """Its jobs were given back unspent each time."""
    with engine(database_url) as fl:
        evil(fl, form)
        bad = fl.give("evil")
        for _ in range(3):
            with suppress(SystemExit, RuntimeError):
                asyncio.run(fl.worker().run_async())
            assert registered(fl) == set()
        assert fl.way(bad)[-1] is JobStatus.DEAD_LETTER


@pytest.mark.parametrize("way", ["cancelled", "returned", "interrupted"])
def test_a_host_that_ends_its_own_loop_does_not_count(sqlite_url: str, way: str) -> None:
    """Only what a handler did counts."""
    with engine(sqlite_url) as fl:
        hold = Hold()
        hold.job_type(fl, "long")
        job = fl.give("long")

        async def host() -> None:
            run = asyncio.create_task(fl.worker().run_async())
            await asyncio.to_thread(fl.events.wait, JobStarted)
            if way == "interrupted":
                raise KeyboardInterrupt
            if way == "cancelled":
                run.cancel()
                with suppress(asyncio.CancelledError):
                    await run

        with suppress(KeyboardInterrupt):
            asyncio.run(host())
        assert fl.look(job).status == "queued"
        assert "lost" not in fl.reasons(job)
