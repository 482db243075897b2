"""Calls that handlers hand to threads by asyncio: those of one job that hang keep nobody else's waiting."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from fairlane import IllegalTransition, JobContext, JobStatus, PermanentError, TransientError
from fairlane.engine.context import JOB, Life
from fairlane.engine.executors import loop_threads
from fairlane.engine.executors.async_ import AsyncExecutor
from fairlane.engine.executors.loop_threads import FEWEST, MORE, LoopThreads
from tests.engine.recording import Begun, call, end_of, in_threads
from tests.engine.worker_kit import Engine, engine, running, until
from tests.patience import PATIENCE


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    """Yield what hanging calls wait for."""
    end = threading.Event()
    yield end
    end.set()


@pytest.fixture
def begun() -> threading.Semaphore:
    """Return what calls release when they begin."""
    return threading.Semaphore(0)


@pytest.fixture
def fl(database_url: str, hang: threading.Event, begun: threading.Semaphore) -> Iterator[Engine]:
    with engine(database_url) as fl:
        fl.organizations.create("rival")

        @fl.job_type("fetch", dedup_window=0, max_retries=0, timeout=0.2)
        async def fetch(ctx: JobContext) -> None:
            await asyncio.to_thread(hang.wait)

        @fl.job_type("slow", dedup_window=0, max_retries=0)
        async def slow(ctx: JobContext) -> None:
            begun.release()
            await asyncio.to_thread(hang.wait)

        @fl.job_type("quick", dedup_window=0, max_retries=0)
        async def quick(ctx: JobContext) -> str:
            return await asyncio.to_thread(str, "done")

        @fl.job_type("leave", dedup_window=0, max_retries=0)
        async def leave(ctx: JobContext) -> None:
            async def pieces() -> AsyncIterator[bytes]:
                for _ in range(4):
                    yield b"x" * 2**20

            await ctx.artifact("large.bin", pieces())

        yield fl


def test_calls_that_hang_keep_no_other_job_waiting(fl: Engine, hang: threading.Event) -> None:
    with running(fl.worker(concurrency=100)):
        gone = [fl.give("fetch") for _ in range(2 * MORE)]
        for job in gone:
            assert fl.ended(job).status is JobStatus.DEAD_LETTER
        for name in ("quick", "leave"):
            assert fl.ended(fl.give(name, organization="rival")).status is JobStatus.COMPLETED
            assert fl.ended(fl.give(name)).status is JobStatus.COMPLETED


def cancel_amid_calls(fl: Engine, begun: threading.Semaphore, slots: int) -> None:
    """Cancel more jobs amid their calls than an organization may leave behind."""
    for _ in range(FEWEST // slots + 2):
        jobs = [fl.give("slow") for _ in range(slots)]
        for _ in jobs:
            assert begun.acquire(timeout=PATIENCE)
        for job in jobs:
            with suppress(IllegalTransition):  # it was refused, and so is over
                fl.cancel(job.id, organization=job.organization)
        for job in jobs:
            fl.ended(job)


def test_a_member_s_cancels_leave_a_bounded_number_of_threads(
    fl: Engine, hang: threading.Event, begun: threading.Semaphore
) -> None:
    """Jobs canceled faster than their calls ended had the process run out of threads."""
    before = set(threading.enumerate())
    slots = 10
    worker = fl.worker(concurrency=slots)
    with running(worker):
        cancel_amid_calls(fl, begun, slots)
        more = [one.name for one in threading.enumerate() if one not in before]
        assert sum(name.startswith("fairlane-loop-") for name in more) <= FEWEST + slots
        refused = fl.ended(fl.give("quick"))
        assert refused.status is JobStatus.DEAD_LETTER
        assert fl.ended(fl.give("quick", organization="rival")).status is JobStatus.COMPLETED
        assert not worker.must_be_replaced
        hang.set()
        until(lambda: fl.ended(fl.give("quick")).status is JobStatus.COMPLETED)


def test_a_task_that_jobs_share_is_refused_no_call_for_who_began_it(fl: Engine, begun: threading.Semaphore) -> None:
    """Jobs of all organizations that awaited it failed, where that of one that began it had left too much behind."""
    asked: asyncio.Queue[asyncio.Future[str]] = asyncio.Queue()
    tasks: list[asyncio.Task[None]] = []

    async def answer() -> None:
        while True:
            future = await asked.get()
            try:
                future.set_result(await asyncio.to_thread(str, "answer"))
            except TransientError as error:
                future.set_exception(error)

    @fl.job_type("ask", dedup_window=0, max_retries=0)
    async def ask(ctx: JobContext) -> str:
        if not tasks:
            tasks.append(asyncio.create_task(answer()))
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        asked.put_nowait(future)
        return await future

    slots = 10
    with running(fl.worker(concurrency=slots)):
        assert fl.ended(fl.give("ask")).status is JobStatus.COMPLETED
        cancel_amid_calls(fl, begun, slots)
        assert fl.ended(fl.give("ask", organization="rival")).status is JobStatus.COMPLETED


def test_a_worker_is_replaced_where_calls_of_jobs_that_are_over_do_not_end(
    fl: Engine, hang: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_threads, "LONG", 0.0)
    worker = fl.worker(concurrency=100)
    # One claim takes them all. On a busy machine the timeout of some may be over before they make their call.
    for _ in range(20):
        fl.give("fetch")
    with running(worker):
        until(lambda: worker.must_be_replaced)
    assert worker.left_work_behind


class TestLoopThreads:
    @pytest.fixture
    def threads(self) -> Iterator[LoopThreads]:
        threads = LoopThreads(1)
        yield threads
        threads.shutdown()

    def test_jobs_have_a_thread_each_and_few_more_together(self, threads: LoopThreads, hang: threading.Event) -> None:
        begun = threading.Semaphore(0)

        def call(number: int) -> int:
            begun.release()
            hang.wait(PATIENCE)
            return number

        token = JOB.set(Life("acme", 1.0))
        calls = [threads.submit(call, number) for number in range(MORE + 4)]
        for _ in range(MORE + 1):
            assert begun.acquire(timeout=PATIENCE)
        JOB.set(Life("acme", 1.0))
        others: list[Future[Any]] = [threads.submit(call, 0), threads.submit(str, "another's")]
        assert begun.acquire(timeout=PATIENCE)
        assert not any(one.running() for one in (*calls[MORE + 1 :], others[1]))
        JOB.reset(token)
        assert threads.submit(str, "Fairlane's").result(PATIENCE) == "Fairlane's"
        assert threads.is_busy
        assert calls[-1].cancel()
        hang.set()
        assert [one.result(PATIENCE) for one in calls[:-1]] == list(range(MORE + 3))
        assert others[1].result(PATIENCE) == "another's"

    def test_a_job_counts_once_and_by_its_type_s_timeout(
        self, threads: LoopThreads, hang: threading.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A member who canceled such jobs had the worker replaced, and all that ran there was put back."""
        monkeypatch.setattr(loop_threads, "LONG", 0.0)
        for timeout in (3600.0, None, 0.0):
            life = Life("acme", timeout)
            token = JOB.set(life)
            begun = threading.Semaphore(0)
            for _ in range(2):
                threads.submit(lambda begun=begun: (begun.release(), hang.wait(PATIENCE)))
            assert begun.acquire(timeout=PATIENCE)
            JOB.reset(token)
            assert threads.left_behind == 0
            life.ended = time.monotonic()
        assert threads.left_behind == 1

    def test_a_job_that_is_over_takes_no_threads_that_others_share(
        self, threads: LoopThreads, hang: threading.Event
    ) -> None:
        life = Life("acme", None)
        begun = threading.Semaphore(0)
        with as_job(life):
            for _ in range(MORE + 1):
                threads.submit(stay, begun, hang)
        for _ in range(MORE + 1):
            assert begun.acquire(timeout=PATIENCE)
        life.ended = time.monotonic()
        met = threading.Barrier(2)
        with as_job(Life("rival", None)):
            both = [threads.submit(met.wait, PATIENCE) for _ in range(2)]
        assert {one.result(PATIENCE) for one in both} == {0, 1}

    def test_no_job_has_more_threads_where_too_many_are_left_behind(
        self, threads: LoopThreads, hang: threading.Event
    ) -> None:
        """Else each job that has one thread would take those that are shared, and leave them behind."""
        begun = threading.Semaphore(0)
        lives = [Life("acme", None) for _ in range(FEWEST + 1)]
        for life in lives:
            with as_job(life):
                threads.submit(stay, begun, hang)
        for _ in lives:
            assert begun.acquire(timeout=PATIENCE)
        *over, last = lives
        for life in over:
            life.ended = time.monotonic()
        with as_job(last):
            waits = threads.submit(str, "waits for the job's own thread")
        with as_job(over[0]):
            threads.submit(str)
        with as_job(Life("acme", None)), pytest.raises(TransientError, match="still run in threads"):
            threads.submit(str)
        with as_job(Life("rival", None)):
            assert threads.submit(str, "another's").result(PATIENCE) == "another's"
        assert not waits.done()
        hang.set()
        assert waits.result(PATIENCE)

    def test_calls_of_jobs_that_are_over_take_turns_where_too_many_are_left_behind(
        self, threads: LoopThreads, hang: threading.Event, begun: threading.Semaphore
    ) -> None:
        over = [Life("acme", None) for _ in range(FEWEST)]
        for life in over:
            with as_job(life):
                threads.submit(stay, begun, hang)
        late = [Life("acme", None) for _ in range(3)]
        for life in (*over, *late):
            life.ended = time.monotonic()
        with as_job(late[0]):
            assert threads.submit(str, "alone").result(PATIENCE) == "alone"
            threads.submit(stay, begun, hang)
        for _ in range(FEWEST + 1):
            assert begun.acquire(timeout=PATIENCE)
        waiting = []
        for life in late:
            with as_job(life):
                waiting.append(threads.submit(str, "waits"))
        with as_job(Life("acme", None)), pytest.raises(TransientError, match="still run in threads"):
            threads.submit(str)
        assert not any(one.running() or one.done() for one in waiting)
        hang.set()
        assert [one.result(PATIENCE) for one in waiting] == ["waits"] * len(late)

    def test_a_further_call_looks_at_few_jobs_however_many_run(
        self, threads: LoopThreads, hang: threading.Event, begun: threading.Semaphore
    ) -> None:
        """With a thousand jobs each further call took 44 microseconds of the loop."""
        for life in (*(Watched("acme", None) for _ in range(MORE)), Life("rival", None)):
            with as_job(life):
                threads.submit(stay, begun, hang)
        Watched.looks = 0
        with as_job(life):
            calls = [threads.submit(stay, begun, hang) for _ in range(MORE + 1)]
        assert Watched.looks <= MORE
        for _ in range(2 * MORE + 1):
            assert begun.acquire(timeout=PATIENCE)
        assert not calls[-1].running()

    def test_an_error_is_the_callers(self, threads: LoopThreads) -> None:
        with pytest.raises(PermanentError, match="no"):
            threads.submit(fail).result(PATIENCE)
        assert threads.submit(str, 1).result(PATIENCE) == "1"

    def test_after_its_end_it_takes_no_calls(self, threads: LoopThreads) -> None:
        assert threads.submit(str, 1).result(PATIENCE) == "1"
        threads.shutdown()
        with pytest.raises(RuntimeError, match="take no more calls"):
            threads.submit(str, 1)


@pytest.mark.asyncio
async def test_a_job_that_is_over_is_kept_by_nothing() -> None:
    """Its task's context kept it, with its parameters, until the garbage collector looked."""
    executor = AsyncExecutor(in_threads())

    async def handler(ctx: JobContext) -> None:
        await asyncio.sleep(0)

    gc.collect()
    gc.disable()
    try:
        one = call(handler)
        seen = weakref.ref(one.context)
        begun = Begun(executor, one)
        del one
        await end_of(begun)
        del begun
        await asyncio.sleep(0)
        assert seen() is None
    finally:
        gc.enable()


class Watched(Life):
    """A life that counts how often it is asked whether it has ended."""

    looks = 0

    @property
    def ended(self) -> float | None:
        Watched.looks += 1
        return None

    @ended.setter
    def ended(self, moment: float | None) -> None:
        """It never is."""


@contextmanager
def as_job(life: Life) -> Iterator[None]:
    """Have the block be code of this job."""
    token = JOB.set(life)
    yield
    JOB.reset(token)


def stay(begun: threading.Semaphore, hang: threading.Event) -> None:
    begun.release()
    hang.wait(PATIENCE)


def fail() -> None:
    raise PermanentError("no")
