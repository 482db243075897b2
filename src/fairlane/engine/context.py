"""What a handler gets as its first argument. The same class on the event loop, in a thread and in a process.

What differs is how to wait and how to stop. A blocking handler (thread, process) waits inside the call and is stopped
by `Interrupted`, raised from the next call. An `async def` handler awaits what the call returns, or does not, and is
stopped by its task's cancellation. What it did not await is still waited for before the job counts as completed.
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
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Generic, Literal, NoReturn, TypeVar, get_args
from uuid import UUID

from fairlane.domain.errors import PermanentError
from fairlane.domain.numbers import number_of
from fairlane.domain.secrets import bare, secret_values
from fairlane.domain.statuses import JobStatus
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

    Its next call of the context raises it; a handler in a process of its own finds it raised wherever it is.
    No `Exception`, so that `except Exception` in a handler does not swallow it: clean up in `finally`, or catch it and
    raise it again. It is raised by one call; after it `ctx.log`, `ctx.checkpoint` and `ctx.artifact` work once more.

    Attributes:
        reason: "cancel", "timeout", "shutdown" or "lease lost".
    """

    def __init__(self, reason: Interruption) -> None:
        super().__init__(f"the handler was asked to stop: {reason}")
        self.reason = reason


# Of all of them: each holds it for a moment, and few ever do. Again by the same thread, if the garbage collector runs
# what a handler left just then.
_lock: Final = threading.RLock()


class Interrupt:
    """Tell whether a handler was asked to stop, and why. Safe to use from any thread.

    Attributes:
        reason: None while nobody asked.
        was_thrown: whether the handler has felt it: `throw` was called.
    """

    # How each begins, and nearly all end: on the class, since a worker makes tens of thousands a second.
    reason: Interruption | None = None
    was_thrown = False
    _waiting: tuple[threading.Event, ...] = ()

    def set(self, reason: Interruption) -> bool:
        """Ask the handler to stop. The first reason stands; False if this was not the first."""
        with _lock:
            if self.reason is not None:
                return False
            self.reason = reason
            for event in self._waiting:
                event.set()
        return True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the handler is asked to stop, at most `timeout` seconds; False if nobody asked."""
        with self._event() as event:
            return event.wait(timeout)

    def wait_for(self, future: "Future[Any]") -> None:
        """Wait until the future is done, or the handler is asked to stop."""
        with self._event() as event:
            future.add_done_callback(lambda _: event.set())
            event.wait()

    @contextmanager
    def _event(self) -> Iterator[threading.Event]:
        """Give an event that is set when the handler is asked to stop."""
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


class Receipt:
    """What the context's verbs return, to be awaited or not. For a blocking handler everything is done already."""

    def __init__(self, wait: Callable[[], Awaitable[object]]) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, None, None]:
        yield from self._wait().__await__()


class JobLog:
    """`ctx.log`: lines that are kept with the job. `ctx.log("…")` is `ctx.log.info("…")`."""

    def __init__(self, write: Callable[[LoggedLine], Receipt], secrets: tuple[str, ...]) -> None:
        self._write = write
        self._secrets = secrets

    def __call__(self, message: object, level: Level = "info") -> Receipt:
        """Keep a line. Raises ValueError for a level that does not exist."""
        if level not in get_args(Level):
            raise ValueError(
                f"there is no log level {level!r}; there are {', '.join(get_args(Level))}; "
                "write values into the message, as by an f-string"
            )
        return self._write(LoggedLine(level, storable(message, self._secrets)))

    def debug(self, message: object) -> Receipt:
        """Keep a line that helps to find a mistake."""
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
    """A job that this one depended on: how it ended and what it left. `artifacts` are names."""

    id: UUID
    job_type: str
    status: JobStatus
    result: Any
    labels: Mapping[str, str]
    artifacts: tuple[str, ...]
    _read: ReadArtifact = field(repr=False, compare=False)

    def artifact(self, name: str) -> bytes:
        """Return the bytes of an artifact. Blocks: an async handler awaits `asyncio.to_thread(parent.artifact, name)`.

        Raises PermanentError if the parent left no such artifact, and StorageUnavailable if the storage did not answer.
        """
        return b"".join(self.stream_artifact(name))

    def stream_artifact(self, name: str) -> Iterator[bytes]:
        """Return the bytes of an artifact in pieces, so that a large one need not fit into memory. Blocks.

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


class JobContext:
    """The job as its handler sees it, and the handler's way to report. Its methods may be called from any thread.

    Attributes:
        job_id, organization, user, job_type, labels: the job's own; the user None is the system.
        attempt: which attempt this is, from 1; it only ever grows.
        lease_token: never used again, so it can fence off this attempt's effects elsewhere.

    Args:
        inputs: what the attempt is.
        channel: where reports go, and what parents left comes from.
        interrupt: set by the worker to ask the handler to stop.
        blocking: whether the handler is a plain function, which waits inside the calls.
    """

    def __init__(self, inputs: AttemptInputs, channel: Channel, interrupt: Interrupt, *, blocking: bool) -> None:
        self.job_id: Final = inputs.job_id
        self.organization: Final = inputs.organization
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
        self._unread: list[Callable[[], Awaitable[None]]] = []  # reads an async iterator, and stores what it gave

    @property
    def log(self) -> JobLog:
        """Return what keeps lines with the job."""
        # Made when asked for: kept, it would be a reference cycle, and tens of thousands of them a second cost the
        # garbage collector more than the jobs take.
        return JobLog(self._keep, self._secrets)

    @cached_property
    def parameters(self) -> Mapping[str, Any]:
        """Return the parameters in their JSON form; the handler's arguments are the same, typed."""
        parameters: Mapping[str, Any] = bare(json.loads(self._inputs.parameters))
        return parameters

    @cached_property
    def _secrets(self) -> tuple[str, ...]:
        """Return the values that no text of the handler's is to hold."""
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
            )
            for one in self._inputs.parents
        )

    def progress(self, percent: float | None, message: str | None = None) -> Receipt:
        """Say how far the job is, in percent: less than 0 becomes 0, and more than 100 becomes 100.

        Awaiting it gives the loop a turn, it does not wait for the database.

        Args:
            percent: None for unknown.
            message: what is being done.

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
            iterable: what to iterate.
            total: how many items there are; by default its length, if it has one.
            message: what is being done; by default the number of items done.

        Raises:
            TypeError: nothing can be iterated there.
            ValueError: `total` is not a number.
        """
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        return Track(self.progress, self._stop_if_asked, iterable, total, message)

    def checkpoint(self, state: object) -> Receipt:
        """Keep `state`, from which the next attempt may resume (`ctx.checkpointed`). In an async handler, await it.

        It is durable when the call returns, or when the await does. While the database is away, both wait. On SQLite
        commit a transaction of your own first: it would wait for that.

        Raises:
            PermanentError: the state is no JSON value, or is larger than 1 MiB.
            TransientError: on SQLite, another transaction has been writing for 20 s, or for twice `lock_timeout`.
            Interrupted: a blocking handler was asked to stop and has not been told so yet. The state is kept all the
                same.
        """
        return self._deliver(Checkpoint(encoded(state, "checkpoint", CHECKPOINT_LIMIT)))

    def artifact(self, name: str, data: Data | AsyncIterator[bytes], content_type: str | None = None) -> Receipt:
        """Leave a file with the job, in place of one of the same name. In an async handler, await it.

        It waits while the database is away, as `checkpoint` does.

        Args:
            name: as people will see it, at most 200 characters, no path.
            data: bytes; text, to be stored as UTF-8; the path of a file; an open binary file; or an iterator of bytes,
                in an async handler also an async one. Of these no more than pieces are in memory. A file or iterator
                is read to its end within the call, an async iterator when the call is awaited, and its bytes wait in
                a temporary file.
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
        """Wait for what an async handler reported and did not await. Raises what it would have raised."""
        while self._unread:
            await self._unread[0]()
        while self._unsettled:
            await self._durable(next(iter(self._unsettled)))

    def _stop_if_asked(self) -> None:
        if self._blocking:
            self.raise_if_interrupted()

    def _keep(self, line: LoggedLine) -> Receipt:
        """Keep a line. Where too many wait to be written, wait for it; it fails no handler."""
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
        """Raise Interrupted once: a handler that was told to stop may still say and keep things, to clean up."""
        if self._blocking and not self.interrupt.was_thrown:
            self.raise_if_interrupted()

    async def _durable(self, future: "Future[Any]") -> None:
        self._unsettled.pop(future, None)
        (await _end_of(future)).result()


async def _turn() -> None:
    await asyncio.sleep(0)


async def _end_of(future: "Future[Any]") -> "asyncio.Future[Any]":
    """Wait until it is done, and raise nothing."""
    # The worker still resolves the future when the handler that waits for it is cancelled: it must not be cancelled
    # with it. Then nobody asks how that went, and asyncio would tell of it as of an error that was overlooked.
    kept = asyncio.wrap_future(future)
    kept.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.wait({kept})
    return kept


class Track(Generic[T]):
    """Gives the items of an iterable, sync or async, and reports after each that is done: the first and last always.

    Args:
        report: takes percent and message.
        check: called before each item, to raise if the handler should stop.
        iterable: what to iterate.
        total: how many items there are, or None for unknown.
        message: what is being done, or None for the number of items done.
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
            percent = 100.0  # all is done, whatever the total promised
        self._report(percent, message)
