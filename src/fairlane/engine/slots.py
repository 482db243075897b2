"""The slots of a worker: begin the attempts of claimed jobs, stop them, and hand on their outcomes.

A slot is taken until the attempt's last reports are written; then its outcome goes to the results.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

from fairlane.domain.events import JobStarted, LeaseLost, WorkerStopping, hears
from fairlane.domain.outcomes import Outcome, Released
from fairlane.domain.timing import LAST_HELD_ROWS, LAST_WRITES
from fairlane.engine.attempt import Attempt
from fairlane.engine.deps import FILE_THREADS, REPORT_THREADS, VALUE_THREADS, Deps
from fairlane.engine.executors.async_ import AsyncExecutor, InThread
from fairlane.engine.executors.base import START_LIMIT, Executor, Overdue
from fairlane.engine.executors.loop_threads import LoopThreads
from fairlane.engine.executors.process import ProcessExecutor
from fairlane.engine.executors.target import importable_target
from fairlane.engine.executors.thread import ThreadExecutor
from fairlane.engine.middleware import Middleware, around, refuse_async
from fairlane.engine.reports import Interruption
from fairlane.engine.results import Results
from fairlane.engine.service import in_thread, wait_until
from fairlane.engine.start_checks import Checked
from fairlane.jobtypes.job_type import JobType
from fairlane.jobtypes.options import Isolation
from fairlane.store.shared_threads import SharedThreads
from fairlane.store.statements.workers import WorkerCard

T = TypeVar("T")

_MOMENT: Final = 0.1  # seconds
_SHORT: Final = 10 * _MOMENT  # a timeout below gets its timer at once
VALUE_LIMIT: Final = START_LIMIT  # the most seconds that validators, or the encoding of a result, keep a turn
_TURN: Final = 0.005  # seconds that jobs are begun without a turn for others
_LOOKS: Final = 6  # in that time; a pause of the whole process makes only one of them late


class Slots:
    """The attempts that run on a worker: it begins them, stops them, and hands their outcomes to the results.

    On the loop's thread, unless a docstring says otherwise.

    Args:
        on_unfit: called with the reason why the worker must be replaced: the system gives it no thread or process.
        loop_threads: the threads that handlers get from asyncio, if the loop is the worker's own.

    Attributes:
        lost: lease tokens of jobs that the worker does not give back, as one of them has taken it down.
        changed: set whenever an attempt has ended or its result is written, and when jobs were found under the
            worker's lease that it does not know.

    Raises:
        ConfigurationError: a handler that should run in a process, or a middleware around it, can't be imported there.
            Or a middleware is async, and a handler is not.
    """

    def __init__(
        self,
        deps: Deps,
        card: WorkerCard,
        threads: ThreadPoolExecutor,
        results: Results,
        on_unfit: Callable[[str], None],
        loop_threads: LoopThreads,
    ) -> None:
        self.deps = deps
        self.on_unfit = on_unfit
        self.loop = asyncio.get_running_loop()
        self.stop_grace = deps.settings.stop_grace
        self.changed = results.changed
        self.opening = threading.Lock()  # held for a moment as an attempt gets its channel, or ends
        self.report_threads = SharedThreads(REPORT_THREADS, "fairlane-reports")
        self.file_threads = SharedThreads(FILE_THREADS, "fairlane-files")
        self._value_threads = SharedThreads(VALUE_THREADS, "fairlane-values")
        self._loop_threads = loop_threads
        self._values: dict[
            Future[Any], tuple[float, int]
        ] = {}  # its limit in seconds, and how often it was seen to run
        self._next_look: asyncio.TimerHandle | None = None
        self._job_types = _with_middlewares(deps.catalogue.mine, deps.middlewares)
        self.executors = _executors(self._job_types.values(), deps.middlewares, card.slots, self.in_value_thread)
        self._card = card
        self._threads = threads
        self._results = results
        self._hears = hears(deps.emit)
        self._attempts: dict[UUID, Attempt] = {}  # by lease token, the oldest first
        self._unclosed: dict[Attempt, Outcome] = {}  # attempts that have ended and whose reports are not written
        self._closing: set[asyncio.Task[None]] = set()  # tasks that write these
        self._are_deadlines_due = False
        self._is_grace_over = False
        self.lost: frozenset[UUID] = frozenset()

    async def start(self) -> None:
        """Start the executors, and the writing of results."""
        self._results.start()
        self._look_at_values()
        for executor in self.executors.values():
            await executor.start()

    async def stop(self) -> None:
        """Stop the executors and the results; no attempt runs any more."""
        if self._next_look is not None:
            self._next_look.cancel()
        async with AsyncExitStack() as steps:  # each step runs, even if another is cancelled
            steps.callback(self.report_threads.shutdown)
            steps.callback(self.file_threads.shutdown)
            steps.callback(self._value_threads.shutdown)
            steps.push_async_callback(self._results.stop)
            steps.push_async_callback(self._stop_closing)
            for executor in self.executors.values():
                steps.push_async_callback(executor.stop)

    def _look_at_values(self) -> None:
        """Take the turn from validators and results that take long, and leave behind those that are overdue."""
        pause = VALUE_LIMIT / _LOOKS
        for one, (limit, seen) in self._values.copy().items():
            if one.running():
                self._values[one] = limit, seen + 1
                if seen * pause >= VALUE_LIMIT:
                    self._value_threads.give_turn_away(one)
                if seen * pause >= limit:
                    self._value_threads.leave_behind(one, Overdue(f"after {limit:g} s"))
            elif one.done():
                self._values.pop(one, None)
        self._next_look = self.loop.call_later(pause, self._look_at_values)

    def in_value_thread(self, job_type: JobType[..., object], organization: str, work: Callable[[], T]) -> "Future[T]":
        """Run a handler's validators, or encode its result, in a thread; organizations take turns there.

        The work has its turn for `VALUE_LIMIT`, and may take as long as a handler of the type, if that is longer.

        Raises:
            RuntimeError: there is no thread.
        """
        timeout = job_type.options.timeout
        future = self._value_threads.submit([organization], work)
        self._values[future] = math.inf if timeout is None else max(VALUE_LIMIT, timeout), 0
        future.add_done_callback(lambda end: self._values.pop(end, None))
        return future

    async def _stop_closing(self) -> None:
        """Stop writing last reports: the database was away for too long.

        The worker tries again as it leaves; else others rescue the jobs.
        """
        for task in self._closing:
            task.cancel()
        if self._closing:
            await asyncio.wait(self._closing)

    @property
    def running(self) -> int:
        """Return the number of running attempts."""
        return len(self._attempts)

    @property
    def free(self) -> int:
        """Return the number of free slots. A left-behind handler's slot is replaced, up to the bound.

        An attempt that has ended frees its slot before its result is written. But at most as many results wait as there
        are slots: if the database is slow, they would become ever more.
        """
        slots = self._card.slots
        return min(slots, 2 * slots - len(self._results)) - self.running

    @property
    def are_exhausted(self) -> bool:
        """Return True if so many handlers were left behind that the worker should be replaced: a tenth, 1 to 10."""
        return self.left_behind() >= max(1, min(10, self._card.slots // 10))

    def left_behind(self) -> int:
        """Return the number of handlers that ignored their stop and still run, or whose threads do; from any thread."""
        handlers = sum(len(executor.left_behind) for executor in self.executors.values())
        return handlers + self._loop_threads.left_behind + self._value_threads.left_behind

    @property
    def has_work_left(self) -> bool:
        """Return True if an abandoned handler still runs, or a thread with validators or a result."""
        return self._value_threads.is_busy or self._loop_threads.is_busy or self.left_behind() > 0

    def tokens(self) -> frozenset[UUID]:
        """Return the lease tokens of the attempts that run here; from any thread."""
        return frozenset(self._attempts.copy())

    def known_tokens(self) -> frozenset[UUID]:
        """Return these lease tokens, and those of outcomes that are not written yet; from any thread."""
        return self.tokens() | self._results.tokens()

    def on_the_loop(self) -> tuple[tuple[str, ...], float]:
        """Return the types of the running async handlers, and the seconds that they may take; from any thread."""
        found = [one for one in self._attempts.copy().values() if one.is_on_the_loop]
        timeouts = [one.inputs.timeout if one.inputs.timeout is not None else math.inf for one in found]
        return tuple(sorted({one.job_type.name for one in found})), max(timeouts, default=0.0) + self.stop_grace

    async def begin(self, jobs: Sequence[Checked], now: datetime | None = None, *, release: bool = False) -> None:
        """Begin attempts, or end them at once: by the decision of their checks, or because the worker is stopping.

        The loop has turns for others meanwhile: 60 characters for unions in unions take 20 ms to decode.

        Args:
            now: the time by the database's clock; None = unknown.
        """
        hears_all, since = self._hears(JobStarted), time.monotonic()
        for one in jobs:
            inputs, outcome = one.inputs, one.decision
            if time.monotonic() - since > _TURN:
                await asyncio.sleep(0)
                since = time.monotonic()
            if outcome is None and release:
                outcome = Released("released at shutdown")
            if outcome is not None:
                self._results.add(inputs, outcome)
                continue
            attempt = self._attempts[inputs.lease_token] = Attempt(self, self._job_types[inputs.job_type], inputs)
            if hears_all:
                self.deps.emit(_started(one, now))
            if one.read is not None or not attempt.is_decoded_at_once(inputs):
                attempt.begin_with(one.read)
                continue
            attempt.begin()
            if inputs.timeout is not None and inputs.timeout < _SHORT:
                attempt.set_deadline()
        if self._attempts and not self._are_deadlines_due:
            self._are_deadlines_due = True
            self.loop.call_later(_MOMENT, self._set_deadlines)

    def _set_deadlines(self) -> None:
        """Set the timers of attempts that have run for a moment; most have ended by then.

        A timer for each would be one of the most expensive steps that a worker does for a job of a millisecond.
        """
        before = time.monotonic() - _MOMENT
        for attempt in self._attempts.values():
            if attempt.began > before:
                self.loop.call_later(_MOMENT, self._set_deadlines)
                return
            attempt.set_deadline()
        self._are_deadlines_due = False

    def stop_one(self, token: UUID, reason: Interruption) -> None:
        """Ask an attempt to stop, if it still runs."""
        attempt = self._attempts.get(token)
        if attempt is not None and attempt.stop(reason) and reason is Interruption.LEASE_LOST:
            inputs = attempt.inputs
            self.deps.emit(LeaseLost(inputs.organization, inputs.job_id, inputs.job_type))

    def lose(self) -> None:
        """Count the jobs whose handlers are on the loop as lost with the worker: one of them has taken it down."""
        found = {token: one for token, one in self._attempts.items() if one.is_on_the_loop}
        self.lost = frozenset(token for token, one in found.items() if one not in self._unclosed)
        for token in self.lost:
            found[token].stop(Interruption.LEASE_LOST)

    def on_lost(self, token: UUID) -> None:
        """Stop an attempt whose report found that the lease token is no longer valid; from any thread."""
        with suppress(RuntimeError):  # the loop is closed: the worker left without this attempt
            self.loop.call_soon_threadsafe(self.stop_one, token, Interruption.LEASE_LOST)

    def end_grace(self) -> None:
        """End the wait of `let_finish`."""
        self._is_grace_over = True
        self.changed.set()

    async def let_finish(self, grace: float) -> None:
        """Give attempts so many seconds to end."""
        if self._attempts:
            self.deps.emit(WorkerStopping(self._card.name, self.running, grace))
        await self._until_none(grace, ends_with_grace=True)

    async def finish_all(self) -> None:
        """Stop all attempts, and write all results.

        An outage of the database does not keep the worker for ever: other workers rescue jobs whose results are not
        written. As long as some are written, it goes on.
        """
        for attempt in tuple(self._attempts.values()):
            attempt.stop(Interruption.SHUTDOWN)
        await self._until_none(self.stop_grace)
        for attempt in tuple(self._attempts.values()):  # also those that had ignored a stop before
            attempt.abandon()
        # By now handlers have ended or are left behind, and the last results are being written.
        before = math.inf
        while 0 < self.running < before:
            before = self.running
            await self._until_none(LAST_WRITES)
        await self._results.join(LAST_WRITES)

    async def _until_none(self, seconds: float, *, ends_with_grace: bool = False) -> None:
        """Wait until no attempt runs, for so many seconds at most.

        With 0 seconds it does not give the loop a turn: if the whole loop is taken down, handlers would end first, as
        if by themselves.
        """
        until = self.loop.time() + seconds
        while self._attempts and not (ends_with_grace and self._is_grace_over):
            left = until - self.loop.time()
            if left <= 0:
                return
            self.changed.clear()
            await wait_until(self.changed, left)

    async def write_left(self) -> bool:
        """Write the results again that could not be written, when no attempt runs; return False if some can't be now.

        Raises:
            StorageUnavailable, ConfigurationError: nothing can be written.
        """
        # First, as it raises if the database is silent: then nothing else waits for an answer.
        is_written = await self._results.write_left()
        if self._unclosed:
            await self._close_left()
            is_written = await self._results.write_left()
        return is_written and not self._unclosed

    async def _close_left(self) -> None:
        waited = 0.0
        for attempt in tuple(self._unclosed):
            began, outcome = self.loop.time(), self._unclosed.pop(attempt)
            self._unclosed[attempt] = outcome  # to the end, so that another attempt is first the next time
            if await in_thread(self._threads, attempt.channel.write_left):
                self._end(attempt, self._unclosed.pop(attempt))
            elif (waited := waited + self.loop.time() - began) > LAST_HELD_ROWS:
                return

    def give_up(self) -> None:
        """Tell handlers that were left behind that their reports are not written any more."""
        for attempt in self._unclosed:
            attempt.channel.give_up()

    def on_unbegun(self, attempt: Attempt, outcome: Outcome) -> None:
        """Take the outcome of an attempt whose handler was not begun."""
        self.forget(attempt)
        if not attempt.is_lost:
            self._results.add(attempt.inputs, outcome)

    def on_end(self, attempt: Attempt, outcome: Outcome) -> None:
        """Take the outcome of an attempt. Its last reports are written before its result."""
        if attempt.shut():
            self._end(attempt, outcome)
            return
        self._unclosed[attempt] = outcome
        task = asyncio.create_task(self._close(attempt))
        self._closing.add(task)
        task.add_done_callback(partial(self._on_closed, attempt))

    def _on_closed(self, attempt: Attempt, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if task.cancelled():  # by this worker, or by code that ends the loop: nobody waits for the attempt any more
            self.forget(attempt)

    async def _close(self, attempt: Attempt) -> None:
        try:
            await attempt.channel.close()
        except Exception as error:  # noqa: BLE001 - a bug of Fairlane must not leave the job running for ever
            self._unclosed[attempt] = attempt.mistaken(error)
        self._end(attempt, self._unclosed.pop(attempt))

    def forget(self, attempt: Attempt) -> None:
        """Forget an attempt, without handing on an outcome."""
        self._attempts.pop(attempt.inputs.lease_token, None)
        self.changed.set()

    def _end(self, attempt: Attempt, outcome: Outcome) -> None:
        # From here on the watch must not mistake the result that is being written for a lost lease.
        self.forget(attempt)
        if not attempt.is_lost:
            self._results.add(
                attempt.inputs, outcome, attempt.seconds, has_checkpoint=attempt.has_checkpoint, has_run=True
            )


def _started(one: Checked, now: datetime | None) -> JobStarted:
    inputs, run_at = one.inputs, one.claimed.run_at
    waited = max((now - run_at).total_seconds(), 0.0) if now is not None and inputs.attempt == 1 else None
    return JobStarted(inputs.organization, inputs.job_id, inputs.job_type, inputs.attempt, waited)


def _with_middlewares(
    job_types: Mapping[str, JobType[..., object]], middlewares: Sequence[Middleware]
) -> Mapping[str, JobType[..., object]]:
    """Return the types with the middlewares around their handlers; a handler's process puts them around it itself."""
    if not middlewares:
        return job_types
    for one in job_types.values():
        refuse_async(middlewares, one.name, one.handler)
    return {
        name: one if one.isolation is Isolation.PROCESS else one.with_handler(around(one.handler, middlewares))
        for name, one in job_types.items()
    }


def _executors(
    job_types: Collection[JobType[..., object]], middlewares: Sequence[Middleware], slots: int, in_thread: InThread
) -> dict[Isolation, Executor]:
    """Return an executor for each isolation that one of the types has."""
    targets: tuple[tuple[str, str], ...] = ()
    for one in job_types:
        if one.isolation is Isolation.PROCESS:
            importable_target(one.handler)  # refused now, not at its first job
            targets = tuple(map(importable_target, middlewares))
    make: dict[Isolation, Callable[[], Executor]] = {
        Isolation.ASYNC: partial(AsyncExecutor, in_thread),
        Isolation.THREAD: ThreadExecutor,
        Isolation.PROCESS: partial(ProcessExecutor, slots, targets),
    }
    return {isolation: make[isolation]() for isolation in {one.isolation for one in job_types}}
