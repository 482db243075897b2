"""Run an attempt in steps: decode → context → begin; then its end, its deadline or a stop → outcome.

Calls of the loop drive it, not a task of its own: a worker runs tens of thousands of attempts a second.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from uuid import UUID

from fairlane.domain.classify import classify, snooze_of, without_words
from fairlane.domain.errors import ConfigurationError, InvalidParameters, StorageUnavailable
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
from fairlane.domain.secrets import secret_values
from fairlane.domain.timing import NEXT_TRY
from fairlane.engine.context import Interrupt, Interrupted, JobContext
from fairlane.engine.executors.base import (
    START_LIMIT,
    Abandoned,
    Call,
    Execution,
    NotBegun,
    Overdue,
    Raised,
    ending,
    overdue_report,
)
from fairlane.engine.reporter import AttemptChannel
from fairlane.engine.reports import AttemptInputs, File, Interruption, Report, storable
from fairlane.engine.service import next_wait
from fairlane.engine.start_checks import DEFERRED, Read, ReadFacts
from fairlane.jobtypes.job_type import JobType
from fairlane.jobtypes.options import Isolation
from fairlane.jobtypes.parameters_values import encode_result

if TYPE_CHECKING:
    from fairlane.engine.slots import Slots

T = TypeVar("T")

# Seconds from a timeout to the stop. A busy loop runs timers before it learns of handlers that ended in time.
HEARING: Final = 0.02
# Characters of parameters; more are decoded in a thread.
_LARGE: Final = 10_000
# Seconds for a thread to judge a handler's outcome, however many end together.
_JUDGED: Final = 600.0
_NOTHING: Final = Completed()
# A handler's arguments, or the outcome of the attempt if they can't be decoded.
_Decoded: TypeAlias = dict[str, object] | Outcome


class Attempt:
    """An attempt of a job while it runs on this worker. Use it on the loop's thread.

    Args:
        slots: told of the end once, maybe before `begin` returns.
    """

    __slots__ = (
        *("_channel", "_execution", "_is_shut", "_reading", "_slots", "_stopped", "_timer"),
        *("began", "inputs", "job_type", "seconds"),
    )

    def __init__(self, slots: "Slots", job_type: JobType[..., object], inputs: AttemptInputs) -> None:
        self.inputs = inputs
        self.job_type = job_type
        self.began = time.monotonic()
        self.seconds = 0.0
        self._slots = slots
        self._channel: AttemptChannel | None = None
        self._is_shut = False
        self._execution: Execution | None = None
        self._reading: asyncio.Task[tuple[Read, _Decoded | None]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopped: Interruption | None = None  # the first reason for a stop

    @property
    def is_lost(self) -> bool:
        """Return True if another worker has the job now: then the outcome of this attempt does not count."""
        return self._stopped is Interruption.LEASE_LOST

    @property
    def channel(self) -> AttemptChannel:
        """Return the channel of its reports, made for the first of them; from any thread."""
        slots = self._slots
        channel = self._channel or AttemptChannel(
            slots.deps, self.inputs, slots.report_threads, slots.file_threads, slots.loop, slots.on_lost
        )
        with slots.opening:
            if self._channel is None:
                if self._is_shut:
                    channel.shut()
                self._channel = channel
            return self._channel

    def send(self, report: Report) -> "Future[Any]":
        """Take a report, as a `Channel` does; from any thread."""
        return self.channel.send(report)

    @property
    def is_full(self) -> bool:
        """Return True if too many reports wait to be written."""
        return self.channel.is_full

    def read_artifact(self, parent_id: UUID, name: str) -> Iterator[bytes]:
        """Return the bytes of a parent's artifact in pieces, as a `Channel` does; from any thread."""
        return self.channel.read_artifact(parent_id, name)

    def in_file_thread(self, work: Callable[[], T]) -> "Future[T]":
        """Do work in a thread that takes as long as a large file; organizations take turns there."""
        return self._slots.file_threads.submit([self.inputs.organization], work)

    def shut(self) -> bool:
        """Take no more reports; return True if all are written, or given up."""
        with self._slots.opening:
            self._is_shut = True
        if self._channel is None:
            return True
        if self._stopped is not None:
            self._channel.give_up(File)  # a handler that was not stopped has waited until its files were written
        return self._channel.shut()

    @property
    def result_limit(self) -> int:
        """Return the most bytes that its result may have as JSON."""
        return self._slots.deps.settings.result_limit

    @property
    def has_checkpoint(self) -> bool:
        """Return True if this attempt or an earlier one may have a checkpoint."""
        has_sent = self._channel is not None and self._channel.has_checkpoint
        return has_sent or self.inputs.checkpoint is not None

    @property
    def is_on_the_loop(self) -> bool:
        """Return True if its handler is async, and no thread reads its inputs or judges its end; from any thread."""
        execution = self._execution
        is_judged = execution is not None and execution.ended is not None
        return self.job_type.isolation is Isolation.ASYNC and self._reading is None and not is_judged

    def is_decoded_at_once(self, inputs: AttemptInputs) -> bool:
        """Return True if these parameters are decoded quickly, without code of the application."""
        return len(inputs.parameters) <= _LARGE and not self.job_type.signature.runs_code

    def begin_with(self, read: ReadFacts | None) -> None:
        """Begin once threads have read its inputs and decoded its parameters; organizations take turns there.

        Args:
            read: reads the inputs that are not in the job's row.
        """
        self._reading = self._slots.loop.create_task(self._read(read))
        self._reading.add_done_callback(self._on_read)

    async def _read(self, read: ReadFacts | None) -> tuple[Read, _Decoded | None]:
        inputs, outcome = await self._read_inputs(read) if read is not None else (self.inputs, None)
        if outcome is not None or self.is_decoded_at_once(inputs):
            return (inputs, outcome), None
        try:
            coming = partial(self._slots.in_value_thread, self.job_type, inputs.organization, self._decoded)
            return (inputs, None), await self._in_thread(coming)
        except Overdue as overdue:
            what = f"its parameters were still being decoded {overdue}: see the validators of {self.job_type.name}"
            return (inputs, Failed(overdue_report(what, self.job_type.name))), None

    async def _read_inputs(self, read: ReadFacts) -> Read:
        """Read; in an outage retry for a minute.

        After that the job waits longer and longer, and its history says why; in the end the attempt fails.
        """
        time_now, wait = self._slots.loop.time, 0.0
        until = time_now() + START_LIMIT
        while True:
            try:
                once = partial(self._read_once, read)
                return await self._in_thread(
                    partial(self._slots.report_threads.submit, [self.inputs.organization], once)
                )
            except (StorageUnavailable, ConfigurationError) as error:
                wait = min(next_wait(wait), NEXT_TRY)
                if time_now() + wait > until:
                    return self.inputs, Deferred(classify(error))
            await asyncio.sleep(wait)

    def _read_once(self, read: ReadFacts) -> Read:
        try:
            # The handler's process decodes the parents' results: here this would delay all others in this process.
            return read(parents_as_text=self.job_type.isolation is Isolation.PROCESS)
        except BaseException as error:
            if isinstance(error, Exception):
                raise
            return self.inputs, self.mistaken(error)  # a task that raises it would end the loop

    async def _in_thread(self, submit: "Callable[[], Future[T]]") -> T:
        try:
            coming = submit()
        except RuntimeError as error:
            raise NotBegun(str(error)) from error
        return await asyncio.wrap_future(coming)

    def _on_read(self, task: "asyncio.Task[tuple[Read, _Decoded | None]]") -> None:
        self._reading = None
        outcome: Outcome | None
        decoded: _Decoded | None = None
        if self._stopped is not None:
            outcome = Stopped() if self._stopped is Interruption.CANCEL else Released("released at shutdown")
        elif task.cancelled():  # the loop ends: the worker releases the job as it leaves
            self._slots.forget(self)
            return
        elif (error := task.exception()) is not None:
            outcome = self._failure(error) if isinstance(error, NotBegun) else self.mistaken(error)
        else:
            (self.inputs, outcome), decoded = task.result()
        if outcome is not None:
            self._slots.on_unbegun(self, outcome)
            return
        self.begin(decoded)
        self.set_deadline()

    def _decoded(self) -> _Decoded:
        """Decode the parameters; from any thread.

        A child process decodes once more for itself: values never cross the process boundary. They are decoded here
        too, so that bad parameters have the same outcome whatever the isolation.
        """
        try:
            return self.job_type.signature.decode(self.inputs.parameters)
        except InvalidParameters as error:
            # Another version of the handler may be able to decode them, so the job backs off like any failure.
            kind = "InvalidParameters"
            report = ErrorReport(kind, storable(error), fingerprint=f"{kind} {self.job_type.name}")
            return Failed(report, is_of_handler=False)
        except BaseException as error:  # noqa: BLE001 - a validator of the handler's own
            return self.judge(None, ending(error, None))

    def begin(self, decoded: _Decoded | None = None) -> None:
        """Begin to run the handler; never raise an error of the handler or its values.

        Args:
            decoded: its arguments, if a thread has decoded them.
        """
        if decoded is None:
            decoded = self._decoded()
        if isinstance(decoded, dict):
            job_type, inputs = self.job_type, self.inputs
            try:
                context = JobContext(inputs, self, Interrupt(), blocking=job_type.isolation is not Isolation.ASYNC)
                call = Call(job_type, decoded, context, inputs, self)
                execution = self._slots.executors[job_type.isolation].begin(call, self._on_finished)
            except BaseException as error:  # noqa: BLE001 - whatever prevents the start, for example NotBegun
                decoded = self.judge(None, ending(error, None))
            else:
                if not execution.is_over:
                    self._execution = execution
                return
        self._slots.on_end(self, decoded)

    def set_deadline(self) -> None:
        """Set a timer that stops it when its timeout is over, unless it has one or needs none."""
        if self._timer is None and self._stopped is None:
            self._keep_deadline()

    def _keep_deadline(self, *, has_heard: bool = False) -> None:
        timeout, execution = self.inputs.timeout, self._execution
        if execution is None or execution.is_over:
            return
        now = time.monotonic()
        if execution.started is None:
            # The timeout begins with the handler, and its process is still starting. The next check is a timeout from
            # now at the latest, since the handler may begin just now.
            limit = START_LIMIT if execution.entered is None else execution.entered + START_LIMIT - now
            left = limit if timeout is None else min(limit, timeout)
        elif execution.ended is not None:
            left = self._left_to_judge(execution.ended)
        elif timeout is not None:
            left = execution.started + timeout - now
        else:
            return
        if left > 0:
            self._timer = self._slots.loop.call_later(left, self._keep_deadline) if left < math.inf else None
        elif not has_heard:
            self._timer = self._slots.loop.call_later(HEARING, partial(self._keep_deadline, has_heard=True))
        else:
            self.stop(Interruption.TIMEOUT)

    def _left_to_judge(self, ended: float) -> float:
        """Return the seconds that a thread may still take to judge how the handler ended.

        Async handlers use threads that organizations share (`Slots.in_value_thread`), with a limit of their own. A
        handler without a timeout has no limit.
        """
        is_shared = self.job_type.isolation is Isolation.ASYNC
        return math.inf if is_shared or self.inputs.timeout is None else ended + _JUDGED - time.monotonic()

    def stop(self, reason: Interruption) -> bool:
        """Ask the handler to stop. Only the first reason counts; return False if this was not the first."""
        if self._stopped is not None:
            return False
        self._stopped = reason
        if self._reading is not None:
            self._reading.cancel()
        execution = self._execution
        if execution is not None and not execution.is_over:
            if self._timer is not None:
                self._timer.cancel()
            seconds = self._slots.stop_grace + self._held_for(execution)
            self._timer = self._slots.loop.call_later(seconds, self.abandon) if seconds < math.inf else None
            execution.interrupt(reason)
        return True

    def _held_for(self, execution: Execution) -> float:
        """Return the seconds beyond its grace for which a handler that ignores its stop keeps its slot.

        A handler that can't be killed keeps it until its type's own timeout is over. Else a submitter could use up a
        worker by jobs with short timeouts or by cancels, and exceed limits by attempts beside those that did not stop.
        """
        can_be_killed = self.job_type.isolation is Isolation.PROCESS
        is_by_a_user = self._stopped in {Interruption.TIMEOUT, Interruption.CANCEL}
        if can_be_killed or execution.started is None or not is_by_a_user:
            return 0.0
        timeout = self.job_type.options.timeout
        return math.inf if timeout is None else max(0.0, execution.started + timeout - time.monotonic())

    def abandon(self) -> None:
        """Kill the handler, or leave it behind if Python can't. If it has ended, wait for the thread that judges it."""
        execution = self._execution
        if execution is None or execution.is_over:
            return
        if execution.ended is not None and (left := self._left_to_judge(execution.ended)) > 0:
            self._timer = self._slots.loop.call_later(left, self.abandon) if left < math.inf else None
            return
        if self.job_type.isolation is not Isolation.PROCESS and execution.started is not None:
            inputs = self.inputs
            self._slots.deps.emit(HandlerAbandoned(inputs.organization, inputs.job_id, inputs.job_type))
        execution.abandon()

    def _on_finished(self, value: object, error: Raised | None, judged: Outcome | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        execution = self._execution
        ended = execution.ended if execution is not None else None
        started = execution.started if execution is not None else None  # later than `began`, by the start of a process
        self.seconds = (time.monotonic() if ended is None else ended) - (self.began if started is None else started)
        outcome = self._outcome(value, error, judged)
        self._execution = None  # it refers to this attempt, and a reference cycle would remain
        self._slots.on_end(self, outcome)

    def judge(self, value: object, error: Raised | None) -> Outcome:
        """Return the outcome of the handler's end; from any thread. Raise nothing, or the job would never end.

        Ctrl-C raises nothing here: a running worker has a signal handler.
        """
        try:
            return self._success(value) if error is None else self._failure(error)
        except BaseException as mistake:  # noqa: BLE001 - Fairlane's error, or the handler's objects'
            return self.mistaken(ending(mistake, None))

    def _outcome(self, value: object, error: Raised | None, judged: Outcome | None) -> Outcome:
        """Return the outcome of the attempt, which may have been asked to stop. `judged`: as a thread has judged it."""
        reason = self._stopped
        if reason is Interruption.TIMEOUT:
            return self._held_up() or self._timed_out()
        if error is not None and reason is Interruption.CANCEL:
            return Stopped(str(error)) if type(error) is Abandoned else Stopped()
        outcome = judged or self.judge(value, error)
        if error is None:
            return outcome
        if reason is Interruption.SHUTDOWN and not isinstance(outcome, Snoozed):
            # The stop may cause an error, for example of a command that was ended with its handler.
            return Released("released at shutdown")
        return outcome

    def mistaken(self, mistake: BaseException) -> Outcome:
        """Log an unexpected error, of Fairlane or of the handler's objects, and return its outcome."""
        mistake = without_words(mistake)
        self._slots.deps.emit(ServiceFailed("attempt", mistake))
        report = ErrorReport(type(mistake).__name__, "the worker failed to run the attempt; see its log")
        return Failed(report, is_of_handler=False)

    def _held_up(self) -> Outcome | None:
        """Return the outcome if the attempt was waiting for Fairlane's own storage when its timeout was over."""
        met = self._channel.outage if self._channel is not None else None
        outcome = self.judge(None, met) if met is not None else None
        return outcome if isinstance(outcome, Deferred) else None

    def _timed_out(self) -> Outcome:
        timeout = self.inputs.timeout or 0.0
        message = f"ran past its timeout of {timeout:g} s"
        if self._execution is not None and self._execution.started is None:
            message = f"its handler had not begun after {round(time.monotonic() - self.began)} s"
        elif self.seconds < timeout:  # the handler has ended in time
            message = f"its result was still being encoded after {_JUDGED:g} s"
        return TimedOut(ErrorReport("TimedOut", message, fingerprint=f"TimedOut {self.job_type.name}"))

    def _success(self, value: object) -> Outcome:
        if value is None or self._stopped is Interruption.TIMEOUT:  # it is too late, and no user will read it
            return _NOTHING
        try:
            return Completed(encode_result(value, limit=self.result_limit))
        except BaseException as error:  # noqa: BLE001 - the handler's own objects run code here
            return self._failure(ending(error, None))

    def _failure(self, error: Raised) -> Outcome:
        if isinstance(error, NotBegun):
            why = f"the system gives no thread or process to run jobs in ({error})"
            self._slots.on_unfit(f"{why}; allow it more, or give it fewer slots")
            return Released("its worker had no thread or process to run it in", DEFERRED)
        if isinstance(error, BaseException):
            if isinstance(error, Interrupted):
                return Stopped("the handler stopped")
            secrets = secret_values(self.inputs.parameters)
            if (snooze := snooze_of(error)) is not None:
                return Snoozed(float(snooze.seconds), storable(snooze.reason, secrets))
            transient, permanent = self.job_type.errors
            error = classify(error, transient=transient, permanent=permanent, secrets=secrets)
        return Deferred(error) if error.is_storage else Failed(error)
