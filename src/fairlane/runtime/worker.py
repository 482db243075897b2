"""The worker: claims jobs, runs them in its slots, and does its share of the upkeep.

One asyncio loop. Database work is done in a few threads; the heartbeat and the loop watch have their own.
"""

import asyncio
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import UUID, uuid4

from fairlane.domain.errors import ConfigurationError, FairlaneError, StorageUnavailable
from fairlane.domain.events import LoopBlocked, WorkerStarted, WorkerStopped
from fairlane.runtime.claims import Claims, Ready
from fairlane.runtime.cleanup import Cleanup
from fairlane.runtime.crew import Crew
from fairlane.runtime.heartbeat import Heartbeat
from fairlane.runtime.loop_watch import LoopWatch
from fairlane.runtime.parts import WorkerParts
from fairlane.runtime.rescue import Rescue
from fairlane.runtime.service import Outage, Service, in_thread, run_service, wait_until
from fairlane.runtime.stage import Stage
from fairlane.runtime.watch import Watch
from fairlane.store import schema
from fairlane.store.statements import workers
from fairlane.store.statements.workers import WorkerCard

_DATABASE_THREADS = 3
EXIT_REPLACE = 75  # the supervisor starts another worker in place of one that ended like this (EX_TEMPFAIL)


class Worker:
    """Runs jobs of this process's types until it is stopped.

    Args:
        queues: which to serve; None = all.
        concurrency: how many jobs it runs at once.
        name: how logs and the dashboard call it.
    """

    def __init__(
        self, parts: WorkerParts, *, queues: tuple[str, ...] | None, concurrency: int, name: str | None = None
    ) -> None:
        if concurrency < 1:
            raise ConfigurationError("A worker needs at least one slot: concurrency must be 1 or more.")
        self._parts = parts
        self._card = WorkerCard(
            id=uuid4(),
            name=name or f"{socket.gethostname()}:{os.getpid()}",
            queues=queues,
            job_types=tuple(sorted(parts.catalogue.mine)),
            slots=concurrency,
        )
        self.must_be_replaced = False
        self._grace = parts.settings.grace
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    @property
    def id(self) -> UUID:
        """The worker's id in the database."""
        return self._card.id

    def run(self) -> None:
        """Run until SIGTERM or SIGINT: then claim no more, let jobs finish within the grace, release the rest.

        A second signal ends the grace at once.

        Raises:
            ConfigurationError: no job types, or the schema is missing, old or newer than this code.
        """
        asyncio.run(self._run_with_signals())

    async def run_async(self) -> None:
        """The same on a loop of the caller's, who calls `stop`."""
        await self._run(until_idle=False)

    def drain(self) -> None:
        """Run until nothing is claimable and nothing runs. For tests, and for scripts that end."""
        asyncio.run(self._run(until_idle=True))

    def stop(self, *, at_once: bool = False) -> None:
        """Ask it to stop, from any thread; `at_once` gives running jobs no grace."""
        loop = self._loop
        if loop is not None:
            # A loop that is closed has stopped already.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._stop, at_once)

    def _stop(self, at_once: bool = False) -> None:
        assert self._stopping is not None
        if at_once or self._stopping.is_set():
            self._grace = 0.0
            self._crew.end_grace()
        self._stopping.set()

    async def _run_with_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        await self._run(until_idle=False)

    async def _run(self, *, until_idle: bool) -> None:
        parts = self._parts
        if not self._card.job_types:
            raise ConfigurationError("This worker has no job types; import the modules with your handlers first.")
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        threads = ThreadPoolExecutor(_DATABASE_THREADS, thread_name_prefix="fairlane-database")
        heartbeat = Heartbeat(parts.database, self._card, parts.settings.lease, parts.emit)
        self._crew = Crew(parts, self._card, threads)
        watch = LoopWatch(self._on_blocked, self._replace_me, parts.settings.lease)
        try:
            await self._start(threads, heartbeat)
            watch.start()
            await self._work(threads, heartbeat, until_idle=until_idle)
        finally:
            with suppress(RuntimeError):
                watch.stop()
            await self._crew.stop()
            await self._leave(threads, heartbeat)
            threads.shutdown()

    async def _start(self, threads: ThreadPoolExecutor, heartbeat: Heartbeat) -> None:
        """Check the schema, register types and worker; wait for a database that is not there yet."""
        outage = Outage("worker", self._parts.emit)
        while True:
            try:
                await in_thread(threads, lambda: self._enlist(heartbeat))
            except StorageUnavailable as error:
                if await wait_until(self._stopping_event, outage.goes_on(error)):
                    return
            else:
                outage.is_over()
                break
        await self._crew.start()
        self._parts.emit(WorkerStarted(self._card.name, self._card.slots, self._card.queues))

    def _enlist(self, heartbeat: Heartbeat) -> None:
        schema.check(self._parts.database)
        self._parts.database.write(self._parts.catalogue.write)()
        heartbeat.start()

    @property
    def _stopping_event(self) -> asyncio.Event:
        assert self._stopping is not None
        return self._stopping

    async def _work(self, threads: ThreadPoolExecutor, heartbeat: Heartbeat, *, until_idle: bool) -> None:
        stage = Stage(self._parts.database, self._parts.settings.stage_interval)
        claims = Claims(self._parts.database, self._parts.directory, self._card, self._parts.emit)
        ended = asyncio.Event()
        tasks = [
            asyncio.create_task(run_service(service, threads, ended, self._parts.emit))
            for service in self._services(stage, heartbeat)
        ]
        try:
            if until_idle:
                await self._drain(threads, stage, claims)
            else:
                await self._claim_until_stopped(threads, claims)
            heartbeat.say_stopping()
            await self._crew.finish_all(self._grace)
        finally:
            ended.set()
            await asyncio.gather(*tasks)

    def _services(self, stage: Stage, heartbeat: Heartbeat) -> list[Service]:
        parts, settings = self._parts, self._parts.settings
        assert self._loop is not None
        return [
            stage,
            Watch(parts.database, self._card.id, self._crew, self._loop, settings.watch_interval),
            Rescue(parts.database, heartbeat, parts.emit, interval=heartbeat.interval / 2),
            Cleanup(parts.database, parts.artifacts, settings.retention, settings.cleanup_interval),
        ]

    async def _claim_until_stopped(self, threads: ThreadPoolExecutor, claims: Claims) -> None:
        outage = Outage("claim", self._parts.emit)
        while not self._stopping_event.is_set():
            wait = self._parts.settings.poll_interval
            try:
                if await self._claim(threads, claims):
                    wait = 0.0
                outage.is_over()
            except (StorageUnavailable, ConfigurationError) as error:
                wait = outage.goes_on(error)
            if self._crew.is_exhausted:
                self._replace_me()
            await self._crew.free_slot(self._stopping_event, wait)

    async def _claim(self, threads: ThreadPoolExecutor, claims: Claims) -> int:
        slots = self._crew.free_slots
        if slots <= 0:
            return 0
        ready: list[Ready] = await in_thread(threads, lambda: claims.claim_round(slots))
        # Claimed while the stop came in: they are this worker's, so it must give them back.
        stopped = self._stopping_event.is_set()
        for one in ready:
            self._crew.begin(one, release=stopped)
        return len(ready)

    async def _drain(self, threads: ThreadPoolExecutor, stage: Stage, claims: Claims) -> None:
        while not self._stopping_event.is_set():
            claimed = await self._claim(threads, claims)
            if claimed:
                continue
            if self._crew.running or self._crew.unwritten:
                await self._crew.one_ended()
            elif not await in_thread(threads, stage.run_once):
                return

    async def _leave(self, threads: ThreadPoolExecutor, heartbeat: Heartbeat) -> None:
        heartbeat.stop()
        with suppress(FairlaneError):  # then its lease runs out, and others do it
            await in_thread(
                threads,
                lambda: self._parts.database.write(lambda connection: workers.remove(connection, self._card.id)),
            )
        self._parts.emit(WorkerStopped(self._card.name, self._crew.released))

    def _on_blocked(self, seconds: float, where: str) -> None:
        self._parts.emit(LoopBlocked(self._card.name, self._crew.async_job_types(), seconds, where))

    def _replace_me(self) -> None:
        """This process can't be trusted to run more: too many handlers left behind, or its loop blocked for a lease."""
        self.must_be_replaced = True
        self.stop()
