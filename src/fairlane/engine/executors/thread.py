"""Run plain handlers in threads.

The pool is Fairlane's own because `ThreadPoolExecutor` joins its threads when the interpreter exits: a handler that
never returns would keep the worker from ever ending. These threads are daemons, and can be left behind.

Handlers that begin together wait in one queue for a few threads, since few threads finish short handlers sooner: more
threads would only take turns. More threads start, up to one for each handler, while some handlers wait and the process
has time to spare, for example because handlers wait for something themselves.
"""

import asyncio
import contextvars
import threading
import time
from collections import deque
from itertools import count
from queue import SimpleQueue
from typing import Final

from fairlane.domain.timing import IDLE_THREADS
from fairlane.engine.context import JOB, Interrupted
from fairlane.engine.executors.base import JUDGED, START_LIMIT, Abandoned, Call, Execution, Executor, NotBegun, OnEnd
from fairlane.engine.reports import Interruption

_FEW: Final = 4  # threads that start at once
_MOMENT: Final = 0.005  # seconds between two looks at waiting handlers
_BUSY: Final = 0.5  # of a core: a process that uses more has no time to spare
_LONG: Final = 0.25  # the most seconds that a handler should wait for a thread
_numbers = count(1)


class ThreadExecution(Execution):
    """`Execution` in a thread."""

    def __init__(self, call: Call, on_end: OnEnd, executor: "ThreadExecutor") -> None:
        super().__init__(call, on_end)
        self.queued = time.monotonic()
        self.entered = self.started = None
        self._executor = executor
        self._turn = threading.Lock()  # taken once: by the thread that begins it, or by `never_begin`

    def interrupt(self, reason: Interruption) -> None:
        """Tell the handler, which sees it at its next call of the context. The first reason stands."""
        self.call.context.interrupt.set(reason)

    def abandon(self) -> None:
        """Leave the thread behind, counted until the handler really ends. A handler that has not begun never begins."""
        if self.is_over:
            return
        if not self.never_begin(Abandoned("the handler had to stop before a thread was free for it")):
            self._executor.running.discard(self)
            self._executor.left_behind.add(self)
            self.tell(None, Abandoned("the handler did not stop when asked to; its thread was left behind"))

    def never_begin(self, error: Exception) -> bool:
        """End it with this error if no thread has begun it; return False if a thread has."""
        if not self._turn.acquire(blocking=False):
            return False
        self._executor.running.discard(self)
        self.tell(None, error)
        return True

    def run(self) -> bool:
        """Run the handler, and judge its value or error; return True if it raised. In its thread."""
        value, raised = self._call()
        if (value is not None or raised is not None) and not self.is_over:
            self.judge(value, raised)
        has_raised = raised is not None
        del value, raised  # the error's traceback has this frame, and no reference cycle shall be left
        return has_raised

    def _call(self) -> tuple[object, BaseException | None]:
        reason = self.call.context.interrupt.reason
        if not self._turn.acquire(blocking=False) or reason is not None:  # stopped before its turn came
            return None, Interrupted(reason or Interruption.SHUTDOWN)
        self.entered = self.started = time.monotonic()
        try:
            # An empty context: the next handler does not see a variable that this one sets.
            variables = contextvars.Context()
            variables.run(JOB.set, self.life)
            return variables.run(self.call.job_type.handler, self.call.context, **self.call.arguments), None
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the handler, not to the thread
            return None, error
        finally:
            self.ended = time.monotonic()  # the loop may hear of it much later


class ThreadExecutor(Executor):
    """`Executor` with no more threads than handlers.

    Attributes:
        running: the executions that have not ended, except abandoned ones.
        left_behind: the executions that were abandoned and have not ended.
    """

    def __init__(self) -> None:
        self.running: set[ThreadExecution] = set()
        self.left_behind: set[ThreadExecution] = set()
        self._inbox: SimpleQueue[ThreadExecution | None] = SimpleQueue()  # None ends a thread
        self._waiting: deque[ThreadExecution] = deque()  # those in the inbox, and maybe some that have begun
        self._outbox: deque[tuple[ThreadExecution, bool]] = deque()
        self._is_told = False  # the loop knows of the outbox: it is woken once for all that end together
        self._threads = 0
        self._most = 0  # handlers at a time, since the last look at idle threads
        self._growing: asyncio.TimerHandle | None = None
        self._shrinking: asyncio.TimerHandle | None = None
        self._looked = (0.0, 0.0)

    async def stop(self) -> None:
        """End the idle threads; leave behind those that still run a handler."""
        for execution in tuple(self.running):
            execution.abandon()
        for timer in (self._growing, self._shrinking):
            if timer is not None:
                timer.cancel()
        self._growing = self._shrinking = None
        self._end_threads(self._threads)

    def begin(self, call: Call, on_end: OnEnd) -> ThreadExecution:
        """Begin to run a plain handler, as soon as a thread is free.

        Raises NotBegun if the system gives no thread.
        """
        execution = ThreadExecution(call, on_end, self)
        needed = self._unfinished + 1
        if self._threads < min(_FEW, needed):
            try:
                self._start_thread()
            except RuntimeError as error:
                if not self._threads:  # else the present threads will take it
                    raise NotBegun(str(error)) from error
        self.running.add(execution)
        self._inbox.put(execution)
        self._waiting.append(execution)
        self._most = max(self._most, needed)
        self._count_waiting()
        if self._growing is None and needed > self._threads:
            self._looked = time.process_time(), time.monotonic()
            self._growing = asyncio.get_running_loop().call_later(_MOMENT, self._grow)
        return execution

    @property
    def _unfinished(self) -> int:
        return len(self.running) + len(self.left_behind)

    def _grow(self) -> None:
        """Start threads for waiting handlers: twice as many, or one more if they would only take turns."""
        before, self._looked = self._looked, (time.process_time(), time.monotonic())
        is_busy = self._looked[0] - before[0] > _BUSY * (self._looked[1] - before[1])
        waiting = self._count_waiting()
        most = waiting if self._wait() > _LONG else 1 if is_busy else max(self._threads, 1)
        try:
            for _ in range(min(most, waiting, self._unfinished - self._threads)):
                self._start_thread()
        except RuntimeError as error:
            # If the system gives no more, the present threads will take it, unless they are busy for long.
            while self._wait() > START_LIMIT:
                self._waiting.popleft().never_begin(NotBegun(str(error)))
            waiting = self._count_waiting()
        again = waiting > 0 and self._unfinished > self._threads
        self._growing = asyncio.get_running_loop().call_later(_MOMENT, self._grow) if again else None

    def _count_waiting(self) -> int:
        """Return how many have not begun; forget those in front that have."""
        while self._waiting and (self._waiting[0].started is not None or self._waiting[0].is_over):
            self._waiting.popleft()
        return len(self._waiting)

    def _wait(self) -> float:
        """Return the seconds that the first of them has waited."""
        return time.monotonic() - self._waiting[0].queued if self._waiting else 0.0

    def _start_thread(self) -> None:
        loop = asyncio.get_running_loop()
        name = f"fairlane-handler-{next(_numbers)}"
        threading.Thread(target=self._work, args=(loop,), name=name, daemon=True).start()
        self._threads += 1
        if self._shrinking is None:
            self._shrinking = loop.call_later(IDLE_THREADS, self._shrink)

    def _shrink(self) -> None:
        """End the threads that were not needed lately."""
        self._end_threads(self._threads - self._most)
        self._most = self._unfinished
        self._shrinking = asyncio.get_running_loop().call_later(IDLE_THREADS, self._shrink) if self._threads else None

    def _end_threads(self, number: int) -> None:
        for _ in range(number):
            self._inbox.put(None)
            self._threads -= 1

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (execution := self._inbox.get()) is not None:
            self._outbox.append((execution, execution.run()))
            del execution  # an idle thread keeps nothing of its last job
            if not self._is_told:
                self._is_told = True
                try:
                    loop.call_soon_threadsafe(self._tell_ends)
                except RuntimeError:
                    return  # the loop is closed: the worker left without this handler, nobody waits for its end

    def _tell_ends(self) -> None:
        """Tell the ends of executions."""
        self._is_told = False  # before the look, so that a later end wakes the loop again
        while self._outbox:
            execution, has_raised = self._outbox.popleft()
            self.running.discard(execution)
            self.left_behind.discard(execution)
            execution.tell(None, JUDGED if has_raised else None)
