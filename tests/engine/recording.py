"""A channel that records, and calls of handlers without a database."""

import asyncio
import json
import os
import select
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest

from fairlane.domain.outcomes import Completed, Outcome
from fairlane.encryption.pieces import pieces_of
from fairlane.engine.context import Interrupt, JobContext
from fairlane.engine.executors.async_ import InThread
from fairlane.engine.executors.base import Call, Executor, Raised
from fairlane.engine.reports import AttemptInputs, File, Interruption, LoggedLine, ParentInput, Report
from fairlane.jobtypes.job_type import ErrorClasses, JobType
from fairlane.jobtypes.options import Isolation, Options
from fairlane.store.shared_threads import SharedThreads
from tests.patience import PATIENCE


def in_threads() -> InThread:
    """Two threads in which ends are judged."""
    threads = SharedThreads(2, "test")
    return lambda _, organization, work: threads.submit([organization], work)


class Judged(NamedTuple):
    """Hold what a channel was given to judge."""

    value: object
    error: Raised | None


class RecordingChannel:
    """A channel that keeps what it is sent, files with their bytes. All is durable at once, or fails with `error`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.reports: list[Report] = []
        self._error = error
        self._loop: asyncio.AbstractEventLoop | None = None
        with suppress(RuntimeError):  # no loop, nobody waits
            self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def send(self, report: Report) -> "Future[Any]":
        if isinstance(report, File):
            report = replace(report, data=b"".join(pieces_of(report.data, 1024)))
        self.reports.append(report)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._news.set)
        future: Future[Any] = Future()
        if self._error is not None:
            future.set_exception(self._error)
        else:
            future.set_result(None)
        return future

    def read_artifact(self, parent_id: UUID, name: str) -> Iterator[bytes]:
        return iter([f"{parent_id} ".encode(), name.encode()])

    def in_file_thread(self, work: Callable[[], Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(work())
        return future

    result_limit = 2**20
    is_full = False

    def judge(self, value: object, error: Raised | None) -> Any:
        return Judged(value, error)

    def of(self, kind: type[Report]) -> list[Any]:
        return [report for report in self.reports if isinstance(report, kind)]

    @property
    def lines(self) -> list[str]:
        return [line.message for line in self.of(LoggedLine)]

    async def said(self, start: str) -> str:
        """Wait for a log line that begins like this, and return the rest of it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                self._news.clear()
                for line in self.lines:
                    if line.startswith(start):
                        return line.removeprefix(start)
                await self._news.wait()


def inputs(parameters: Mapping[str, object] | None = None, **changes: Any) -> AttemptInputs:
    plain = AttemptInputs(
        organization="acme",
        job_id=uuid4(),
        job_type="test",
        user="ana",
        attempt=2,
        lease_token=uuid4(),
        parameters=json.dumps(parameters or {}),
        labels={"doc": "42"},
        timeout=30.0,
    )
    return plain._replace(**changes)


def call(
    handler: Callable[..., Any],
    parameters: Mapping[str, object] | None = None,
    *,
    isolation: Isolation = Isolation.AUTO,
    channel: RecordingChannel | None = None,
    parents: tuple[ParentInput, ...] = (),
) -> Call:
    """A call of `handler` as the worker makes it; parents' artifacts are their own names, as bytes."""
    channel = channel or RecordingChannel()
    job_type: JobType[..., Any] = JobType("test", handler, Options(isolation=isolation), ErrorClasses(), pytest.fail)
    attempt = inputs(parameters, parents=parents)
    context = JobContext(attempt, channel, Interrupt(), blocking=job_type.isolation is not Isolation.ASYNC)
    return Call(job_type, job_type.signature.decode(attempt.parameters), context, attempt, channel)


class Begun:
    """A call that an executor has begun; `finished` is what was told of its end."""

    def __init__(self, executor: Executor, call: Call) -> None:
        self.finished: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.execution: Any = executor.begin(call, self._on_end)

    def interrupt(self, reason: Interruption) -> None:
        self.execution.interrupt(reason)

    def abandon(self) -> None:
        self.execution.abandon()

    def _on_end(self, value: object, error: Raised | None, judged: Outcome | None) -> None:
        if isinstance(judged, Judged):
            value, error = judged
        if value is None and isinstance(judged, Completed) and judged.result is not None:  # of a process
            value = json.loads(judged.result)
        if isinstance(error, BaseException):
            self.finished.set_exception(error)
        else:
            self.finished.set_result(value if error is None else error)


async def end_of(begun: Begun) -> Any:
    """Return what a handler returned, or its process reported; raise what it raised."""
    async with asyncio.timeout(PATIENCE):
        return await asyncio.shield(begun.finished)  # else its end could not be told any more


class Watched:
    """A process, not necessarily a child of this one, whose end can be waited for; a zombie has ended."""

    def __init__(self, pid: int) -> None:
        self._descriptor: int | None = None
        with suppress(ProcessLookupError):  # it has ended, and was reaped
            self._descriptor = os.pidfd_open(pid)

    def has_ended(self) -> bool:
        """Wait for it, but not for ever."""
        if self._descriptor is None:
            return True
        try:
            readable, _, _ = select.select([self._descriptor], [], [], PATIENCE)
        finally:
            os.close(self._descriptor)
        return bool(readable)
