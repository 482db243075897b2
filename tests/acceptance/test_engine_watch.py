"""`fl.aio.watch`: how a job stands, then all that becomes of it, up to its end."""

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy import Connection, delete, event, insert

from fairlane import Job, JobChange, JobContext, JobNotFound, TransientError
from fairlane.store.tables import execution_log
from tests.engine.worker_kit import Engine, Gate, engine
from tests.patience import PATIENCE


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def fl(database_url: str, gate: Gate) -> Iterator[Engine]:
    with engine(database_url, progress_interval=0) as fl:

        @fl.job_type("work", backoff=[0.01], dedup_window=0)
        def work(ctx: JobContext) -> None:
            if ctx.attempt == 1:
                raise TransientError("not yet")
            ctx.progress(50, "half")
            gate.wait()

        yield fl


async def test_each_step_is_told_in_order_up_to_the_end(fl: Engine, gate: Gate) -> None:
    job = fl.give("work")
    changes: list[JobChange] = []
    worker = fl.worker()
    running: asyncio.Task[None] | None = None
    async with asyncio.timeout(PATIENCE):
        async for change in fl.aio.watch(job, organization="acme"):
            changes.append(change)
            running = running or asyncio.create_task(worker.run_async())
            if change.job.progress == 50:
                gate.open()
    worker.stop()
    assert running is not None
    await running

    first, *later = changes
    assert (first.job.status, first.entry) == ("queued", None)
    assert [one.entry.to_status for one in later if one.entry is not None] == fl.way(job)[1:]
    assert any(one.job.progress == 50 and one.job.progress_message == "half" for one in later)
    assert changes[-1].job.status == "completed"


async def test_a_job_that_has_ended_is_told_once(fl: Engine, gate: Gate) -> None:
    job = fl.give("work")
    fl.cancel(job, organization="acme")

    changes = [change async for change in fl.aio.watch(str(job.id), organization="acme")]

    assert [(one.job.status, one.entry) for one in changes] == [("canceled", None)]


async def test_a_log_that_contradicts_the_job_is_read_again_after_pauses(fl: Engine) -> None:
    job = fl.give("work")
    fl.database.write(lambda connection: connection.execute(insert(execution_log), stray(job)), of="acme")
    watching = fl.aio.watch(job, organization="acme")
    begun: list[Connection] = []
    note = begun.append
    event.listen(fl.database.engine, "begin", note)
    first = asyncio.ensure_future(anext(watching))
    await asyncio.wait([first], timeout=1)
    transactions = len(begun)
    event.remove(fl.database.engine, "begin", note)

    forget = delete(execution_log).where(execution_log.c.organization_id == "acme", execution_log.c.sequence == 2)
    fl.database.write(lambda connection: connection.execute(forget), of="acme")
    assert (await asyncio.wait_for(first, PATIENCE)).job == job
    await watching.aclose()
    assert 2 <= transactions <= 40, "after pauses that grow to half a second, a second has room for nine looks"


def stray(job: Job) -> dict[str, object]:
    """An end in the log of a job that has not ended."""
    its = {"organization_id": "acme", "job_id": job.id, "sequence": 2, "attempt": 0, "from_status": "queued"}
    return {**its, "to_status": "completed", "at": job.created_at, "actor": "x", "message": ""}


async def test_a_foreign_job_is_as_unknown_as_one_that_is_none(fl: Engine) -> None:
    job = fl.give("work")
    fl.organizations.create("other")

    for wanted, organization in ((job.id, "other"), (uuid4(), "acme")):
        with pytest.raises(JobNotFound):
            await anext(fl.aio.watch(wanted, organization=organization))


async def test_a_watcher_that_stops_leaves_nothing_behind(fl: Engine) -> None:
    job = fl.give("work")
    before = asyncio.all_tasks()

    watching = fl.aio.watch(job, organization="acme")
    await anext(watching)
    await watching.aclose()
    waiting = asyncio.ensure_future(anext(fl.aio.watch(job, organization="acme")))
    await waiting
    blocked = fl.aio.watch(job, organization="acme")
    await anext(blocked)
    cut_short = asyncio.ensure_future(anext(blocked))
    await asyncio.sleep(0)
    cut_short.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut_short

    assert asyncio.all_tasks() == before
    assert [one async for one in blocked] == []
