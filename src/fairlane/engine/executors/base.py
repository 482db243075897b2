"""The common base of the executors: their calls, their executions, and the errors that end a handler."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from fairlane.domain.errors import FairlaneError, TransientError
from fairlane.domain.outcomes import ErrorReport, Outcome
from fairlane.engine.context import JOB, Interrupted, JobContext, Life
from fairlane.engine.reports import AttemptInputs, Channel, Interruption
from fairlane.jobtypes.job_type import JobType

# Seconds in which a process should have begun its handler, with all imports; a process that hangs there is stopped. A
# handler waits as long for a thread or process that the system does not give, until another worker shall get its job.
START_LIMIT: Final = 60.0


T = TypeVar("T")


class HandlerQuit(FairlaneError):
    """The handler raised an error that ends programs or tasks (SystemExit, CancelledError, …), without a request."""


class Abandoned(FairlaneError):
    """The handler did not stop when asked to, so it was killed or, if that is impossible, left behind."""


class NotBegun(FairlaneError):
    """The system gives no thread or process for the handler, which never began: no fault of the handler."""


class Overdue(FairlaneError):
    """A validator of the handler, or an object in its result, took too long, so its thread was left behind."""


class ProcessDied(TransientError):
    """The handler's process ended before the handler did: a crash, an exit, or memory that ran out."""


# The error of a handler that failed (`ending`). A process of its own has judged it already.
Raised = BaseException | ErrorReport


# Replaces the error of a handler once a thread has judged it. On the loop the error's own code would run, and clean-up
# of its frames, for example of a temporary directory.
JUDGED: Final = ErrorReport("", "")


def overdue_report(what: str, job_type: str) -> ErrorReport:
    """Return the report of an attempt that ends by `Overdue`; it holds no value, so no secrets have to be removed."""
    return ErrorReport(Overdue.__name__, what, fingerprint=f"{Overdue.__name__} {job_type}")


class Judging(Channel, Protocol):
    """The `Channel` of an attempt, which also judges how its handler ended, and has threads for files."""

    @property
    def is_full(self) -> bool:
        """Return True if too many reports wait to be written."""

    def in_file_thread(self, work: Callable[[], T]) -> "Future[T]":
        """Do work in a thread that takes as long as a large file; organizations take turns there."""

    @property
    def result_limit(self) -> int:
        """Return the most bytes that a result may have as JSON."""

    def judge(self, value: object, error: Raised | None) -> Outcome:
        """Return the outcome of the handler's value or error; from any thread. Raises nothing."""


class Call(NamedTuple):
    """A handler and its arguments. A process decodes `inputs.parameters` itself, it needs no `arguments`."""

    job_type: JobType[..., Any]
    arguments: Mapping[str, object]
    context: JobContext
    inputs: AttemptInputs
    channel: Judging


# Called once, on the loop's thread, with the handler's value or error, and the outcome if it was judged.
OnEnd = Callable[[object, Raised | None, Outcome | None], None]


class Execution(ABC):
    """The execution of a handler. Use it on the loop's thread.

    It tells its end by a call, not by a future: a future would cost one more turn of the loop for each of tens of
    thousands of jobs a second.

    Attributes:
        entered: when it got its thread or process, by `time.monotonic()`; None while it waits for one.
        started: when the handler began, by the same clock; None while its process is still starting, or not there.
        ended: when it ended, by the same clock, if that was not on the loop, which may be late to hear of it.
        outcome: the outcome, if it is judged before the end is told: a large result takes long to encode.
        life: of the job, for the context variable of its handler.
    """

    __slots__ = ("_on_end", "call", "ended", "entered", "life", "outcome", "started")

    def __init__(self, call: Call, on_end: OnEnd) -> None:
        self.call = call
        self.life = life_of(call.inputs, call.job_type.options.timeout)
        self.entered: float | None = time.monotonic()
        self.started: float | None = self.entered
        self.ended: float | None = None
        self.outcome: Outcome | None = None
        self._on_end: OnEnd | None = on_end

    @property
    def is_over(self) -> bool:
        """Return True if its end was told."""
        return self._on_end is None

    def tell(self, value: object, raised: Raised | None) -> None:
        """Tell the end of the handler; only the first call counts. Its threads are left behind from now on."""
        self.life.ended = time.monotonic()
        on_end, self._on_end = self._on_end, None
        if on_end is None:
            return
        if isinstance(raised, BaseException):
            raised = ending(raised, self.call.context.interrupt.reason)
        on_end(value, raised, self.outcome)

    def judge(self, value: object, raised: BaseException | None) -> None:
        """Judge the end of the handler before it is told, in a thread."""
        error = ending(raised, self.call.context.interrupt.reason) if raised is not None else None
        self.outcome = self.call.channel.judge(value, error)

    @abstractmethod
    def interrupt(self, reason: Interruption) -> None:
        """Ask the handler to stop. The first reason stands, a second call does nothing."""

    @abstractmethod
    def abandon(self) -> None:
        """Stop the handler, or the judging of its end; leave it behind if Python can't. Always tell its end."""


class Executor(ABC):
    """A way to run handlers. Use it on the loop's thread."""

    left_behind: Collection[Execution]  # those that were abandoned and have not ended

    async def start(self) -> None:  # noqa: B027 - most need nothing
        """Get ready, before the first `begin`."""

    @abstractmethod
    async def stop(self) -> None:
        """Free all threads and processes; abandon handlers that still run."""

    @abstractmethod
    def begin(self, call: Call, on_end: OnEnd) -> Execution:
        """Begin to run a handler, which may have ended when this returns.

        Raises NotBegun if there is no thread or process, and other errors that keep this handler from running.
        """


def life_of(inputs: AttemptInputs, timeout: float | None) -> Life:
    """Return the life of an attempt. `timeout`: of its type, in seconds."""
    return Life(inputs.organization, timeout, inputs.job_id, inputs.job_type, inputs.attempt)


async def run_async(
    handler: Callable[..., Awaitable[object]], context: JobContext, arguments: Mapping[str, object], life: Life
) -> object:
    """Run an `async def` handler, and wait for its reports.

    Args:
        life: the job that owns its threads of the loop.
    """
    JOB.set(life)
    try:
        value = await handler(context, **arguments)
        await context.settled()
    except (SystemExit, KeyboardInterrupt) as error:
        # A task that raises these ends the loop, and with it all other jobs.
        raise ending(error, context.interrupt.reason) from error
    return value


def _said(raised: BaseException) -> str:
    try:
        return str(raised)
    except BaseException as error:  # noqa: BLE001 - the handler's own class says it
        return f"what it says can't be told, {type(error).__name__}"


def ending(raised: BaseException, reason: Interruption | None) -> BaseException:
    """Return the error to report for a handler that raised: mostly the same error.

    It is never an exception that ends a task or the worker.

    Args:
        raised: the exception that the handler raised.
        reason: why it was asked to stop, or None if it was not.
    """
    kind = type(raised)  # `isinstance` would ask the exception for its `__class__`, which may raise
    if reason is not None and issubclass(kind, Interrupted | asyncio.CancelledError):
        return Interrupted(reason)
    # A future takes no StopIteration.
    if issubclass(kind, Exception) and not issubclass(kind, StopIteration):
        return raised
    error = HandlerQuit(f"the handler raised {kind.__name__} though nobody asked it to stop: {_said(raised)}")
    error.__cause__ = raised
    return error
