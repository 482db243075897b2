"""One run of a worker, from its registration until it has left.

One asyncio loop. Database work is done in a few threads; the heartbeat and the loop watch have their own.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from functools import partial
from time import monotonic
from typing import Final

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
from fairlane.engine.breakers import Breakers, Tally
from fairlane.engine.bulk_actions import BulkActions
from fairlane.engine.claims import Claims
from fairlane.engine.cleanup import Cleanup
from fairlane.engine.crew import Crew
from fairlane.engine.dead_letter_alarm import DeadLetterAlarm
from fairlane.engine.heartbeat import Heartbeat
from fairlane.engine.loop_watch import LoopWatch
from fairlane.engine.outlook import Outlooks
from fairlane.engine.parts import SERVICE_THREADS, WorkerParts
from fairlane.engine.rescue import Rescue
from fairlane.engine.scheduler import Scheduler
from fairlane.engine.service import SOON, Outage, Service, end_services, in_thread, run_service, try_until, wait_until
from fairlane.engine.stage import Stage
from fairlane.engine.watch import Watch
from fairlane.store import schema
from fairlane.store.hints import Listener
from fairlane.store.statements.workers import WorkerCard

_HUNGRY_WAIT: Final = 0.01  # seconds; grows to the poll interval
_FEW: Final = 4  # less than a quarter of the slots are free
_GATHERING: Final = 0.003  # seconds for more of them to get free
_BROKEN_WAIT: Final = 5.0  # seconds before the next claim after one that failed by a mistake
_LAST_SILENCE: Final = 10.0  # seconds that a worker which stops waits for an answer of the database
_LEAVING: Final = 3.0  # seconds within which a worker that leaves begins its last try to say so


class Shift:
    """To be made on the loop that it runs on.

    Args:
        replace_me: called, from any thread, when an operator asks for it or this process can't be trusted to run more;
            has to call `stop`.
    """

    def __init__(self, parts: WorkerParts, card: WorkerCard, replace_me: Callable[[], None]) -> None:
        self._applications = parts.database
        parts = parts.on_own_connections()
        database, settings = parts.database, parts.settings
        self._parts = parts
        self._card = card
        self._replace_me = replace_me
        self._is_unfit = False
        self._emit = parts.emit
        self._grace = settings.grace
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()  # something may be claimable, or a limit may have room again
        self._threads = ThreadPoolExecutor(SERVICE_THREADS, thread_name_prefix="fairlane-database")
        database.alarm = DeadLetterAlarm(database, settings.dead_letter_alert, parts.emit)
        tally = Tally()
        self._crew = Crew(parts, card, self._threads, tally, self._on_written)
        self.ended = self._crew.ended
        self._crew.on_broken = partial(self._drain_for, "a mistake keeps it from writing how jobs end")
        self._breakers = Breakers(database, card.id, tally, parts.emit)
        self._heartbeat = Heartbeat(database, card, settings.lease, parts.emit)
        self._heartbeat.left_behind = self._crew.left_behind
        self._heartbeat.on_drain = partial(self._drain_for, "an operator has asked for it")
        self._is_stuck = False
        self._pause = 0.0  # seconds before the next claim round
        self._stage = Stage(database, settings.stage_interval, self._on_ready)
        self._scheduler = Scheduler(database, parts.ticks, settings.stage_interval, parts.emit, self._on_ready)
        self._bulk = BulkActions(
            database, parts.bulk_steps(database, parts.directory), settings.stage_interval, parts.emit, self._on_ready
        )
        self._listener = Listener(database, self._on_hint)
        outlooks = Outlooks(database, parts.directory, card)
        self._claims = Claims(
            database, parts.directory, card, settings.lease, outlooks, parts.keyring, parts.emit, self._threads
        )
        self._heartbeat.locked = self._claims.locked
        self._loop_watch = LoopWatch(self._on_blocked, self._on_stuck, settings.lease)

    async def run(self, *, until_idle: bool) -> None:
        """Register, serve until stopped (or until nothing is left to do), and leave."""
        try:
            if await self._enlist():
                await self._serve(until_idle=until_idle)
        finally:
            # Whatever happened: a lease that is kept without a worker would hold its jobs for ever.
            self._loop_watch.stop()
            self._listener.stop()
            self._heartbeat.stop()
            self._threads.shutdown(wait=False)
            if self._parts.database is not self._applications:
                self._parts.database.close()

    def stop(self, *, at_once: bool = False) -> None:
        """Claim no more, let jobs finish and leave; from any thread."""
        with suppress(RuntimeError):  # a loop that is closed has stopped already
            self._loop.call_soon_threadsafe(self._stop, at_once)

    def _stop(self, at_once: bool) -> None:
        self._hurry()
        if at_once:
            self._grace = 0.0
            self._crew.end_grace()
        self._stopping.set()
        self._wake.set()
        self._crew.changed.set()

    def _hurry(self) -> None:
        """What waits for a silent database must not keep a worker that is to end."""
        if (answers := self._parts.database.answers) is not None:
            answers.seconds = _LAST_SILENCE

    def _on_written(self, may_free: bool) -> None:
        """An end is written: there may be room under a limit, and something may be ready."""
        if may_free:
            self._on_ready()
        else:
            self._wake.set()

    def _on_ready(self) -> None:
        """This worker made something ready: others shall know, too."""
        self._on_hint(is_new=True)
        self._applications.hint()

    def _on_hint(self, is_new: bool) -> None:
        """From any thread."""
        if is_new:
            self._claims.outlooks.hinted()
        with suppress(RuntimeError):  # a loop that is closed claims no more
            self._loop.call_soon_threadsafe(self._wake.set)

    async def _enlist(self) -> bool:
        """Check the schema, register types and worker; wait for a database that is not there. False: stopped first."""
        outage = Outage("worker", self._emit, SOON)
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
        schema.check(self._parts.database)
        catalogue = self._parts.catalogue
        self._parts.database.write(lambda connection: catalogue.write(connection, anew=True))()
        self._heartbeat.start()

    async def _serve(self, *, until_idle: bool) -> None:
        ended = asyncio.Event()
        upkeep = [
            asyncio.create_task(run_service(service, self._threads, ended, self._emit))
            for service in self._services(until_idle=until_idle)
        ]
        # The last first. A cancel cuts short the step that it comes upon, and skips none of the others.
        async with AsyncExitStack() as steps:
            steps.callback(self._crew.give_up)
            steps.push_async_callback(self._leave)
            steps.push_async_callback(self._write_left)
            steps.push_async_callback(self._claims.close)
            steps.push_async_callback(self._crew.stop)
            steps.push_async_callback(end_services, upkeep, ended)
            steps.push_async_callback(self._crew.finish_all)
            try:
                await self._work(until_idle=until_idle)
                await self._claim_no_more(self._grace)
            except BaseException:
                await self._claim_no_more(0.0)  # cancelled or broken: then nothing that runs here is waited for
                raise

    async def _work(self, *, until_idle: bool) -> None:
        await self._crew.start()
        self._loop_watch.start()
        self._emit(WorkerStarted(self._card.name, self._card.slots, self._card.queues))
        self._tell_of_other_queues()
        await (self._drain() if until_idle else self._claim_until_stopped())

    async def _claim_no_more(self, grace: float) -> None:
        self._hurry()
        self._heartbeat.say_stopping()
        await self._crew.let_finish(grace)

    def _tell_of_other_queues(self) -> None:
        """Nobody shall wonder why jobs wait beside a worker that knows their types."""
        card = self._card
        queues = {one.name: one.options.queue for one in self._parts.catalogue.mine.values()}
        waiting = {
            name: queue for name, queue in queues.items() if card.queues is not None and queue not in card.queues
        }
        if waiting:
            self._emit(QueuesNotServed(card.name, tuple(sorted(set(waiting.values()))), tuple(sorted(waiting))))

    def _services(self, *, until_idle: bool) -> list[Service]:
        parts, settings, beat = self._parts, self._parts.settings, self._heartbeat
        services: list[Service] = [
            Watch(parts.database, self._claims, self._crew, self._loop, settings.watch_interval),
            Rescue(parts.database, beat, parts.emit, beat.interval, self._on_ready, are_ours=parts.are_ours),
            Cleanup(parts.database, parts.artifacts, settings.retention, settings.cleanup_interval),
        ]
        # A drain does these itself: it has to know that they left nothing to claim.
        return services if until_idle else [self._scheduler, self._bulk, self._stage, self._breakers, *services]

    async def _claim_until_stopped(self) -> None:
        outage = Outage("claim", self._emit, SOON)
        self._listener.start()
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self._pause = self._next_pause(claimed=await self._claim())
                outage.is_over()
            except (StorageUnavailable, ConfigurationError) as error:
                self._pause = outage.goes_on(error)
            except Exception as error:  # noqa: BLE001 - one broken round must not end the worker
                self._emit(ServiceFailed("claim", error))
                self._claims.doubt()
                self._pause = _BROKEN_WAIT
            if self._crew.is_exhausted:
                self._drain_for(f"handlers that did not stop and go on: {self._crew.left_behind()}")
            await self._until_next_round()

    def _next_pause(self, *, claimed: int) -> float:
        """Seconds to the next round, if nothing happens before.

        What is ready and could not be claimed (a limit, a pause, another worker's lock) is looked at again soon, then
        less and less often: room may come where no hint tells of it, such as the end of another worker's job.
        """
        longest = self._parts.settings.poll_interval
        if claimed:
            return 0.0
        if self._claims.is_hungry:
            return min(max(self._pause * 2, _HUNGRY_WAIT), longest)
        return longest

    async def _until_next_round(self) -> None:
        if self._pause > 0 and await wait_until(self._wake, self._pause):
            self._pause = 0.0
        while self._crew.free_slots <= 0 and not (self._stopping.is_set() or self._claims.is_unsure):
            await self._crew.changed.wait()
            self._crew.changed.clear()
        if self._crew.free_slots < self._card.slots // _FEW:
            # Short jobs end one by one; claimed one by one they would cost a round each.
            await wait_until(self._stopping, _GATHERING)

    async def _drain(self) -> None:
        while not self._stopping.is_set():
            # Before the claim, so that what ends meanwhile is not missed.
            self._crew.changed.clear()
            if await self._claim():
                continue
            if self._crew.running or self._crew.unwritten:
                if not await wait_until(self._crew.changed, self._stage.interval):
                    await self._once(self._stage)  # what becomes due runs beside what takes long
            elif not await self._made_ready():
                self._claims.outlooks.drop()  # what it goes by is up to a tenth of a second old
                if not await self._claim():
                    if not self._claims.is_held_up:
                        return
                    await wait_until(self._stopping, _HUNGRY_WAIT)

    async def _made_ready(self) -> bool:
        """Whether one of these found something to do, after which there may be something to claim."""
        services = (self._scheduler, self._stage, self._breakers)
        done = [await self._once(service) for service in services]
        return any([*done, await in_thread(self._threads, self._bulk.step)])

    async def _once(self, service: Service) -> int:
        return await in_thread(self._threads, service.run_once)

    async def _claim(self) -> int:
        slots = self._crew.free_slots
        if slots <= 0 and not self._claims.is_unsure:
            return 0
        began = monotonic()
        ready = await self._claims.claim(slots, self._crew.known_leases())
        # Claimed while the stop came in: they are this worker's, so it must give them back.
        stopped = self._stopping.is_set()
        if ready and not stopped and not self._heartbeat.has_kept_lease(began):
            # Others may have these jobs by now; the next round gives back what is still under this worker's name.
            self._claims.doubt()
            return len(ready)
        for one in ready:
            self._crew.begin(one, release=stopped)
        return len(ready)

    async def _write_left(self) -> None:
        """What handlers have done and nobody wrote is given back, and done again.

        The database may be back only now, or somebody hold a row for a moment.
        """
        with suppress(FairlaneError):
            await try_until(self._loop.time() + _LEAVING, self._crew.write_left)

    async def _leave(self) -> None:
        """Sign off; a connection that broke just then is no reason to keep the jobs for a lease that nobody extends."""
        with suppress(FairlaneError):  # others do it when its lease runs out
            await try_until(self._loop.time() + _LEAVING, self._write_and_sign_off)
        self._emit(WorkerStopped(self._card.name, self._crew.released))

    async def _write_and_sign_off(self) -> bool:
        # Whatever is left: if the database lets the worker sign off, it may let it write as well.
        await self._crew.write_left()
        await in_thread(self._threads, self._sign_off)
        return True

    def _sign_off(self) -> None:
        self._heartbeat.stop()
        self._crew.released += self._claims.leave()  # nobody else counts any more
        self._breakers.run_once()

    def _on_blocked(self, seconds: float, where: str, task: str | None) -> None:
        possible = self._crew.async_job_types()
        # A handler's task has the name of its type; a task that the handler itself began does not say whose it is.
        found = (task,) if task is not None and task in possible else possible
        self._emit(LoopBlocked(self._card.name, found, seconds, where))

    def _drain_for(self, reason: str) -> None:
        """From any thread: end in order, to be replaced."""
        if not self._is_unfit:
            self._is_unfit = True
            # Told once the loop turns again: if it is a log line that blocks it, the watch must not wait behind that.
            with suppress(RuntimeError):  # a loop that is closed tells nothing more
                self._loop.call_soon_threadsafe(self._emit, WorkerUnfit(self._card.name, reason))
        self._replace_me()

    def _on_stuck(self, seconds: float) -> None:
        self._drain_for(f"the event loop was blocked for {seconds:.0f} s, longer than a lease")
        if not self._is_stuck and seconds > self._parts.settings.lease + self._crew.longest_stay():
            # No handler may take that long and no timeout can end it: others shall have the jobs.
            self._is_stuck = True
            self._heartbeat.stop(wait=False)  # it may hang where the loop does, as in a log line that nobody takes
            self._emit(WorkerStuck(self._card.name, seconds))
