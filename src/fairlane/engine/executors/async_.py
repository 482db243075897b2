"""Run `async def` handlers as tasks of the worker's loop.

A task can be asked to stop, but not forced: a task that swallows its cancellation and goes on is left behind, and
counted until it ends. `engine.loop_watch` finds a handler that blocks the loop.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeAlias

from fairlane.domain.classify import is_brief
from fairlane.domain.outcomes import Completed
from fairlane.domain.timing import TASKS_END
from fairlane.engine.executors.base import (
    JUDGED,
    Abandoned,
    Call,
    Execution,
    Executor,
    OnEnd,
    Overdue,
    Raised,
    overdue_report,
    run_async,
)
from fairlane.engine.reports import Interruption
from fairlane.jobtypes.job_type import JobType
from fairlane.jobtypes.parameters_values import encode_small

# Runs work in a thread, for a type and an organization.
InThread: TypeAlias = Callable[[JobType[..., Any], str, Callable[[], None]], "Future[Any]"]

_FEW: Final = 1_000  # characters of parameters; the secrets of longer ones are listed in a thread
# An eager task may have ended already when it is made: a handler that waits for nothing costs no turn of the loop.
_EAGER: Final[dict[str, Any]] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class AsyncExecution(Execution):
    """`Execution` of a task."""

    __slots__ = ("_executor", "task")

    def __init__(self, call: Call, on_end: OnEnd, executor: "AsyncExecutor") -> None:
        super().__init__(call, on_end)
        self._executor = executor
        handler = run_async(call.job_type.handler, call.context, call.arguments, self.life)
        self.task = asyncio.Task(handler, loop=executor.loop, name=call.inputs.job_type, **_EAGER)
        if self.task.done():
            self._on_done(self.task)
        else:
            executor.running.add(self)
            self.task.add_done_callback(self._on_done)

    def interrupt(self, reason: Interruption) -> None:
        """Cancel the task. The first reason stands, a second call does nothing."""
        if not self.task.done() and self.call.context.interrupt.set(reason):
            self.task.cancel()

    def abandon(self) -> None:
        """Cancel the task once more and leave it behind."""
        if self.is_over:
            return
        self._executor.left_behind.add(self)
        self.tell(None, Abandoned("the handler swallowed its cancellation and was left behind, running"))
        self.task.cancel()

    def _on_done(self, task: "asyncio.Task[object]") -> None:
        # Always read: asyncio logs an exception that was never retrieved.
        raised: BaseException | None = asyncio.CancelledError() if task.cancelled() else task.exception()
        # Compared with None: an exception may have a length, and so be false.
        value = task.result() if raised is None else None
        if self._is_short(value, raised) or self.is_over or not self._judge_in_thread(value, raised):
            self._end(value, raised)

    def _is_short(self, value: object, raised: BaseException | None) -> bool:
        """Return True if its end can be judged on the loop."""
        if raised is not None:
            was_asked = self.call.context.interrupt.reason is not None
            is_stop = was_asked and issubclass(type(raised), asyncio.CancelledError)
            return is_stop or (len(self.call.inputs.parameters) <= _FEW and is_brief(raised))
        if value is None:
            return True
        text = encode_small(value, limit=self.call.channel.result_limit)
        if text is not None:
            self.outcome = Completed(text)
        return text is not None

    def _judge_in_thread(self, value: object, raised: BaseException | None) -> bool:
        """Judge the end in a thread if it would hold up the loop; organizations take turns. False: there is no thread.

        Until that is done, the handler counts as running.
        """
        self.ended = time.monotonic()
        try:
            work = partial(self.judge, value, raised)
            judged = self._executor.in_thread(self.call.job_type, self.call.inputs.organization, work)
        except RuntimeError:
            return False
        self._executor.running.add(self)
        judged.add_done_callback(partial(self._on_judged, value, raised))
        return True

    def _on_judged(self, value: object, raised: BaseException | None, judged: "Future[Any]") -> None:
        end: Raised | None = raised
        overdue = None if judged.cancelled() else judged.exception()
        if isinstance(overdue, Overdue):
            name = self.call.job_type.name
            left, verb = ("result", "returns") if raised is None else ("error", "raises")
            what = f"its {left} was still being encoded {overdue}: see what {name} {verb}"
            value, end = None, overdue_report(what, name)
        elif self.outcome is not None:
            value, end = None, JUDGED if raised is not None else None
        with suppress(RuntimeError):  # the loop is closed: the worker left without it
            self._executor.loop.call_soon_threadsafe(self._end, value, end)

    def _end(self, value: object, raised: Raised | None) -> None:
        self._executor.running.discard(self)
        if self.is_over:
            self._executor.left_behind.discard(self)
        self.tell(value, raised)


class AsyncExecutor(Executor):
    """`Executor` on the loop that runs when it is made.

    Args:
        in_thread: judges an end that takes long in a thread; raises RuntimeError if there is none.

    Attributes:
        running: the executions that have not ended.
        left_behind: those of them that were abandoned.
    """

    def __init__(self, in_thread: InThread) -> None:
        self.in_thread = in_thread
        self.loop = asyncio.get_running_loop()
        self.running: set[AsyncExecution] = set()
        self.left_behind: set[AsyncExecution] = set()

    async def stop(self) -> None:
        """Cancel running handlers, and give them a moment to end; abandon the rest."""
        running = tuple(self.running)
        for execution in running:
            execution.task.cancel()
        try:
            if running:
                await asyncio.wait({execution.task for execution in running}, timeout=TASKS_END)
        finally:
            for execution in running:
                execution.abandon()

    def begin(self, call: Call, on_end: OnEnd) -> AsyncExecution:
        """Begin to run an `async def` handler."""
        return AsyncExecution(call, on_end, self)
