"""Runs `async def` handlers as tasks of the worker's loop.

A task can be asked to stop, not made to: one that swallows its cancellation and goes on is left behind, counted until
it ends. A handler that blocks the loop is another matter, seen by `runtime.loop_watch`.
"""

import asyncio
from typing import Final

from fairlane.runtime.executors.base import Abandoned, Call, ending, run_async, settle
from fairlane.runtime.reports import Interruption

_STOP_WAIT: Final = 1.0  # seconds; for tasks to end after their cancellation when the worker leaves


class AsyncExecution:
    """`Execution` of a task."""

    def __init__(self, call: Call, left_behind: set["AsyncExecution"]) -> None:
        loop = asyncio.get_running_loop()
        self.finished: asyncio.Future[object] = loop.create_future()
        self._interrupt = call.context.interrupt
        self._left_behind = left_behind
        self.task = loop.create_task(_run(call), name=f"{call.facts.job_type} {call.facts.job_id}")
        self.task.add_done_callback(self._on_done)

    def interrupt(self, reason: Interruption) -> None:
        """Cancel the task. The first reason stands, a second call does nothing."""
        if not self.task.done() and self._interrupt.set(reason):
            self.task.cancel()

    def abandon(self) -> None:
        """Cancel the task once more and leave it behind."""
        if self.finished.done():
            return
        self.finished.set_exception(Abandoned("the handler swallowed its cancellation and was left behind, running"))
        self._left_behind.add(self)
        self.task.cancel()

    def _on_done(self, task: "asyncio.Task[object]") -> None:
        self._left_behind.discard(self)
        # Asked for in any case: an exception that nobody looked at is logged by asyncio.
        raised: BaseException | None = asyncio.CancelledError() if task.cancelled() else task.exception()
        settle(self.finished, None if raised else task.result(), raised, self._interrupt.reason)


class AsyncExecutor:
    """`Executor` on the running loop."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[object]] = set()
        self._left_behind: set[AsyncExecution] = set()

    @property
    def abandoned(self) -> int:
        """How many tasks were left behind and still run."""
        return len(self._left_behind)

    async def start(self) -> None:
        """Nothing to do: the loop runs."""

    async def stop(self) -> None:
        """Cancel what still runs, and give it a moment to end."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=_STOP_WAIT)

    def begin(self, call: Call) -> AsyncExecution:
        """Begin to run an `async def` handler."""
        execution = AsyncExecution(call, self._left_behind)
        self._running.add(execution.task)
        execution.task.add_done_callback(self._running.discard)
        return execution


async def _run(call: Call) -> object:
    try:
        return await run_async(call.job_type.handler, call.context, call.arguments)
    except (SystemExit, KeyboardInterrupt) as error:
        # A task that raises these ends the loop, and with it all other jobs.
        raise ending(error, call.context.interrupt.reason) from error
