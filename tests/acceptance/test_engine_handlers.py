"""R5: three kinds of handlers run, side by side, each under a lease of its own."""

import asyncio
import os
import threading
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from fairlane import JobContext, JobStatus
from tests.acceptance.apps import handlers
from tests.engine.worker_kit import Engine, another, engine, running


def test_an_async_handler_runs_on_the_loop(fl: Engine) -> None:
    @fl.job_type("add")
    async def add(ctx: JobContext, a: int, b: int = 5) -> int:
        await asyncio.sleep(0)
        return a + b

    job = fl.give("add", parameters={"a": 2})
    fl.drain()
    assert fl.look(job).status == "completed"
    assert fl.value(job) == 7


def test_a_plain_handler_runs_in_a_thread(fl: Engine) -> None:
    @fl.job_type("where")
    def where(ctx: JobContext) -> str:
        return threading.current_thread().name

    job = fl.give("where")
    fl.drain()
    assert fl.value(job).startswith("fairlane-handler")


@pytest.mark.slow
def test_a_handler_with_process_isolation_runs_in_a_process_of_its_own(fl: Engine) -> None:
    fl.job_type("where", isolation="process")(handlers.where)
    job = fl.give("where", parameters={"at": datetime(2026, 1, 1, tzinfo=UTC)})
    fl.drain()
    assert fl.value(job)["pid"] != os.getpid()
    assert fl.value(job)["at"] == "2026-01-01T00:00:00+00:00"
    assert fl.value(job)["attempt"] == 1


def test_the_way_of_a_job_is_in_its_log(fl: Engine) -> None:
    @fl.job_type("nothing")
    async def nothing(ctx: JobContext) -> None: ...

    job = fl.give("nothing")
    fl.drain(name="the worker")
    submitted, claimed, completed = fl.history(job.id, organization="acme")
    assert submitted.to_status == "queued"
    assert (claimed.from_status, claimed.to_status) == ("queued", "running")
    assert claimed.message == "claimed by the worker"
    assert (completed.from_status, completed.to_status, completed.actor) == ("running", "completed", "the worker")
    assert fl.value(job) is None


def test_async_handlers_run_side_by_side(fl: Engine) -> None:
    together: list[asyncio.Barrier] = []

    @fl.job_type("meet")
    async def meet(ctx: JobContext) -> None:
        if not together:
            together.append(asyncio.Barrier(20))
        await together[0].wait()

    jobs = [fl.give("meet", dedup_window=0) for _ in range(20)]
    fl.drain()
    assert {fl.look(job).status for job in jobs} == {JobStatus.COMPLETED}


def test_thread_handlers_run_side_by_side(fl: Engine) -> None:
    together = threading.Barrier(5)

    @fl.job_type("meet")
    def meet(ctx: JobContext) -> None:
        together.wait(timeout=30)

    jobs = [fl.give("meet", dedup_window=0) for _ in range(5)]
    fl.drain()
    assert {fl.look(job).status for job in jobs} == {JobStatus.COMPLETED}


def test_a_worker_runs_no_more_jobs_at_once_than_it_has_slots(fl: Engine) -> None:
    now, most = 0, 0

    @fl.job_type("work")
    async def work(ctx: JobContext) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1

    for _ in range(12):
        fl.give("work", dedup_window=0)
    fl.drain(concurrency=3)
    assert most == 3


def test_the_context_says_what_the_job_is(fl: Engine) -> None:
    seen: list[JobContext] = []

    @fl.job_type("look")
    async def look(ctx: JobContext, price: Decimal, when: datetime) -> list[Any]:
        seen.append(ctx)
        return [price, when]

    when = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    job = fl.give("look", user="ana", parameters={"price": Decimal("1.50"), "when": when}, labels={"doc": "42"})
    fl.drain()
    (ctx,) = seen
    assert (ctx.job_id, ctx.organization, ctx.user, ctx.attempt) == (job.id, "acme", "ana", 1)
    assert dict(ctx.labels) == {"doc": "42"}
    assert ctx.parameters == {"price": "1.50", "when": "2026-05-01T12:00:00+02:00"}
    assert ctx.parents == ()
    assert ctx.checkpointed is None
    assert isinstance(ctx.lease_token, UUID)
    assert fl.value(job) == ["1.50", "2026-05-01T12:00:00+02:00"]


def test_every_attempt_has_a_lease_token_of_its_own(fl: Engine) -> None:
    tokens: list[tuple[int, UUID]] = []

    @fl.job_type("fail", backoff=[0], max_retries=2)
    async def fail(ctx: JobContext) -> None:
        tokens.append((ctx.attempt, ctx.lease_token))
        raise ConnectionError

    fl.give("fail")
    fl.drain()
    assert [attempt for attempt, _ in tokens] == [1, 2, 3]
    assert len({token for _, token in tokens}) == 3


@pytest.mark.slow
def test_a_worker_serves_only_its_queues(fl: Engine) -> None:
    @fl.job_type("work")
    async def work(ctx: JobContext) -> None: ...

    jobs = {queue: fl.give("work", queue=queue, dedup_window=0) for queue in ("default", "bulk", "mail")}
    fl.drain()
    assert {queue: str(fl.look(job).status) for queue, job in jobs.items()} == {
        "default": "completed",
        "bulk": "queued",
        "mail": "queued",
    }
    fl.drain(queues=["bulk"])
    assert fl.look(jobs["bulk"]).status == "completed"
    assert fl.look(jobs["mail"]).status == "queued"
    fl.drain(queues=None)
    assert fl.look(jobs["mail"]).status == "completed"


def test_a_worker_leaves_alone_what_it_has_no_handler_for(fl: Engine) -> None:
    @fl.job_type("mine")
    async def mine(ctx: JobContext) -> None: ...

    with another(fl) as elsewhere:

        @elsewhere.job_type("theirs")
        async def theirs(ctx: JobContext) -> str:
            return "by them"

        elsewhere.give("theirs")
        job, our_job = fl.give("theirs", dedup_window=0), fl.give("mine")
        fl.drain()
        assert fl.look(our_job).status == "completed"
        assert fl.look(job).status == "queued"
        elsewhere.drain()
        assert fl.value(job) == "by them"


@pytest.mark.slow
def test_two_workers_of_two_engines_live_in_one_process(fl: Engine) -> None:
    with engine("sqlite://") as other:
        engines = {"first": fl, "second": other}
        for name, one in engines.items():

            @one.job_type("whose")
            async def whose(ctx: JobContext, name: str = name) -> str:
                return name

        jobs = {name: one.give("whose") for name, one in engines.items()}
        with running(fl.worker()), running(other.worker()):
            for name, job in jobs.items():
                assert engines[name].ended(job).status == "completed"
                assert engines[name].value(job) == name
