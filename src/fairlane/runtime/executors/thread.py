"""Runs plain handlers in threads.

The pool is our own because `ThreadPoolExecutor` joins its threads when the interpreter exits: one handler that never
returns would keep the worker from ever ending. Ours are daemons, and can be left behind.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from itertools import count
from queue import SimpleQueue
from typing import Final

from fairlane.runtime.executors.base import Abandoned, Call, Execution, OnEnd
from fairlane.runtime.reports import Interruption

_KEPT: Final = 32  # idle threads; beyond that a thread ends with its handler
_numbers = count(1)


class ThreadExecution(Execution):
    """`Execution` in a thread."""

    def __init__(self, call: Call, on_end: OnEnd, executor: "ThreadExecutor") -> None:
        super().__init__(call, on_end)
        self.loop = asyncio.get_running_loop()
        self._executor = executor

    def interrupt(self, reason: Interruption) -> None:
        """Tell the handler, which sees it at its next call of the context. The first reason stands."""
        self.call.context.interrupt.set(reason)

    def abandon(self) -> None:
        """Leave the thread behind, counted until the handler really ends."""
        if self.is_over:
            return
        self._executor.running.discard(self)
        self._executor.left_behind.add(self)
        self.tell(None, Abandoned("the handler did not stop when asked to; its thread was left behind"))

    def ended(self, value: object, raised: BaseException | None) -> None:
        """The handler has ended; what it leaves is dropped if it is too late. On the loop's thread."""
        self._executor.running.discard(self)
        self._executor.left_behind.discard(self)
        self.tell(value, raised)


class _HandlerThread:
    """A daemon thread that runs one handler after the other."""

    def __init__(self, on_idle: Callable[["_HandlerThread"], None]) -> None:
        self._on_idle = on_idle
        self._inbox: SimpleQueue[ThreadExecution | None] = SimpleQueue()
        threading.Thread(target=self._work, name=f"fairlane-handler-{next(_numbers)}", daemon=True).start()

    def run(self, execution: ThreadExecution) -> None:
        """Run this next."""
        self._inbox.put(execution)

    def end(self) -> None:
        """End after the handler that runs now."""
        self._inbox.put(None)

    def _work(self) -> None:
        while (execution := self._inbox.get()) is not None:
            value, raised = _outcome(execution.call)
            try:
                execution.loop.call_soon_threadsafe(self._ended, execution, value, raised)
            except RuntimeError:
                return  # the loop is closed: the worker left without this handler, nobody waits for its end
            del execution, value, raised  # an idle thread keeps nothing of its last job

    def _ended(self, execution: ThreadExecution, value: object, raised: BaseException | None) -> None:
        self._on_idle(self)
        execution.ended(value, raised)


class ThreadExecutor:
    """`Executor` with as many threads as handlers run, and a few idle ones to be reused.

    Attributes:
        running: what has not ended, but for what was abandoned.
        left_behind: what was abandoned and has not ended.
    """

    def __init__(self) -> None:
        self._idle: list[_HandlerThread] = []
        self.running: set[ThreadExecution] = set()
        self.left_behind: set[ThreadExecution] = set()
        self._stopped = False

    @property
    def abandoned(self) -> int:
        """How many threads were left behind and still run their handlers."""
        return len(self.left_behind)

    async def start(self) -> None:
        """Nothing to do: threads start as they are needed."""
        self._stopped = False

    async def stop(self) -> None:
        """End the idle threads; leave behind those that still run a handler."""
        self._stopped = True
        for execution in tuple(self.running):
            execution.abandon()
        while self._idle:
            self._idle.pop().end()

    def begin(self, call: Call, on_end: OnEnd) -> ThreadExecution:
        """Begin to run a plain handler. Raises RuntimeError if the system has no thread to give."""
        execution = ThreadExecution(call, on_end, self)
        thread = self._idle.pop() if self._idle else _HandlerThread(self._on_idle)
        self.running.add(execution)
        thread.run(execution)
        return execution

    def _on_idle(self, thread: _HandlerThread) -> None:
        if self._stopped or len(self._idle) >= _KEPT:
            thread.end()
        else:
            self._idle.append(thread)


def _outcome(call: Call) -> tuple[object, BaseException | None]:
    try:
        # An empty context: a variable that one handler sets is not there for the next.
        return contextvars.Context().run(call.job_type.handler, call.context, **call.arguments), None
    except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the handler, not to the thread
        return None, error
