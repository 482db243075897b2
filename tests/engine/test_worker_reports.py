"""Reports from jobs of one organization hold up no other organization, however long they take."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from typing import Any

import obstore
import pytest
from sqlalchemy import select

from fairlane import Interrupted, Job, JobContext
from fairlane.encryption.artifacts import ObjectStorage
from fairlane.engine import attempt
from fairlane.engine.reporter import AttemptChannel
from fairlane.engine.reports import File, Report
from fairlane.store.tables import log_lines
from tests.engine import handlers
from tests.engine.worker_kit import Engine, Gate, another, engine, running, until
from tests.engine.worker_outages import held_job, held_table, locked
from tests.patience import PATIENCE
from tests.store.races.race import waiting_for_locks

MANY = 8  # more jobs than there are threads for what they report


class SlowStorage:
    """Files of acme and globex wait at a gate on their way to the storage."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.begun: list[str] = []  # paths

    def organizations(self) -> set[str]:
        """Return the organizations whose files are being stored, or were."""
        return {path.partition("/")[0] for path in self.begun}


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowStorage:
    slow, put = SlowStorage(), ObjectStorage.put

    def put_slowly(storage: ObjectStorage, path: str, data: Any) -> None:
        slow.begun.append(path)
        if path.startswith(("acme", "globex")):
            slow.gate.wait()
        put(storage, path, data)

    monkeypatch.setattr(ObjectStorage, "put", put_slowly)
    return slow


def reporting(fl: Engine, **options: Any) -> None:
    """Job types of one report each, at once, and one that says a line when it has run."""
    made = {"dedup_window": 0, "max_retries": 0, **options}

    @fl.job_type("progress", **made)
    async def progress(ctx: JobContext) -> None:
        ctx.progress(50)

    @fl.job_type("checkpoint", **made)
    async def checkpoint(ctx: JobContext) -> None:
        await ctx.checkpoint("half")

    @fl.job_type("file", **made)
    async def file(ctx: JobContext) -> None:
        ctx.log("a file comes")
        await leave_async(ctx)


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url) as fl:
        for name in ("globex", "rival"):
            fl.organizations.create(name)
        yield fl


def give_many(fl: Engine, job_type: str, *organizations: str) -> list[Job]:
    return [fl.give(job_type, organization=name) for name in organizations for _ in range(MANY)]


def test_files_that_are_long_on_their_way_hold_up_nobody_else_s_reports_and_files(
    fl: Engine, slow: SlowStorage
) -> None:
    reporting(fl)
    many = give_many(fl, "file", "acme")
    with running(fl.worker()):
        slow.gate.reached()
        until(lambda: len(fl.log_lines(many[-1].id, organization="acme")))
        for kind in ("progress", "checkpoint", "file"):
            assert fl.ended(fl.give(kind, organization="rival")).status == "completed"
        assert {fl.look(job).status for job in many} == {"running"}
        slow.gate.open()
        assert {fl.ended(job).status for job in many} == {"completed"}


def test_files_of_several_organizations_hold_up_nobody_else_s_reports(fl: Engine, slow: SlowStorage) -> None:
    reporting(fl)
    many = give_many(fl, "file", "acme", "globex")
    with running(fl.worker()):
        until(lambda: slow.organizations() == {"acme", "globex"})
        for kind in ("progress", "checkpoint"):
            assert fl.ended(fl.give(kind, organization="rival")).status == "completed"
        slow.gate.open()
        assert {fl.ended(job).status for job in many} == {"completed"}


class TimeoutClock:
    """The clock that attempts compare with their timeouts. It stands, unless the test lets it go on."""

    def __init__(self) -> None:
        self._stands_at: float | None = time.monotonic()

    def monotonic(self) -> float:
        return time.monotonic() if self._stands_at is None else self._stands_at

    def stand(self) -> None:
        self._stands_at = time.monotonic()

    def go_on(self) -> None:
        self._stands_at = None


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["async", "thread"])
def test_a_job_that_is_stopped_while_its_file_waits_for_others_is_put_back_or_ended_at_once(
    fl: Engine, slow: SlowStorage, isolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It spends no retry: what it waits for is not its own time."""
    waiting, send = {"hasty": threading.Event(), "patient": threading.Event()}, AttemptChannel.send

    def tell(channel: AttemptChannel, report: Report) -> object:
        sent = send(channel, report)
        if isinstance(report, File) and (kind := channel._inputs.job_type) in waiting:
            waiting[kind].set()
        return sent

    monkeypatch.setattr(AttemptChannel, "send", tell)
    reporting(fl)
    leave = {"async": leave_async, "thread": leave_in_thread}[isolation]
    fl.job_type("hasty", max_retries=0, timeout=0.2)(leave)
    fl.job_type("patient", max_retries=0)(leave)
    many = give_many(fl, "file", "acme", "globex")
    with running(fl.worker()):
        until(lambda: slow.organizations() == {"acme", "globex"})
        clock = TimeoutClock()
        monkeypatch.setattr(attempt, "time", clock)
        hasty, patient = (fl.give(kind, organization="rival") for kind in ("hasty", "patient"))
        assert all(event.wait(PATIENCE) for event in waiting.values())
        clock.go_on()
        until(lambda: fl.way(hasty)[:3] == ["queued", "running", "queued"])
        clock.stand()
        fl.cancel(patient.id, organization="rival")
        assert fl.ended(patient).status == "canceled"
        slow.gate.open()
        assert fl.ended(hasty).status == "completed"
        assert {fl.ended(one).status for one in many} == {"completed"}
    assert "timed_out" not in fl.way(hasty)
    assert fl.look(hasty).retry_count == 0


async def leave_async(ctx: JobContext) -> None:
    await ctx.artifact("a.txt", "data")


def leave_in_thread(ctx: JobContext) -> None:
    ctx.artifact("a.txt", "data")


def test_a_file_that_takes_longer_than_its_job_s_timeout_is_the_job_s_own_time(fl: Engine, slow: SlowStorage) -> None:
    @fl.job_type("leave", max_retries=0, timeout=0.2)
    async def leave(ctx: JobContext) -> None:
        try:
            await ctx.artifact("a.txt", "data")
        finally:
            slow.gate.open()

    job = fl.give("leave")
    fl.drain()
    assert fl.way(job) == ["queued", "running", "timed_out", "dead_letter"]


@pytest.mark.slow
def test_jobs_that_another_session_holds_hold_up_nobody_else_s_reports(postgres_url: str) -> None:
    """A login of one organization may hold the rows of its own jobs for as long as it likes."""
    gate = Gate()
    with engine(postgres_url, lock_timeout=600.0) as fl, ExitStack() as host:
        fl.organizations.create("rival")
        reporting(fl)

        @fl.job_type("line", dedup_window=0)
        def line(ctx: JobContext) -> None:
            gate.wait()
            ctx.log("one more")

        many = give_many(fl, "line", "acme")
        with running(fl.worker()):
            until(lambda: {fl.look(job).status for job in many} == {"running"})
            for job in many:
                host.enter_context(held_job(fl, job))
            gate.open()
            until(lambda: waiting_for_locks(postgres_url))
            for kind in ("progress", "checkpoint", "file"):
                assert fl.ended(fl.give(kind, organization="rival")).status == "completed"
            host.close()
            assert {fl.ended(job).status for job in many} == {"completed"}
        for job in many:
            assert [one.message for one in fl.log_lines(job.id, organization="acme")] == ["one more"]


@pytest.mark.slow
def test_a_file_is_stored_once_however_often_its_row_is_tried(postgres_url: str, slow: SlowStorage) -> None:
    with engine(postgres_url) as fl:
        reporting(fl)
        job = fl.give("file")
        with running(fl.worker()):
            slow.gate.reached()
            with held_job(fl, job):
                slow.gate.open()
                for _ in range(2):
                    until(lambda: waiting_for_locks(postgres_url))
                    until(lambda: not waiting_for_locks(postgres_url))
            assert fl.ended(job).status == "completed"
        assert fl.artifact(job.id, "a.txt", organization="acme") == b"data"
        assert len(slow.begun) == sum(len(page) for page in obstore.list(fl.artifacts._store)) == 1


def lines_of(fl: Engine, job: Job) -> Sequence[Any]:
    """Return all lines of the job, the oldest first."""
    mine = (log_lines.c.organization_id == job.organization) & (log_lines.c.job_id == job.id)
    with fl.database.engine.connect() as connection:
        return connection.execute(
            select(log_lines.c.at, log_lines.c.message).where(mine).order_by(log_lines.c.id)
        ).all()


def test_a_transaction_writes_a_hundred_lines_at_most_and_in_their_order(fl: Engine) -> None:
    @fl.job_type("chatty")
    def chatty(ctx: JobContext) -> None:
        for number in range(5_000):
            ctx.log(f"row {number}")

    job = fl.give("chatty")
    fl.drain()
    lines = lines_of(fl, job)
    assert [line.message for line in lines] == [f"row {number}" for number in range(5_000)]
    assert max(Counter(line.at for line in lines).values()) <= 100  # one moment for a transaction


def test_a_transaction_writes_fewer_lines_of_long_ones(fl: Engine) -> None:
    @fl.job_type("chatty")
    def chatty(ctx: JobContext) -> None:
        for _ in range(200):
            ctx.log("x" * 10_000)

    job = fl.give("chatty")
    fl.drain()
    lines = lines_of(fl, job)
    assert len(lines) == 200
    assert max(Counter(line.at for line in lines).values()) <= 20


@pytest.mark.slow
def test_of_what_a_process_does_not_await_a_few_megabytes_wait_and_all_is_kept(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, last, send = [0], [0.0], AttemptChannel.send

    def count(channel: AttemptChannel, report: Report) -> object:
        sent = send(channel, report)
        waiting.append(sum(len(getattr(one.report, "message", "")) for one in channel._waiting))
        last[0] = time.monotonic()
        return sent

    monkeypatch.setattr(AttemptChannel, "send", count)
    with engine(database_url, lock_timeout=600.0) as fl:
        fl.job_type("chatty", isolation="process")(handlers.report_without_await)
        job = fl.give("chatty", parameters={"times": 300, "length": 10_000})
        is_sqlite = database_url.startswith("sqlite")
        with running(fl.worker()):
            until(lambda: fl.look(job).status == "running")
            with locked(database_url) if is_sqlite else held_table(database_url, "fairlane_log_lines"):
                until(lambda: max(waiting) > 1_000_000 and time.monotonic() - last[0] > 1.0)  # it reads no more
            assert fl.ended(job).status == "completed"
        assert [int(line.message.strip("x")) for line in lines_of(fl, job)] == list(range(300))
    assert max(waiting) < 2_000_000


@pytest.mark.slow
def test_while_a_handler_logs_in_a_loop_others_submit_and_it_can_be_canceled(fl: Engine) -> None:
    reporting(fl)

    @fl.job_type("chatty", max_retries=0)
    def chatty(ctx: JobContext) -> None:
        while True:
            ctx.log("one more")

    job = fl.give("chatty")
    with running(fl.worker()), another(fl) as other:
        for written in (1, 500, 1_000):
            until(lambda: len(fl.log_lines(job.id, organization="acme", limit=1000)) >= written)  # noqa: B023
            assert fl.ended(other.give("progress", organization="rival")).status == "completed"
        other.cancel(job.id, organization="acme")
        assert fl.ended(job).status == "canceled"


def test_a_handler_that_logs_in_a_loop_waits_for_room_until_it_is_stopped(database_url: str) -> None:
    said, stopped, begin = [0], threading.Event(), Gate()
    with engine(database_url, lock_timeout=600.0, stop_grace=600.0) as fl:

        @fl.job_type("chatty", max_retries=0)
        def chatty(ctx: JobContext) -> None:
            begin.wait()
            try:
                while True:
                    ctx.log("one more")
                    said[0] += 1
            except Interrupted:
                stopped.set()
                ctx.log("cleaned up")
                raise

        job = fl.give("chatty")
        worker = fl.worker()
        with running(worker):
            begin.reached()
            with locked(database_url) if database_url.startswith("sqlite") else held_job(fl, job):
                begin.open()
                until(lambda: said[0] >= 1_000)
                worker.stop(at_once=True)
                assert stopped.wait(PATIENCE)
                assert said[0] <= 1_101
            until(lambda: fl.look(job).status == "queued")
        assert [line.message for line in lines_of(fl, job)] == ["one more"] * (said[0] + 1) + ["cleaned up"]


@pytest.mark.slow
@pytest.mark.parametrize("does_await", [True, False])
def test_lines_of_an_async_handler_wait_where_it_awaits_and_else_one_says_how_many_are_omitted(
    fl: Engine, database_url: str, does_await: bool
) -> None:
    begin, has_logged = Gate(), threading.Event()

    @fl.job_type("chatty")
    async def chatty(ctx: JobContext) -> None:
        await asyncio.to_thread(begin.wait)
        for number in range(12_000):
            kept = ctx.log(f"row {number}")
            if does_await:
                await kept
        has_logged.set()
        await ctx.checkpoint(None)  # by then there is room again
        ctx.log("row 12000")

    job = fl.give("chatty")
    with running(fl.worker()):
        begin.reached()
        # Where it does not await, nothing is written until it has logged all: else there may be room for each line.
        held = locked(database_url) if database_url.startswith("sqlite") else held_job(fl, job)
        with nullcontext() if does_await else held:
            begin.open()
            assert has_logged.wait(PATIENCE)
        assert fl.ended(job).status == "completed"
    said = [line.message for line in lines_of(fl, job)]
    excluded = [message for message in said if not message.startswith("row")]
    if does_await:
        assert not excluded
    else:
        assert excluded
    number = 0
    for message in said:
        if message in excluded:
            number += int(message.split()[0])
        else:
            assert message == f"row {number}"
            number += 1
    assert number == 12_001
