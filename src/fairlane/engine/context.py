"""The context, which a handler gets as its first argument: the same class on the event loop, in a thread, in a process.

Handlers differ in how they wait and stop. A blocking handler (thread, process) waits inside the call; to stop it, its
next call raises `Interrupted`. An `async def` handler may await the receipt that the call returns; to stop it, its task
is cancelled. Receipts that it did not await are still waited for before the job counts as completed.
"""

import asyncio
import json
import threading
import time
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sized,
)
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Generic, Literal, NamedTuple, NoReturn, TypeVar, get_args
from uuid import UUID

from fairlane.domain.classify import classify
from fairlane.domain.errors import PermanentError
from fairlane.domain.numbers import number_of
from fairlane.domain.outcomes import ErrorReport
from fairlane.domain.secrets import bare, secret_values
from fairlane.domain.statuses import JobStatus
from fairlane.domain.texts import organization_of
from fairlane.encryption.pieces import save
from fairlane.engine import own_loop
from fairlane.engine.reports import (
    CHECKPOINT_LIMIT,
    AttemptInputs,
    Channel,
    Checkpoint,
    Data,
    File,
    Interruption,
    LoggedLine,
    Progress,
    Report,
    contents,
    media_type,
    safe_name,
    spooled,
    storable,
)
from fairlane.jobtypes.parameters_values import encoded

T = TypeVar("T")
AnyIterable = Iterable[T] | AsyncIterable[T]

PACE: Final = 0.1  # seconds; between two reports, so that a loop of a million items spends no time on them

Level = Literal["debug", "info", "warning", "error", "critical"]
ReadArtifact = Callable[[UUID, str], Iterator[bytes]]


class Interrupted(BaseException):
    """Raised in a blocking handler that was asked to stop.

    The next call of the context raises it; in a process of its own, it is raised wherever the handler is. It is not an
    `Exception`, so that `except Exception` in a handler does not swallow it: clean up in `finally`, or catch it and
    raise it again. One call raises it; after that `ctx.log`, `ctx.checkpoint` and `ctx.artifact` work again.

    Attributes:
        reason: "cancel", "timeout", "shutdown" or "lease lost".
    """

    def __init__(self, reason: Interruption) -> None:
        super().__init__(f"the handler was asked to stop: {reason}")
        self.reason = reason


# One lock for all interrupts: each holds it for a moment, and few ever do. The same thread may take it again, if the
# garbage collector runs code of a handler just then.
_lock: Final = threading.RLock()


class Interrupt:
    """The request to a handler to stop, and its reason. Safe to use from any thread.

    Attributes:
        reason: None while there is no request.
        was_thrown: whether `throw` was called, so that the handler knows.
    """

    # Defaults on the class, which nearly all instances keep, since a worker makes tens of thousands a second.
    reason: Interruption | None = None
    was_thrown = False
    _waiting: tuple[threading.Event, ...] = ()

    def set(self, reason: Interruption) -> bool:
        """Ask the handler to stop. The first reason stands; return False if this was not the first."""
        with _lock:
            if self.reason is not None:
                return False
            self.reason = reason
            for event in self._waiting:
                event.set()
        return True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the handler is asked to stop, at most `timeout` seconds; return False if it was not asked."""
        with self._event() as event:
            return event.wait(timeout)

    def wait_for(self, future: "Future[Any]") -> None:
        """Wait until the future is done, or the handler is asked to stop."""
        with self._event() as event:
            future.add_done_callback(lambda _: event.set())
            event.wait()

    @contextmanager
    def _event(self) -> Iterator[threading.Event]:
        """Yield an event that is set when the handler is asked to stop."""
        event = threading.Event()
        with _lock:
            if self.reason is not None:
                event.set()
            self._waiting = (*self._waiting, event)
        try:
            yield event
        finally:
            with _lock:
                self._waiting = tuple(one for one in self._waiting if one is not event)

    def throw(self) -> NoReturn:
        """Raise `Interrupted`. Takes no lock, so that a signal handler may call it; `reason` must be set."""
        assert self.reason is not None
        self.was_thrown = True
        raise Interrupted(self.reason)


class CurrentJob(NamedTuple):
    """The job and the attempt that `current_job` returns."""

    job_id: UUID
    organization: str
    job_type: str
    attempt: int


class Life:
    """Tell whose job it is, when its handler has ended, by `time.monotonic()`, and how long its type lets one run.

    It refers to nothing large: a task, a timer or a connection may keep it, and so keeps no job.
    """

    __slots__ = ("attempt", "ended", "job_id", "job_type", "organization", "timeout")

    def __init__(
        self,
        organization: str,
        timeout: float | None,
        job_id: UUID | None = None,
        job_type: str = "",
        attempt: int = 0,
    ) -> None:
        self.ended: float | None = None
        self.organization = organization
        self.timeout = timeout
        self.job_id = job_id
        self.job_type = job_type
        self.attempt = attempt


# Whose code it is that runs; None: Fairlane's own, or the application's outside of jobs.
JOB: Final[ContextVar[Life | None]] = ContextVar("fairlane_job", default=None)


def current_job() -> CurrentJob | None:
    """Return the job whose handler, or its middleware, calls this; None outside of jobs.

    Tasks and `asyncio.to_thread` inherit it, as they inherit every context variable. A thread that the handler starts
    by itself does not.
    """
    life = JOB.get()
    if life is None or life.job_id is None:
        return None
    return CurrentJob(life.job_id, life.organization, life.job_type, life.attempt)


class Receipt:
    """The receipt of a context's verb, which an async handler may await. For a blocking handler all is done already."""

    def __init__(self, wait: Callable[[], Awaitable[object]]) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, None, None]:
        yield from self._wait().__await__()


class JobLog:
    """The log of a job, `ctx.log`: its lines are kept with the job. `ctx.log("…")` is `ctx.log.info("…")`."""

    def __init__(self, write: Callable[[LoggedLine], Receipt], secrets: tuple[str, ...]) -> None:
        self._write = write
        self._secrets = secrets

    def __call__(self, message: object, level: Level = "info") -> Receipt:
        """Keep a line. Raises ValueError for a level that does not exist."""
        if level not in get_args(Level):
            raise ValueError(
                f"there is no log level {level!r}; there are {', '.join(get_args(Level))}; "
                "write values into the message, for example with an f-string"
            )
        return self._write(LoggedLine(level, storable(message, self._secrets)))

    def debug(self, message: object) -> Receipt:
        """Keep a line that helps to find a bug."""
        return self(message, "debug")

    def info(self, message: object) -> Receipt:
        """Keep a line that says what the job does."""
        return self(message, "info")

    def warning(self, message: object) -> Receipt:
        """Keep a line about something odd that the job can live with."""
        return self(message, "warning")

    def error(self, message: object) -> Receipt:
        """Keep a line about something that went wrong."""
        return self(message, "error")


@dataclass(frozen=True, slots=True)
class Parent:
    """A job that this one depended on, with its status, result and artifacts. `artifacts` are names."""

    id: UUID
    job_type: str
    status: JobStatus
    result: Any
    labels: Mapping[str, str]
    artifacts: tuple[str, ...]
    _read: ReadArtifact = field(repr=False, compare=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    def artifact(self, name: str) -> bytes:
        """Return the bytes of an artifact. Blocks: an async handler awaits `asyncio.to_thread(parent.artifact, name)`.

        Raises PermanentError if the parent left no such artifact, and StorageUnavailable if the storage did not answer.
        """
        return b"".join(self.stream_artifact(name))

    def stream_artifact(self, name: str) -> Iterator[bytes]:
        """Return the bytes of an artifact in pieces, so that a large artifact need not fit into memory. Blocks.

        Raises PermanentError and StorageUnavailable as `artifact`.
        """
        if name not in self.artifacts:
            left = f"it left {', '.join(self.artifacts)}" if self.artifacts else "it left none"
            raise PermanentError(f"the parent {self.id} left no artifact {name!r}; {left}")
        return self._read(self.id, name)

    def save_artifact(self, name: str, path: Path | str) -> Path:
        """Write an artifact to a new file, piece by piece, and return the file's path. Blocks.

        Raises PermanentError and StorageUnavailable as `artifact`. Raises FileExistsError if something is at the path.
        """
        return save(self.stream_artifact(name), path)


def _headers(text: str | None) -> Mapping[str, str]:
    """Return a job's headers. What an application's own SQL has written there, and is none, counts as none."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


class JobContext:
    """The job as its handler sees it, and the methods to report. They may be called from any thread.

    Attributes:
        job_id, organization, user, job_type, labels: the job's own; the user None is the system.
        attempt: the number of this attempt, from 1; it only grows.
        lease_token: never used again, so it can fence off this attempt's effects elsewhere.

    Args:
        inputs: the inputs of the attempt.
        channel: takes reports, and gives the artifacts of parents.
        interrupt: set by the worker to ask the handler to stop.
        blocking: whether the handler is a plain function, which waits inside the calls.
    """

    def __init__(self, inputs: AttemptInputs, channel: Channel, interrupt: Interrupt, *, blocking: bool) -> None:
        self.job_id: Final = inputs.job_id
        self.organization: Final = organization_of(inputs.organization)
        self.user: Final = inputs.user
        self.job_type: Final = inputs.job_type
        self.attempt: Final = inputs.attempt
        self.lease_token: Final = inputs.lease_token
        self.labels: Final = inputs.labels
        self.interrupt: Final = interrupt
        self._inputs = inputs
        self._channel = channel
        self._blocking = blocking
        self._unsettled: dict[Future[Any], None] = {}
        self._unread: list[Callable[[], Awaitable[None]]] = []  # each reads an async iterator, and stores its bytes

    def redacted(self, error: BaseException) -> ErrorReport:
        """Return an error as it would be stored with the job: without secrets, for a service that collects errors.

        If the organization has an encryption key, the message and the traceback are empty.
        """
        report = classify(error, secrets=self._secrets)
        return replace(report, message="", traceback="") if self._inputs.is_sealed else report

    @property
    def log(self) -> JobLog:
        """Return the log of the job."""
        # Made on demand: if kept, it would be a reference cycle, and tens of thousands of them a second cost the
        # garbage collector more time than the jobs take.
        return JobLog(self._keep, self._secrets)

    @cached_property
    def parameters(self) -> Mapping[str, Any]:
        """Return the parameters in their JSON form; the handler's arguments are the same, typed."""
        parameters: Mapping[str, Any] = bare(json.loads(self._inputs.parameters))
        return parameters

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """Return the texts that the submission gave to the code around the handler."""
        return _headers(self._inputs.headers)

    @cached_property
    def _secrets(self) -> tuple[str, ...]:
        """Return the secret values, which are removed from the handler's texts."""
        return secret_values(self._inputs.parameters)

    @cached_property
    def checkpointed(self) -> Any:
        """Return the state of the last checkpoint of the attempts before this one; None if there is none."""
        return None if self._inputs.checkpoint is None else bare(json.loads(self._inputs.checkpoint))

    @cached_property
    def parents(self) -> tuple[Parent, ...]:
        """Return the jobs that this one depended on, the oldest first."""
        return tuple(
            Parent(
                *(one.id, one.job_type, one.status, one.result, one.labels),
                tuple(one.artifacts),
                self._channel.read_artifact,
                _headers(one.headers),
            )
            for one in self._inputs.parents
        )

    def progress(self, percent: float | None, message: str | None = None) -> Receipt:
        """Report the progress of the job, in percent: less than 0 becomes 0, and more than 100 becomes 100.

        Awaiting it gives the loop a turn; it does not wait for the database.

        Args:
            percent: None for unknown.
            message: the present work.

        Raises:
            ValueError: `percent` is not a number.
            Interrupted: a blocking handler was asked to stop.
        """
        if percent is not None:
            rule = "percent must be a number, or None if it is unknown, not"
            percent = min(max(number_of(rule, percent), 0.0), 100.0)
        self._stop_if_asked()
        self._channel.send(Progress(percent, None if message is None else storable(message, self._secrets)))
        return Receipt(_turn)

    def track(self, iterable: AnyIterable[T], total: float | None = None, message: str | None = None) -> "Track[T]":
        """Iterate and report the progress, with `for` or, over an async iterable, with `async for`.

        Args:
            iterable: the items.
            total: the number of items; by default the iterable's length, if it has one.
            message: the present work; by default the number of items done.

        Raises:
            TypeError: `iterable` can't be iterated.
            ValueError: `total` is not a number.
        """
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        return Track(self.progress, self._stop_if_asked, iterable, total, message)

    def checkpoint(self, state: object) -> Receipt:
        """Keep `state`, from which the next attempt may resume (`ctx.checkpointed`). In an async handler, await it.

        The state is durable when the call or the await returns. While the database is away, both wait. On SQLite commit
        a transaction of your own first: the checkpoint would wait for it.

        Raises:
            PermanentError: the state is no JSON value, or is larger than 1 MiB.
            TransientError: on SQLite, another transaction has been writing for 20 s, or for twice `lock_timeout`.
            Interrupted: a blocking handler was asked to stop and has not been told so yet. The state is still kept.
        """
        return self._deliver(Checkpoint(encoded(state, "checkpoint", CHECKPOINT_LIMIT)))

    def artifact(self, name: str, data: Data | AsyncIterator[bytes], content_type: str | None = None) -> Receipt:
        """Leave a file with the job, in place of one of the same name. In an async handler, await it.

        It waits while the database is away, as `checkpoint` does.

        Args:
            name: as people will see it, at most 200 characters, no path.
            data: bytes; text, to be stored as UTF-8; the path of a file; an open binary file; or an iterator of bytes,
                in an async handler also an async iterator. Only pieces of a file or iterator are in memory. A file or
                iterator is read to its end within the call, an async iterator when the call is awaited; the bytes wait
                in a temporary file.
            content_type: a media type; by default guessed from the name.

        Raises:
            PermanentError: the name, the content type or the text can't be used, or the job has 1,000 files already.
            TypeError: no file can be made of the data, or a piece of it is not bytes.
            FileNotFoundError: there is no file at the path.
            StorageUnavailable: the artifact storage did not take it.
            TransientError: as for `checkpoint`.
            Interrupted: a blocking handler was asked to stop and has not been told so yet.
        """
        self._stop_unless_told()
        file = File(safe_name(name), b"", media_type(content_type))
        if not isinstance(data, AsyncIterator):
            return self._deliver(replace(file, data=contents(data, self._stop_unless_told)))
        if not own_loop.is_running():
            raise TypeError("an async iterator is read in an async def handler; give an iterator of bytes here")

        async def deliver() -> None:
            if deliver not in self._unread:
                raise RuntimeError("the artifact's iterator can be read once; await ctx.artifact(…) once")
            self._unread.remove(deliver)
            await self._deliver(replace(file, data=await spooled(data)))

        self._unread.append(deliver)
        return Receipt(deliver)

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Sleep; await it in an async handler. A blocking handler that is asked to stop wakes at once.

        Raises ValueError if `seconds` is not a number, and Interrupted in a blocking handler that was asked to stop.
        """
        seconds = number_of("seconds must be a number, not", seconds)
        if not self._blocking:
            return asyncio.sleep(seconds)
        self.interrupt.wait(seconds)
        self.raise_if_interrupted()
        return Receipt(_turn)

    def is_canceled(self) -> bool:
        """Return True if the handler should stop: canceled, past its timeout, at shutdown, or its lease was lost."""
        return self.interrupt.reason is not None

    def raise_if_interrupted(self) -> None:
        """Raise Interrupted if the handler was asked to stop."""
        if self.interrupt.reason is not None:
            self.interrupt.throw()

    async def settled(self) -> None:
        """Wait for the reports that an async handler did not await. Raise the error of the first that failed."""
        while self._unread:
            await self._unread[0]()
        while self._unsettled:
            await self._durable(next(iter(self._unsettled)))

    def _stop_if_asked(self) -> None:
        if self._blocking:
            self.raise_if_interrupted()

    def _keep(self, line: LoggedLine) -> Receipt:
        """Keep a line. If too many lines wait to be written, wait for it; it fails no handler."""
        future = self._channel.send(line)
        if self._blocking and not future.done():
            if self.interrupt.was_thrown:
                wait([future])
            else:
                self.interrupt.wait_for(future)
        self._stop_unless_told()
        return Receipt(_turn if future.done() else lambda: _end_of(future))

    def _deliver(self, report: Report) -> Receipt:
        future = self._channel.send(report)
        if self._blocking:
            if not self.interrupt.was_thrown:
                self.interrupt.wait_for(future)
                self.raise_if_interrupted()
            future.result()
            return Receipt(_turn)
        self._unsettled[future] = None
        return Receipt(lambda: self._durable(future))

    def _stop_unless_told(self) -> None:
        """Raise Interrupted once: a handler that was told to stop may still log and keep values, to clean up."""
        if self._blocking and not self.interrupt.was_thrown:
            self.raise_if_interrupted()

    async def _durable(self, future: "Future[Any]") -> None:
        self._unsettled.pop(future, None)
        (await _end_of(future)).result()


async def _turn() -> None:
    await asyncio.sleep(0)


async def _end_of(future: "Future[Any]") -> "asyncio.Future[Any]":
    """Wait until the future is done, and raise nothing."""
    # The worker still resolves the future when the waiting handler is cancelled, so the future must not be cancelled
    # with it. Then nobody reads its error, and asyncio would log it as an error that was never retrieved.
    kept = asyncio.wrap_future(future)
    kept.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.wait({kept})
    return kept


class Track(Generic[T]):
    """An iterable, sync or async, that reports the progress after each item: after the first and the last always.

    Args:
        report: takes percent and message.
        check: called before each item, to raise if the handler should stop.
        iterable: the items.
        total: the number of items, or None for unknown.
        message: the present work, or None for the number of items done.
    """

    def __init__(
        self,
        report: Callable[[float | None, str | None], object],
        check: Callable[[], object],
        iterable: AnyIterable[T],
        total: float | None,
        message: str | None,
    ) -> None:
        if not isinstance(iterable, Iterable | AsyncIterable):
            raise TypeError(f"ctx.track takes a list or another iterable, not {iterable!r}.")
        self._report = report
        self._check = check
        self._iterable = iterable
        self._total = (
            None if total is None else number_of("total must be a number, or None if it is unknown, not", total)
        )
        self._message = message
        self._due = 0.0

    def __iter__(self) -> Iterator[T]:
        if not isinstance(self._iterable, Iterable):
            raise TypeError(f"a {type(self._iterable).__name__} is iterated with `async for`")
        done = 0
        for item in self._iterable:
            self._before_item(done)
            yield item
            done += 1
        self._say(done, ended=True)

    async def __aiter__(self) -> AsyncIterator[T]:
        if not isinstance(self._iterable, AsyncIterable):
            raise TypeError(f"a {type(self._iterable).__name__} is iterated with a plain `for`")
        done = 0
        async for item in self._iterable:
            self._before_item(done)
            yield item
            done += 1
        self._say(done, ended=True)

    def _before_item(self, done: int) -> None:
        if (now := time.monotonic()) < self._due:
            self._check()
            return
        self._due = now + PACE
        self._say(done, ended=False)

    def _say(self, done: int, *, ended: bool) -> None:
        total = self._total
        message = self._message or (f"{done}" if total is None else f"{done} of {total:g}")
        percent = 100.0 * done / total if total else None
        if ended and total is not None:
            percent = 100.0  # all items are done, whatever the total was
        self._report(percent, message)
