"""What is large is worked through beside the loop: parameters, results, and failures of jobs with many secrets."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator
from sqlalchemy import update

from fairlane import InvalidParameters, Job, JobContext, JobStatus
from fairlane.domain.events import LeaseLost, WorkerStopping
from fairlane.store.row_security import Administered
from fairlane.store.tables import live
from tests.engine.worker_kit import Engine, Gate, engine, running

MANY = {"password": ["x" * 20] * 100}  # 2,000 characters
LARGE = "x" * 20_000


class Slow(dict[str, int]):
    """A part of a result that is encoded when the test lets it be."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(a=1)
        self._gate = gate

    def items(self) -> Any:
        self._gate.wait()
        threads.append(threading.current_thread().name)
        return super().items()


class SlowError(Exception):
    """An error that says what it is when the test lets it."""

    def __str__(self) -> str:
        self.args[0].wait()
        threads.append(threading.current_thread().name)
        return "it failed"


threads: list[str] = []  # in which these were asked


@pytest.fixture(params=["async", "thread"])
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def gate() -> Iterator[Gate]:
    threads.clear()
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def fl(database_url: str, kind: str, gate: Gate) -> Iterator[Engine]:
    """Handlers that end at once, with what takes long."""

    def work(fails: bool) -> object:
        if fails:
            raise SlowError(gate)
        return [Slow(gate), *range(5_000)]

    with engine(database_url, stop_grace=0.0) as fl:
        if kind == "async":

            @fl.job_type("work", dedup_window=0, max_retries=0, timeout=1.0)
            async def work_async(ctx: JobContext, fails: bool, password: list[str]) -> object:
                return work(fails)

        else:

            @fl.job_type("work", dedup_window=0, max_retries=0, timeout=1.0)
            def work_in_thread(ctx: JobContext, fails: bool, password: list[str]) -> object:
                return work(fails)

        @fl.job_type("late", dedup_window=0, max_retries=0, timeout=1.0)
        async def late(ctx: JobContext) -> None:
            await asyncio.sleep(3600)

        @fl.job_type("ping", dedup_window=0)
        async def ping(ctx: JobContext) -> int:
            return 1

        yield fl


def judged(fl: Engine, gate: Gate, *, fails: bool) -> Job:
    """A job whose handler has ended, and whose end takes long to judge."""
    job = fl.give("work", parameters=MANY | {"fails": fails})
    gate.reached()
    return job


@pytest.mark.parametrize("fails", [False, True])
def test_other_jobs_run_while_an_end_is_judged(fl: Engine, kind: str, gate: Gate, *, fails: bool) -> None:
    with running(fl.worker()):
        job = judged(fl, gate, fails=fails)
        assert fl.ended(fl.give("ping")).status is JobStatus.COMPLETED
        assert fl.look(job).status is JobStatus.RUNNING
        gate.open()
        ended = fl.ended(job)
    if fails:
        assert (ended.status, ended.error_message) == (JobStatus.DEAD_LETTER, "it failed")
    else:
        assert fl.value(job)[:3] == [{"a": 1}, 0, 1]
    assert all(one.startswith("fairlane-reports" if kind == "async" else "fairlane-handler") for one in threads)


@pytest.mark.parametrize("fails", [False, True])
def test_a_drain_waits_for_what_is_judged(fl: Engine, gate: Gate, *, fails: bool) -> None:
    gate.open()
    job = fl.give("work", parameters=MANY | {"fails": fails})
    fl.drain()
    assert fl.look(job).status == ("dead_letter" if fails else "completed")


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancel_comes_too_late_for_a_result_that_is_judged(fl: Engine, gate: Gate, *, fails: bool) -> None:
    with running(fl.worker()):
        job = judged(fl, gate, fails=fails)
        fl.cancel(job.id, organization="acme")
        gate.open()
        assert fl.ended(job).status == ("canceled" if fails else "completed")


def test_what_a_handler_left_does_not_run_into_its_timeout(fl: Engine, gate: Gate) -> None:
    with running(fl.worker()):
        job = judged(fl, gate, fails=False)
        assert fl.ended(fl.give("late")).error_type == "TimedOut"  # begun later, with the same timeout
        gate.open()
        assert fl.ended(job).status is JobStatus.COMPLETED


@pytest.mark.parametrize("fails", [False, True])
def test_a_worker_that_stops_writes_what_is_judged(fl: Engine, gate: Gate, *, fails: bool) -> None:
    def open_late() -> None:
        fl.events.wait(WorkerStopping)
        gate.open()

    with running(fl.worker()):
        job = judged(fl, gate, fails=fails)
        opener = threading.Thread(target=open_late)
        opener.start()
    opener.join()
    # As ever, an error may come of the stop.
    assert fl.look(job).status == ("queued" if fails else "completed")


def test_nothing_is_written_of_what_is_judged_when_its_lease_is_lost(fl: Engine, gate: Gate) -> None:
    with running(fl.worker()):
        job = judged(fl, gate, fails=False)
        taken = update(live).where(live.c.organization_id == "acme", live.c.id == job.id).values(lease_token=None)
        fl.database.write(lambda connection: connection.execute(taken), of=Administered("acme"))
        fl.events.wait(LeaseLost, job_id=job.id)
        gate.open()
        assert fl.ended(fl.give("ping")).status is JobStatus.COMPLETED
        assert fl.look(job).status is JobStatus.RUNNING


submitted = threading.Event()  # validators let all pass before, as those of an older release may


def checked(text: str) -> str:
    threads.append(threading.current_thread().name)
    if submitted.is_set() and text.endswith("!"):
        raise ValueError("no shouting")
    return text


def refused(text: str) -> str:
    if submitted.is_set() and text.endswith("?"):
        raise InvalidParameters("no questions")
    return text


@pytest.fixture(autouse=True)
def nothing_is_submitted() -> None:
    submitted.clear()


def said(error: str | None) -> str:
    return (error or "").partition(" (got ")[0]


@pytest.mark.parametrize("end", ["", "!", "?"])
@pytest.mark.parametrize("isolation", ["async", "thread"])
def test_large_parameters_are_decoded_beside_the_loop_and_fail_as_small_ones_do(
    database_url: str, isolation: str, end: str
) -> None:
    threads.clear()
    Text = Annotated[str, AfterValidator(checked), AfterValidator(refused)]  # noqa: N806 - a type
    with engine(database_url) as fl:
        options: dict[str, Any] = {"dedup_window": 0, "max_retries": 0}

        async def on_the_loop(ctx: JobContext, text: Text) -> int:
            return len(text)

        def in_thread(ctx: JobContext, text: Text) -> int:
            return len(text)

        handler: Callable[..., Any] = on_the_loop if isolation == "async" else in_thread
        fl.job_type("read", **options)(handler)
        jobs = [fl.give("read", parameters={"text": text}) for text in (end, LARGE + end)]
        submitted.set()
        with running(fl.worker()):
            ends = [fl.ended(job) for job in jobs]
    assert {one.status for one in ends} == {"dead_letter" if end else "completed"}
    assert len({(one.error_type, said(one.error_message)) for one in ends}) == 1
    assert any(one.startswith("fairlane-reports") for one in threads)


def test_a_job_that_is_decoded_is_canceled(database_url: str) -> None:
    gate = Gate()

    def held(text: str) -> str:
        if submitted.is_set():
            gate.wait()
        return text

    with engine(database_url) as fl:

        @fl.job_type("read")
        async def read(ctx: JobContext, text: Annotated[str, AfterValidator(held)]) -> None:
            raise AssertionError

        job = fl.give("read", parameters={"text": LARGE})
        submitted.set()
        with running(fl.worker()):
            gate.reached()
            fl.cancel(job.id, organization="acme")
            assert fl.ended(job).status is JobStatus.CANCELED
            gate.open()
