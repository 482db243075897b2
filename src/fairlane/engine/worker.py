"""The worker: it registers, serves until it is stopped or nothing is left to do, and leaves.

It has one asyncio loop. A few threads do the database work that is not done on the loop; the heartbeat and the loop
watch have threads of their own.
"""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib.metadata import version
from time import monotonic, sleep
from types import FrameType
from typing import Final
from uuid import UUID, uuid4

from fairlane.domain.classify import without_words
from fairlane.domain.errors import ConfigurationError, FairlaneError, StorageUnavailable
from fairlane.domain.events import (
    LoopBlocked,
    QueuesNotServed,
    ServiceFailed,
    WorkerStarted,
    WorkerStopped,
    WorkerStuck,
    WorkerUnfit,
)
from fairlane.domain.statuses import JobStatus
from fairlane.domain.timing import LAST_SILENCE, LAST_TRIES, NEXT_TRY
from fairlane.engine import own_loop
from fairlane.engine.breakers import Breakers
from fairlane.engine.claiming import Claims
from fairlane.engine.cleanup import Cleanup
from fairlane.engine.deps import SERVICE_THREADS, Deps
from fairlane.engine.executors.loop_threads import LoopThreads
from fairlane.engine.heap import frozen_heap
from fairlane.engine.heartbeat import Heartbeat
from fairlane.engine.lane_cache import LaneCache
from fairlane.engine.loop_watch import LoopWatch
from fairlane.engine.rescue import Rescue
from fairlane.engine.results import Results
from fairlane.engine.service import Outage, Service, end_services, in_thread, run_service, try_until, wait_until
from fairlane.engine.slots import Slots
from fairlane.engine.stage import Stage
from fairlane.engine.system.bulk_actions import BulkActions
from fairlane.engine.watch import Watch
from fairlane.jobtypes.catalogue import held_types
from fairlane.store import schema
from fairlane.store.dead_letter_alarm import DeadLetterAlarm
from fairlane.store.hints import Listener
from fairlane.store.statements.workers import WorkerCard

_HUNGRY_WAIT: Final = 0.01  # seconds; grows to the poll interval
_FEW: Final = 4  # less than a quarter of the slots are free
_GATHERING: Final = 0.003  # seconds for more slots to become free
_BROKEN_WAIT: Final = 5.0  # seconds until the next claim after an unexpected error
_ALL_REGISTERED: Final = 60.0  # seconds between two looks for types to register, when none is left
_BREAKERS: Final = 1.0  # seconds between two counts of outcomes
_LOOK: Final = 0.05  # seconds between two looks whether workers have left
_LATE: Final = 10.0  # seconds beyond the poll interval after which a claim round is late


@dataclass(frozen=True, slots=True)
class Drained:
    """Counts of attempts by their outcome.

    `retried` failed or timed out and are queued again; `snoozed` raised `Snooze`, or were given back before they ran.
    """

    completed: int
    retried: int
    dead_letters: int
    canceled: int
    snoozed: int


class Unready(StrEnum):
    """The reason why a worker does not claim jobs now."""

    STARTING = "starting"
    STOPPING = "stopping"
    DATABASE = "database"
    LEASE = "lease"
    CLAIMS = "claims"


class Worker:
    """Run jobs of this process's types until it is stopped.

    Args:
        queues: the queues to serve; None = all.
        concurrency: the number of jobs that it runs at once.
        name: its name in logs and in the dashboard.

    Raises:
        ConfigurationError: `concurrency` is not a whole number from 1 on.
    """

    def __init__(
        self, deps: Deps, *, queues: tuple[str, ...] | None, concurrency: int, name: str | None = None
    ) -> None:
        self._deps = deps
        self._card = WorkerCard(
            id=uuid4(),
            name=name or f"{socket.gethostname()}:{os.getpid()}",
            queues=queues,
            job_types=tuple(sorted(deps.catalogue.mine)),
            slots=_slots(concurrency),
            version=version("fairlane"),
        )
        self.must_be_replaced = False
        self.left_work_behind = False  # handlers, validators or results that had not ended as it left
        self._loop: WorkerLoop | None = None
        self._stop_asked = False
        self._signals = 0

    @property
    def id(self) -> UUID:
        """Return the worker's id in the database."""
        return self._card.id

    @property
    def running(self) -> int:
        """Return the number of its running attempts; from any thread."""
        loop = self._loop
        return loop.running if loop is not None else 0

    def why_not_ready(self) -> Unready | None:
        """Return why it does not claim jobs now; None = it does, or all its slots are taken. From any thread."""
        loop = self._loop
        return loop.why_not_ready() if loop is not None else Unready.STARTING

    def answers(self, within: float) -> bool:
        """Return True if its event loop takes a call within so many seconds, or if it has none; from another thread."""
        loop = self._loop
        return loop is None or loop.answers(within)

    def run(self) -> None:
        """Run until SIGTERM or SIGINT: then claim no more, let jobs finish within the grace, release the rest.

        A second signal ends the grace at once. Outside the main thread there are no signals; only `stop` ends it there.
        Neither SystemExit in a task of a handler nor `loop.stop()` ends it. Meanwhile, on the main thread, the garbage
        collector ignores all older objects (`gc.freeze`).

        Raises:
            ConfigurationError: no job types, or the schema is missing, old or newer than this code.
            RuntimeError: an event loop runs in this thread.
        """
        own_loop.run(self._run_with_signals, self._goes_on)

    async def run_async(self) -> None:
        """Run on the caller's loop until `stop` is called or the main thread has ended; it handles no signals.

        It also returns by itself if the worker can't be trusted any more. Then `must_be_replaced` is true, and the
        process should end. Cancelling it is `stop(at_once=True)`, and raises CancelledError once the worker has left.
        SystemExit or `loop.stop()` ends the caller's loop. If that cancels this, as `asyncio.run` does, the jobs of
        async handlers count as lost with the worker: the third time such a job may become a dead letter.

        Raises:
            ConfigurationError: as for `run`.
        """
        await self._run(until_idle=False, is_own=False)

    def drain(self) -> Drained:
        """Run until nothing is claimable and nothing runs. For tests, and for scripts that end.

        It has a loop of its own: if a loop runs in this thread, `await worker.drain_async()`. Meanwhile the garbage
        collector ignores all older objects (`gc.freeze`).

        Returns:
            Counts of its attempts by their outcome.

        Raises:
            StorageUnavailable: the database is away; running jobs were stopped.
            ConfigurationError, RuntimeError: as for `run`.
        """
        with frozen_heap():
            return own_loop.run(partial(self._drain, is_own=True))

    async def drain_async(self) -> Drained:
        """Run until nothing is claimable and nothing runs, on the caller's loop. Return what `drain` returns.

        Raises:
            StorageUnavailable, ConfigurationError: as for `drain`.
        """
        return await self._drain(is_own=False)

    async def _drain(self, *, is_own: bool) -> Drained:
        ended = await self._run(until_idle=True, is_own=is_own)
        return Drained(
            completed=ended[JobStatus.COMPLETED],
            retried=ended[JobStatus.FAILED] + ended[JobStatus.TIMED_OUT],
            dead_letters=ended[JobStatus.DEAD_LETTER],
            canceled=ended[JobStatus.CANCELED],
            snoozed=ended[JobStatus.QUEUED],
        )

    def stop(self, *, at_once: bool = False) -> None:
        """Ask it to stop, from any thread, also before it runs; `at_once` skips `grace`, not `stop_grace`."""
        self._stop_asked = True
        if self._loop is not None:
            self._loop.stop(at_once=at_once)

    async def _run_with_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            with _signals_to(self._on_signal), frozen_heap():
                await self._run_on_own()
        else:
            await self._run_on_own()

    async def _run_on_own(self) -> None:
        try:
            await self._run(until_idle=False, is_own=True)
        except asyncio.CancelledError:
            if not self.must_be_replaced:  # else a handler ended the loop, and the worker has left in order
                raise

    def _goes_on(self, error: BaseException) -> bool:
        """Log the error that ends the loop, and return True to go on: signals do not raise while the worker runs."""
        if self._loop is None:
            return False
        self._loop.on_ended(error)
        return True

    async def _run(self, *, until_idle: bool, is_own: bool) -> Counter[JobStatus]:
        """Return the counts of attempts by their status at the end."""
        if not self._card.job_types:
            raise ConfigurationError("This worker has no job types; import the modules with your handlers first.")
        loop = self._loop = WorkerLoop(self._deps, self._card, self._replace_me, is_own=is_own)
        if self._stop_asked:
            loop.stop()
        try:
            await loop.run(until_idle=until_idle)
        finally:
            self._loop = None
            self._stop_asked = False
            self.left_work_behind = loop.has_work_left
        return loop.results.ended

    def _on_signal(self) -> None:
        self._signals += 1
        self.stop(at_once=self._signals > 1)

    def _replace_me(self) -> None:
        """Stop, and ask for a new process: an operator wants it, or this one can't be trusted to run more."""
        self.must_be_replaced = True
        self.stop()


class WorkerLoop:
    """A run of a worker, on the loop on which it is made.

    Args:
        replace_me: called, from any thread, when an operator asks for it or this process can't be trusted to run more;
            has to call `stop`.
        is_own: whether the loop is the worker's own, not a host's.
    """

    def __init__(self, deps: Deps, card: WorkerCard, replace_me: Callable[[], None], *, is_own: bool) -> None:
        self._is_own = is_own
        self._applications = deps.database
        self._deps = deps = deps.on_own_connections()
        database, settings, emit = deps.database, deps.settings, deps.emit
        self._card = card
        self._replace_me = replace_me
        self._emit = emit
        self._is_unfit = self._is_stuck = False
        self._grace = settings.grace
        self._loop = asyncio.get_running_loop()
        self._thread = threading.current_thread()
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()  # a job may be claimable, or a limit may have capacity again
        self._pause = 0.0  # seconds before the next claim round
        self._last_round: float | None = None  # monotonic; when a claim round succeeded, or a slot became free
        self._is_full = False  # True while the next round waits for a free slot
        self._outage = Outage("worker", emit, NEXT_TRY)
        self._threads = ThreadPoolExecutor(SERVICE_THREADS, thread_name_prefix="fairlane-database")
        database.alarm = DeadLetterAlarm(settings.dead_letter_alert, emit)
        on_broken = partial(self._drain_for, "a mistake keeps it from writing how jobs end")
        self.results = Results(deps, card.name, self._threads, self._on_written, on_broken)
        loop_threads = LoopThreads(card.slots)
        if is_own:
            self._loop.set_default_executor(loop_threads)
        self._slots = Slots(deps, card, self._threads, self.results, self._drain_for, loop_threads)
        lanes = LaneCache(database, deps.directory, card)
        self._claims = Claims(
            *(database, deps.directory, card, settings.lease, lanes, deps.keyring, emit, self._threads, self.results)
        )
        self._heartbeat = Heartbeat(
            *(database, card, settings.lease, emit),
            left_behind=self._slots.left_behind,
            locked=self._claims.locked,
            on_drain=partial(self._drain_for, "an operator has asked for it"),
        )
        self._unregistered: Sequence[str] = card.job_types
        self._breakers = Breakers(database, card.id, self.results.tally, emit)
        self._stage = Stage(database, self._on_ready)
        self._submit_ticks = deps.scheduler(database, emit, self._on_ready)
        go_on = deps.bulk_steps(database, deps.directory)
        self._bulk = BulkActions(database, go_on, emit, has_room=lambda: self._slots.free > 0, on_ready=self._on_ready)
        self._listener = Listener(database, self._on_hint, self._loop)
        self._loop_watch = LoopWatch(self._on_blocked, self._on_stuck, settings.lease)

    async def run(self, *, until_idle: bool) -> None:
        """Register, serve until stopped (or until nothing is left to do), and leave."""
        _running.add(self)
        try:
            if await self._enlist():
                await self._serve(until_idle=until_idle)
        finally:
            # After any error: a lease that is kept without a worker would hold its jobs for ever.
            self._loop_watch.stop()
            self._listener.stop()
            self._heartbeat.stop()
            self._threads.shutdown(wait=False)
            if self._deps.database is not self._applications:
                self._deps.database.close()
            _running.discard(self)

    @property
    def has_work_left(self) -> bool:
        """Return True if a handler or its threads still run; once the worker has left, nobody waits for them."""
        return self._slots.has_work_left

    @property
    def keeps_process(self) -> bool:
        """Return True if the process waits for the end of this worker's thread, and the worker can still leave."""
        return self._loop.is_running() and self._thread.is_alive() and not self._thread.daemon

    @property
    def running(self) -> int:
        """Return the number of running attempts; from any thread."""
        return self._slots.running

    def why_not_ready(self) -> Unready | None:
        """Return why it does not claim jobs now; None = it does, or all its slots are taken. From any thread."""
        now, last = monotonic(), self._last_round
        if self._stopping.is_set():
            return Unready.STOPPING
        if self._outage.is_on or self._heartbeat.is_cut_off:
            return Unready.DATABASE
        if last is None:
            return Unready.STARTING
        if not self._heartbeat.has_kept_lease(now):
            return Unready.LEASE
        is_late = now - last > self._deps.settings.poll_interval + _LATE
        return Unready.CLAIMS if is_late and not self._is_full else None

    def answers(self, within: float) -> bool:
        """Return True if the loop takes a call within so many seconds; from another thread."""
        answered = threading.Event()
        with suppress(RuntimeError):  # a loop that is closed has nothing to answer
            self._loop.call_soon_threadsafe(answered.set)
            return answered.wait(within)
        return True

    def stop(self, *, at_once: bool = False) -> None:
        """Claim no more, let jobs finish and leave; from any thread."""
        with suppress(RuntimeError):  # a loop that is closed has stopped already
            self._loop.call_soon_threadsafe(self._stop, at_once)

    def _stop(self, at_once: bool) -> None:
        self._hurry()
        if at_once:
            self._grace = 0.0
            self._slots.end_grace()
        self._stopping.set()
        self._wake.set()
        self._slots.changed.set()

    def _hurry(self) -> None:
        """Wait only a moment for a silent database: it must not keep a worker that should end."""
        if (response_timeout := self._deps.database.response_timeout) is not None:
            response_timeout.seconds = LAST_SILENCE

    def _on_written(self, may_make_ready: bool) -> None:
        """Claim again once results are written; `may_make_ready`: they may have made other jobs ready."""
        if may_make_ready:
            self._on_ready()
        else:
            self._wake.set()

    def _on_ready(self) -> None:
        """Claim jobs that this worker has made ready, and send a hint to other workers."""
        self._on_hint(is_new=True)
        self._applications.hint()

    def _on_hint(self, is_new: bool) -> None:
        """Claim soon; from any thread."""
        if is_new:
            self._claims.lanes.hinted()
        with suppress(RuntimeError):  # a loop that is closed claims no more
            self._loop.call_soon_threadsafe(self._wake.set)

    async def _enlist(self) -> bool:
        """Check the schema, register types and worker; wait for a database that is away. False: stopped first."""
        outage = self._outage
        while not self._stopping.is_set():
            try:
                await in_thread(self._threads, self._register)
            except StorageUnavailable as error:
                await wait_until(self._stopping, outage.goes_on(error))
            else:
                outage.is_over()
                return True
        return False

    def _register(self) -> None:
        for database in (self._applications, self._deps.database):  # handlers use the first
            schema.check(database)
        self._register_types()
        self._heartbeat.start()

    def _register_types(self) -> None:
        """Register the remaining types, except those whose rows another session holds."""
        catalogue, database = self._deps.catalogue, self._deps.database
        self._unregistered = catalogue.register(database, self._unregistered, anew=True)

    def _register_held_types(self) -> int:
        """Register the types whose rows another session held. Return how many.

        Raises:
            StorageUnavailable: another session still holds some of them.
        """
        before = len(self._unregistered)
        self._register_types()
        if self._unregistered:
            raise held_types(self._unregistered)
        return before

    async def _serve(self, *, until_idle: bool) -> None:
        ended = asyncio.Event()
        upkeep = [
            asyncio.create_task(run_service(service, self._threads, ended, self._emit))
            for service in self._services(until_idle=until_idle)
        ]
        # The last step runs first. A cancel cuts short the present step, and skips none of the others.
        async with AsyncExitStack() as steps:
            steps.callback(self._slots.give_up)
            steps.push_async_callback(self._leave)
            steps.push_async_callback(self._write_left)
            steps.push_async_callback(self._claims.close)
            steps.push_async_callback(self._slots.stop)
            steps.push_async_callback(end_services, upkeep, ended)
            steps.push_async_callback(self._slots.finish_all)
            raised: BaseException | None = None
            try:
                await self._work(until_idle=until_idle)
                await self._claim_no_more(self._grace)
            except BaseException as error:  # noqa: BLE001 - raised again below
                raised = error
            if raised is not None:
                if isinstance(raised, asyncio.CancelledError) and _is_by_handler(is_own=self._is_own):
                    self._slots.lose()
                    self._drain_for(f"one of these async handlers has ended all tasks: {self._on_the_loop()}")
                await self._claim_no_more(0.0)  # cancelled or broken: do not wait for running jobs
                raise raised

    async def _work(self, *, until_idle: bool) -> None:
        await self._slots.start()
        self._loop_watch.start()
        card = self._card
        self._emit(WorkerStarted(card.name, card.slots, card.queues))
        queues = {one.name: one.options.queue for one in self._deps.catalogue.mine.values()}
        # Explain why jobs wait although a worker knows their types.
        waiting = [name for name, queue in queues.items() if card.queues is not None and queue not in card.queues]
        if waiting:
            others = tuple(sorted({queues[name] for name in waiting}))
            self._emit(QueuesNotServed(card.name, others, tuple(sorted(waiting))))
        await (self._drain() if until_idle else self._claim_until_stopped())

    async def _claim_no_more(self, grace: float) -> None:
        self._claims.are_over = True
        self._hurry()
        self._heartbeat.say_stopping()
        await self._slots.let_finish(grace)

    def _services(self, *, until_idle: bool) -> list[Service]:
        deps, settings, beat = self._deps, self._deps.settings, self._heartbeat
        rescue = Rescue(deps.database, beat, deps.emit, self._on_ready, are_ours=deps.are_ours)
        cleanup = Cleanup(deps.database, deps.artifacts, settings.retention)
        services = [
            Service("watch", settings.watch_interval, Watch(deps.database, self._claims, self._slots).run_once),
            Service("rescue", beat.interval, rescue.run_once),
            Service("cleanup", settings.cleanup_interval, cleanup.run_once),
        ]
        if self._unregistered:
            services.append(Service("registration", _ALL_REGISTERED, self._register_held_types))
        if until_idle:
            return services  # a drain runs the others itself: it has to know that they left nothing to claim
        return [
            Service("scheduler", settings.stage_interval, self._submit_ticks),
            Service("bulk actions", settings.stage_interval, self._bulk.run_once),
            Service("stage", settings.stage_interval, self._stage.run_once),
            Service("breakers", _BREAKERS, self._breakers.run_once),
            *services,
        ]

    async def _claim_until_stopped(self) -> None:
        outage = self._outage = Outage("claim", self._emit, NEXT_TRY)
        self._listener.start()
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self._pause = self._next_pause(claimed=await self._claim())
                self._last_round = monotonic()
                outage.is_over()
            except (StorageUnavailable, ConfigurationError) as error:
                self._pause = outage.goes_on(error)
            except Exception as error:  # noqa: BLE001 - one broken round must not end the worker
                self._emit(ServiceFailed("claim", error))
                self._claims.doubt()
                self._pause = _BROKEN_WAIT
            if self._slots.are_exhausted:
                self._drain_for(f"handlers, validators or results that do not end: {self._slots.left_behind()}")
            await self._until_next_round()

    def _next_pause(self, *, claimed: int) -> float:
        """Return the seconds to the next round, if nothing happens before.

        If ready jobs could not be claimed (a limit, a pause, another worker's lock), the next round is soon, later
        rounds less and less often: capacity may come without a hint, for example when another worker's job ends.
        """
        longest = self._deps.settings.poll_interval
        if claimed:
            return 0.0
        if self._claims.is_hungry:
            return min(max(self._pause * 2, _HUNGRY_WAIT), longest)
        return longest

    async def _until_next_round(self) -> None:
        if self._pause > 0 and await wait_until(self._wake, self._pause):
            self._pause = 0.0
        while self._slots.free <= 0 and not (self._stopping.is_set() or self._claims.is_unsure):
            self._is_full = True
            await self._slots.changed.wait()
            self._slots.changed.clear()
        if self._is_full:
            self._last_round, self._is_full = monotonic(), False
        if self._slots.free < self._card.slots // _FEW:
            # Short jobs end one by one; a claim for each would cost a round each.
            await wait_until(self._stopping, _GATHERING)

    async def _drain(self) -> None:
        while not self._stopping.is_set():
            # Before the claim, so that an attempt that ends meanwhile is not missed.
            self._slots.changed.clear()
            if await self._claim():
                continue
            if self._slots.running or len(self.results):
                if not await wait_until(self._slots.changed, self._deps.settings.stage_interval):
                    await in_thread(self._threads, self._stage.run_once)  # jobs that become due run beside long ones
            elif not await self._made_ready():
                self._claims.lanes.drop()  # the lanes are up to a tenth of a second old
                if not await self._claim():
                    if not self._claims.is_held_up:
                        return
                    await wait_until(self._stopping, _HUNGRY_WAIT)

    async def _made_ready(self) -> bool:
        """Return True if one of these services found something to do: then there may be jobs to claim."""
        rounds = (self._submit_ticks, self._stage.run_once, self._breakers.run_once, self._bulk.step)
        return any([await in_thread(self._threads, run) for run in rounds])

    async def _claim(self) -> int:
        free = 0 if self._is_unfit else self._slots.free
        if free <= 0 and not self._claims.is_unsure:
            return 0
        began = monotonic()
        jobs = await self._claims.claim(free, self._slots.known_tokens())
        # Claimed while the stop arrived: the jobs are this worker's, so it must give them back.
        stopped = self._stopping.is_set()
        if jobs and not stopped and not self._heartbeat.has_kept_lease(began):
            # Others may have these jobs by now; the next round gives back those that are still under this worker.
            self._claims.doubt()
        else:
            await self._slots.begin(jobs, self._claims.now(), release=stopped)
        return len(jobs)

    async def _write_left(self) -> None:
        """Write the remaining results once more: jobs without a written result are given back, and run again.

        The database may be back only now, or another session may have held a row for a moment.
        """
        with suppress(FairlaneError):
            await try_until(self._loop.time() + LAST_TRIES, self._slots.write_left)

    async def _leave(self) -> None:
        """Sign off, and retry if the connection breaks: else the jobs would wait until the lease runs out."""
        with suppress(FairlaneError):  # others do it when its lease runs out
            await try_until(self._loop.time() + LAST_TRIES, self._write_and_sign_off)
        self._emit(WorkerStopped(self._card.name, self.results.released))

    async def _write_and_sign_off(self) -> bool:
        # Write first: if the database lets the worker sign off, it may let it write as well.
        await self._slots.write_left()
        await in_thread(self._threads, self._sign_off)
        return True

    def _sign_off(self) -> None:
        self._heartbeat.stop()
        self.results.released += self._claims.leave(self._slots.lost)  # nobody else counts any more
        self._breakers.run_once()

    def _on_blocked(self, seconds: float, where: str, task: str | None, is_ours: bool) -> None:
        possible = self._slots.on_the_loop()[0] if not is_ours else ()
        # A handler's task has the name of its type; a task that the handler began has another name.
        found = (task,) if task is not None and task in possible else possible
        self._emit(LoopBlocked(self._card.name, found, seconds, where))

    def on_ended(self, error: BaseException) -> None:
        """Emit an event about the error that ended the loop, which goes on."""
        service = f"event loop with async handlers of {self._on_the_loop()}"
        self._emit(ServiceFailed(service, without_words(error)))

    def _on_the_loop(self) -> str:
        types, _ = self._slots.on_the_loop()
        return ", ".join(types) or "no type"

    def _drain_for(self, reason: str) -> None:
        """Drain, to be replaced; from any thread."""
        if not self._is_unfit:
            self._is_unfit = True
            # Logged once the loop turns again: if a log line blocks it, the watch must not wait behind that line.
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._emit, WorkerUnfit(self._card.name, reason))
        self._replace_me()

    def _on_stuck(self, seconds: float) -> None:
        self._drain_for(f"the event loop was blocked for {seconds:.0f} s, longer than a lease")
        _, longest = self._slots.on_the_loop()
        if not self._is_stuck and seconds > self._deps.settings.lease + longest:
            # No handler may take that long and no timeout can end it: other workers shall get the jobs.
            self._is_stuck = True
            self._heartbeat.stop(wait=False)  # it may hang at the same place as the loop, for example in a log line
            self._emit(WorkerStuck(self._card.name, seconds))


_running: Final = set[WorkerLoop]()
if hasattr(os, "register_at_fork"):  # as everywhere but on Windows, which has no fork
    os.register_at_fork(after_in_child=_running.clear)  # a forked child runs no worker


def _stop_all() -> None:
    """Stop the workers of other threads as the main thread ends, and wait until those that keep the process have left.

    Afterwards Python starts no thread of a pool any more, so a worker could neither run jobs nor write their results.
    """
    while running := tuple(_running):
        for one in running:
            one.stop()
        if not any(one.keeps_process for one in running):
            return
        sleep(_LOOK)


# There is no public way to be called before the pools' threads are ended: `atexit` comes after all threads.
threading._register_atexit(_stop_all)  # type: ignore[attr-defined]  # noqa: SLF001


@contextmanager
def _signals_to(handler: Callable[[], None]) -> Iterator[None]:
    """Within the block, call this at SIGTERM and SIGINT; then restore the earlier handlers.

    The loop's own `add_signal_handler` is not used: while it is removed, a signal would end the process.
    """
    loop = asyncio.get_running_loop()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(handler)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier if earlier is not None else signal.SIG_DFL)  # None: not set from Python


def _is_by_handler(*, is_own: bool) -> bool:
    """Return True if a handler's action cancelled the worker, and not Ctrl-C or its host.

    `asyncio.run`, for example, cancels all tasks of an ended loop while it handles the error that ended it: that error
    is visible here, outside any `except`. On the worker's own loop only Ctrl-C or a handler cancels the worker.
    """
    handled = sys.exc_info()[1]
    if is_own:
        return not isinstance(handled, KeyboardInterrupt)
    return isinstance(handled, SystemExit) or str(handled).startswith("Event loop stopped")


def _slots(concurrency: object) -> int:
    if not isinstance(concurrency, int) or concurrency < 1:
        raise ConfigurationError(
            f"A worker needs at least one slot: concurrency must be a whole number from 1 on, not {concurrency!r:.80}."
        )
    return concurrency
