"""The threads of `asyncio.to_thread` and `run_in_executor(None, …)` in handlers.

asyncio gives a loop 32 threads at most. All handlers of a worker would share them, and a call that hangs keeps its
thread long after its job has timed out. So the rules here are:

* Each job has its own thread. Running jobs together may have more, up to the number that asyncio gives a loop.
* If an organization's jobs have abandoned too many threads, its running jobs get no new thread, and its ended jobs
  share one thread.
* All threads are daemons: the process ends without waiting for them.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from fairlane.domain.errors import TransientError
from fairlane.domain.timing import IDLE_THREADS
from fairlane.engine.context import JOB, Life
from fairlane.store.shared_threads import end_of

T = TypeVar("T")

MORE: Final = min(32, (os.cpu_count() or 1) + 4) - 1  # threads beyond the first of each running job
FEWEST: Final = 64  # threads that jobs of an organization may leave behind on a worker, however few slots it has
LONG: Final = 30.0  # seconds after a job's end, from which its running call counts as abandoned
_numbers = count(1)


class _Calls:
    """The calls of one job; `job` None: Fairlane's own calls."""

    __slots__ = ("begun", "job", "threads", "waiting")

    def __init__(self, job: Life | None) -> None:
        self.job = job
        self.waiting = deque[tuple[Future[Any], Callable[[], Any]]]()
        self.begun: dict[Future[Any], float] = {}  # when it began, by `time.monotonic()`
        self.threads = 0  # that make these calls

    def are_left_behind(self, now: float) -> bool:
        """Return True if the job ended long ago, and a call has run longer than the timeout of the job's type.

        The type's timeout counts, not the job's: otherwise a member could cancel jobs until the worker is replaced.
        """
        job = self.job
        if job is None or job.ended is None or job.timeout is None or now - job.ended < LONG:
            return False
        return any(now - began >= job.timeout for began in self.begun.values())


class LoopThreads(ThreadPoolExecutor):
    """The default executor of a worker's loop, which takes no other class than its base. It has threads of its own.

    Args:
        slots: how many jobs the worker runs at the same time. Those of an organization may leave twice as many threads
            behind: all of them can time out amid a call, and those that come next too.
    """

    def __init__(self, slots: int) -> None:
        super().__init__(1)
        self._most_left = max(FEWEST, 2 * slots)  # threads of jobs of an organization that are over
        self._guard = threading.Lock()  # for the attributes below
        self._calls: dict[Life | None, _Calls] = {}
        self._lines: dict[str, _Calls] = {}  # by organization: see `_calls_of`
        self._with_more: dict[Life, _Calls] = {}  # all running jobs with more than one thread, and some that had more
        self._busy = 0  # threads that make calls
        self._free = 0  # threads that wait for a job's calls
        self._is_closed = False
        self._given: SimpleQueue[_Calls | None] = SimpleQueue()  # to a free thread; None ends it

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Make the call in a thread of the job whose code submits it.

        Raises:
            TransientError: too many calls of its organization's ended jobs still run. Calls of ended jobs never get
                this error: such a call may come from a task that jobs of all organizations share.
            RuntimeError: the loop is closed, or the system has no thread to give.
        """
        future: Future[T] = Future()
        with self._guard:
            if self._is_closed:
                raise RuntimeError("The worker's loop is closed; its threads take no more calls.")
            mine = self._calls_of(JOB.get())
            if self._may_have_more(mine):
                try:
                    self._have_thread(mine)
                except RuntimeError:
                    if not mine.threads:  # otherwise the existing threads make all calls
                        raise
            mine.waiting.append((future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. Running calls continue, and nothing waits for them."""
        with self._guard:
            self._is_closed = True
            for _ in range(self._free):
                self._given.put(None)
            self._free = 0

    @property
    def is_busy(self) -> bool:
        """Return True if a call of a job runs, whether or not the job is over; from any thread."""
        with self._guard:
            return any(mine.begun or mine.waiting for job, mine in self._calls.items() if job is not None)

    @property
    def left_behind(self) -> int:
        """Count the jobs that ended long ago and still have a running call; from any thread."""
        now = time.monotonic()
        with self._guard:
            return sum(mine.are_left_behind(now) for mine in self._calls.values())

    def _calls_of(self, job: Life | None) -> _Calls:
        """Return the calls that a call of this job joins: those of the job itself, or those of its organization's line.

        The line is for ended jobs without a thread, if their organization has abandoned too many threads.

        Raises:
            TransientError: the job runs and has no thread, and its organization has abandoned too many threads.
        """
        mine = self._calls.get(job)
        if mine is not None:
            return mine
        mine = _Calls(job)
        if job is None or not self._are_too_many_left(job.organization):
            return mine
        if job.ended is None:
            raise TransientError(
                "Too many calls of your organization's ended jobs still run in threads of this worker.",
                retry_after=LONG,
            )
        line = self._lines.get(job.organization)
        if line is None or not line.threads:
            line = self._lines[job.organization] = mine
        return line

    def _may_have_more(self, mine: _Calls) -> bool:
        job = mine.job
        if job is None:
            return mine.threads <= MORE
        if not mine.threads:
            return True
        return job.ended is None and self._more_threads() < MORE and not self._are_too_many_left(job.organization)

    def _are_too_many_left(self, organization: str) -> bool:
        """Return True if too many threads make calls of the organization's ended jobs."""
        if self._busy < self._most_left:
            return False
        left = sum(
            mine.threads
            for job, mine in self._calls.items()
            if job is not None and job.ended is not None and job.organization == organization
        )
        return left >= self._most_left

    def _more_threads(self) -> int:
        """Return how many threads the running jobs have beyond their first threads."""
        more = {job: mine for job, mine in self._with_more.items() if job.ended is None and mine.threads > 1}
        self._with_more = more
        return sum(mine.threads - 1 for mine in more.values())

    def _have_thread(self, mine: _Calls) -> None:
        """Give these calls one more thread; under the lock."""
        if self._free:
            self._free -= 1
            self._given.put(mine)
        else:
            name = f"fairlane-loop-{next(_numbers)}"
            threading.Thread(target=self._run, args=(mine,), name=name, daemon=True).start()
        mine.threads += 1
        self._busy += 1
        self._calls[mine.job] = mine
        if mine.job is not None and mine.threads > 1:
            self._with_more[mine.job] = mine

    def _run(self, mine: _Calls | None) -> None:
        while mine is not None:
            while (taken := self._next(mine)) is not None:
                future, call = taken
                tell = end_of(future, call)
                with self._guard:
                    del mine.begun[future]
                tell()
                del future, call, taken, tell  # a free thread keeps no reference to its last job
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
            self._busy -= 1
            if not mine.threads:
                del self._calls[mine.job]
            self._free += not self._is_closed
            return None

    def _more(self) -> _Calls | None:
        """Wait for a job's calls; None: end this thread."""
        with suppress(Empty):
            return self._given.get(timeout=IDLE_THREADS)
        with self._guard:
            with suppress(Empty):
                return self._given.get_nowait()  # another thread has just given calls to this one
            self._free = max(self._free - 1, 0)
        return None
