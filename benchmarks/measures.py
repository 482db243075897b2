"""The measures of `python -m benchmarks`: a function each, whose docstring is the definition of its figures.

Each run has a fresh database, and its worker one process with 1,000 slots. Deduplication, all checks and the execution
log are on, as they are by default.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from statistics import quantiles
from typing import Final, Literal

from benchmarks.site import BenchmarkFailed, Beside, Site
from benchmarks.work import (
    BATCH,
    COMPUTE,
    FEW_SLOTS,
    LIMITED,
    MARK,
    NOISY,
    NOOP,
    THREAD,
    live_jobs,
    submissions,
)
from fairlane import Job, JobStatus, Submission

_ONE: Final = "one"
_QUIET: Final = "quiet"
_MANY: Final = 1000
_LOOK: Final = 0.01  # seconds between two looks at what is left
# A look takes at most this part of the time, so that counting holds up little of what it counts.
_LOOKING: Final = 0.1
_PATIENCE: Final = 60.0  # seconds without any progress
_PAUSES: Final = (0.02, 0.3)  # seconds before a job meets an idle worker, so that it meets it anywhere in its round
_SHORT_PAUSES: Final = (0.0, 0.05)
_LONGEST_SINGLES: Final = 2000
_COMPUTE_PART: Final = 10  # of the jobs of a drain: they take ten times as long and more
_LATER: Final = 86_400.0  # seconds
_PAGE: Final = 1000
_FEWEST_FOR_P99: Final = 100


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a measurement: jobs of a drain or a backlog, and how many single jobs a latency is made of.

    `deep`: how many wait beside a deep drain.
    """

    jobs: int
    samples: int
    deep: int

    @property
    def slow(self) -> str:
        """Return what the high percentile of so few is to be called."""
        return "p99" if self.samples >= _FEWEST_FOR_P99 else f"slowest of {self.samples}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number: its meaning and its unit."""

    what: str
    unit: Literal["jobs/s", "ms"]


@dataclass(frozen=True, slots=True)
class Measure:
    """Something that is measured, and the figures that come of it. `is_deep`: among many jobs that wait."""

    run: Callable[[Site, Size], Mapping[str, float]]
    figures: Mapping[str, Figure]
    is_deep: bool = False


def bulk(site: Site, size: Size) -> Mapping[str, float]:
    """Measure jobs accepted per second by `submit_many`, a thousand a call, one call at a time, without a worker."""
    site.fl.organizations.create(_ONE)
    batches = list(_batches(NOOP, [_ONE], size.jobs))
    began = time.monotonic()
    for batch in batches:
        site.fl.submit_many(batch)
    return {"bulk": size.jobs / (time.monotonic() - began)}


def single(site: Site, size: Size) -> Mapping[str, float]:
    """Measure jobs accepted per second by `submit`, each committed before the next, without a worker."""
    site.fl.organizations.create(_ONE)
    jobs = list(islice(submissions(NOOP, [_ONE]), min(size.jobs, _LONGEST_SINGLES)))
    began = time.monotonic()
    for job in jobs:
        site.fl.submit(job.job_type, organization=job.organization, parameters=job.parameters)
    return {"single": len(jobs) / (time.monotonic() - began)}


def drain(name: str, job_type: str, organizations: int) -> Callable[[Site, Size], Mapping[str, float]]:
    """Return a measure of how many jobs per second one worker process gets done.

    All are submitted before the worker starts. The time is that from the last look at the database that shows none of
    them claimed to the first that shows all of them ended. There are at most as many organizations as jobs.
    """

    def run(site: Site, size: Size) -> Mapping[str, float]:
        names = [f"{_ONE}-{number}" for number in range(min(organizations, size.jobs))]
        for one in names:
            site.fl.organizations.create(one)
        for batch in _batches(job_type, names, size.jobs):
            site.fl.submit_many(batch)
        live_jobs(site.fl)  # The first look takes the longest, for what is made at it.
        with site.worker() as worker:
            return {name: size.jobs / _seconds_until_done(site, worker, size.jobs)}

    return run


def compute(site: Site, size: Size) -> Mapping[str, float]:
    """Measure the drain of handlers in threads that compute for 5 ms, with one worker process and with two.

    The two are as `fairlane worker --processes 2` has them, with four slots each.
    """
    found: dict[str, float] = {}
    jobs = max(size.jobs // _COMPUTE_PART, 1)
    for processes in (1, 2):
        site.fl.organizations.create(f"{_ONE}-{processes}")
        for batch in _batches(COMPUTE, [f"{_ONE}-{processes}"], jobs):
            site.fl.submit_many(batch)
        with ExitStack() as stack:
            workers = [stack.enter_context(site.worker(FEW_SLOTS)) for _ in range(processes)]
            found[f"compute-{processes}"] = jobs / _seconds_until_done(site, workers[-1], jobs)
            for worker in workers:
                worker.check()
    return found


def deep_drain(
    name: str, job_type: str, *, delay: float | None = None, is_behind: bool = False
) -> Callable[[Site, Size], Mapping[str, float]]:
    """Measure the same for one organization that has many more jobs.

    They stand behind them and are of the same type; or before them, not due for a day or of a type whose limit is
    reached. To look at them all takes long. So the time is the one in the ended rows, from the first start to the last
    of as many ends.
    """

    def run(site: Site, size: Size) -> Mapping[str, float]:
        site.fl.organizations.create(_ONE)
        if not is_behind:
            for batch in _batches(job_type, [_ONE], size.deep, delay=delay):
                site.fl.submit_many(batch)
        for batch in _batches(NOOP, [_ONE], size.jobs + size.deep * is_behind, first=size.deep):
            site.fl.submit_many(batch)
        with site.worker() as worker:
            _seconds_until_done(site, worker, size.jobs, others=size.deep)
        return {name: size.jobs / _seconds_in_rows(site, size.jobs)}

    return run


def pickup(site: Site, size: Size) -> Mapping[str, float]:
    """Measure the time from the call of `submit` to the first line of the handler, in a worker with nothing else to do.

    It is one job at a time, with pauses of random length.
    """
    site.fl.organizations.create(_ONE)
    with site.worker() as worker:
        _first_start(site, worker, _ONE)
        delays = [_delay_of_start(site, worker, _ONE, number, _PAUSES) for number in range(size.samples)]
    return _percentiles("pickup", delays)


def neighbour(site: Site, size: Size) -> Mapping[str, float]:
    """Measure the time from the call of `submit` to the first line of the handler beside another's backlog.

    The organization has a job now and then. The other's backlog, of one-millisecond jobs in the same queue, is kept at
    its length.
    """
    for one in (NOISY, _QUIET):
        site.fl.organizations.create(one)
    with site.process("feeder", size.jobs) as feeder:
        deadline = time.monotonic() + _PATIENCE + size.jobs / BATCH
        while live_jobs(site.fl) < size.jobs:
            feeder.check()
            _refuse_if_late(deadline)
            time.sleep(_LOOK)
        with site.worker() as worker:
            _first_start(site, worker, _QUIET)
            delays = [_delay_of_start(site, worker, _QUIET, number, _SHORT_PAUSES) for number in range(size.samples)]
            feeder.check()
    return _percentiles("neighbour", delays)


def _batches(
    job_type: str, organizations: list[str], jobs: int, *, first: int = 0, delay: float | None = None
) -> Iterator[list[Submission]]:
    endless = submissions(job_type, organizations, first=first, delay=delay)
    for done in range(0, jobs, BATCH):
        yield list(islice(endless, min(BATCH, jobs - done)))


def _seconds_until_done(site: Site, worker: Beside, jobs: int, others: int = 0) -> float:
    """Wait until no more than the `others` are left; return the seconds."""
    began = progressed = time.monotonic()
    before = left = jobs
    while left > 0:
        looked = time.monotonic()
        queues = site.fl.reads.queues()
        left, started = sum(one.live for one in queues) - others, sum(one.running for one in queues)
        seen = time.monotonic()
        if left == jobs and not started:
            began = looked
        if left != before:
            before, progressed = left, seen
        worker.check()
        _refuse_if_late(progressed + _PATIENCE)
        if left > 0:
            time.sleep(max(_LOOK, (seen - looked) * (1 / _LOOKING - 1)))
    return time.monotonic() - began


def _seconds_in_rows(site: Site, jobs: int) -> float:
    """Return the seconds from the first start to the end of so many."""
    ended: list[Job] = []
    page = site.fl.list(organization=_ONE, status=JobStatus.COMPLETED, limit=_PAGE)
    while True:
        ended += page.items
        if page.next_cursor is None:
            break
        page = site.fl.list(organization=_ONE, status=JobStatus.COMPLETED, limit=_PAGE, cursor=page.next_cursor)
    last = sorted(job.finished_at for job in ended if job.finished_at is not None)[jobs - 1]
    return (last - min(job.started_at for job in ended if job.started_at is not None)).total_seconds()


def _first_start(site: Site, worker: Beside, organization: str) -> None:
    """Have the worker up, and everything in it that is made at its first job."""
    _delay_of_start(site, worker, organization, -1, _SHORT_PAUSES)


def _delay_of_start(site: Site, worker: Beside, organization: str, number: int, pauses: tuple[float, float]) -> float:
    """Return the milliseconds from the call of `submit` to the start of the handler."""
    time.sleep(random.uniform(*pauses))
    called = time.monotonic()
    job = site.fl.submit(MARK, organization=organization, parameters={"number": number})
    while True:
        try:
            site.fl.wait(job.id, organization=organization, timeout=1)
        except TimeoutError:
            worker.check()
            _refuse_if_late(called + _PATIENCE)
        else:
            break
    started: float = site.fl.result(job.id, organization=organization).value
    return (started - called) * 1000


def _refuse_if_late(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise BenchmarkFailed(f"Nothing has moved for {_PATIENCE:.0f} s; run `fairlane check` on this database.")


def _percentiles(name: str, values: Sequence[float]) -> Mapping[str, float]:
    cuts = quantiles(values, n=100, method="inclusive")
    return {f"{name}-p50": cuts[49], f"{name}-p99": cuts[98] if len(values) >= _FEWEST_FOR_P99 else max(values)}


def _rate(name: str, what: str) -> dict[str, Figure]:
    return {name: Figure(what, "jobs/s")}


def _latency(name: str, what: str) -> Mapping[str, Figure]:
    return {f"{name}-{part}": Figure(f"{what}, {told}", "ms") for part, told in (("p50", "p50"), ("p99", "{slow}"))}


MEASURES: Final[Mapping[str, Measure]] = {
    "bulk": Measure(bulk, _rate("bulk", "Submitted in bulk")),
    "single": Measure(single, _rate("single", "Submitted one after another")),
    "drain": Measure(drain("drain", NOOP, 1), _rate("drain", "Run to the end, async handlers, 1 organization")),
    "drain-100": Measure(drain("drain-100", NOOP, 100), _rate("drain-100", "The same, 100 organizations")),
    "drain-1000": Measure(drain("drain-1000", NOOP, _MANY), _rate("drain-1000", "The same, 1,000 organizations")),
    "drain-behind": Measure(
        deep_drain("drain-behind", NOOP, is_behind=True),
        _rate("drain-behind", "The same, {deep:,} queued behind"),
        True,
    ),
    "drain-later": Measure(
        deep_drain("drain-later", NOOP, delay=_LATER), _rate("drain-later", "The same, {deep:,} due later"), True
    ),
    "drain-limited": Measure(
        deep_drain("drain-limited", LIMITED),
        _rate("drain-limited", "The same, {deep:,} of a limited type before them"),
        True,
    ),
    "threads": Measure(drain("threads", THREAD, 1), _rate("threads", "Run to the end, sync handlers in threads")),
    "compute": Measure(
        compute,
        _rate("compute-1", "Handlers that compute for 5 ms, 1 process") | _rate("compute-2", "The same, 2 processes"),
    ),
    "pickup": Measure(pickup, _latency("pickup", "Idle pick-up: submit to start")),
    "neighbour": Measure(neighbour, _latency("neighbour", "The same beside a neighbour's backlog")),
}
