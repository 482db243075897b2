"""A handler has the same outcomes on the loop and in a thread."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from fairlane.engine.context import Interrupted, JobContext
from fairlane.engine.executors.async_ import AsyncExecutor
from fairlane.engine.executors.base import Abandoned, Executor, HandlerQuit
from fairlane.engine.executors.thread import ThreadExecutor
from fairlane.engine.reports import Interruption, Progress
from tests.engine.recording import Begun, RecordingChannel, call, end_of, in_threads
from tests.patience import PATIENCE

Body = Callable[..., object]


@pytest.fixture(params=[partial(AsyncExecutor, in_threads()), ThreadExecutor], ids=["loop", "threads"])
async def executor(request: pytest.FixtureRequest) -> AsyncIterator[Executor]:
    executor: Executor = request.param()
    await executor.start()
    yield executor
    await executor.stop()


def handler_of(executor: Executor, body: Body) -> Callable[..., Any]:
    """A handler for this executor, which does what the plain function does."""
    if isinstance(executor, ThreadExecutor):
        return body

    async def handler(*arguments: Any, **named: Any) -> object:
        return body(*arguments, **named)

    return handler


async def test_the_result_comes_back(executor: Executor) -> None:
    channel = RecordingChannel()

    def body(ctx: JobContext, a: int) -> int:
        ctx.progress(10)
        return a + 1

    assert await end_of(Begun(executor, call(handler_of(executor, body), {"a": 1}, channel=channel))) == 2
    assert channel.reports == [Progress(10.0, None)]


@pytest.mark.parametrize("error", [ConnectionError("gone"), KeyError("x")])
async def test_the_error_comes_back(executor: Executor, error: Exception) -> None:
    def body(ctx: JobContext) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await end_of(Begun(executor, call(handler_of(executor, body))))
    assert raised.value.args == error.args


@pytest.mark.parametrize("error", [SystemExit("enough"), KeyboardInterrupt(), asyncio.CancelledError()])
async def test_what_would_end_the_worker_is_an_error_of_the_handler(executor: Executor, error: BaseException) -> None:
    def body(ctx: JobContext) -> None:
        raise error

    with pytest.raises(HandlerQuit, match=f"{type(error).__name__} though nobody asked it to stop: {error}"):
        await end_of(Begun(executor, call(handler_of(executor, body))))


async def test_a_handler_that_does_not_listen_is_left_behind_until_it_ends(executor: Executor) -> None:
    channel, release, loop = RecordingChannel(), asyncio.Event(), asyncio.get_running_loop()

    async def deaf(ctx: JobContext) -> str:
        ctx.log("begun")
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()
        return "too late"

    def deaf_in_a_thread(ctx: JobContext) -> str:
        with suppress(Interrupted):
            ctx.log("begun")
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        return "too late"

    handler = deaf if isinstance(executor, AsyncExecutor) else deaf_in_a_thread
    execution = Begun(executor, call(handler, channel=channel))
    await channel.said("begun")
    execution.interrupt(Interruption.TIMEOUT)
    execution.abandon()
    assert execution.finished.done()
    with pytest.raises(Abandoned, match="left behind"):
        await execution.finished
    assert len(executor.left_behind) == 1
    release.set()
    async with asyncio.timeout(PATIENCE):
        while executor.left_behind:  # noqa: ASYNC110 - its end is a callback of the loop
            await asyncio.sleep(0)
