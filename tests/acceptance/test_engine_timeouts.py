"""R6: a job runs no longer than it may, whatever its handler does."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import update

from fairlane import FairlaneError, JobContext
from fairlane.domain.events import HandlerAbandoned, JobEnded, JobStarted, LoopBlocked, WorkerUnfit
from fairlane.engine.context import Interrupted
from fairlane.store.tables import live
from tests.acceptance.apps import slow_to_import
from tests.engine.worker_kit import Engine, Gate, engine, running, until
from tests.patience import PATIENCE

SOON = 0.2  # seconds


def test_an_async_handler_is_cancelled(fl: Engine) -> None:
    cleaned_up: list[str] = []

    @fl.job_type("slow", timeout=SOON, max_retries=0)
    async def slow(ctx: JobContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.append("yes")

    job = fl.give("slow")
    fl.drain()
    assert fl.way(job) == ["queued", "running", "timed_out", "dead_letter"]
    assert fl.look(job).error_type == "TimedOut"
    assert fl.look(job).error_message == "ran past its timeout of 0.2 s"
    assert cleaned_up == ["yes"]


def test_a_thread_is_told_at_its_next_call_of_the_context(fl: Engine) -> None:
    told: list[BaseException] = []

    @fl.job_type("slow", timeout=SOON, max_retries=0)
    def slow(ctx: JobContext) -> None:
        try:
            ctx.sleep(60)
        except Interrupted as error:
            told.append(error)
            raise

    job = fl.give("slow")
    fl.drain()
    assert fl.way(job) == ["queued", "running", "timed_out", "dead_letter"]
    assert [str(error) for error in told] == ["the handler was asked to stop: timeout"]


@pytest.mark.slow
def test_a_process_that_comes_up_late_leaves_its_handler_the_whole_timeout(
    fl: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRLANE_TEST_SLOW_IMPORT", "1.5")
    fl.job_type("work", isolation="process", timeout=1, max_retries=0)(slow_to_import.work)
    job = fl.give("work", parameters={"path": str(tmp_path / "begun")})
    fl.drain()
    assert fl.value(job) == "done"


@pytest.mark.slow
def test_what_ended_in_time_in_its_process_and_is_heard_of_late_has_not_timed_out(fl: Engine, tmp_path: Path) -> None:
    """Somebody's handler held up the loop meanwhile."""
    fl.job_type("work", isolation="process", timeout=1, max_retries=0)(slow_to_import.work)

    @fl.job_type("blocker")
    async def blocker(ctx: JobContext) -> None:
        await asyncio.to_thread(until, begun.exists)
        time.sleep(2)  # noqa: ASYNC251 - that is what it is for

    begun = tmp_path / "begun"
    jobs = [fl.give("blocker"), fl.give("work", parameters={"path": str(begun)})]
    fl.drain()
    assert [fl.look(job).status for job in jobs] == ["completed", "completed"]


def test_a_timed_out_job_is_tried_again_as_its_retries_allow(fl: Engine) -> None:
    @fl.job_type("slow", timeout=SOON, max_retries=1, backoff=[0])
    async def slow(ctx: JobContext) -> str:
        if ctx.attempt == 1:
            await asyncio.Event().wait()
        return "quick this time"

    job = fl.give("slow")
    fl.drain()
    assert fl.way(job) == ["queued", "running", "timed_out", "queued", "running", "completed"]
    assert fl.value(job) == "quick this time"


def test_a_job_may_have_a_timeout_of_its_own(fl: Engine) -> None:
    @fl.job_type("slow", max_retries=0)
    async def slow(ctx: JobContext) -> None:
        await asyncio.Event().wait()

    job = fl.give("slow", timeout=SOON)
    fl.drain()
    assert fl.look(job).error_message == "ran past its timeout of 0.2 s"


def test_no_timeout_is_no_timeout(fl: Engine) -> None:
    @fl.job_type("unlimited", timeout=None)
    async def unlimited(ctx: JobContext) -> str:
        await asyncio.sleep(SOON)
        return "took its time"

    job = fl.give("unlimited")
    assert job.timeout is None
    fl.drain()
    assert fl.value(job) == "took its time"


def test_a_handler_that_returns_only_after_its_timeout_has_timed_out(fl: Engine) -> None:
    @fl.job_type("stubborn", timeout=SOON, max_retries=0)
    async def stubborn(ctx: JobContext) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "nevertheless"
        return ""

    job = fl.give("stubborn")
    fl.drain()
    assert fl.look(job).status == "dead_letter"
    assert fl.look(job).error_type == "TimedOut"
    assert fl.value(job) is None


def test_an_async_handler_that_swallows_its_cancellation_is_left_behind(database_url: str) -> None:
    with engine(database_url, stop_grace=SOON) as fl:

        @fl.job_type("deaf", timeout=SOON, max_retries=0)
        async def deaf(ctx: JobContext) -> str:
            # When asked, when left behind, and when the worker leaves.
            for _ in range(3):
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
            return "too late"

        job = fl.give("deaf")
        worker = fl.worker(concurrency=20)
        with running(worker):
            fl.events.wait(HandlerAbandoned, job_id=job.id)
            assert fl.ended(job).status == "dead_letter"
        assert fl.look(job).error_type == "TimedOut"
        assert not worker.must_be_replaced


def test_a_thread_that_ignores_its_timeout_is_left_behind_and_its_slot_is_replaced(database_url: str) -> None:
    with engine(database_url, stop_grace=SOON) as fl:
        gate = Gate()

        @fl.job_type("deaf", timeout=SOON, max_retries=0)
        def deaf(ctx: JobContext) -> str:
            gate.wait()
            return "too late"

        @fl.job_type("next")
        def following(ctx: JobContext) -> None: ...

        job = fl.give("deaf")
        worker = fl.worker(concurrency=20)
        with running(worker):
            fl.events.wait(HandlerAbandoned, job_id=job.id, job_type="deaf")
            assert fl.ended(job).status == "dead_letter"
            # Its end came and is written; what the thread says from now on is nobody's business.
            later = fl.give("next")
            assert fl.ended(later).status == "completed"
            gate.open()
        assert fl.look(job).status == "dead_letter"
        assert fl.value(job) is None
        assert not worker.must_be_replaced


@pytest.mark.parametrize("stop", ["timeout", "cancel"])
def test_no_submitter_s_timeout_nor_cancel_of_a_deaf_handler_uses_up_a_worker(database_url: str, stop: str) -> None:
    """It keeps its slot as a job with its type's own timeout would, and is no attempt beside the next one."""
    with engine(database_url, stop_grace=0) as fl:
        begun, told, gate = Gate(), Gate(), Gate()

        @fl.job_type("deaf", max_retries=0)
        def deaf(ctx: JobContext) -> None:
            begun.open()
            assert ctx.interrupt.wait(PATIENCE)
            told.open()
            gate.wait()
            ctx.raise_if_interrupted()

        @fl.job_type("next")
        async def following(ctx: JobContext) -> None: ...

        worker = fl.worker(concurrency=10)
        with running(worker):
            job = fl.give("deaf", timeout=SOON if stop == "timeout" else 60)
            if stop == "cancel":
                begun.wait()  # a job that is canceled before its thread runs ends at once
                fl.cancel(job.id, organization="acme")
            told.wait()
            # The worker goes on, and claims, where one handler left behind would have it replaced.
            assert fl.ended(fl.give("next")).status == "completed"
            assert fl.look(job).status == "running"
            gate.open()
            assert fl.ended(job).status == ("dead_letter" if stop == "timeout" else "canceled")
            assert not worker.must_be_replaced
        assert fl.events.of(HandlerAbandoned) == []


def test_a_handler_that_ignores_a_submitter_s_timeout_is_left_behind_when_that_of_its_type_is_over(
    database_url: str,
) -> None:
    with engine(database_url, stop_grace=0) as fl:
        gate = Gate()

        @fl.job_type("deaf", timeout=3 * SOON, max_retries=0)
        def deaf(ctx: JobContext) -> None:
            gate.wait()

        job = fl.give("deaf", timeout=SOON)
        with running(fl.worker(concurrency=20)):
            fl.events.wait(HandlerAbandoned, job_id=job.id)
            assert fl.ended(job).status == "dead_letter"
            gate.open()
        assert fl.look(job).error_message == "ran past its timeout of 0.2 s"
        # uvloop counts timers in whole milliseconds, from one at which its turn began.
        assert fl.events.of(JobEnded, job_id=job.id)[0].seconds >= 3 * SOON - 0.001


def test_a_worker_that_leaves_waits_no_longer_for_a_handler_that_ignores_a_submitter_s_timeout(
    database_url: str,
) -> None:
    with engine(database_url, stop_grace=0) as fl:
        told, gate = Gate(), Gate()

        @fl.job_type("deaf", timeout=None, max_retries=0)
        def deaf(ctx: JobContext) -> None:
            assert ctx.interrupt.wait(PATIENCE)
            told.open()
            gate.wait()

        job = fl.give("deaf", timeout=SOON)
        with running(fl.worker()):
            told.wait()
        assert len(fl.events.of(HandlerAbandoned, job_id=job.id)) == 1
        assert fl.look(job).error_type == "TimedOut"
        gate.open()


def test_a_deaf_handler_whose_job_another_worker_has_keeps_no_slot(database_url: str) -> None:
    with engine(database_url, stop_grace=SOON) as fl:
        gate = Gate()

        @fl.job_type("deaf")
        def deaf(ctx: JobContext) -> None:
            gate.wait()

        job = fl.give("deaf")
        with running(fl.worker(concurrency=20)):
            gate.reached()
            fl.database.write(lambda connection: connection.execute(update(live).values(lease_token=uuid4())))
            fl.events.wait(HandlerAbandoned, job_id=job.id)
            gate.open()


def test_a_worker_with_too_many_handlers_left_behind_is_to_be_replaced(database_url: str) -> None:
    with engine(database_url, stop_grace=SOON) as fl:
        gate = Gate()

        @fl.job_type("deaf", timeout=SOON, max_retries=0)
        def deaf(ctx: JobContext) -> None:
            gate.wait()

        job = fl.give("deaf")
        worker = fl.worker(concurrency=1)
        # It ends by itself: one slot bears one left-behind handler.
        worker.run()
        gate.open()
        assert worker.must_be_replaced
        (unfit,) = fl.events.of(WorkerUnfit)
        assert unfit.reason == "handlers, validators or results that do not end: 1"
        assert fl.look(job).status == "dead_letter"


def test_the_late_words_of_a_left_behind_thread_reach_nobody(database_url: str) -> None:
    with engine(database_url, stop_grace=SOON) as fl:
        gate, refused = Gate(), Gate()

        @fl.job_type("deaf", timeout=SOON, max_retries=1, backoff=[0])
        def deaf(ctx: JobContext) -> str:
            if ctx.attempt == 2:
                return "second"
            gate.wait()
            try:
                # It was told to stop before, so from here on it may clean up, but for nobody.
                ctx.progress(99)
            except Interrupted:
                try:
                    ctx.checkpoint("late")
                except FairlaneError:
                    refused.open()
            return "first"

        job = fl.give("deaf")
        with running(fl.worker(concurrency=20)):
            assert fl.ended(job).status == "completed"
            gate.open()
            refused.wait()
        assert fl.value(job) == "second"
        assert fl.look(job).progress is None


def test_a_blocked_loop_is_told_with_type_and_place_and_the_heartbeat_goes_on(database_url: str) -> None:
    with engine(database_url, lease=2.0) as fl:
        told, waits = Gate(), Gate()

        @fl.job_type("rude")
        async def rude(ctx: JobContext) -> None:
            told.wait()

        @fl.job_type("innocent")
        async def innocent(ctx: JobContext) -> None:
            waits.open()
            await asyncio.to_thread(told.wait)

        fl.give("innocent")
        with running(fl.worker()):
            waits.wait()
            job = fl.give("rude")
            blocked = fl.events.wait(LoopBlocked)
            before = leases(fl)
            until(lambda: leases(fl) != before)
            told.open()
            assert fl.ended(job).status == "completed"
        assert blocked.job_types == ("rude",)
        assert "test_engine_timeouts.py" in blocked.where
        assert "in rude" in blocked.where
        assert fl.look(job).attempt == 1


def test_a_worker_whose_loop_was_blocked_for_a_lease_drains_and_is_to_be_replaced(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with engine(database_url, lease=1.0) as fl:

        @fl.job_type("rude")
        async def rude(ctx: JobContext) -> None:
            until(lambda: worker.must_be_replaced)

        job = fl.give("rude")
        worker = fl.worker()
        worker.run()
        assert fl.look(job).status == "completed"
        left = fl.give("rude", dedup_window=0)
        assert fl.look(left).status == "queued"
        assert fl.events.of(JobStarted, job_id=left.id) == []
        assert fl.events.of(JobEnded, job_id=job.id)
        (unfit,) = fl.events.of(WorkerUnfit)
        assert "the event loop was blocked for " in unfit.reason
        assert "exit code 75" in caplog.text


def leases(fl: Engine) -> list[float]:
    with fl.database.engine.connect() as connection:
        return list(connection.exec_driver_sql("SELECT lease_expires FROM fairlane_workers").scalars())
