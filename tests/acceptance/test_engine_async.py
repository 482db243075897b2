"""The same engine from a loop: every verb awaited, and a worker beside the application."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from fairlane import (
    ConfigurationError,
    JobContext,
    JobNotFound,
    JobStatus,
    Submission,
)
from fairlane.aio import AsyncVerbs
from tests.engine.worker_kit import Engine, engine
from tests.patience import PATIENCE


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url) as fl:

        @fl.job_type("double", dedup_window=0)
        async def double(ctx: JobContext, number: int) -> int:
            await ctx.artifact("number.txt", f"{number}")
            ctx.log(f"doubling {number}")
            return 2 * number

        yield fl


def give(aio: AsyncVerbs, number: int, **options: Any) -> Any:
    return aio.submit("double", **{"organization": "acme", "parameters": {"number": number}, **options})


@pytest.mark.slow
async def test_a_job_goes_its_way_without_blocking_the_loop(fl: Engine) -> None:
    worker = fl.worker()
    running = asyncio.create_task(worker.run_async())
    job = await give(fl.aio, 21, user="ana")
    ended = await fl.aio.wait(job.id, organization="acme", timeout=PATIENCE)
    assert ended.status == "completed"
    assert (await fl.aio.result(job.id, organization="acme")).value == 42
    assert await fl.aio.artifact(job.id, "number.txt", organization="acme") == b"21"
    assert [line.message for line in await fl.aio.log_lines(job.id, organization="acme")] == ["doubling 21"]
    assert [entry.to_status for entry in await fl.aio.history(job.id, organization="acme")] == [
        "queued",
        "running",
        "completed",
    ]
    assert (await fl.aio.list(organization="acme", status="completed")).total == 1
    worker.stop()
    await running


@pytest.mark.slow
async def test_jobs_can_be_submitted_together_canceled_and_explained(fl: Engine) -> None:
    first, second = await fl.aio.submit_many(
        [Submission("double", organization="acme", parameters={"number": n}) for n in (1, 2)]
    )
    assert (await fl.aio.cancel(first.id, organization="acme")).status == "canceled"
    assert (await fl.aio.get(second.id, organization="acme")).status == "queued"
    assert "no worker" in str(await fl.aio.explain(second.id, organization="acme")).lower()
    assert (await fl.aio.metrics(organization="acme")).jobs_by_status[JobStatus.QUEUED] == 1


async def test_people_and_pauses_can_be_awaited(fl: Engine) -> None:
    await fl.aio.organizations.create("rival")
    await fl.aio.members.add("rival", "bo", role="admin")
    assert [member.user for member in await fl.aio.members.list("rival")] == ["bo"]
    aio: Any = fl.aio  # its verbs of pauses are not typed for their own class yet
    await aio.queues.pause("default")
    assert await aio.queues.names() == {"default"}
    assert await aio.queues.resume("default")
    await aio.job_types.pause("double")
    assert fl.job_types.names() == {"double"}
    await fl.aio.organizations.suspend("rival")
    assert (await fl.aio.organizations.get("rival")).status == "suspended"


async def test_a_job_can_be_submitted_in_the_callers_own_transaction(fl: Engine) -> None:
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}[fl.database.engine.dialect.name]
    url = make_url(fl.settings.url).set(drivername=driver)
    await fl.aio.migrate()  # registers the type
    theirs = create_async_engine(url)
    async with theirs.connect() as connection:
        job = await give(fl.aio, 4, connection=connection)
        with pytest.raises(JobNotFound):
            fl.look(job)
        await connection.commit()
    await theirs.dispose()
    await asyncio.to_thread(fl.drain)
    assert fl.value(job) == 8


@pytest.mark.slow
async def test_two_workers_share_a_loop(fl: Engine) -> None:
    workers = [fl.worker(name=name, concurrency=2) for name in ("first", "second")]
    running = [asyncio.create_task(worker.run_async()) for worker in workers]
    jobs = [await give(fl.aio, number) for number in range(20)]
    for job in jobs:
        assert (await fl.aio.wait(job.id, organization="acme", timeout=PATIENCE)).status == "completed"
    for worker in workers:
        worker.stop()
    await asyncio.gather(*running)
    assert all(fl.way(job) == ["queued", "running", "completed"] for job in jobs)


async def test_a_worker_can_not_take_over_a_loop_that_runs(fl: Engine) -> None:
    with pytest.raises(RuntimeError, match="await the worker's run_async"):
        fl.worker().run()


async def test_a_worker_that_can_not_start_raises_to_its_caller(database_url: str) -> None:
    with engine(database_url) as fl, pytest.raises(ConfigurationError):
        await fl.worker().run_async()
