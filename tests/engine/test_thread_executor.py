"""Plain handlers in threads of their own pool."""

import asyncio
import contextvars
import sys
import threading
import time
from collections.abc import AsyncIterator

import pytest

from fairlane.engine.context import Interrupted, JobContext
from fairlane.engine.executors import thread
from fairlane.engine.executors.base import Abandoned, HandlerQuit, NotBegun
from fairlane.engine.executors.thread import ThreadExecutor
from fairlane.engine.reports import Interruption
from tests.engine.recording import Begun, RecordingChannel, call, end_of
from tests.patience import PATIENCE

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
async def executor() -> AsyncIterator[ThreadExecutor]:
    executor = ThreadExecutor()
    await executor.start()
    yield executor
    await executor.stop()


async def test_it_has_ended_when_its_handler_did_and_not_when_a_blocked_loop_heard_of_it(
    executor: ThreadExecutor,
) -> None:
    began = Begun(executor, call(lambda ctx: None))
    while began.execution.ended is None:  # the loop must not turn
        time.sleep(0.001)  # noqa: ASYNC251 - it shall block
    ended = began.execution.ended

    await end_of(began)

    assert began.execution.started <= began.execution.ended == ended


async def test_a_stop_iteration_which_no_future_takes_is_an_error_of_the_handler(executor: ThreadExecutor) -> None:
    def handler(ctx: JobContext) -> None:
        raise StopIteration

    with pytest.raises(HandlerQuit, match="StopIteration"):
        await end_of(Begun(executor, call(handler)))


async def test_an_interrupt_wakes_a_sleeping_handler(executor: ThreadExecutor) -> None:
    channel = RecordingChannel()

    def handler(ctx: JobContext) -> None:
        try:
            ctx.log("begun")  # which is heard before it returns: the interrupt may come in it
            ctx.sleep(60)
        finally:
            ctx.log("cleaned up")

    execution = Begun(executor, call(handler, channel=channel))
    await channel.said("begun")
    execution.interrupt(Interruption.TIMEOUT)
    execution.interrupt(Interruption.CANCEL)
    with pytest.raises(Interrupted) as raised:
        await end_of(execution)
    assert raised.value.reason is Interruption.TIMEOUT
    assert channel.lines == ["begun", "cleaned up"]


async def test_threads_are_reused(executor: ThreadExecutor) -> None:
    def handler(ctx: JobContext) -> int:
        return threading.get_ident()

    first = await end_of(Begun(executor, call(handler)))
    assert await end_of(Begun(executor, call(handler))) == first


async def test_handlers_run_at_the_same_time(executor: ThreadExecutor) -> None:
    together = threading.Barrier(5)

    def handler(ctx: JobContext) -> None:
        together.wait(PATIENCE)

    await asyncio.gather(*(end_of(Begun(executor, call(handler))) for _ in range(5)))


async def test_many_that_wait_for_each_other_all_get_a_thread(executor: ThreadExecutor) -> None:
    together = threading.Barrier(50)

    def handler(ctx: JobContext) -> None:
        together.wait(PATIENCE)

    await asyncio.gather(*(end_of(Begun(executor, call(handler))) for _ in range(50)))


async def test_one_that_is_stopped_before_its_turn_never_begins(executor: ThreadExecutor) -> None:
    release, begun = threading.Event(), list[str]()

    def blocks(ctx: JobContext) -> None:
        release.wait(PATIENCE)

    def waits(ctx: JobContext) -> None:
        begun.append("waits")

    blocking = [Begun(executor, call(blocks)) for _ in range(4)]
    waiting = Begun(executor, call(waits))
    waiting.interrupt(Interruption.CANCEL)
    release.set()
    with pytest.raises(Interrupted) as raised:
        await end_of(waiting)
    assert raised.value.reason is Interruption.CANCEL
    assert begun == []
    await asyncio.gather(*map(end_of, blocking))


async def test_one_that_was_stopped_before_its_turn_leaves_no_thread_behind(executor: ThreadExecutor) -> None:
    release = threading.Event()

    def blocks(ctx: JobContext) -> None:
        release.wait(PATIENCE)

    blocking = [Begun(executor, call(blocks)) for _ in range(4)]
    waiting = Begun(executor, call(blocks))
    waiting.abandon()
    with pytest.raises(Abandoned, match="before a thread was free"):
        await end_of(waiting)
    assert not executor.left_behind
    release.set()
    await asyncio.gather(*map(end_of, blocking))


async def test_a_thread_that_the_system_refuses_once_is_asked_for_again(
    executor: ThreadExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals, start = iter([RuntimeError("can't start new thread")]), executor._start_thread
    release, last = threading.Event(), threading.Event()

    def refuse_once() -> None:
        if error := next(refusals, None):
            raise error
        start()

    blocking = [Begun(executor, call(lambda ctx: release.wait(PATIENCE))) for _ in range(4)]
    monkeypatch.setattr(executor, "_start_thread", refuse_once)
    await end_of(Begun(executor, call(lambda ctx: last.set())))
    assert last.is_set()
    assert next(refusals, None) is None
    release.set()
    await asyncio.gather(*map(end_of, blocking))


def refuse() -> None:
    raise RuntimeError("can't start new thread")


async def test_where_the_system_gives_no_more_threads_those_that_there_are_do_it(
    executor: ThreadExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    blocking = Begun(executor, call(lambda ctx: release.wait(PATIENCE)))
    monkeypatch.setattr(executor, "_start_thread", refuse)
    second = Begun(executor, call(lambda ctx: "done"))
    release.set()
    await end_of(blocking)
    assert await end_of(second) == "done"


async def test_without_any_thread_a_handler_is_refused(
    executor: ThreadExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "_start_thread", refuse)
    with pytest.raises(NotBegun, match="can't start new thread"):
        Begun(executor, call(lambda ctx: "done"))
    assert executor.running == set()


async def test_what_waits_too_long_for_a_thread_that_the_system_does_not_give_is_given_back(
    executor: ThreadExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, release, begun = threading.Event(), threading.Event(), threading.Event()

    def block(ctx: JobContext) -> None:
        running.set()
        release.wait(PATIENCE)

    blocking = Begun(executor, call(block))
    await asyncio.to_thread(running.wait, PATIENCE)
    monkeypatch.setattr(executor, "_start_thread", refuse)
    monkeypatch.setattr(thread, "START_LIMIT", 0.0)
    second = Begun(executor, call(lambda ctx: begun.set()))
    with pytest.raises(NotBegun, match="can't start new thread"):
        await end_of(second)
    release.set()
    await end_of(blocking)
    assert await end_of(Begun(executor, call(lambda ctx: "third"))) == "third"
    assert not begun.is_set()


async def test_what_is_told_never_to_begin_does_not(executor: ThreadExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where its thread has it in hand already."""
    in_hand, go_on, begun = threading.Event(), threading.Event(), threading.Event()
    run = thread.ThreadExecution.run

    def run_later(self: thread.ThreadExecution) -> bool:
        in_hand.set()
        assert go_on.wait(PATIENCE)
        return run(self)

    monkeypatch.setattr(thread.ThreadExecution, "run", run_later)
    handler = Begun(executor, call(lambda ctx: begun.set()))
    await asyncio.to_thread(in_hand.wait, PATIENCE)
    handler.abandon()
    with pytest.raises(Abandoned, match="before a thread was free"):
        await end_of(handler)
    go_on.set()
    await end_of(Begun(executor, call(lambda ctx: None)))
    assert not begun.is_set()
    assert not executor.left_behind


class Mute(BaseException):
    """An error that can't say what it is."""

    def __str__(self) -> str:
        raise ValueError("no words")


async def test_an_error_that_cannot_be_told_ends_its_handler_and_keeps_nobody_else(executor: ThreadExecutor) -> None:
    def mute(ctx: JobContext) -> None:
        raise Mute

    ends = [Begun(executor, call(handler)) for handler in (mute, lambda ctx: 1, mute, lambda ctx: 2)]
    for one in (ends[0], ends[2]):
        with pytest.raises(HandlerQuit, match="Mute though nobody asked it to stop"):
            await end_of(one)
    assert [await end_of(ends[1]), await end_of(ends[3])] == [1, 2]


async def test_threads_that_are_not_needed_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread, "IDLE_THREADS", 0.01)
    executor, threads = ThreadExecutor(), set[threading.Thread]()
    together = threading.Barrier(3)

    def handler(ctx: JobContext) -> None:
        threads.add(threading.current_thread())
        together.wait(PATIENCE)

    await asyncio.gather(*(end_of(Begun(executor, call(handler))) for _ in range(3)))
    assert len(threads) == 3
    for one in threads:
        await asyncio.to_thread(one.join, PATIENCE)
    assert not any(one.is_alive() for one in threads)

    together = threading.Barrier(1)
    await end_of(Begun(executor, call(handler)))
    await executor.stop()


async def test_no_variable_is_inherited(executor: ThreadExecutor) -> None:
    def handler(ctx: JobContext) -> str:
        before = variable.get()
        variable.set("of a handler")
        return before

    variable.set("of the loop")
    assert await end_of(Begun(executor, call(handler))) == "unset"
    assert await end_of(Begun(executor, call(handler))) == "unset"


def test_a_handler_that_outlives_the_loop_ends_quietly() -> None:
    release, thread = threading.Event(), list[threading.Thread]()

    def handler(ctx: JobContext) -> None:
        thread.append(threading.current_thread())
        ctx.log("begun")
        release.wait()

    async def leave() -> None:
        executor, channel = ThreadExecutor(), RecordingChannel()
        Begun(executor, call(handler, channel=channel)).finished.add_done_callback(lambda future: future.exception())
        await channel.said("begun")
        await executor.stop()
        assert len(executor.left_behind) == 1

    asyncio.run(leave())
    release.set()
    thread[0].join(PATIENCE)
    assert not thread[0].is_alive()


async def test_threads_do_not_keep_the_interpreter_alive() -> None:
    """The engine has a thread pool of its own for this reason."""
    code = """
import asyncio, threading
from fairlane.engine.executors.thread import ThreadExecutor
from tests.engine.recording import Begun, RecordingChannel, call
async def main():
    channel = RecordingChannel()
    def handler(ctx):
        ctx.log("begun")
        threading.Event().wait()
    Begun(ThreadExecutor(), call(handler, channel=channel))
    await channel.said("begun")
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    async with asyncio.timeout(PATIENCE):
        assert await process.wait() == 0
