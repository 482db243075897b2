"""R5: handlers that meet an outage of Fairlane's own storage wait for it: no retry is spent and no breaker opens."""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from fairlane import Fairlane, Job, JobContext, StorageUnavailable
from fairlane.domain.events import BreakerOpened, HandlerAbandoned, JobEnded, StorageLost
from fairlane.jobtypes.options import Isolation
from fairlane.testing import ManualClock
from tests.acceptance.apps import handlers
from tests.engine.worker_kit import Engine, engine, running, until
from tests.engine.worker_outages import locked, own_server

pytestmark = pytest.mark.slow

KINDS = ("async", "thread", "process")
# Nobody listens there.
DEAD = "postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=2"
RELEASED = "released without spending a retry, since Fairlane's storage did not serve it: "

Outage = Callable[[], AbstractContextManager[None]]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, run_directory: Path) -> Iterator[tuple[str, Outage]]:
    """The URL of a database, and what keeps it away for the time of a block: another's lock, or a crash."""
    if request.param == "sqlite":
        url = request.getfixturevalue("sqlite_url")
        yield url, lambda: locked(url)
        return
    with own_server(run_directory / f"own-{uuid4().hex}") as server:

        @contextmanager
        def away() -> Iterator[None]:
            server.stop()
            yield
            server.start()

        yield server.url, away


@contextmanager
def outage_while_they_wait(fl: Engine, away: Outage, folder: Path, jobs: list[Job]) -> Iterator[None]:
    """The database goes away while handlers wait for the file "go"; they go on, and it is away for some tries more."""
    until(lambda: all((folder / f"{job.id}").exists() for job in jobs))
    with away():
        fl.events.wait(StorageLost, service="heartbeat")
        (folder / "go").touch()
        before = len(fl.events.of(StorageLost, service="heartbeat"))
        fl.events.wait(StorageLost, service="heartbeat", times=before + 2)
        yield


def test_a_checkpoint_and_a_file_wait_for_the_end_of_an_outage(place: tuple[str, Outage], tmp_path: Path) -> None:
    url, away = place
    with engine(url, lock_timeout=0.1, artifacts_url=(tmp_path / "artifacts").as_uri()) as fl:
        for isolation in ("thread", "process"):
            fl.job_type(isolation, isolation=isolation, max_retries=0)(handlers.keep_both)

        @fl.job_type("async", max_retries=0)
        async def keep_both(ctx: JobContext, folder: str) -> int:
            await asyncio.to_thread(handlers.wait_for_go, ctx, folder)
            await ctx.checkpoint({"by": ctx.attempt})
            await ctx.artifact("a.txt", "kept")
            return ctx.attempt

        jobs = [fl.give(kind, parameters={"folder": str(tmp_path)}) for kind in KINDS]
        with running(fl.worker()):
            with outage_while_they_wait(fl, away, tmp_path, jobs):
                pass
            for job in jobs:
                assert fl.ended(job).status == "completed"
        for job in jobs:
            assert fl.value(job) == 1
            assert fl.artifact(job.id, "a.txt", organization="acme") == b"kept"


def test_a_handler_that_meets_an_outage_by_itself_runs_again_and_spends_no_retry(
    place: tuple[str, Outage], tmp_path: Path
) -> None:
    url, away = place
    with engine(url, lock_timeout=0.1) as fl:
        for isolation in ("thread", "process"):
            fl.job_type(isolation, isolation=isolation, max_retries=0)(handlers.submit_another)

        @fl.job_type("async", max_retries=0)
        async def submit_another(ctx: JobContext, folder: str, url: str) -> int:
            await asyncio.to_thread(handlers.wait_for_go, ctx, folder)
            try:
                await fl.aio.submit("another", organization=ctx.organization, dedup_key=str(ctx.job_id))
            except StorageUnavailable as error:
                raise RuntimeError("the application's own") from error
            return ctx.attempt

        @fl.job_type("another")
        async def another(ctx: JobContext) -> None: ...

        jobs = [fl.give(kind, parameters={"folder": str(tmp_path), "url": url}) for kind in KINDS]
        with running(fl.worker()):
            with outage_while_they_wait(fl, away, tmp_path, jobs):
                pass
            for job in jobs:
                assert fl.ended(job).status == "completed"
        for job in jobs:
            ended = fl.look(job)
            assert ended.retry_count == 0
            assert fl.way(job)[:3] == ["queued", "running", "queued"]
            assert RELEASED in fl.reasons(job)
        assert fl.list(organization="acme", job_type="another").total == len(jobs)


def waiting_in_a_checkpoint(fl: Engine, folder: Path, kind: str, **options: Any) -> Job:
    """A job that waits in a checkpoint until it is told to stop; then it has made a file of its id."""
    if kind != "async":
        fl.job_type(kind, isolation=Isolation(kind), max_retries=0, **options)(handlers.wait_in_a_checkpoint)
    else:

        @fl.job_type("async", max_retries=0, **options)
        async def wait_in_a_checkpoint(ctx: JobContext, folder: str, url: str) -> str:
            if ctx.attempt == 1:
                with handlers.without_checkpoints(ctx, folder, url):
                    await ctx.checkpoint("so far")
            return str(ctx.checkpointed)

    return fl.give(kind, user="ana", parameters={"folder": str(folder), "url": fl.settings.url})


def test_a_handler_that_overruns_its_timeout_has_timed_out_whatever_it_raises_then(database_url: str) -> None:
    with engine(database_url) as fl:

        @fl.job_type("work", timeout=0.1, max_retries=0)
        async def work(ctx: JobContext) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as stopped:
                raise StorageUnavailable("too late") from stopped

        job = fl.give("work")
        fl.drain()
        assert fl.way(job) == ["queued", "running", "timed_out", "dead_letter"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_attempt_whose_timeout_ends_while_it_waits_spends_no_retry_and_keeps_its_checkpoint(
    database_url: str, tmp_path: Path, kind: str
) -> None:
    with engine(database_url, lock_timeout=0.1) as fl:
        job = waiting_in_a_checkpoint(fl, tmp_path, kind, timeout=3)  # time enough for a try to fail
        with running(fl.worker()):
            assert fl.ended(job).status == "completed"
        assert fl.value(job) == "so far"
        assert fl.way(job) == ["queued", "running", "queued", "running", "completed"]
        assert RELEASED in fl.reasons(job)
        assert fl.look(job).retry_count == 0
        assert fl.events.of(HandlerAbandoned) == []


@pytest.mark.parametrize("kind", [*KINDS, "file"])
def test_a_handler_whose_own_transaction_keeps_sqlite_locked_fails_and_lets_others_write(
    sqlite_url: str, tmp_path: Path, kind: str
) -> None:
    with engine(sqlite_url, lock_timeout=0.1) as fl:

        @fl.job_type("file", max_retries=0, timeout=60)
        def leave_a_file(ctx: JobContext, folder: str, url: str) -> None:
            ctx.log("a line before it is kept")
            with handlers.without_checkpoints(ctx, folder, url):
                ctx.artifact("a.txt", "data")

        is_file = kind == "file"
        job = (
            fl.give("file", parameters={"folder": str(tmp_path), "url": sqlite_url})
            if is_file
            else waiting_in_a_checkpoint(fl, tmp_path, kind, timeout=60)
        )
        began = time.monotonic()
        with running(fl.worker()):
            assert fl.ended(job).status == "dead_letter"
        assert time.monotonic() - began > 20
        ended = fl.look(job)
        assert ended.error_type == "TransientError"
        assert ended.error_message == (
            "The database has been locked for 20 s. If this handler has a transaction open, commit it before "
            "ctx.checkpoint or ctx.artifact; SQLite has one writer."
        )
        assert len(fl.log_lines(job.id, organization="acme")) == is_file


@pytest.mark.parametrize("kind", KINDS)
def test_a_cancel_ends_the_wait(postgres_url: str, tmp_path: Path, kind: str) -> None:
    """On SQLite nobody can ask for it while nobody can write."""
    with engine(postgres_url, lock_timeout=0.1) as fl:
        job = waiting_in_a_checkpoint(fl, tmp_path, kind)
        with running(fl.worker()):
            until((tmp_path / f"{job.id}").exists)
            fl.cancel(job.id, organization="acme")
            assert fl.ended(job).status == "canceled"
        assert fl.events.of(HandlerAbandoned) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_that_leaves_ends_the_wait(database_url: str, tmp_path: Path, kind: str) -> None:
    with engine(database_url, lock_timeout=0.1) as fl:
        job = waiting_in_a_checkpoint(fl, tmp_path, kind)
        with running(fl.worker()):
            until((tmp_path / f"{job.id}").exists)
        assert (fl.look(job).status, fl.look(job).retry_count) == ("queued", 0)
        assert fl.events.of(HandlerAbandoned) == []
        fl.drain()
        assert fl.value(job) == "so far"


def test_a_handler_that_always_meets_another_dead_database_waits_longer_and_longer(database_url: str) -> None:
    clock = ManualClock()
    with engine(database_url, clock=clock) as fl, Fairlane(DEAD) as elsewhere:

        @fl.job_type("work", max_retries=0, dedup_window=0)
        def work(ctx: JobContext) -> None:
            elsewhere.get(ctx.job_id, organization="acme")

        jobs = [fl.give("work") for _ in range(12)]
        for number in range(11):
            fl.drain()
            nominal = min(2.0**number, 300)
            for job in jobs:
                at = fl.look(job).next_retry_at
                assert at is not None
                assert 0.8 * nominal <= (at - fl.database.read(clock.now)).total_seconds() <= 1.2 * nominal + 1
            assert RELEASED in fl.explain(jobs[0].id, organization="acme").summary
            clock.advance(400)
        assert {fl.look(job).status for job in jobs} == {"queued"}
        assert {fl.look(job).retry_count for job in jobs} == {0}
        assert {event.error_type for event in fl.events.of(JobEnded)} == {"StorageUnavailable"}
        assert fl.events.of(BreakerOpened) == []


@pytest.mark.parametrize("isolation", [Isolation.THREAD, Isolation.PROCESS])
def test_jobs_wait_for_an_artifact_storage_that_is_away(
    database_url: str, tmp_path: Path, isolation: Isolation
) -> None:
    artifacts = tmp_path / "artifacts"
    with engine(database_url, artifacts_url=artifacts.as_uri()) as fl:
        fl.job_type("reader", isolation=isolation, max_retries=0)(handlers.read_parents)

        @fl.job_type("writer", max_retries=0)
        def write(ctx: JobContext, text: str) -> None:
            ctx.artifact("a.txt", text)

        parent = fl.give("writer", parameters={"text": "first"})
        fl.drain()
        kept = artifacts.rename(tmp_path / "kept")
        artifacts.touch()  # no folder any more
        child, other = fl.give("reader", depends_on=[parent.id]), fl.give("writer", parameters={"text": "second"})
        with running(fl.worker()):
            until(lambda: RELEASED in fl.reasons(child) and RELEASED in fl.reasons(other))
            artifacts.unlink()
            shutil.move(kept, artifacts)
            for job in (child, other):
                assert fl.ended(job).status == "completed"
        assert fl.value(child) == ["first"]
        assert fl.artifact(other.id, "a.txt", organization="acme") == b"second"
