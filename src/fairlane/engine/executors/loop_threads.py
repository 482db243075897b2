"""The threads that handlers have by asyncio: `asyncio.to_thread`, `run_in_executor(None, …)`, `getaddrinfo`.

asyncio gives a loop 32 threads at most. All handlers of a worker would share them, and a call that hangs keeps its
thread long after its job has timed out. So each job has as many threads as asyncio gives a loop, and what it hands to
them waits for its own alone. They are daemons: nobody waits for them at the end.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol, TypeVar

from fairlane.store.shared_threads import end_of

T = TypeVar("T")

EACH: Final = min(32, (os.cpu_count() or 1) + 4)  # threads of one job at a time
LONG: Final = 30.0  # seconds, after which a call whose job is over counts as left behind
_IDLE: Final = 10.0  # seconds until a thread that nobody needs ends
_numbers = count(1)


class Ending(Protocol):
    """A handler on its way."""

    @property
    def is_over(self) -> bool:
        """Return True if its end was told."""


# Whose code it is that runs on the loop; None: Fairlane's own.
JOB: Final[ContextVar[Ending | None]] = ContextVar("fairlane_loop_job", default=None)


class _Calls:
    """The calls of one job."""

    __slots__ = ("begun", "job", "threads", "waiting")

    def __init__(self, job: Ending | None) -> None:
        self.job = job
        self.waiting = deque[tuple[Future[Any], Callable[[], Any]]]()
        self.begun: dict[Future[Any], float] = {}  # when it began, by `time.monotonic()`
        self.threads = 0  # that make these calls


class LoopThreads(ThreadPoolExecutor):
    """The default executor of a worker's loop, which takes no other class than its base. It has threads of its own."""

    def __init__(self) -> None:
        super().__init__(1)
        self._guard = threading.Lock()  # of what follows
        self._calls: dict[Ending | None, _Calls] = {}
        self._free = 0  # threads that wait for a job's calls
        self._is_closed = False
        self._given: SimpleQueue[_Calls | None] = SimpleQueue()  # to a free thread; None ends it

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Make the call in a thread of the job whose code asks for it.

        Raises:
            RuntimeError: the loop is closed, or the system has no thread to give.
        """
        future: Future[T] = Future()
        job = JOB.get()
        with self._guard:
            if self._is_closed:
                raise RuntimeError("The worker's loop is closed; its threads take no more calls.")
            mine = self._calls.setdefault(job, _Calls(job))
            if mine.threads < EACH:
                try:
                    self._have_thread(mine)
                except RuntimeError:
                    if not mine.threads:  # else those that there are make all calls
                        del self._calls[job]
                        raise
            mine.waiting.append((future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. Nobody waits for those that run."""
        with self._guard:
            self._is_closed = True
            for _ in range(self._free):
                self._given.put(None)
            self._free = 0

    @property
    def is_busy(self) -> bool:
        """Return True if a call of a job runs, whether or not the job is over; from any thread."""
        with self._guard:
            return any(job is not None for job in self._calls)

    @property
    def left_behind(self) -> int:
        """Return how many calls of jobs that are over have run for long; from any thread."""
        before = time.monotonic() - LONG
        with self._guard:
            over = [one for job, one in self._calls.items() if job is not None and job.is_over]
            return sum(began < before for one in over for began in one.begun.values())

    def _have_thread(self, mine: _Calls) -> None:
        """Have one more thread make these calls; under the lock."""
        if self._free:
            self._free -= 1
            self._given.put(mine)
        else:
            name = f"fairlane-loop-{next(_numbers)}"
            threading.Thread(target=self._run, args=(mine,), name=name, daemon=True).start()
        mine.threads += 1

    def _run(self, mine: _Calls | None) -> None:
        while mine is not None:
            while (taken := self._next(mine)) is not None:
                future, call = taken
                tell = end_of(future, call)
                with self._guard:
                    del mine.begun[future]
                tell()
                del future, call, taken, tell  # a free thread keeps nothing of its last job
            mine = None
            mine = self._more()

    def _next(self, mine: _Calls) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._guard:
            while mine.waiting:
                taken = mine.waiting.popleft()
                if taken[0].set_running_or_notify_cancel():
                    mine.begun[taken[0]] = time.monotonic()
                    return taken
            mine.threads -= 1
            if not mine.threads:
                del self._calls[mine.job]
            self._free += not self._is_closed
            return None

    def _more(self) -> _Calls | None:
        """Wait for a job's calls; None: end this thread."""
        with suppress(Empty):
            return self._given.get(timeout=_IDLE)
        with self._guard:
            with suppress(Empty):
                return self._given.get_nowait()  # somebody counted on this thread just now
            self._free = max(self._free - 1, 0)
        return None
