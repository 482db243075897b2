"""Jobs of all kinds for workers whose connections are lost, and the book of what their handlers did."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from uuid import UUID

from fairlane import Job, JobContext, JobStatus, PermanentError, Snooze, Submission, TransientError
from tests.engine.worker_kit import Engine

LIMIT: Final = 2  # of the limited type's jobs at once
FILES: Final = ("page.txt", "pieces.txt")
CONTENT: Final = b"words"
_BACKOFF: Final = [0.01]
_RETRIES: Final = 50
_KINDS: Final = ("break", "fail once", "plain", "thread", "snooze", "report", "checkpoint", "file", "limited")
_FAILING: Final = ("fail once", "break")


@dataclass
class Book:
    """The records of handlers. `effects`: each job's attempts that reached their end; `peak`: limited jobs at once."""

    effects: dict[UUID, list[int]] = field(default_factory=dict)
    peak: int = 0
    _limited: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, ctx: JobContext) -> None:
        """The handler has done what the job is for."""
        with self._lock:
            self.effects.setdefault(ctx.job_id, []).append(ctx.attempt)

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Count a limited job while the block runs."""
        with self._lock:
            self._limited += 1
            self.peak = max(self.peak, self._limited)
        try:
            yield
        finally:
            with self._lock:
                self._limited -= 1


def register(fl: Engine, book: Book) -> None:
    """Make a job type for each kind."""
    made = partial(fl.job_type, dedup_window=0, backoff=_BACKOFF, max_retries=_RETRIES)
    _register_ends(made, book)
    _register_reports(made, book)

    @made("limited", max_running=LIMIT)
    def limited(ctx: JobContext) -> None:
        with book.limited():
            ctx.sleep(0.001)
            book.note(ctx)


def _register_ends(made: Any, book: Book) -> None:
    @made("plain")
    async def plain(ctx: JobContext) -> None:
        book.note(ctx)

    @made("thread")
    def thread(ctx: JobContext) -> int:
        book.note(ctx)
        return ctx.attempt

    @made("fail once")
    async def fail_once(ctx: JobContext, fails: bool) -> None:
        if fails and ctx.attempt == 1:
            raise TransientError("as planned")
        book.note(ctx)

    @made("snooze")
    async def snooze(ctx: JobContext) -> None:
        if ctx.attempt == 1:
            raise Snooze(0.01)
        book.note(ctx)

    @made("break")
    async def break_(ctx: JobContext, fails: bool) -> None:
        if fails:
            raise PermanentError("as planned")
        book.note(ctx)


def _register_reports(made: Any, book: Book) -> None:
    @made("report")
    async def report(ctx: JobContext) -> None:
        ctx.log("half done")
        ctx.progress(50)
        book.note(ctx)

    @made("checkpoint")
    async def checkpoint(ctx: JobContext) -> None:
        if ctx.checkpointed is not None and ctx.checkpointed["attempt"] >= ctx.attempt:
            raise PermanentError("it was given a checkpoint of a later attempt")
        await ctx.checkpoint({"attempt": ctx.attempt})
        book.note(ctx)

    @made("file")
    def file(ctx: JobContext) -> None:
        whole, in_pieces = FILES
        ctx.artifact(whole, CONTENT)
        ctx.artifact(in_pieces, iter([CONTENT[:2], CONTENT[2:]]))  # which can be read but once
        book.note(ctx)


def submit(fl: Engine, number: int) -> list[Job]:
    """Submit so many jobs, of each kind in turn; one is the child of the last one of its kind, whatever its end was."""
    jobs: list[Job] = []
    while len(jobs) < number:
        parents = jobs[-len(_KINDS) :]
        # Seldom enough that no circuit breaker opens, whose counts may be wrong after faults.
        fails = {"fails": len(jobs) // len(_KINDS) % 3 == 0}
        jobs += fl.submit_many(
            [
                Submission(
                    kind,
                    organization="acme",
                    parameters=fails if kind in _FAILING else {},
                    depends_on=[parents[place]] if parents else [],
                    on_parent_failure="run_anyway",
                )
                for place, kind in enumerate(_KINDS[: number - len(jobs)])
            ]
        )
    return jobs


def assert_ended(jobs: list[Job]) -> list[Job]:
    """Assert that each job ended as its kind does, and return those that were to take effect."""
    effective: list[Job] = []
    for job in jobs:
        is_broken = job.job_type == "break" and job.parameters["fails"]
        status = JobStatus.DEAD_LETTER if is_broken else JobStatus.COMPLETED
        assert job.status == status, f"{job.job_type} {job.id} is {job.status}: {job.error_message}"
        effective += [] if is_broken else [job]
    return effective


def assert_books_balance(effective: list[Job], book: Book) -> None:
    """These jobs and no others took effect, once each, by their last attempt, and no limit was passed."""
    # Nothing was taken from a worker, so whatever was lost on the way to the database, no handler ran twice to its end.
    assert book.effects == {job.id: [job.attempt] for job in effective}
    assert book.peak <= LIMIT
