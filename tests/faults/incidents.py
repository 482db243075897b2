"""Incidents of jobs beside their plain runs: one of each kind.

A worker is lost, and its jobs are rescued. A schedule has a tick. A waiting job is canceled, and a running one. One job
times out each time, one is submitted twice, and two dead letters are retried by a bulk action.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from threading import Event
from typing import Any, Final, TypeVar
from unittest.mock import patch
from uuid import UUID

from sqlalchemy import update

from fairlane import IllegalTransition, Job, JobContext, JobStatus, StorageUnavailable
from fairlane.domain.bulk import BulkAction
from fairlane.domain.outcomes import ErrorReport, Failed
from fairlane.engine import worker
from fairlane.engine.heartbeat import Heartbeat
from fairlane.engine.service import Service
from fairlane.engine.system import bulk_steps, bulk_work
from fairlane.store.statements import bulk_actions
from fairlane.store.statements import schedules as schedule_statements
from fairlane.store.tables import schedules, workers
from tests.engine.worker_kit import Engine, until
from tests.engine.worker_store import LEASE, Member, member

T = TypeVar("T")

_DAY: Final = 86_400.0  # seconds
_TRIES: Final = 10  # of one call; so many lost answers in a row are not injected
_TIMEOUT: Final = 0.01  # seconds
_BEAT: Final = 0.02  # seconds
_SOON: Final = timedelta(seconds=0.1)
_SCHEDULE: Final = "daily"
_BULK: Final = ("bulk", "yes")  # a label
_BROKEN: Final = Failed(ErrorReport("PrinterError", "no paper", permanent=True))


def again(call: Callable[[], T]) -> T:
    """Call again like an application whose call had no answer. Every call here may be made twice."""
    for _ in range(_TRIES):
        with suppress(StorageUnavailable):
            return call()
    return call()


class Impatient(Event):
    """An event whose wait lasts no longer than a beat."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(_BEAT if timeout is None else min(timeout, _BEAT))


class LongSteady(Heartbeat):
    """A heartbeat with a full lease behind it at its start, by the worker's own clock: so its worker may rescue.

    It beats often enough for each play to have some beats, and by that clock a third of a lease lies between two.
    """

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        self._stop = Impatient()
        own, self._ahead = self._monotonic, 0.0
        self._monotonic = lambda: own() + self._ahead

    def start(self) -> None:
        while not self.may_rescue():
            self.run_once()
        super().start()

    def run_once(self) -> None:
        super().run_once()
        self._ahead += self.interval


def hasty(name: str, interval: float, run_once: Callable[[], int | None]) -> Service:
    """Return a service that returns sooner to a worker that it had to pass over, or to what it counts."""
    return Service(name, {"rescue": _SOON.total_seconds(), "breakers": _BEAT}.get(name, interval), run_once)


@contextmanager
def with_short_waits() -> Iterator[None]:
    """Workers may rescue as soon as they begin, a bulk action's step is a job, and what failed is soon tried again."""
    with ExitStack() as patches:
        patches.enter_context(patch.object(worker, "Heartbeat", LongSteady))
        patches.enter_context(patch.object(worker, "Service", hasty))
        patches.enter_context(patch.object(bulk_steps, "BULK_STEP", 0.0))
        patches.enter_context(patch.object(bulk_work, "_PAGE", 1))
        for owner, name in (
            (bulk_actions, "TAKEN_FOR"),
            (bulk_steps, "_AGAIN"),
            (schedule_statements, "_BUSY"),
            (schedule_statements, "_SOON"),
            (schedule_statements, "_AGAIN"),
        ):
            patches.enter_context(patch.object(owner, name, _SOON))
        yield


def register(fl: Engine) -> None:
    """Make the job types of those jobs that `load` has none for."""

    @fl.job_type("hang", dedup_window=0, timeout=_TIMEOUT, backoff=[0.01], max_retries=1)
    async def hang(ctx: JobContext) -> None:
        await asyncio.Event().wait()

    @fl.job_type("endless", dedup_window=0)
    async def endless(ctx: JobContext) -> None:
        await asyncio.Event().wait()


@dataclass(frozen=True)
class Past:
    """The jobs from before the start of the watched worker.

    `lost`: a job that a lost worker ran; `stopped`: another of its jobs, with a cancel request; `dead`: dead letters.
    """

    lost: Job
    stopped: Job
    dead: list[Job]


def past(fl: Engine) -> Past:
    """Let a worker dead-letter two jobs and claim two more, and let its lease run out."""
    fl.catalogue.register(fl.database, fl.catalogue.news())
    early = member(fl, "early")
    given = [fl.give("plain", labels=dict([_BULK])) for _ in range(2)]
    _dead_letter(fl, early)
    lost, stopped = fl.give("plain"), fl.give("plain")
    assert len(early.claim()) == 2
    fl.cancel(stopped.id, organization="acme")
    with fl.database.engine.begin() as connection:
        connection.execute(update(workers).values(lease_expires=workers.c.lease_expires - 2 * LEASE))
    return Past(lost, stopped, given)


def _dead_letter(fl: Engine, worker: Member) -> None:
    claimed = worker.claim()
    assert len(claimed) == 2
    worker.end(*claimed, outcome=_BROKEN)


@dataclass(frozen=True)
class Incidents:
    """The jobs of the past, and those that have been given since."""

    past: Past
    hung: Job
    waiting: Job
    endless: Job
    bulk: BulkAction

    def are_over(self, fl: Engine) -> bool:
        """The tick was made, and the bulk action has ended; whether the jobs have, others look."""
        return bool(ticks(fl)) and self._bulk(fl).ended_at is not None

    def assert_ended(self, fl: Engine, now: Mapping[UUID, Job]) -> list[Job]:
        """Assert that each job ended as its incident says, and return those that were to take effect.

        Args:
            now: all jobs, as they are by now.
        """
        (tick,) = ticks(fl)
        for job in (self.waiting, self.endless, self.past.stopped):
            assert now[job.id].status == JobStatus.CANCELED, f"{job.job_type} {job.id} is {now[job.id].status}"
        assert now[self.hung.id].status == JobStatus.DEAD_LETTER
        completed = [now[job.id] for job in (tick, self.past.lost, *self.past.dead)]
        for job in completed:
            assert job.status == JobStatus.COMPLETED, f"{job.job_type} {job.id} is {job.status}: {job.error_message}"
        assert JobStatus.TIMED_OUT in fl.way(self.hung)
        for job in (self.past.lost, self.past.stopped):
            assert "worker early was lost" in fl.reasons(job)
        assert self._bulk(fl).changed <= len(self.past.dead), "a job was counted twice"
        return completed

    def _bulk(self, fl: Engine) -> BulkAction:
        return again(partial(fl.bulk.get, self.bulk.id, organization="acme"))


def befall(fl: Engine, past: Past) -> Incidents:
    """Have it all happen, beside a worker."""
    again(partial(fl.schedules.put, _SCHEDULE, "plain", organization="acme", every=_DAY))
    _make_due(fl)
    bulk = again(partial(fl.bulk.start, "retry", {"label": _BULK}, organization="acme", seconds=0.0))
    hung, endless = fl.give("hang"), fl.give("endless")
    same = partial(fl.give, "plain", delay=_DAY, dedup_key="once", dedup_window=_DAY)
    waiting = same()
    assert same(on_duplicate="return").id == waiting.id
    _cancel(fl, waiting)
    until(lambda: again(partial(fl.look, endless)).status == JobStatus.RUNNING)
    _cancel(fl, endless)
    return Incidents(past, hung, waiting, endless, bulk)


def _cancel(fl: Engine, job: Job) -> None:
    """Cancel like an application that looks what became of a call without an answer."""
    with suppress(IllegalTransition):
        again(partial(fl.cancel, job.id, organization="acme"))
        return
    assert again(partial(fl.look, job)).status == JobStatus.CANCELED


def ticks(fl: Engine) -> list[Job]:
    """The jobs of the schedule's ticks."""
    return list(again(partial(fl.list, organization="acme", label=("schedule", _SCHEDULE))).items)


def _make_due(fl: Engine) -> None:
    """The schedule's tick was a second ago, whose next one is in a day."""
    with fl.database.engine.begin() as connection:
        now = fl.database.clock.now(connection) - timedelta(seconds=1)
        connection.execute(update(schedules).values(next_tick=now, look_at=now))
