"""The log names a handler that blocks the loop, and reports a loop that stays blocked again and again."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from fairlane import JobContext
from fairlane.engine import loop_watch as module
from fairlane.engine.executors.async_ import AsyncExecutor
from fairlane.engine.loop_watch import LoopWatch
from fairlane.store.shared_threads import end_of as end_in_thread
from tests.engine.recording import Begun, call, end_of, in_threads
from tests.engine.worker_kit import engine, until
from tests.engine.worker_store import registered
from tests.patience import PATIENCE


class Told:
    """The reports of a watch."""

    def __init__(self) -> None:
        self.blocked: list[tuple[float, str, str | None]] = []
        self.are_ours: list[bool] = []
        self.stuck: list[float] = []
        self.said = threading.Event()
        self.often = threading.Event()

    def on_blocked(self, seconds: float, where: str, task: str | None, is_ours: bool) -> None:
        self.blocked.append((seconds, where, task))
        self.are_ours.append(is_ours)
        self.said.set()

    def on_stuck(self, seconds: float) -> None:
        self.stuck.append(seconds)
        if len(self.stuck) > 2:
            self.often.set()


@contextmanager
def watching(told: Told, stuck_after: float) -> Iterator[None]:
    watch = LoopWatch(told.on_blocked, told.on_stuck, stuck_after)
    watch.start()
    yield
    watch.stop()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TICK", 0.02)
    monkeypatch.setattr(module, "_BLOCKED_AFTER", 0.1)


@pytest.fixture
async def executor() -> AsyncIterator[AsyncExecutor]:
    executor = AsyncExecutor(in_threads())
    yield executor
    await executor.stop()


async def test_a_block_is_told_once_with_its_place() -> None:
    told = Told()
    with watching(told, stuck_after=60.0):
        assert told.said.wait(PATIENCE)
        await asyncio.sleep(0.1)
    ((seconds, where, task),) = told.blocked
    assert seconds > 0.1
    this = asyncio.current_task()
    assert this is not None
    assert task == this.get_name()
    assert where.startswith("threading.py")  # the place itself, as no handler of the test has called it
    assert told.are_ours == [False]
    assert told.stuck == []


async def test_the_log_names_no_handler_for_a_block_of_the_engine_s_own() -> None:
    """Fairlane's own calls there may run code of a handler: for example, objects in its result have methods."""
    told = Told()
    with watching(told, stuck_after=60.0):
        asyncio.get_running_loop().call_soon(end_in_thread, Future(), lambda: told.said.wait(PATIENCE))
        await asyncio.sleep(0.1)
    ((_, where, _),) = told.blocked
    assert where.startswith("shared_threads.py")
    assert told.are_ours == [True]


async def test_the_log_names_a_handler_for_what_it_has_the_engine_do(executor: AsyncExecutor) -> None:
    told = Told()

    async def handler(ctx: JobContext) -> None:
        end_in_thread(Future(), lambda: told.said.wait(PATIENCE))

    with watching(told, stuck_after=60.0):
        await end_of(Begun(executor, call(handler)))
    ((_, where, _),) = told.blocked
    assert "in handler, within" in where
    assert told.are_ours == [False]


async def test_the_next_block_is_told_anew() -> None:
    told = Told()
    with watching(told, stuck_after=60.0):
        for _ in range(2):
            assert told.said.wait(PATIENCE)
            told.said.clear()
            await asyncio.sleep(0.1)
    assert len(told.blocked) == 2


async def test_a_loop_that_turns_is_left_in_peace() -> None:
    told = Told()
    with watching(told, stuck_after=60.0):
        for _ in range(20):
            await asyncio.sleep(0.01)
    assert told.blocked == []


async def test_a_long_block_is_told_while_it_lasts() -> None:
    told = Told()
    with watching(told, stuck_after=0.2):
        assert told.often.wait(PATIENCE)
    assert told.stuck == sorted(told.stuck)


async def test_a_watch_goes_on_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that is stuck would keep its jobs for ever."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    told = Told()
    with watching(told, stuck_after=0.2):
        monkeypatch.setattr(threading.Thread, "start", start)
        assert told.often.wait(PATIENCE)
    assert told.blocked == []


@pytest.mark.parametrize(
    ("computed", "turns_then", "is_blocked", "is_stuck"),
    [(0.0, False, False, False), (9.0, False, True, True), (9.0, True, True, False)],
    ids=["paused", "computed", "computed and goes on"],
)
def test_a_process_that_was_paused_blocked_nothing_and_one_that_computed_did(
    monkeypatch: pytest.MonkeyPatch, computed: float, turns_then: bool, is_blocked: bool, is_stuck: bool
) -> None:
    """SIGSTOP, or a machine that was frozen; the watch stood still as well. A regular expression holds it up, too.

    If a thread's handler has it, the watch may get the interpreter back before the loop, which is not stuck for that.
    """
    now, used = 0.0, 0.0
    ticks = iter([(10.0, computed), (0.02, 0.0), (0.02, 0.0)])

    def tick(_: float) -> bool:
        nonlocal now, used
        seconds, busy = next(ticks, (0.0, 0.0))
        now, used = now + seconds, used + busy
        if turns_then and seconds < 1.0:
            watch._last_turn = now
        return not seconds  # then it is over

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now, process_time=lambda: used))
    told = Told()
    watch = LoopWatch(told.on_blocked, told.on_stuck, 5.0)
    monkeypatch.setattr(watch, "_stop", SimpleNamespace(wait=tick))
    monkeypatch.setattr(watch, "_task", lambda: None)
    watch._watch()
    assert told.said.wait(PATIENCE if is_blocked else 0.0) is is_blocked
    assert bool(told.stuck) is is_stuck


async def test_a_watch_that_never_started_can_be_stopped() -> None:
    told = Told()
    LoopWatch(told.on_blocked, told.on_stuck, 1.0).stop()


def test_the_jobs_of_a_loop_that_no_timeout_can_free_are_left_to_others(database_url: str) -> None:
    """The heartbeat has a thread of its own: it would keep the jobs of a worker that hangs for ever."""
    with engine(database_url, lease=0.3, stop_grace=0.1) as fl:

        @fl.job_type("hang", timeout=0.1)
        async def hang(ctx: JobContext) -> None:
            # Without a lease it may be for a moment on a slow machine, too, which no worker is replaced for.
            until(lambda: worker.must_be_replaced and registered(fl) == set())

        fl.give("hang")
        worker = fl.worker()
        worker.run()
        assert worker.must_be_replaced
