"""R17: a worker that an operator asks to drain; what a worker says of itself."""

import asyncio
from collections.abc import Iterator
from importlib.metadata import version
from uuid import uuid4

import pytest

from fairlane import JobContext
from fairlane.domain.errors import WorkerNotFound
from fairlane.domain.events import WorkerUnfit
from fairlane.domain.metrics import WorkerView
from tests.engine.worker_kit import Engine, engine, until
from tests.engine.worker_store import job_type, member


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url, lease=3.0) as fl:
        yield fl


def only(fl: Engine) -> WorkerView:
    (found,) = fl.reads.workers()
    return found


def test_r17_a_worker_that_is_asked_to_drain_is_told_with_its_next_heartbeat(fl: Engine) -> None:
    job_type(fl, "work")
    worker = member(fl)
    worker.heartbeat.run_once()
    assert worker.asked == 0
    fl.workers.drain(worker.card.id, user="olga")
    assert only(fl).drain_requested
    worker.heartbeat.run_once()
    worker.heartbeat.say_stopping()
    worker.heartbeat.run_once()
    assert worker.asked == 1, "one that stops already has heard of it"
    (entry,) = fl.audit.list(organization=None)
    assert (entry.action, entry.actor, entry.subject) == ("workers.drain", "olga", str(worker.card.id))


def test_r17_nobody_is_asked_where_there_is_no_such_worker(fl: Engine) -> None:
    with pytest.raises(WorkerNotFound, match="no live worker"):
        fl.workers.drain(uuid4())


async def test_r17_a_drained_worker_finishes_what_it_runs_and_asks_to_be_replaced(fl: Engine) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    @fl.job_type("long")
    async def long(ctx: JobContext) -> None:
        started.set()
        await go_on.wait()

    job = await fl.aio.submit("long", organization="acme")
    worker = fl.worker()
    running = asyncio.create_task(worker.run_async())
    await started.wait()
    await asyncio.to_thread(fl.workers.drain, worker.id)
    await asyncio.to_thread(until, lambda: worker.must_be_replaced)
    go_on.set()
    await running
    assert [one.reason for one in fl.events.of(WorkerUnfit)] == ["an operator has asked for it"]
    assert (await fl.aio.get(job.id, organization="acme")).status == "completed"


def test_workers_say_their_version_and_what_they_left_behind(fl: Engine) -> None:
    job_type(fl, "work")
    worker = member(fl)
    assert (only(fl).version, only(fl).left_behind) == (None, 0)
    worker.left_behind = 2
    worker.heartbeat.run_once()
    assert only(fl).left_behind == 2
    assert fl.worker()._card.version == version("fairlane")
