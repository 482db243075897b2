"""R10: a cancel is acknowledged at once, lasts, and wins or loses against the end of the job, but never both."""

import asyncio

from fairlane import JobContext, PermanentError
from fairlane.domain.events import HandlerAbandoned
from fairlane.domain.texts import time_of
from fairlane.engine.context import Interrupted
from tests.engine.worker_kit import Engine, Gate, engine, running


def test_a_running_async_handler_is_cancelled(fl: Engine) -> None:
    begun, cleaned_up = Gate(), Gate()

    @fl.job_type("slow")
    async def slow(ctx: JobContext) -> None:
        begun.open()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.open()

    job = fl.give("slow", user="ana")
    with running(fl.worker()):
        begun.wait()
        acknowledged = fl.cancel(job.id, organization="acme", user="ana")
        assert acknowledged.status == "running"
        assert acknowledged.cancel_requested_at is not None
        ended = fl.ended(job)
    cleaned_up.wait()
    assert (ended.status, ended.canceled_by) == ("canceled", "ana")
    assert ended.canceled_at is not None
    assert fl.way(job) == ["queued", "running", "canceled"]
    assert fl.history(job.id, organization="acme")[-1].actor == "ana"


def test_a_thread_may_look_and_clean_up(fl: Engine) -> None:
    begun = Gate()

    @fl.job_type("slow")
    def slow(ctx: JobContext) -> None:
        begun.open()
        while not ctx.is_canceled():
            ctx.interrupt.wait(300)
        try:
            ctx.progress(50)
        except Interrupted:
            ctx.log("cleaned up")
            raise

    job = fl.give("slow")
    with running(fl.worker()):
        begun.wait()
        fl.cancel(job.id, organization="acme")
        assert fl.ended(job).status == "canceled"
    assert [line.message for line in fl.log_lines(job.id, organization="acme")] == ["cleaned up"]


def test_the_checkpoint_of_a_thread_whose_worker_stops_is_there_for_the_next_attempt(fl: Engine) -> None:
    begun, found = Gate(), list[object]()

    @fl.job_type("slow")
    def slow(ctx: JobContext) -> None:
        found.append(ctx.checkpointed)
        if ctx.checkpointed is None:
            begun.open()
            while not ctx.is_canceled():
                ctx.interrupt.wait(300)
            ctx.checkpoint(200)

    job = fl.give("slow")
    with running(fl.worker()):
        begun.wait()
    with running(fl.worker()):
        assert fl.ended(job).status == "completed"
    assert found == [None, 200]


def test_a_handler_that_returns_after_the_request_completes_and_the_log_notes_it(fl: Engine) -> None:
    gate = Gate()

    @fl.job_type("deaf")
    def deaf(ctx: JobContext) -> str:
        gate.wait()
        return "done all the same"

    job = fl.give("deaf", user="ana")
    with running(fl.worker()):
        gate.reached()
        fl.cancel(job.id, organization="acme", user="ana")
        gate.open()
        ended = fl.ended(job)
    assert (ended.status, fl.value(job)) == ("completed", "done all the same")
    assert ended.cancel_requested_at is not None
    at = time_of(ended.cancel_requested_at)
    assert fl.reasons(job).endswith(f"handler returned; it completed, though ana asked at {at} to cancel it")


def test_a_handler_that_fails_after_the_request_is_canceled_and_not_retried(fl: Engine) -> None:
    gate = Gate()

    @fl.job_type("deaf")
    def deaf(ctx: JobContext) -> None:
        gate.wait()
        raise PermanentError("in the middle of it")

    job = fl.give("deaf")
    with running(fl.worker()):
        gate.reached()
        fl.cancel(job.id, organization="acme")
        gate.open()
        assert fl.ended(job).status == "canceled"
    assert fl.dead_letters.list(organization="acme").total == 0


def test_a_thread_that_ignores_the_cancel_is_left_behind_and_the_log_says_so(database_url: str) -> None:
    with engine(database_url, stop_grace=0.1) as fl:
        gate = Gate()

        @fl.job_type("deaf", timeout=0.1)
        def deaf(ctx: JobContext) -> None:
            gate.wait()

        job = fl.give("deaf", timeout=None)
        with running(fl.worker()):
            gate.reached()
            fl.cancel(job.id, organization="acme")
            fl.events.wait(HandlerAbandoned, job_id=job.id)
            assert fl.ended(job).status == "canceled"
            gate.open()
        assert "was left behind" in fl.reasons(job)


def test_a_retried_dead_letter_is_not_stopped_by_a_request_of_its_former_life(fl: Engine) -> None:
    @fl.job_type("work")
    async def work(ctx: JobContext) -> str:
        if ctx.attempt == 1:
            raise PermanentError("no")
        return "second life"

    job = fl.give("work")
    fl.drain()
    fl.retry(job.id, organization="acme")
    fl.drain()
    assert fl.value(job) == "second life"
