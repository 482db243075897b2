"""The worker, as applications see it: runs jobs of this process's types until it is stopped."""

import asyncio
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from types import FrameType
from uuid import UUID, uuid4

from fairlane.domain.errors import ConfigurationError
from fairlane.domain.statuses import JobStatus
from fairlane.engine import own_loop
from fairlane.engine.heap import frozen_heap
from fairlane.engine.parts import WorkerParts
from fairlane.engine.shift import Shift
from fairlane.store.statements.workers import WorkerCard


@dataclass(frozen=True, slots=True)
class Drained:
    """How many attempts ended how.

    `retried` failed or timed out and are queued again; `snoozed` raised `Snooze`, or were given back before they ran.
    """

    completed: int
    retried: int
    dead_letters: int
    canceled: int
    snoozed: int


class Worker:
    """Runs jobs of this process's types until it is stopped.

    Args:
        queues: which to serve; None = all.
        concurrency: how many jobs it runs at once.
        name: how logs and the dashboard call it.

    Raises:
        ConfigurationError: `concurrency` is no whole number from 1 on.
    """

    def __init__(
        self, parts: WorkerParts, *, queues: tuple[str, ...] | None, concurrency: int, name: str | None = None
    ) -> None:
        self._parts = parts
        self._card = WorkerCard(
            id=uuid4(),
            name=name or f"{socket.gethostname()}:{os.getpid()}",
            queues=queues,
            job_types=tuple(sorted(parts.catalogue.mine)),
            slots=_slots(concurrency),
            version=version("fairlane"),
        )
        self.must_be_replaced = False
        self._shift: Shift | None = None
        self._stop_asked = False
        self._signals = 0

    @property
    def id(self) -> UUID:
        """The worker's id in the database."""
        return self._card.id

    def run(self) -> None:
        """Run until SIGTERM or SIGINT: then claim no more, let jobs finish within the grace, release the rest.

        A second signal ends the grace at once. Beside the main thread there are no signals; only `stop` ends it there.
        Meanwhile, on the main thread, the garbage collector leaves alone what was there before (`gc.freeze`).

        Raises:
            ConfigurationError: no job types, or the schema is missing, old or newer than this code.
            RuntimeError: an event loop runs in this thread.
        """
        own_loop.run(self._run_with_signals)

    async def run_async(self) -> None:
        """Run on the caller's loop until `stop` is called; it hears no signals.

        It also returns by itself where the worker can't be trusted any more. Then `must_be_replaced` is true, and the
        process should end. Cancelling it is `stop(at_once=True)`, and raises CancelledError once the worker has left.

        Raises:
            ConfigurationError: as for `run`.
        """
        await self._run(until_idle=False)

    def drain(self) -> Drained:
        """Run until nothing is claimable and nothing runs. For tests, and for scripts that end.

        Its loop is its own: where one runs in this thread, `await worker.drain_async()`. Meanwhile the garbage
        collector leaves alone what was there before (`gc.freeze`).

        Returns:
            How the attempts that it ran have ended.

        Raises:
            StorageUnavailable: the database is away; what ran was stopped.
            ConfigurationError, RuntimeError: as for `run`.
        """
        with frozen_heap():
            return own_loop.run(self.drain_async)

    async def drain_async(self) -> Drained:
        """Do as `drain`, on the caller's loop.

        Raises:
            StorageUnavailable, ConfigurationError: as for `drain`.
        """
        ended = await self._run(until_idle=True)
        return Drained(
            completed=ended[JobStatus.COMPLETED],
            retried=ended[JobStatus.FAILED] + ended[JobStatus.TIMED_OUT],
            dead_letters=ended[JobStatus.DEAD_LETTER],
            canceled=ended[JobStatus.CANCELED],
            snoozed=ended[JobStatus.QUEUED],
        )

    def stop(self, *, at_once: bool = False) -> None:
        """Ask it to stop, from any thread, also before it runs; `at_once` leaves out `grace`, not `stop_grace`."""
        self._stop_asked = True
        if self._shift is not None:
            self._shift.stop(at_once=at_once)

    async def _run_with_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            with _signals_to(self._on_signal), frozen_heap():
                await self._run(until_idle=False)
        else:
            await self._run(until_idle=False)

    async def _run(self, *, until_idle: bool) -> Counter[JobStatus]:
        """Return how many attempts ended how."""
        if not self._card.job_types:
            raise ConfigurationError("This worker has no job types; import the modules with your handlers first.")
        shift = self._shift = Shift(self._parts, self._card, self._replace_me)
        if self._stop_asked:
            shift.stop()
        try:
            await shift.run(until_idle=until_idle)
        finally:
            self._shift = None
            self._stop_asked = False
        return shift.ended

    def _on_signal(self) -> None:
        self._signals += 1
        self.stop(at_once=self._signals > 1)

    def _replace_me(self) -> None:
        """This process is to be replaced: an operator says so, or it can't be trusted to run more: too many handlers
        left behind, or its loop blocked for a lease."""
        self.must_be_replaced = True
        self.stop()


@contextmanager
def _signals_to(handler: Callable[[], None]) -> Iterator[None]:
    """Call this at SIGTERM and SIGINT; afterwards they do what they did before.

    Not by the loop's own `add_signal_handler`: what takes that back has the signal end the process for a moment.
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


def _slots(concurrency: object) -> int:
    if not isinstance(concurrency, int) or concurrency < 1:
        raise ConfigurationError(
            f"A worker needs at least one slot: concurrency must be a whole number from 1 on, not {concurrency!r:.80}."
        )
    return concurrency
