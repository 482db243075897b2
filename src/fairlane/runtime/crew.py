"""The attempts that run on a worker, in its slots, from their begin until their end is written."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from fairlane.domain.events import JobEnded, JobStarted, LeaseLost, WorkerStopping
from fairlane.domain.outcomes import Outcome, Released
from fairlane.domain.statuses import JobStatus
from fairlane.registry.options import Isolation
from fairlane.runtime.attempt import Attempt, Bench
from fairlane.runtime.claims import Ready
from fairlane.runtime.executors.async_ import AsyncExecutor
from fairlane.runtime.executors.base import Executor
from fairlane.runtime.executors.process import ProcessExecutor
from fairlane.runtime.executors.thread import ThreadExecutor
from fairlane.runtime.finisher import Finisher, FinisherParts
from fairlane.runtime.parts import WorkerParts
from fairlane.runtime.reporter import AttemptChannel, Desk
from fairlane.runtime.reports import Interruption
from fairlane.runtime.service import in_thread, wait_until
from fairlane.store.statements.finish import Finish, Finished
from fairlane.store.statements.workers import WorkerCard

_REPORT_THREADS = 4


def _abandoned_bound(slots: int) -> int:
    """How many left-behind handlers a worker bears before it is to be replaced: a tenth of its slots, 1 to 10."""
    return max(1, min(10, slots // 10))


class Crew:
    """Begins attempts, stops them, and hands their ends to the finisher. All on the loop's thread, but `leases`."""

    def __init__(self, parts: WorkerParts, card: WorkerCard, threads: ThreadPoolExecutor) -> None:
        self._parts = parts
        self._card = card
        self._threads = threads
        self._report_threads = ThreadPoolExecutor(_REPORT_THREADS, thread_name_prefix="fairlane-reports")
        self._bench = self._make_bench()
        self._finisher = Finisher(
            FinisherParts(parts.database, threads, parts.emit, parts.settings.dead_letter_alert, self._on_finished)
        )
        self._finishing: asyncio.Task[None] | None = None
        self._attempts: dict[UUID, Attempt] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._started: dict[UUID, float] = {}
        self._changed = asyncio.Event()
        self._grace_over = asyncio.Event()
        self.unwritten = 0
        self.released = 0

    def _make_bench(self) -> Bench:
        parts, settings = self._parts, self._parts.settings
        desk = Desk(parts.database, parts.artifacts, self._report_threads, parts.emit, settings.progress_interval)
        isolations = {one.isolation for one in parts.catalogue.mine.values()}
        executors: dict[Isolation, Executor] = {}
        if Isolation.ASYNC in isolations:
            executors[Isolation.ASYNC] = AsyncExecutor()
        if Isolation.THREAD in isolations:
            executors[Isolation.THREAD] = ThreadExecutor()
        if Isolation.PROCESS in isolations:
            executors[Isolation.PROCESS] = ProcessExecutor(self._card.slots, parts.artifacts.url)
        return Bench(desk, executors, settings.stop_grace, settings.result_limit)

    async def start(self) -> None:
        """Start the executors and the finisher."""
        for executor in self._bench.executors.values():
            await executor.start()
        self._finishing = asyncio.create_task(self._finisher.run())

    async def stop(self) -> None:
        """Stop them; nothing runs any more."""
        if self._finishing is not None:
            self._finishing.cancel()
            await asyncio.wait({self._finishing})
        for executor in self._bench.executors.values():
            await executor.stop()
        self._report_threads.shutdown(wait=False)

    @property
    def running(self) -> int:
        """How many attempts run."""
        return len(self._attempts)

    @property
    def abandoned(self) -> int:
        """How many handlers were left behind and still occupy something."""
        return sum(executor.abandoned for executor in self._bench.executors.values())

    @property
    def is_exhausted(self) -> bool:
        """Whether so many handlers were left behind that the worker should be replaced."""
        return self.abandoned >= _abandoned_bound(self._card.slots)

    @property
    def free_slots(self) -> int:
        """How many more may begin. A left-behind handler's slot is replaced, up to the bound."""
        return self._card.slots - self.running

    def async_job_types(self) -> tuple[str, ...]:
        """The types of the async handlers that run now; called from the loop watch's thread."""
        attempts = list(self._attempts.values())
        return tuple(sorted({one.job_type.name for one in attempts if one.job_type.isolation is Isolation.ASYNC}))

    def leases(self) -> frozenset[UUID]:
        """The leases under which attempts run here; from any thread."""
        return frozenset(self._attempts.copy())

    def begin(self, ready: Ready, *, release: bool = False) -> None:
        """Begin an attempt, or end it at once: as its checks at start say, or because the worker is stopping."""
        claimed = ready.claimed
        verdict = Released("released at shutdown") if release and ready.verdict is None else ready.verdict
        if verdict is not None:
            self._finish(ready, verdict)
            return
        loop = asyncio.get_running_loop()
        channel = AttemptChannel(self._bench.desk, claimed, self._on_lost(loop, claimed.lease_token))
        attempt = Attempt(self._bench, self._parts.catalogue.mine[claimed.job_type], ready.facts, channel)
        self._attempts[claimed.lease_token] = attempt
        self._started[claimed.lease_token] = time.monotonic()
        self._parts.emit(JobStarted(claimed.organization, claimed.id, claimed.job_type, claimed.attempt))
        task = asyncio.create_task(self._run(ready, attempt, channel))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop_one(self, lease: UUID, reason: Interruption) -> None:
        """Ask one attempt to stop, if it still runs."""
        attempt = self._attempts.get(lease)
        if attempt is None:
            return
        if reason is Interruption.LEASE_LOST and not attempt.is_lost:
            facts = attempt.facts
            self._parts.emit(LeaseLost(facts.organization, facts.job_id, facts.job_type))
        attempt.stop(reason)

    async def free_slot(self, stopping: asyncio.Event, wait: float) -> None:
        """Wait up to `wait` seconds, but at least until a slot is free or the worker stops."""
        if wait > 0:
            await wait_until(stopping, wait)
        while self.free_slots <= 0 and not stopping.is_set():
            self._changed.clear()
            waits = {asyncio.create_task(self._changed.wait()), asyncio.create_task(stopping.wait())}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()

    async def one_ended(self) -> None:
        """Wait until the next attempt has ended and its end is written."""
        self._changed.clear()
        await self._changed.wait()

    def end_grace(self) -> None:
        """Let `finish_all` wait no longer."""
        self._grace_over.set()

    async def finish_all(self, grace: float) -> None:
        """Let attempts end within `grace` seconds, stop the rest, and write all ends."""
        if self._tasks:
            self._parts.emit(WorkerStopping(self._card.name, self.running, grace))
        over = asyncio.create_task(wait_until(self._grace_over, grace))
        while self._tasks and not over.done():
            await asyncio.wait({*self._tasks, over}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        for attempt in self._attempts.values():
            attempt.stop(Interruption.SHUTDOWN)
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._finisher.join()

    async def _run(self, ready: Ready, attempt: Attempt, channel: AttemptChannel) -> None:
        outcome = await attempt.run()
        await in_thread(self._report_threads, channel.close)
        # From here on the watch must not take the end that is being written for a lost lease.
        del self._attempts[ready.claimed.lease_token]
        if attempt.is_lost:
            self._started.pop(ready.claimed.lease_token)
            self._changed.set()
            return
        self._finish(ready, outcome)

    def _finish(self, ready: Ready, outcome: Outcome) -> None:
        claimed = ready.claimed
        backoff = self._parts.catalogue.mine[claimed.job_type].options.backoff
        self.unwritten += 1
        self._finisher.add(
            Finish(
                organization=claimed.organization,
                job_id=claimed.id,
                job_type=claimed.job_type,
                lease_token=claimed.lease_token,
                outcome=outcome,
                backoff=backoff,
                actor=self._card.name,
            )
        )
        self._changed.set()

    def _on_finished(self, finished: Finished) -> None:
        item, transition = finished.finish, finished.transition
        self.unwritten -= 1
        self._changed.set()
        seconds = time.monotonic() - self._started.pop(item.lease_token, time.monotonic())
        if transition is None:
            return
        if isinstance(item.outcome, Released):
            self.released += 1
        error = transition.error.error_type if transition.error is not None else None
        ended = transition.steps[0].target if transition.target is JobStatus.QUEUED else transition.target
        self._parts.emit(JobEnded(item.organization, item.job_id, item.job_type, ended, error, seconds))

    def _on_lost(self, loop: asyncio.AbstractEventLoop, lease: UUID) -> Callable[[], None]:
        def tell() -> None:
            loop.call_soon_threadsafe(self.stop_one, lease, Interruption.LEASE_LOST)

        return tell
