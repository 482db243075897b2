"""The attempts that run on a worker, in its slots, from their begin until their end is written."""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Final
from uuid import UUID

from fairlane.domain.events import JobEnded, JobStarted, LeaseLost, ServiceFailed, WorkerStopping, hears
from fairlane.domain.outcomes import Deferred, ErrorReport, Failed, Outcome, Released
from fairlane.domain.statuses import JobStatus
from fairlane.engine.attempt import Attempt, Deadlines, make_bench
from fairlane.engine.breakers import Tally
from fairlane.engine.facts import Ready
from fairlane.engine.finisher import Finisher, FinisherParts
from fairlane.engine.parts import REPORT_THREADS, WorkerParts
from fairlane.engine.reports import AttemptFacts, Interruption
from fairlane.engine.service import in_thread, wait_until
from fairlane.registry.options import Isolation
from fairlane.store.statements.finish import Finish, Finished
from fairlane.store.statements.workers import WorkerCard

_LAST_WRITES: Final = 10.0  # seconds that a worker which leaves tries to write, if the database is away
_MOST_WAITING: Final = 1.0  # seconds for rows that somebody holds, in one of its last tries


def _abandoned_bound(slots: int) -> int:
    """How many left-behind handlers a worker bears before it is to be replaced: a tenth of its slots, 1 to 10."""
    return max(1, min(10, slots // 10))


class Crew:
    """Begins attempts, stops them, and hands their ends to the finisher. On the loop's thread, if not said otherwise.

    `changed` is set whenever an attempt has ended or its end is written, and when jobs were found under the worker's
    lease that it does not know; `released` counts those given back unfinished, `ended` how attempts ended.

    Args:
        on_written: called when an end is written, and told whether that may have made a job ready.
    """

    def __init__(
        self,
        parts: WorkerParts,
        card: WorkerCard,
        threads: ThreadPoolExecutor,
        tally: Tally,
        on_written: Callable[[bool], None],
    ) -> None:
        self._parts = parts
        self._hears = hears(parts.emit)
        self._tally = tally
        self._card = card
        self._on_written = on_written
        self._loop = asyncio.get_running_loop()
        self._job_types = parts.catalogue.mine
        self._report_threads = ThreadPoolExecutor(REPORT_THREADS, thread_name_prefix="fairlane-reports")
        self._bench = make_bench(parts, card.slots, self._report_threads, self._on_lost)
        self._finisher = Finisher(
            FinisherParts(parts.database, threads, parts.emit, self._on_finished, parts.keyring, parts.are_ours)
        )
        self._finishing: asyncio.Task[None] | None = None
        self._attempts: dict[UUID, Attempt] = {}
        self._deadlines = Deadlines(self._attempts.values(), self._loop)
        self._unwritten: dict[UUID, float] = {}  # leases whose end is being written, and how long the attempt took
        self._threads = threads
        self._closing: set[asyncio.Task[None]] = set()  # of attempts that have ended and whose reports are not written
        self._unclosed: deque[tuple[Attempt, Outcome]] = deque()  # those of which that was given up
        self._nothing_runs = asyncio.Event()
        self._nothing_runs.set()
        self._grace_over = asyncio.Event()
        self.on_broken: Callable[[], object] = bool  # called when no end is written here any more
        self.changed = asyncio.Event()
        self.released = 0
        self.ended: Counter[JobStatus] = Counter()

    async def start(self) -> None:
        """Start the executors and the finisher."""
        self._finishing = asyncio.create_task(self._finisher.run())
        self._finishing.add_done_callback(self._on_finisher_gone)
        for executor in self._bench.executors.values():
            await executor.start()

    async def stop(self) -> None:
        """Stop them; nothing runs any more."""
        async with AsyncExitStack() as steps:  # whatever cancels one of them
            steps.callback(self._report_threads.shutdown, wait=False, cancel_futures=True)
            steps.push_async_callback(self._finisher.close)
            steps.push_async_callback(self._end_tasks)
            for executor in self._bench.executors.values():
                steps.push_async_callback(executor.stop)

    async def _end_tasks(self) -> None:
        """Those of attempts that end only as their executor stops, too."""
        if tasks := [task for task in (*self._closing, self._finishing) if task is not None]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _on_finisher_gone(self, finishing: asyncio.Task[None]) -> None:
        """By a mistake of ours, if it was not stopped: no slot would get free any more, and no job be given up."""
        error = finishing.exception() if not finishing.cancelled() else None
        if isinstance(error, Exception):
            self._parts.emit(ServiceFailed("finisher", error))
            self.on_broken()

    @property
    def running(self) -> int:
        """How many attempts run."""
        return len(self._attempts)

    @property
    def unwritten(self) -> int:
        """How many have ended and are not written yet."""
        return len(self._unwritten)

    @property
    def free_slots(self) -> int:
        """How many more may begin. A left-behind handler's slot is replaced, up to the bound.

        An attempt that has ended makes room before its end is written, but no more wait to be written than there are
        slots: where the database is slow, they would become ever more.
        """
        slots = self._card.slots
        return min(slots, 2 * slots - self.unwritten) - self.running

    @property
    def is_exhausted(self) -> bool:
        """Whether so many handlers were left behind that the worker should be replaced."""
        return self.left_behind() >= _abandoned_bound(self._card.slots)

    def left_behind(self) -> int:
        """How many handlers ignored their stop and still go on; from any thread."""
        return sum(executor.abandoned for executor in self._bench.executors.values())

    def leases(self) -> frozenset[UUID]:
        """The leases under which attempts run here; from any thread."""
        return frozenset(self._attempts.copy())

    def known_leases(self) -> frozenset[UUID]:
        """The same, and those whose end is being written; from any thread."""
        return frozenset(self._attempts.copy()) | frozenset(self._unwritten.copy())

    def async_job_types(self) -> tuple[str, ...]:
        """The types of the async handlers that run now; from any thread."""
        return tuple(sorted({one.job_type.name for one in self._on_the_loop()}))

    def longest_stay(self) -> float:
        """How long, in seconds, a handler that runs on the loop now may take to end; from any thread."""
        timeouts = [one.facts.timeout for one in self._on_the_loop()]
        longest = max((math.inf if one is None else one for one in timeouts), default=0.0)
        return longest + self._bench.stop_grace

    def _on_the_loop(self) -> list[Attempt]:
        return [one for one in self._attempts.copy().values() if one.job_type.isolation is Isolation.ASYNC]

    def begin(self, ready: Ready, *, release: bool = False) -> None:
        """Begin an attempt, or end it at once: as its checks at start say, or because the worker is stopping."""
        facts = ready.facts
        verdict = Released("released at shutdown") if release and ready.verdict is None else ready.verdict
        if verdict is not None:
            self._finish(facts, verdict, seconds=0.0)
            return
        attempt = Attempt(self._bench, self._job_types[facts.job_type], facts, self._on_end)
        self._attempts[facts.lease_token] = attempt
        self._nothing_runs.clear()
        if self._hears(JobStarted):
            self._parts.emit(JobStarted(facts.organization, facts.job_id, facts.job_type, facts.attempt))
        attempt.begin()
        self._deadlines.begun(attempt)

    def stop_one(self, lease: UUID, reason: Interruption) -> None:
        """Ask one attempt to stop, if it still runs."""
        attempt = self._attempts.get(lease)
        if attempt is not None and attempt.stop(reason) and reason is Interruption.LEASE_LOST:
            facts = attempt.facts
            self._parts.emit(LeaseLost(facts.organization, facts.job_id, facts.job_type))

    def end_grace(self) -> None:
        """Let `let_finish` wait no longer."""
        self._grace_over.set()

    async def let_finish(self, grace: float) -> None:
        """Give attempts so many seconds to end."""
        if not self._attempts:
            return
        self._parts.emit(WorkerStopping(self._card.name, self.running, grace))
        if grace <= 0:
            return  # at once: where the whole loop is taken down, handlers would end first, as if by themselves
        over = asyncio.create_task(wait_until(self._grace_over, grace))
        ended = asyncio.create_task(self._nothing_runs.wait())
        try:
            await asyncio.wait({ended, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            ended.cancel()

    async def finish_all(self) -> None:
        """Stop what runs, and write all ends.

        An outage of the database does not keep the worker for ever: what it can't write, others will rescue. As long as
        something of them is written, it goes on.
        """
        for attempt in tuple(self._attempts.values()):
            attempt.stop(Interruption.SHUTDOWN)
        await wait_until(self._nothing_runs, self._bench.stop_grace)
        # Now handlers have ended or are left behind: what is left is being written.
        before = math.inf
        while 0 < self.running < before:
            before = self.running
            await wait_until(self._nothing_runs, _LAST_WRITES)
        await self._join_finisher()

    async def _join_finisher(self) -> None:
        """Unless it is gone, as where the whole loop is taken down."""
        if self._finishing is None:
            return
        joined = asyncio.create_task(self._finisher.join(_LAST_WRITES))
        try:
            await asyncio.wait({joined, self._finishing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            joined.cancel()

    async def write_left(self) -> bool:
        """Once more, when nothing runs any more: the ends that could not be written; False if some can't be now.

        Raises:
            StorageUnavailable, ConfigurationError: nothing can be.
        """
        # First, as it raises where the database is silent: nothing else then waits for an answer.
        is_written = await self._finisher.write_left()
        if self._unclosed:
            await self._close_left()
            is_written = await self._finisher.write_left()
        return is_written and not self._unclosed

    async def _close_left(self) -> None:
        waited = 0.0
        for _ in range(len(self._unclosed)):
            self._unclosed.rotate(-1)  # another one is the first, the next time
            attempt, outcome = left = self._unclosed[-1]
            began = self._loop.time()
            if await in_thread(self._threads, attempt.channel.write_left):
                self._unclosed.remove(left)  # behind which others may have come
                self._end(attempt, outcome)
            elif (waited := waited + self._loop.time() - began) > _MOST_WAITING:
                return

    def give_up(self) -> None:
        """What is left is not written any more, which handlers that were left behind may wait for."""
        for attempt, _ in self._unclosed:
            attempt.channel.give_up()

    def _on_end(self, attempt: Attempt, outcome: Outcome) -> None:
        if attempt.shut():
            self._end(attempt, outcome)
            return
        task = asyncio.create_task(self._close(attempt, outcome))
        self._closing.add(task)
        task.add_done_callback(partial(self._on_closed, attempt, outcome))

    def _on_closed(self, attempt: Attempt, outcome: Outcome, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if task.cancelled():  # perhaps before it began
            # The database was away for too long. It is tried again as the worker leaves; else others rescue the job.
            self._forget(attempt)
            self._unclosed.append((attempt, outcome))

    async def _close(self, attempt: Attempt, outcome: Outcome) -> None:
        """The handler's last reports are written before its end is; without them it has none."""
        try:
            await attempt.channel.close()
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not leave the job running for ever
            self._parts.emit(ServiceFailed("attempt", error))
            outcome = Failed(ErrorReport(type(error).__name__, "the worker failed to run the attempt; see its log"))
        self._end(attempt, outcome)

    def _forget(self, attempt: Attempt) -> None:
        self._attempts.pop(attempt.facts.lease_token, None)
        self.changed.set()
        if not self._attempts:
            self._nothing_runs.set()

    def _end(self, attempt: Attempt, outcome: Outcome) -> None:
        # From here on the watch must not take the end that is being written for a lost lease.
        self._forget(attempt)
        if not attempt.is_lost:
            self._finish(
                attempt.facts, outcome, seconds=attempt.seconds, has_checkpoint=attempt.has_checkpoint, has_run=True
            )

    def _finish(
        self,
        facts: AttemptFacts,
        outcome: Outcome,
        *,
        seconds: float,
        has_checkpoint: bool = True,
        has_run: bool = False,
    ) -> None:
        self._unwritten[facts.lease_token] = seconds
        backoff = self._job_types[facts.job_type].options.backoff
        key = facts.organization, facts.job_id, facts.job_type, facts.lease_token
        self._finisher.add(Finish(*key, outcome, backoff, self._card.name, has_checkpoint, has_run))

    def _on_finished(self, finished: Finished) -> None:
        item, transition = finished.finish, finished.transition
        seconds = self._unwritten.pop(item.lease_token)
        self.changed.set()
        self._on_written(finished.may_free)
        if transition is None:
            return
        # What is put back for a while, as its key is not here, never began.
        if isinstance(item.outcome, Released) and not item.outcome.seconds:
            self.released += 1
        met = item.outcome.error if isinstance(item.outcome, Deferred) else transition.error
        error = met.error_type if met is not None else None
        first = transition.steps[0].target
        if not isinstance(item.outcome, Failed) or item.outcome.is_of_handler:
            self._tally.add(item.organization, item.job_type, first, seconds)
        ended = first if transition.target is JobStatus.QUEUED else transition.target
        self.ended[ended] += 1
        if error is not None or self._hears(JobEnded):
            self._parts.emit(
                JobEnded(item.organization, item.job_id, item.job_type, ended, error, seconds, transition.failed)
            )

    def _on_lost(self, lease: UUID) -> None:
        """From any thread."""
        with suppress(RuntimeError):  # the loop is closed: the worker left without this attempt
            self._loop.call_soon_threadsafe(self.stop_one, lease, Interruption.LEASE_LOST)
