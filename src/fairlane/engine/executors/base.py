"""What the executors have in common: what they are given, what they give back, and how a handler can end."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from fairlane.domain.errors import FairlaneError, TransientError
from fairlane.domain.outcomes import ErrorReport, Outcome
from fairlane.engine.context import Interrupted, JobContext
from fairlane.engine.executors.loop_threads import JOB, Life
from fairlane.engine.reports import AttemptInputs, Channel, Interruption
from fairlane.jobtypes.job_type import JobType

# Seconds in which a process should have begun its handler, imports and all; one that hangs there is stopped. A handler
# waits as long for a thread or process that the system does not give, before another worker shall have it.
START_LIMIT: Final = 60.0


T = TypeVar("T")


class HandlerQuit(FairlaneError):
    """The handler raised what ends programs or tasks (SystemExit, CancelledError, …) though nobody asked it to stop."""


class Abandoned(FairlaneError):
    """The handler did not stop when asked to, so it was killed or, where that is impossible, left behind."""


class NotBegun(FairlaneError):
    """The system gives no thread or process to run the handler in: no fault of the handler, which never began."""


class Overdue(FairlaneError):
    """A validator of the handler's, or an object that it left, took too long, so its thread was left behind."""


class ProcessDied(TransientError):
    """The handler's process ended before the handler did: a crash, an exit, or memory that ran out."""


# What is to be said of how a handler failed (`ending`). A process of its own has judged it already.
Raised = BaseException | ErrorReport


# Told in the place of what a handler raised, once that is judged in a thread. On the loop the error's own code would
# run, and what cleans up after it, as of a temporary directory that its frame still has.
JUDGED: Final = ErrorReport("", "")


def overdue_report(what: str, job_type: str) -> ErrorReport:
    """Return the report of an attempt that ends by `Overdue`; no value is in it, so no secrets are looked for."""
    return ErrorReport(Overdue.__name__, what, fingerprint=f"{Overdue.__name__} {job_type}")


class Judging(Channel, Protocol):
    """The `Channel` of an attempt, which also judges how its handler ended, and has threads for files."""

    @property
    def is_full(self) -> bool:
        """Return True if too much that was sent waits to be written."""

    def in_file_thread(self, work: Callable[[], T]) -> "Future[T]":
        """Have a thread do what takes as long as a large file; organizations take turns there."""

    @property
    def result_limit(self) -> int:
        """Return how many bytes a result may have as JSON."""

    def judge(self, value: object, error: Raised | None) -> Outcome:
        """Return what follows from what the handler returned, or raised; from any thread. Raises nothing."""


class Call(NamedTuple):
    """A handler and what to call it with. A process decodes `inputs.parameters` itself, it needs no `arguments`."""

    job_type: JobType[..., Any]
    arguments: Mapping[str, object]
    context: JobContext
    inputs: AttemptInputs
    channel: Judging


# Called once, on the loop's thread, with what the handler returned or how it failed, and what follows if it was judged.
OnEnd = Callable[[object, Raised | None, Outcome | None], None]


class Execution(ABC):
    """One handler on its way. To be used on the loop's thread.

    It tells its end by a call, not by a future: that would be one more turn of the loop for each of tens of thousands
    of jobs a second.

    Attributes:
        entered: when it got what it runs in, by `time.monotonic()`; None while it waits for a thread or a process.
        started: when the handler began, by the same clock; None while its process is still coming up, or not there.
        ended: when it ended, by the same clock, if that was not on the loop, which may be late to hear of it.
        outcome: what follows from its end, if that is judged before it is told: a large result takes long to encode.
    """

    __slots__ = ("_on_end", "call", "ended", "entered", "outcome", "started")

    def __init__(self, call: Call, on_end: OnEnd) -> None:
        self.call = call
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
        """Tell how the handler ended; what comes after the first word is too late and is dropped."""
        on_end, self._on_end = self._on_end, None
        if on_end is None:
            return
        if isinstance(raised, BaseException):
            raised = ending(raised, self.call.context.interrupt.reason)
        on_end(value, raised, self.outcome)

    def judge(self, value: object, raised: BaseException | None) -> None:
        """Judge how the handler ended before that is told, in a thread."""
        error = ending(raised, self.call.context.interrupt.reason) if raised is not None else None
        self.outcome = self.call.channel.judge(value, error)

    @abstractmethod
    def interrupt(self, reason: Interruption) -> None:
        """Ask the handler to stop. The first reason stands, a second call does nothing."""

    @abstractmethod
    def abandon(self) -> None:
        """Stop the handler, or what judges its end; where Python can't, leave it behind. Tell its end in any case."""


class Executor(ABC):
    """One way to run handlers. To be used on the loop's thread."""

    left_behind: Collection[Execution]  # what was abandoned and has not ended

    async def start(self) -> None:  # noqa: B027 - most need nothing
        """Get ready, where that takes anything; before the first `begin`."""

    @abstractmethod
    async def stop(self) -> None:
        """Give back what is held; what still runs is abandoned."""

    @abstractmethod
    def begin(self, call: Call, on_end: OnEnd) -> Execution:
        """Begin to run a handler, which may have ended when this returns.

        Raises NotBegun if there is no thread or process to be had, and what else keeps this handler from being run.
        """


async def run_async(
    handler: Callable[..., Awaitable[object]],
    context: JobContext,
    arguments: Mapping[str, object],
    life: Life | None = None,
) -> object:
    """Run an `async def` handler, and see what it reported through to the end.

    Args:
        life: whose threads of the loop it has; None: it is alone on its loop.
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
    """Return what is to be said of a handler that raised: mostly that.

    It is never an exception that ends a task or the worker.

    Args:
        raised: what the handler raised.
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
