"""Running one attempt is a recipe: decode → context → begin; then its end, its deadline or a stop → outcome.

It is driven by calls of the loop, not by a task of its own: a worker runs tens of thousands of attempts a second.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

from fairlane.domain.classify import classify, snooze_of
from fairlane.domain.errors import InvalidParameters
from fairlane.domain.events import HandlerAbandoned, ServiceFailed
from fairlane.domain.outcomes import (
    Completed,
    Deferred,
    ErrorReport,
    Failed,
    Outcome,
    Released,
    Snoozed,
    Stopped,
    TimedOut,
)
from fairlane.engine.accept import storable
from fairlane.engine.context import Interrupt, Interrupted, JobContext
from fairlane.engine.executors.async_ import AsyncExecutor
from fairlane.engine.executors.base import Abandoned, Call, Execution, Executor
from fairlane.engine.executors.process import ProcessExecutor
from fairlane.engine.executors.target import importable_target
from fairlane.engine.executors.thread import ThreadExecutor
from fairlane.engine.parts import WorkerParts
from fairlane.engine.reporter import AttemptChannel, Desk
from fairlane.engine.reports import AttemptFacts, Interruption, Report
from fairlane.registry.job_types import JobType
from fairlane.registry.options import Isolation
from fairlane.registry.parameters_values import encode_result

# Seconds in which a process should have begun its handler, imports and all; one that hangs there is stopped.
START_LIMIT: Final = 60.0
# Seconds from a timeout to the stop. A loop that was busy looks at the clock before it hears of what ended in time.
HEARING: Final = 0.02
_MOMENT: Final = 0.1  # seconds
_SHORT: Final = 10 * _MOMENT  # a timeout below gets its timer at once
_NOTHING: Final = Completed()


@dataclass(frozen=True, slots=True)
class Bench:
    """What all attempts of a worker share. Times in seconds, `result_limit` in bytes."""

    desk: Desk
    executors: dict[Isolation, Executor]
    stop_grace: float
    result_limit: int


def make_bench(
    parts: WorkerParts, slots: int, report_threads: ThreadPoolExecutor, on_lost: Callable[[UUID], None]
) -> Bench:
    """An executor for each isolation that one of the types has, and the desk of their reports.

    Raises:
        ConfigurationError: a handler that is to run in a process can't be imported there.
    """
    settings = parts.settings
    desk = Desk(
        parts.database,
        parts.artifacts,
        report_threads,
        parts.emit,
        settings.progress_interval,
        on_lost,
        asyncio.get_running_loop(),
        parts.keyring,
    )
    job_types = parts.catalogue.mine.values()
    isolations = {one.isolation for one in job_types}
    executors: dict[Isolation, Executor] = {}
    if Isolation.ASYNC in isolations:
        executors[Isolation.ASYNC] = AsyncExecutor()
    if Isolation.THREAD in isolations:
        executors[Isolation.THREAD] = ThreadExecutor()
    if Isolation.PROCESS in isolations:
        for one in job_types:
            if one.isolation is Isolation.PROCESS:
                importable_target(one.handler)  # better refused now than when its first job is there
        executors[Isolation.PROCESS] = ProcessExecutor(slots)
    return Bench(desk, executors, settings.stop_grace, settings.result_limit)


class Attempt:
    """One attempt of one job, while it runs on this worker. To be used on the loop's thread.

    Args:
        on_end: called once with the attempt and its outcome, maybe before `begin` returns.
    """

    __slots__ = (
        *("_bench", "_channel", "_cut", "_execution", "_is_shut", "_on_end", "_stopped", "_timer"),
        *("began", "facts", "job_type", "seconds"),
    )

    def __init__(
        self,
        bench: Bench,
        job_type: JobType[..., object],
        facts: AttemptFacts,
        on_end: "Callable[[Attempt, Outcome], None]",
    ) -> None:
        self.facts = facts
        self.job_type = job_type
        self.began = time.monotonic()
        self.seconds = 0.0
        self._bench = bench
        self._on_end = on_end
        self._channel: AttemptChannel | None = None
        self._is_shut = False
        self._execution: Execution | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopped: Interruption | None = None  # the first reason for a stop
        self._cut: Interruption | None = None  # the same, if the handler had not ended by then

    @property
    def is_lost(self) -> bool:
        """Whether the job was given to another worker meanwhile: then its end is nobody's business."""
        return self._stopped is Interruption.LEASE_LOST

    @property
    def channel(self) -> AttemptChannel:
        """The way of its reports, made for the first of them; from any thread."""
        channel = self._channel or AttemptChannel(self._bench.desk, self.facts)
        with self._bench.desk.opening:
            if self._channel is None:
                if self._is_shut:
                    channel.shut()
                self._channel = channel
            return self._channel

    def send(self, report: Report) -> "Future[Any]":
        """Take a report, as a `Channel` does; from any thread."""
        return self.channel.send(report)

    def read_artifact(self, parent_id: UUID, name: str) -> Iterator[bytes]:
        """Return the bytes of a parent's artifact in pieces, as a `Channel` does; from any thread."""
        return self.channel.read_artifact(parent_id, name)

    def shut(self) -> bool:
        """Take no more reports; True if all are written, or given up."""
        with self._bench.desk.opening:
            self._is_shut = True
        return self._channel is None or self._channel.shut()

    @property
    def has_checkpoint(self) -> bool:
        """Whether there may be one, of this attempt or of those before it."""
        has_sent = self._channel is not None and self._channel.has_checkpoint
        return has_sent or self.facts.checkpoint is not None

    def begin(self) -> None:
        """Begin to run the handler; never raises for what a handler or its values do."""
        try:
            # A child decodes once more for itself: values never cross the process boundary. Here it is tried, so that
            # what can't be decoded ends the same whatever the isolation.
            arguments = self.job_type.signature.decode(self.facts.parameters)
        except InvalidParameters as error:
            # Another version of the handler may be able to read it, so it backs off like any failure.
            kind = "InvalidParameters"
            message = storable(self.channel.cleaner.text(str(error)))
            report = ErrorReport(kind, message, fingerprint=f"{kind} {self.job_type.name}")
            self._on_end(self, Failed(report, is_of_handler=False))
            return
        except Exception as error:  # noqa: BLE001 - a validator of the handler's own
            self._on_end(self, self._failure(error))
            return
        isolation = self.job_type.isolation
        context = JobContext(self.facts, self, Interrupt(), blocking=isolation is not Isolation.ASYNC)
        call = Call(self.job_type, arguments, context, self.facts, self)
        try:
            execution = self._bench.executors[isolation].begin(call, self._on_finished)
        except Exception as error:  # noqa: BLE001 - no thread or process to be had: the attempt failed, not the worker
            self._on_end(self, self._failure(error))
            return
        if not execution.is_over:
            self._execution = execution

    def set_deadline(self) -> None:
        """Have a timer stop it when its timeout is over, unless it has one or needs none."""
        if self._timer is None and self._stopped is None:
            self._keep_deadline()

    def _keep_deadline(self, *, has_heard: bool = False) -> None:
        timeout, execution = self.facts.timeout, self._execution
        if timeout is None or execution is None or execution.is_over:
            return
        now = time.monotonic()
        if execution.started is not None:
            left = execution.started + timeout - now
        else:
            # The timeout is the handler's, not its process's that is still coming up. Looked at again after a whole
            # one, since the handler may begin just now.
            is_late = execution.entered is not None and now - execution.entered >= START_LIMIT
            left = 0.0 if is_late else timeout
        if left > 0:
            self._timer = self._bench.desk.loop.call_later(left, self._keep_deadline)
        elif not has_heard:
            self._timer = self._bench.desk.loop.call_later(HEARING, partial(self._keep_deadline, has_heard=True))
        else:
            self.stop(Interruption.TIMEOUT)

    def stop(self, reason: Interruption) -> bool:
        """Ask the handler to stop. The first reason stands; False if this was not the first."""
        if self._stopped is not None:
            return False
        self._stopped = reason
        execution = self._execution
        if execution is not None and not execution.is_over:
            self._cut = reason
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._bench.desk.loop.call_later(self._bench.stop_grace, self._abandon)
            execution.interrupt(reason)
        return True

    def _abandon(self) -> None:
        execution = self._execution
        if execution is None or execution.is_over:
            return
        if self.job_type.isolation is not Isolation.PROCESS and execution.started is not None:
            facts = self.facts
            self._bench.desk.emit(HandlerAbandoned(facts.organization, facts.job_id, facts.job_type))
        execution.abandon()

    def _on_finished(self, value: object, error: BaseException | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        ended = self._execution.ended if self._execution is not None else None
        self.seconds = (time.monotonic() if ended is None else ended) - self.began
        try:
            outcome = self._outcome(value, error, self._cut)
        except Exception as mistake:  # noqa: BLE001 - one of ours must not leave the job running for ever
            self._bench.desk.emit(ServiceFailed("attempt", mistake))
            outcome = Failed(ErrorReport(type(mistake).__name__, "the worker failed to run the attempt; see its log"))
        self._execution = None  # which refers to this attempt, and no circle shall be left
        self._on_end(self, outcome)

    def _outcome(self, value: object, error: BaseException | None, reason: Interruption | None) -> Outcome:
        match reason:
            case None if error is None:
                return self._success(value)
            case Interruption.TIMEOUT:
                return self._held_up() or self._timed_out()
            case Interruption.CANCEL if error is not None:
                return Stopped(str(error)) if isinstance(error, Abandoned) else Stopped()
            case Interruption.SHUTDOWN if error is not None:
                return Released("released at shutdown")
            case _ if error is not None:
                return self._failure(error)
            case _:
                return self._success(value)

    def _held_up(self) -> Outcome | None:
        """Return the end of an attempt that was waiting for Fairlane's own storage when its timeout was over."""
        met = self._channel.outage if self._channel is not None else None
        outcome = self._failure(met) if met is not None else None
        return outcome if isinstance(outcome, Deferred) else None

    def _timed_out(self) -> Outcome:
        seconds = self.facts.timeout or 0.0
        message = f"ran past its timeout of {seconds:g} s"
        if self._execution is not None and self._execution.started is None:
            message = f"its handler had not begun after {time.monotonic() - self.began:.0f} s"
        return TimedOut(ErrorReport("TimedOut", message, fingerprint=f"TimedOut {self.job_type.name}"), seconds)

    def _success(self, value: object) -> Outcome:
        try:
            return Completed(encode_result(value, limit=self._bench.result_limit)) if value is not None else _NOTHING
        except Exception as error:  # noqa: BLE001 - the handler's own objects take part in it
            return self._failure(error)

    def _failure(self, error: BaseException) -> Outcome:
        snooze = snooze_of(error)
        if snooze is not None:
            return Snoozed(snooze.seconds, storable(self.channel.cleaner.text(snooze.reason)))
        if isinstance(error, Interrupted):
            return Stopped("the handler stopped")
        errors = self.job_type.errors
        report = self.channel.cleaner.error(classify(error, transient=errors.transient, permanent=errors.permanent))
        return Deferred(report) if report.is_storage else Failed(report)


class Deadlines:
    """Sets the timers of timeouts for attempts that have run for a moment: most have ended by then.

    A timer for each would be one of the dearest things that a worker does for a job that takes a millisecond.

    Args:
        attempts: all that run, the oldest first, kept up to date by the caller.
    """

    def __init__(self, attempts: Collection[Attempt], loop: asyncio.AbstractEventLoop) -> None:
        self._attempts = attempts
        self._loop = loop
        self._is_waiting = False

    def begun(self, attempt: Attempt) -> None:
        """This attempt has begun."""
        timeout = attempt.facts.timeout
        if timeout is not None and timeout < _SHORT:
            attempt.set_deadline()
        elif not self._is_waiting:
            self._wait()

    def _wait(self) -> None:
        self._is_waiting = True
        self._loop.call_later(_MOMENT, self._set)

    def _set(self) -> None:
        self._is_waiting = False
        before = time.monotonic() - _MOMENT
        for attempt in self._attempts:
            if attempt.began > before:
                self._wait()
                break
            attempt.set_deadline()
