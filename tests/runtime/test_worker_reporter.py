"""What a handler reports reaches the database in order, once, and under its lease only."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from sqlalchemy import select

from fairlane import Backoff, CommitUnanswered, PermanentError, StorageUnavailable
from fairlane.domain.outcomes import Released
from fairlane.registry.artifacts import ObjectStorage, store_file
from fairlane.runtime import reporter
from fairlane.runtime.accept import contents
from fairlane.runtime.facts import Ready
from fairlane.runtime.reporter import AttemptChannel, Desk, LeaseLostError
from fairlane.runtime.reports import Checkpoint, File, Line, Progress, Report
from fairlane.store.clock import Clock
from fairlane.store.statements.finish import Finish, finish
from fairlane.store.tables import jobs
from tests.patience import PATIENCE
from tests.runtime.worker_kit import Engine, engine
from tests.runtime.worker_store import member, nothing


class Reporting:
    """A running attempt's channel, on threads of its own."""

    def __init__(self, fl: Engine, ready: Ready, threads: ThreadPoolExecutor) -> None:
        self.fl = fl
        self.ready = ready
        self.lost = threading.Event()
        desk = Desk(fl.database, fl.artifacts, threads, fl.emit, interval=0.0)
        self.channel = AttemptChannel(desk, ready.claimed, lambda _lease: self.lost.set())

    def lines(self) -> list[str]:
        job = self.ready.claimed
        return [line.message for line in self.fl.log_lines(job.id, organization=job.organization)]


@asynccontextmanager
async def reporting(
    url: str, *, jobs: int = 1, threads: int = 2, clock: Clock | None = None
) -> AsyncIterator[list[Reporting]]:
    with engine(url, clock=clock) as fl, ThreadPoolExecutor(threads) as pool:
        nothing(fl)
        for _ in range(jobs):
            fl.give("work")
        yield [Reporting(fl, ready, pool) for ready in member(fl).claim(jobs)]


async def closed(*all_: Reporting) -> None:
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(one.channel.close() for one in all_))


def lose_lease(one: Reporting) -> None:
    """The job is given to somebody else."""
    fl, job = one.fl, one.ready.claimed
    end = Finish(job.organization, job.id, job.job_type, job.lease_token, Released("taken"), Backoff())
    fl.database.write(lambda c: finish(c, fl.database.clock.now(c), [end], Random()))


async def test_what_is_sent_is_durable_when_its_future_is_done(database_url: str) -> None:
    async with reporting(database_url) as (one,):
        await asyncio.wrap_future(one.channel.send(Line("info", "hello")))
        assert one.lines() == ["hello"]
        await closed(one)


async def test_closing_writes_what_is_left_and_takes_nothing_more(database_url: str) -> None:
    async with reporting(database_url) as (one,):
        for number in range(100):
            one.channel.send(Line("info", f"{number}"))
        one.channel.send(Progress(77.0, "last"))
        await closed(one)
        assert one.lines() == [f"{number}" for number in range(100)]
        assert one.fl.get(one.ready.claimed.id, organization="acme").progress == 77.0
        late = one.channel.send(Checkpoint("{}"))
        with pytest.raises(LeaseLostError):
            late.result(timeout=0)


async def test_many_channels_close_on_few_threads(database_url: str) -> None:
    """Whoever closes must not wait for a thread that all the others who close have taken."""
    async with reporting(database_url, jobs=10, threads=1) as every:
        for one in every:
            for number in range(3):
                one.channel.send(Line("info", f"{number}"))
                one.channel.send(Progress(float(number), None))
        await closed(*every)
        assert [one.lines() for one in every] == [["0", "1", "2"]] * 10


async def test_a_write_without_the_lease_is_refused_and_told(database_url: str) -> None:
    async with reporting(database_url) as (one,):
        lose_lease(one)
        refused = one.channel.send(Checkpoint('"late"'))
        with pytest.raises(LeaseLostError):
            await asyncio.wrap_future(refused)
        assert one.lost.is_set()
        await closed(one)


async def test_an_artifact_of_a_lost_attempt_overwrites_nothing(database_url: str) -> None:
    async with reporting(database_url) as (first,):
        await asyncio.wrap_future(first.channel.send(File("a.txt", b"first")))
        lose_lease(first)
        (ready,) = member(first.fl).claim()
        with ThreadPoolExecutor(1) as pool:
            second = Reporting(first.fl, ready, pool)
            await asyncio.wrap_future(second.channel.send(File("a.txt", b"second")))
            with pytest.raises(LeaseLostError):
                await asyncio.wrap_future(first.channel.send(File("a.txt", b"late")))
            assert first.fl.artifact(ready.claimed.id, "a.txt", organization="acme") == b"second"
            await closed(first, second)


async def test_in_an_outage_lines_and_progress_wait_in_their_order(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "SOON", 0.01)
    async with reporting(database_url) as (one,):
        write = one.fl.database.write
        tried = threading.Event()
        monkeypatch.setattr(one.fl.database, "write", unavailable(tried))
        one.channel.send(Line("info", "before"))
        one.channel.send(Progress(10.0, None))
        assert await asyncio.to_thread(tried.wait, PATIENCE)
        one.channel.send(Line("info", "after"))
        closing = asyncio.create_task(closed(one))
        tried.clear()
        assert await asyncio.to_thread(tried.wait, PATIENCE)
        monkeypatch.setattr(one.fl.database, "write", write)
        await closing
        assert one.lines() == ["before", "after"]
        assert one.fl.get(one.ready.claimed.id, organization="acme").progress == 10.0


def unavailable(tried: threading.Event) -> Callable[..., Any]:
    def write(_: Any, **__: Any) -> None:
        tried.set()
        raise StorageUnavailable("The database did not answer.")

    return write


async def test_in_an_outage_checkpoints_and_files_wait_until_they_are_kept(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "SOON", 0.01)
    async with reporting(database_url) as (one,):
        with monkeypatch.context() as patch:
            tried = threading.Event()
            patch.setattr(one.fl.database, "write", unavailable(tried))
            sent = [one.channel.send(Checkpoint('"state"')), one.channel.send(File("a.txt", b"data"))]
            for _ in range(3):
                assert await asyncio.to_thread(tried.wait, PATIENCE)
                tried.clear()
            assert [future.done() for future in sent] == [False, False]
            assert isinstance(one.channel.outage, StorageUnavailable)
        for future in sent:
            await asyncio.wait_for(asyncio.wrap_future(future), PATIENCE)
        assert one.channel.outage is None
        await closed(one)
        assert one.fl.artifact(one.ready.claimed.id, "a.txt", organization="acme") == b"data"


@pytest.mark.parametrize(
    "report",
    [Checkpoint('"state"'), File("a.txt", b"data"), File("a.txt", contents(iter([b"da", b"ta"]), print))],
    ids=["checkpoint", "file", "iterator"],
)
async def test_what_was_committed_without_an_answer_is_written_again_and_kept_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch, report: Report
) -> None:
    async with reporting(database_url) as (one,):
        answers = iter([False, False])
        write = one.fl.database.write

        def unanswered(work: Callable[[Any], Any], **options: Any) -> Any:
            done = write(work, **options)
            if not next(answers, True):
                raise CommitUnanswered("Look.")
            return done

        monkeypatch.setattr(one.fl.database, "write", unanswered)
        await asyncio.wait_for(asyncio.wrap_future(one.channel.send(report)), PATIENCE)
        await closed(one)
        kept = one.fl.list_artifacts(one.ready.claimed.id, organization="acme").artifacts
        assert len(kept) == isinstance(report, File)
        assert all(one.fl.artifacts.get(file.path) == b"data" for file in kept)
        lose_lease(one)
        (ready,) = member(one.fl).claim()
        assert ready.facts.checkpoint == ('"state"' if isinstance(report, Checkpoint) else None)


async def test_a_handler_that_was_left_behind_waits_for_no_outage_and_its_checkpoint_is_kept(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "SOON", 0.01)
    async with reporting(database_url) as (one,):
        with monkeypatch.context() as patch:
            patch.setattr(one.fl.database, "write", unavailable(threading.Event()))
            sent = one.channel.send(Checkpoint('"state"'))
            closing = asyncio.create_task(closed(one))
            with pytest.raises(StorageUnavailable):
                await asyncio.wait_for(asyncio.wrap_future(sent), PATIENCE)
        await closing
        lose_lease(one)
        (ready,) = member(one.fl).claim()
        assert ready.facts.checkpoint == '"state"'


@pytest.mark.parametrize("error", [PermanentError("no"), StorageUnavailable("The artifact storage took no file.")])
async def test_an_artifact_that_the_storage_refuses_fails_only_itself(
    database_url: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """It fails at once, although it may be for an outage: what waits for a storage keeps a slot."""

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(ObjectStorage, "put", refuse)
    async with reporting(database_url) as (one,):
        with one.channel._writer:  # so that they are written together
            before = one.channel.send(Line("info", "before"))
            refused = one.channel.send(File("a.txt", b"data"))
            after = one.channel.send(Line("info", "after"))
        for future in (before, after):
            await asyncio.wait_for(asyncio.wrap_future(future), PATIENCE)
        with pytest.raises(type(error)):
            refused.result(timeout=0)
        await closed(one)
        assert one.lines() == ["before", "after"]


async def test_what_is_left_as_the_worker_leaves_is_written_without_files(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload takes as long as it takes, and meanwhile the worker would keep all its jobs."""
    monkeypatch.setattr(AttemptChannel, "_schedule", lambda _: None)
    async with reporting(database_url) as (one,):
        line, file = one.channel.send(Line("info", "the last")), one.channel.send(File("a", b"large", "text/plain"))
        assert await asyncio.to_thread(one.channel.write_left)
        assert line.done()
        assert isinstance(file.exception(PATIENCE), LeaseLostError)
        assert one.lines() == ["the last"]
        assert one.fl.list_artifacts(one.ready.claimed.id, organization="acme").artifacts == ()


async def test_what_is_left_as_the_worker_leaves_waits_for_no_file_that_is_on_its_way(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_on_its_way, arrives = threading.Event(), threading.Event()

    def slowly(*file: Any) -> Any:
        is_on_its_way.set()
        assert arrives.wait(PATIENCE)
        return store_file(*file)

    monkeypatch.setattr(reporter, "store_file", slowly)
    async with reporting(database_url) as (one,):
        file = one.channel.send(File("a", b"large", "text/plain"))
        assert await asyncio.to_thread(is_on_its_way.wait, PATIENCE)
        assert not await asyncio.to_thread(one.channel.write_left)
        arrives.set()
        await asyncio.wrap_future(file)
        await closed(one)
        assert await asyncio.to_thread(one.channel.write_left)


async def test_what_is_left_as_the_worker_leaves_does_not_wait_for_a_row_that_somebody_holds(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again, and is no reason not to sign off."""
    monkeypatch.setattr(AttemptChannel, "_schedule", lambda _: None)
    async with reporting(postgres_url) as (one,):
        one.channel.send(Line("info", "the last"))
        with one.fl.database.engine.connect() as host:
            host.execute(select(jobs.c.id).where(jobs.c.organization_id == "acme").with_for_update())
            assert not await asyncio.to_thread(one.channel.write_left)
        assert await asyncio.to_thread(one.channel.write_left)
        assert one.lines() == ["the last"]
