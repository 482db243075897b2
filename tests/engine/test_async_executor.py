"""Handlers on the event loop."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from fairlane.engine.context import Interrupted, JobContext
from fairlane.engine.executors.async_ import AsyncExecutor
from fairlane.engine.executors.base import Abandoned, HandlerQuit
from fairlane.engine.reports import Checkpoint, Interruption
from tests.engine.recording import Begun, RecordingChannel, call, end_of, in_threads


@pytest.fixture
async def executor() -> AsyncIterator[AsyncExecutor]:
    executor = AsyncExecutor(in_threads())
    await executor.start()
    yield executor
    await executor.stop()


async def test_a_checkpoint_that_was_not_kept_fails_the_handler(executor: AsyncExecutor) -> None:
    async def handler(ctx: JobContext) -> None:
        ctx.checkpoint(1)

    with pytest.raises(OSError, match="full"):
        await end_of(Begun(executor, call(handler, channel=RecordingChannel(OSError("full")))))


async def test_an_interrupt_cancels(executor: AsyncExecutor) -> None:
    channel = RecordingChannel()

    async def handler(ctx: JobContext) -> None:
        ctx.log("begun")
        try:
            await ctx.sleep(60)
        finally:
            await ctx.checkpoint("so far")

    execution = Begun(executor, call(handler, channel=channel))
    await channel.said("begun")
    execution.interrupt(Interruption.TIMEOUT)
    execution.interrupt(Interruption.CANCEL)
    with pytest.raises(Interrupted) as raised:
        await end_of(execution)
    assert raised.value.reason is Interruption.TIMEOUT
    assert channel.of(Checkpoint) == [Checkpoint('"so far"')]
    assert not executor.left_behind


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="there the first step is taken at once")
async def test_an_interrupt_before_the_first_step_cancels(executor: AsyncExecutor) -> None:
    async def handler(ctx: JobContext) -> None:
        raise AssertionError

    execution = Begun(executor, call(handler))
    execution.interrupt(Interruption.CANCEL)
    with pytest.raises(Interrupted):
        await end_of(execution)


async def test_an_interrupted_handler_may_still_return(executor: AsyncExecutor) -> None:
    channel = RecordingChannel()

    async def handler(ctx: JobContext) -> str:
        ctx.log("begun")
        with suppress(asyncio.CancelledError):
            await ctx.sleep(60)
        return "nearly done anyway"

    execution = Begun(executor, call(handler, channel=channel))
    await channel.said("begun")
    execution.interrupt(Interruption.CANCEL)
    assert await end_of(execution) == "nearly done anyway"


async def test_stop_ends_what_still_runs() -> None:
    executor, ended = AsyncExecutor(in_threads()), asyncio.Event()

    async def handler(ctx: JobContext) -> None:
        try:
            await ctx.sleep(60)
        finally:
            ended.set()

    execution = Begun(executor, call(handler))
    await asyncio.sleep(0)
    await executor.stop()
    assert ended.is_set()
    with pytest.raises(HandlerQuit):
        await end_of(execution)


async def test_stop_tells_the_end_of_what_swallows_its_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told later, it met a worker that had stopped all that writes ends."""
    monkeypatch.setattr("fairlane.engine.executors.async_.TASKS_END", 0.01)
    executor, channel, release = AsyncExecutor(in_threads()), RecordingChannel(), asyncio.Event()

    async def handler(ctx: JobContext) -> None:
        ctx.log("begun")
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()

    execution = Begun(executor, call(handler, channel=channel))
    await channel.said("begun")
    await executor.stop()
    assert execution.finished.done()
    with pytest.raises(Abandoned, match="left behind"):
        await execution.finished
    release.set()
    await asyncio.wait({execution.execution.task})
