"""The ends of attempts are written together, and none of them stops another."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, insert, select, text, update

from fairlane import Backoff, JobContext, Snooze, StorageUnavailable
from fairlane.domain.errors import ConfigurationError, FairlaneError
from fairlane.domain.events import ServiceFailed, StorageBack, StorageLost, WorkerStopped
from fairlane.domain.outcomes import Completed, ErrorReport, Failed, Outcome, Released, Snoozed
from fairlane.runtime.crew import Crew
from fairlane.runtime.finisher import Finisher, FinisherParts
from fairlane.runtime.service import SOON, wait_until
from fairlane.store.statements import attempts
from fairlane.store.statements.finish import Finish, Finished
from fairlane.store.statements.finish import finish as write
from fairlane.store.tables import jobs, results
from tests.patience import PATIENCE
from tests.runtime.worker_kit import Engine, engine, running, started, until
from tests.runtime.worker_store import member, nothing, registered

JAMMED = Failed(ErrorReport("PrinterError", "paper jam"))
FINISH = "fairlane.runtime.finisher.finish"


@asynccontextmanager
async def writing(fl: Engine) -> AsyncIterator[tuple[Finisher, list[Finished]]]:
    """A finisher at work, and what it wrote."""
    written: list[Finished] = []
    with ThreadPoolExecutor(1) as threads:
        finisher = Finisher(FinisherParts(fl.database, threads, fl.emit, written.append))
        task = asyncio.create_task(finisher.run())
        yield finisher, written
        task.cancel()


def claimed(fl: Engine, outcomes: Sequence[Outcome]) -> list[Finish]:
    """As many running jobs, and these ends for them."""
    nothing(fl)
    for _ in outcomes:
        fl.give("work")
    ready = member(fl).claim(len(outcomes))
    return [
        Finish(
            one.claimed.organization, one.claimed.id, one.claimed.job_type, one.claimed.lease_token, outcome, Backoff()
        )
        for one, outcome in zip(ready, outcomes, strict=True)
    ]


async def joined(finisher: Finisher) -> None:
    async with asyncio.timeout(PATIENCE):
        await finisher.join()


def statuses(fl: Engine, ends: Sequence[Finish]) -> list[str]:
    return [str(fl.get(one.job_id, organization="acme").status) for one in ends]


async def test_all_ends_of_a_moment_are_one_transaction(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine(database_url) as fl:
        ends = claimed(fl, [Completed("1")] * 20)
        batches: list[int] = []
        monkeypatch.setattr(FINISH, counting(batches))
        async with writing(fl) as (finisher, written):
            for end in ends:
                finisher.add(end)
            await joined(finisher)
        assert batches == [20]
        assert len(written) == 20
        assert set(statuses(fl, ends)) == {"completed"}


def test_a_completion_leaves_the_same_row_alone_and_together_with_others(database_url: str) -> None:
    """They are two statements; what a job was before is taken from it by either."""
    with engine(database_url) as fl:
        ends = claimed(fl, [Completed("1"), Completed("1")])
        ends[1] = ends[1]._replace(has_checkpoint=False)
        now = fl.database.read(fl.database.clock.now)
        before = update(jobs).values(error_type="Jam", error_message="no paper", next_retry_at=now, ready=True)

        def complete(connection: Connection) -> list[Finished]:
            connection.execute(before.execution_options(fairlane_across="finish"))
            return write(connection, now, ends, Random())

        fl.database.write(complete)
        one, other = fl.database.read(
            lambda c: c.execute(select(jobs).where(jobs.c.organization_id == "acme"))
        ).mappings()
        own = {"id", "created_at", "run_at", "started_at"}
        assert {name: one[name] for name in one if name not in own} == {
            name: other[name] for name in other if name not in own
        }
        assert (one["status"], one["error_type"], one["finished_at"]) == ("completed", None, now)


def counting(batches: list[int]) -> Callable[..., Any]:
    def finish(connection: Connection, now: Any, batch: Sequence[Finish], random: Any, **more: Any) -> list[Finished]:
        batches.append(len(batch))
        return write(connection, now, batch, random, **more)

    return finish


async def test_a_thousand_failures_of_one_organization_hold_up_no_completion_and_no_failure_of_another(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine(database_url) as fl:
        failures = [unwritten("acme", JAMMED) for _ in range(1000)]
        completion, failure = unwritten("rival", Completed()), unwritten("rival", JAMMED)
        batches = recorded(monkeypatch)
        async with writing(fl) as (finisher, _):
            for end in [*failures, completion, failure]:
                finisher.add(end)
            await joined(finisher)
        assert batches[0] == [completion]
        assert failure in batches[1]
        assert [one for batch in batches[1:] for one in batch if one is not failure] == failures


async def test_a_thousand_completions_hold_up_no_failure(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine(database_url) as fl:
        completions = [unwritten("acme", Completed()) for _ in range(1000)]
        failure = unwritten("rival", JAMMED)
        batches = recorded(monkeypatch)
        async with writing(fl) as (finisher, _):
            for end in [*completions, failure]:
                finisher.add(end)
            await joined(finisher)
        assert [failure in batch for batch in batches] == [False, True, False]


def unwritten(organization: str, outcome: Outcome) -> Finish:
    """The end of an attempt that there is not; a completion is plain."""
    return Finish(organization, uuid4(), "work", uuid4(), outcome, Backoff(), has_checkpoint=False)


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[list[Finish]]:
    """The batches, in the order in which they would be written."""
    batches: list[list[Finish]] = []

    def finish(_connection: Connection, _now: Any, batch: Sequence[Finish], _random: Any, **_: Any) -> list[Finished]:
        batches.append(list(batch))
        return [Finished(one, None) for one in batch]

    monkeypatch.setattr(FINISH, finish)
    return batches


async def test_one_end_that_the_database_refuses_fails_alone(postgres_url: str) -> None:
    """A NUL that got past the checks: SQLite takes it, PostgreSQL refuses the whole batch."""
    with engine(postgres_url) as fl:
        ends = claimed(fl, [Completed('"bad \0"') if number == 13 else Completed('"good"') for number in range(40)])
        async with writing(fl) as (finisher, written):
            for end in ends:
                finisher.add(end)
            await joined(finisher)
        assert statuses(fl, ends) == ["dead_letter" if number == 13 else "completed" for number in range(40)]
        assert fl.get(ends[13].job_id, organization="acme").error_type == "UnstorableOutcome"
        assert len(written) == 40


async def test_one_failure_whose_error_can_t_be_stored_stops_no_other(postgres_url: str) -> None:
    with engine(postgres_url) as fl:
        failed = [Failed(ErrorReport("Jam", "no \0 paper" if number == 13 else "no paper")) for number in range(40)]
        ends = claimed(fl, failed)
        async with writing(fl) as (finisher, written):
            for end in ends:
                finisher.add(end)
            await joined(finisher)
        assert statuses(fl, ends) == ["dead_letter" if number == 13 else "queued" for number in range(40)]
        assert len(written) == 40


async def test_an_end_that_the_driver_can_t_send_fails_alone(database_url: str) -> None:
    """Half of a surrogate pair that got past the checks: no database is asked."""
    with engine(database_url) as fl:
        ends = claimed(fl, [Snoozed(60, "caf\udce9") if number == 3 else Completed("1") for number in range(10)])
        async with writing(fl) as (finisher, written):
            for end in ends:
                finisher.add(end)
            await joined(finisher)
        assert statuses(fl, ends) == ["dead_letter" if number == 3 else "completed" for number in range(10)]
        assert len(written) == 10


async def test_an_end_that_a_mistake_of_ours_keeps_from_being_written_fails_the_second_time(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried for ever, it would keep its slot, and its job would run for ever."""
    with engine(database_url) as fl:
        (end,) = claimed(fl, [Completed("1")])

        def finish(
            connection: Connection, now: Any, batch: Sequence[Finish], random: Any, **more: Any
        ) -> list[Finished]:
            if isinstance(batch[0].outcome, Completed):
                raise ZeroDivisionError
            return write(connection, now, batch, random, **more)

        monkeypatch.setattr(FINISH, finish)
        monkeypatch.setattr("fairlane.runtime.finisher._BROKEN_WAIT", 0.01)
        async with writing(fl) as (finisher, _):
            finisher.add(end)
            await joined(finisher)
        assert statuses(fl, [end]) == ["dead_letter"]
        assert len(fl.events.of(ServiceFailed)) == 1


async def test_an_error_of_the_database_s_own_costs_no_completed_job_its_result(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one of a damaged index, or of a server that is being upgraded: the values are not at fault."""
    with engine(postgres_url) as fl:
        (end,) = claimed(fl, [Completed("1")])
        errors = ["XX000"]

        def finish(
            connection: Connection, now: Any, batch: Sequence[Finish], random: Any, **more: Any
        ) -> list[Finished]:
            if errors:
                raising = f"DO $$BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '{errors.pop()}'; END$$"
                connection.exec_driver_sql(raising)
            return write(connection, now, batch, random, **more)

        monkeypatch.setattr(FINISH, finish)
        monkeypatch.setattr("fairlane.runtime.finisher._BROKEN_WAIT", 0.01)
        async with writing(fl) as (finisher, _):
            finisher.add(end)
            await joined(finisher)
        assert statuses(fl, [end]) == ["completed"]
        assert len(fl.events.of(ServiceFailed)) == 1


async def test_who_can_t_be_told_of_an_end_keeps_no_other_from_being_written(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine(database_url) as fl:
        ends = claimed(fl, [Completed("1")] * 3)
        monkeypatch.setattr("fairlane.runtime.finisher._BATCH", 1)
        monkeypatch.setattr("fairlane.runtime.finisher._FEW", 1)
        told: list[Finished] = []

        def tell(one: Finished) -> None:
            if one.finish is ends[0]:
                raise RuntimeError("can't start new thread")
            told.append(one)

        with ThreadPoolExecutor(1) as threads:
            finisher = Finisher(FinisherParts(fl.database, threads, fl.emit, tell))
            task = asyncio.create_task(finisher.run())
            for end in ends:
                finisher.add(end)
            await joined(finisher)
            task.cancel()
        assert [one.finish for one in told] == ends[1:]
        assert set(statuses(fl, ends)) == {"completed"}
        assert len(fl.events.of(ServiceFailed)) == 1


async def test_who_joins_goes_on_as_long_as_ends_are_written_and_no_longer(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that stops beside a slow database: one patience for all of them would be over too soon."""
    with engine(database_url) as fl:
        ends = claimed(fl, [Completed("1")] * 3)
        monkeypatch.setattr("fairlane.runtime.finisher._FEW", 1)
        patience: list[float | None] = []

        async def wait(event: asyncio.Event, seconds: float | None) -> bool:
            patience.append(seconds)
            return await wait_until(event, PATIENCE)

        monkeypatch.setattr("fairlane.runtime.finisher.wait_until", wait)
        async with writing(fl) as (finisher, written):
            for end in ends:
                finisher.add(end)
            await finisher.join(7.0)
            assert len(written) == len(ends)
        assert len(patience) > 1
        assert set(patience) == {7.0}
        finisher.add(ends[0])  # which nobody writes
        monkeypatch.undo()
        await finisher.join(0.01)


@pytest.mark.parametrize("away", [StorageUnavailable, ConfigurationError])
async def test_what_is_left_is_written_once_more_and_one_bad_end_stops_no_other(
    database_url: str, monkeypatch: pytest.MonkeyPatch, away: type[FairlaneError]
) -> None:
    with engine(database_url) as fl:
        ends = claimed(fl, [Completed("1")] * 5)
        is_away, tries = True, list[int]()

        def finish(
            connection: Connection, now: Any, batch: Sequence[Finish], random: Any, **more: Any
        ) -> list[Finished]:
            if is_away:
                tries.append(len(batch))
                raise away("The database did not answer, or has no such table.")
            if ends[2] in batch:
                raise ZeroDivisionError
            return write(connection, now, batch, random, **more)

        monkeypatch.setattr(FINISH, finish)
        written: list[Finished] = []
        with ThreadPoolExecutor(1) as threads:
            finisher = Finisher(FinisherParts(fl.database, threads, fl.emit, written.append))
            for end in ends:
                finisher.add(end)
            with pytest.raises(away):
                await finisher.write_left()
            assert tries == [5]
            is_away = False
            for _ in range(
                2
            ):  # were it to fail the second time, what it has done would be lost to an error of a moment
                assert not await finisher.write_left()
        assert statuses(fl, ends) == ["running" if number == 2 else "completed" for number in range(5)]
        assert len(written) == 4


async def test_what_is_left_and_can_t_be_stored_fails_as_it_would_have_before(postgres_url: str) -> None:
    with engine(postgres_url) as fl:
        ends = claimed(fl, [Completed("1"), Completed('"bad \0"'), Completed("1")])
        with ThreadPoolExecutor(1) as threads:
            finisher = Finisher(FinisherParts(fl.database, threads, fl.emit, lambda _: None))
            for end in ends:
                finisher.add(end)
            assert await finisher.write_left()
        assert statuses(fl, ends) == ["completed", "dead_letter", "completed"]


@pytest.fixture
def leaving(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once a worker has given up to write what its handlers have done, and begins to leave."""
    monkeypatch.setattr("fairlane.runtime.crew._LAST_WRITES", 0.01)
    begun, real_stop = threading.Event(), Crew.stop

    async def stop(self: Crew) -> None:
        await real_stop(self)
        begun.set()

    monkeypatch.setattr(Crew, "stop", stop)
    return begun


def away_until(event: threading.Event, work: Callable[..., Any]) -> Callable[..., Any]:
    """The database does not answer this before."""

    def answered(*args: Any, **named: Any) -> Any:
        if not event.is_set():
            raise StorageUnavailable("The database did not answer.")
        return work(*args, **named)

    return answered


def test_a_worker_that_is_let_in_only_as_it_leaves_writes_what_its_handlers_have_done(
    database_url: str, leaving: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gave them back, and they were done twice."""
    with engine(database_url) as fl:
        nothing(fl)
        job = fl.give("work")
        monkeypatch.setattr(FINISH, away_until(leaving, write))
        with running(fl.worker()) as worker:
            fl.events.wait(StorageLost, service="finisher")
            worker.stop()
            fl.events.wait(WorkerStopped, released=0)
        assert fl.look(job).status == "completed"
        assert fl.look(job).attempt == 1


def test_a_worker_that_is_let_in_only_as_it_signs_off_writes_what_its_handlers_have_done(
    database_url: str, leaving: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine(database_url) as fl:
        nothing(fl)
        job, tries = fl.give("work"), list[Crew]()
        real_write_left = Crew.write_left

        async def write_left(self: Crew) -> bool:
            tries.append(self)
            if len(tries) == 1:
                raise StorageUnavailable("The database did not answer.")
            return await real_write_left(self)

        monkeypatch.setattr("fairlane.runtime.shift._LEAVING", 60.0)
        monkeypatch.setattr("fairlane.runtime.service.SOON", 61.0)
        monkeypatch.setattr("fairlane.runtime.service.next_wait", lambda _: 61.0)  # no second try
        monkeypatch.setattr(Crew, "write_left", write_left)
        monkeypatch.setattr(FINISH, away_until(leaving, write))
        with running(fl.worker()) as worker:
            fl.events.wait(StorageLost, service="finisher")
            worker.stop()
            fl.events.wait(WorkerStopped, released=0)
        assert len(tries) == 2
        assert fl.look(job).status == "completed"
        assert fl.look(job).attempt == 1


def test_a_worker_whose_loop_is_taken_down_by_its_host_writes_what_its_handlers_have_done(
    database_url: str, leaving: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its tasks are cancelled then, and it left nothing in order."""
    with engine(database_url) as fl:
        nothing(fl)
        job, begun = fl.give("work"), list[asyncio.Task[None]]()
        monkeypatch.setattr(FINISH, away_until(leaving, write))

        async def host() -> None:
            begun.append(asyncio.create_task(fl.worker().run_async()))
            await asyncio.to_thread(fl.events.wait, StorageLost, service="finisher")

        asyncio.run(host())
        assert fl.look(job).status == "completed"
        assert fl.look(job).attempt == 1
        assert registered(fl) == set()


def test_a_worker_that_is_let_in_only_as_it_leaves_writes_what_its_handlers_have_said_last(
    database_url: str, leaving: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its last lines an attempt had no end either, and was given back."""
    with engine(database_url, stop_grace=0.1) as fl:

        @fl.job_type("work")
        async def work(ctx: JobContext) -> None:
            ctx.log("all done")

        job = fl.give("work")
        monkeypatch.setattr(attempts, "add_line", away_until(leaving, attempts.add_line))
        with running(fl.worker()) as worker:
            started(fl, job)
            worker.stop(at_once=True)
            fl.events.wait(WorkerStopped, released=0)
        assert fl.look(job).status == "completed"
        assert fl.look(job).attempt == 1
        assert "all done" in [line.message for line in fl.log_lines(job.id, organization="acme")]


def test_a_worker_that_leaves_waits_a_moment_for_a_row_that_somebody_holds(
    postgres_url: str, leaving: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine(postgres_url) as fl, fl.database.engine.connect() as host:
        nothing(fl)
        job, tries = fl.give("work"), list[bool]()

        async def write_left(self: Crew) -> bool:
            tries.append(await real_write_left(self))
            host.rollback()
            return tries[-1]

        real_write_left = Crew.write_left
        monkeypatch.setattr(Crew, "write_left", write_left)
        monkeypatch.setattr(FINISH, away_until(leaving, write))
        with running(fl.worker()) as worker:
            fl.events.wait(StorageLost, service="finisher")
            mine = (jobs.c.organization_id == "acme") & (jobs.c.id == job.id)
            host.execute(select(jobs.c.id).where(mine).with_for_update())
            worker.stop()
            fl.events.wait(WorkerStopped, released=0)
        assert tries[:2] == [False, True]
        assert fl.look(job).status == "completed"
        assert fl.look(job).attempt == 1


def test_a_worker_that_can_write_no_more_ends_is_replaced(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would keep its lease and its jobs for ever."""
    monkeypatch.setattr("fairlane.runtime.crew._LAST_WRITES", 0.01)
    with engine(database_url) as fl:
        nothing(fl)
        job = fl.give("work")
        with monkeypatch.context() as patch:
            patch.setattr(Finisher, "_write", broken)
            worker = fl.worker()
            worker.run()
        assert worker.must_be_replaced
        fl.drain()
        assert fl.look(job).status == "completed"


def broken(*_: object) -> None:
    raise ZeroDivisionError


async def test_a_mistake_of_ours_holds_up_only_the_end_that_it_is_about(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine(database_url) as fl:
        ends = claimed(fl, [Completed("1")] * 5)
        broken = {ends[2].job_id}

        def finish(
            connection: Connection, now: Any, batch: Sequence[Finish], random: Any, **more: Any
        ) -> list[Finished]:
            if broken & {one.job_id for one in batch}:
                broken.clear() if len(batch) == 1 else None
                raise ZeroDivisionError
            return write(connection, now, batch, random, **more)

        monkeypatch.setattr(FINISH, finish)
        monkeypatch.setattr("fairlane.runtime.finisher._BROKEN_WAIT", 0.01)
        async with writing(fl) as (finisher, _):
            for end in ends:
                finisher.add(end)
            await joined(finisher)
        assert set(statuses(fl, ends)) == {"completed"}
        (failed,) = fl.events.of(ServiceFailed)
        assert isinstance(failed.error, ZeroDivisionError)


async def test_a_row_that_somebody_holds_holds_up_no_other(postgres_url: str) -> None:
    with engine(postgres_url) as fl:
        ends = claimed(fl, [Completed("1")] * 3)
        mine = (jobs.c.organization_id == "acme") & (jobs.c.id == ends[1].job_id)
        async with writing(fl) as (finisher, written):
            with fl.database.engine.begin() as host:
                host.execute(select(jobs.c.id).where(mine).with_for_update())
                for end in ends:
                    finisher.add(end)
                await asyncio.to_thread(until, lambda: len(written) == 2)
                assert sorted(statuses(fl, ends)) == ["completed", "completed", "running"]
            await joined(finisher)
        assert set(statuses(fl, ends)) == {"completed"}


async def test_a_row_that_somebody_holds_beside_a_job_holds_up_only_its_end(postgres_url: str, impatient: None) -> None:
    with engine(postgres_url) as fl:
        ends = claimed(fl, [Completed("1")] * 20)
        mine = {"organization_id": "acme", "job_id": ends[7].job_id}
        now = fl.database.read(fl.database.clock.now)
        async with writing(fl) as (finisher, written):
            with fl.database.engine.connect() as host:
                host.execute(insert(results).values(**mine, value="0", at=now))
                for end in ends:
                    finisher.add(end)
                await asyncio.to_thread(until, lambda: len(written) == 19)
                assert statuses(fl, ends) == ["running" if number == 7 else "completed" for number in range(20)]
            await joined(finisher)
        assert set(statuses(fl, ends)) == {"completed"}
        assert fl.events.of(StorageLost) == []


async def test_however_many_ends_a_lock_holds_up_the_others_are_written(postgres_url: str, impatient: None) -> None:
    with engine(postgres_url) as fl:
        ends = claimed(fl, [Completed("1"), JAMMED] * 4)
        async with writing(fl) as (finisher, written):
            with fl.database.engine.connect() as host:
                host.execute(text("LOCK TABLE fairlane_results IN EXCLUSIVE MODE"))
                for end in ends:
                    finisher.add(end)
                await asyncio.to_thread(until, lambda: len(written) == 4)
                assert statuses(fl, ends) == ["running", "queued"] * 4
            await joined(finisher)
        assert statuses(fl, ends) == ["completed", "queued"] * 4


def test_an_end_says_whether_something_is_ready_now(database_url: str) -> None:
    outcomes: dict[Outcome, bool] = {
        Completed(): False,
        Completed("1"): True,  # it has a child
        JAMMED: False,
        Snoozed(60): False,
        Snoozed(0): True,
        Released("no answer", 10): False,
        Released("shutdown"): True,
    }
    with engine(database_url) as fl:
        ends = claimed(fl, list(outcomes))
        fl.give("work", depends_on=[ends[1].job_id])
        done = fl.database.write(lambda c: write(c, fl.database.clock.now(c), ends, Random()))
        assert {one.finish.outcome: one.may_free for one in done} == outcomes


def test_other_workers_are_told_of_no_attempt_that_made_nothing_ready(database_url: str) -> None:
    with engine(database_url) as fl:

        @fl.job_type("bad", dedup_window=0)
        async def bad(ctx: JobContext) -> None:
            raise Snooze(60) if ctx.job_id == snoozing.id else RuntimeError("jam")

        snoozing, _ = fl.give("bad"), fl.give("bad")
        told: list[None] = []
        fl.database.hint = lambda: told.append(None)
        fl.drain()
        assert fl.look(snoozing).attempt == 1
        assert told == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits less long for locks."""
    monkeypatch.setattr("fairlane.runtime.finisher._PATIENCE", 0.01)
    monkeypatch.setattr("fairlane.runtime.finisher._HELD_WAIT", 0.01)
    monkeypatch.setattr("fairlane.runtime.finisher._MOST_WAITS", 6)


async def test_an_end_under_a_lease_that_was_lost_changes_nothing(database_url: str) -> None:
    with engine(database_url) as fl:
        (end,) = claimed(fl, [Completed("1")])
        fl.database.write(lambda c: write(c, fl.database.clock.now(c), [end], Random()))
        before = fl.history(end.job_id, organization="acme")
        async with writing(fl) as (finisher, written):
            finisher.add(end)
            await joined(finisher)
        assert [one.transition for one in written] == [None]
        assert fl.history(end.job_id, organization="acme") == before


async def test_ends_are_held_while_the_database_is_away(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine(database_url) as fl:
        ends = claimed(fl, [Completed("1")] * 3)
        async with writing(fl) as (finisher, _):
            with monkeypatch.context() as patch:
                patch.setattr(fl.database, "write", unavailable)
                for end in ends:
                    finisher.add(end)
                await asyncio.to_thread(fl.events.wait, StorageLost, service="finisher", times=4)
            await joined(finisher)
            fl.events.wait(StorageBack, service="finisher")
        assert all(one.seconds <= SOON for one in fl.events.of(StorageLost)), "jobs wait for it"
        assert set(statuses(fl, ends)) == {"completed"}


def unavailable(*_: Any, **__: Any) -> None:
    raise StorageUnavailable("The database did not answer.")
