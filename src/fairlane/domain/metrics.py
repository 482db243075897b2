"""The numbers that people watch (R15), and the rows of `fairlane top`."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final, NamedTuple
from uuid import UUID

from fairlane.domain.breaker import Outcomes
from fairlane.domain.reasons import ReasonCode
from fairlane.domain.statuses import JobStatus, Priority
from fairlane.domain.timeline import Cell, EndedJob, Grid, grid_of, percentile, weights

_TYPES: Final = 100  # job types that are told of by name
_SLOWEST: Final = 10
_STEPS: Final = 6  # in which jobs are sampled, so that not all of them ended within the last minute


@dataclass(frozen=True, slots=True)
class Spread:
    """Tell how many seconds something took on average, and how many 95 of 100 took at most. None: there was nothing."""

    average: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class SlowJob:
    """A job that ended, with its processing time in seconds."""

    id: UUID
    organization: str
    job_type: str
    started_at: datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """Counts and ages at one moment, and how jobs went within the last minutes; of one organization or of all.

    What is told of attempts is exact: of all that completed, failed or timed out. What is told of jobs is that of all
    that ended, or is estimated from a sample of about 2,000: from each sixth of the time, organization and job type, or
    from 500 of these, the busiest of each job type first, as many of those that ended last. Each stands for as many as
    ended with it.

    Attributes:
        jobs_by_status: every status that a job can rest in, zeros too.
        queue_depth_by_priority: jobs that may be claimed now, so without those that wait for their retry time.
        oldest_queued_seconds: since when the longest-waiting of these could have started; None if there is none.
        dead_letter_depth: dead letters that nobody has decided about.
        workers: how many have a valid lease; None of an organization: they are everybody's.
        minutes: how far back all that follows looks; a little further than asked for, so that it has equal parts.
        throughput_per_minute: attempts that ended.
        wait_seconds: of jobs, from when they were due to their first start; that of a child begins before its parents
            have ended.
        processing_seconds: of jobs, of the attempt that ended each of them, from its start to its end.
        attempts_by_type: how many ended, of the 100 busiest job types.
        processing_seconds_by_type: the same as `processing_seconds`, of jobs of these types.
        failure_rate_by_type: which part of them failed or timed out, 0 to 1, whether or not they were retried.
        slowest: of the jobs in the sample the ten with the longest processing time.
    """

    jobs_by_status: Mapping[JobStatus, int]
    queue_depth_by_priority: Mapping[Priority, int]
    oldest_queued_seconds: float | None
    dead_letter_depth: int
    workers: int | None
    minutes: int
    throughput_per_minute: float
    wait_seconds: Spread
    processing_seconds: Spread
    attempts_by_type: Mapping[str, int]
    processing_seconds_by_type: Mapping[str, Spread]
    failure_rate_by_type: Mapping[str, float]
    slowest: tuple[SlowJob, ...]


class Recent(NamedTuple):
    """Hold what is known of the last minutes, as `Metrics` have it."""

    minutes: int
    throughput_per_minute: float
    wait_seconds: Spread
    processing_seconds: Spread
    attempts_by_type: dict[str, int]
    processing_seconds_by_type: dict[str, Spread]
    failure_rate_by_type: dict[str, float]
    slowest: tuple[SlowJob, ...]


def recent(
    grid: Grid,
    now: datetime,
    by_type: Mapping[str, Outcomes],
    ends: Mapping[Cell, Outcomes],
    sample: Sequence[EndedJob],
    *,
    each: int,
) -> Recent:
    """Return what follows for the last minutes.

    Args:
        by_type: how attempts ended, by job type, that with most attempts first.
        ends: the same by cell, as far as jobs of it were sampled.
        each: how many of a cell were sampled at most.
    """
    over = (now - grid.start).total_seconds() / 60  # the minute that is now has begun
    weight = weights(ends, sample, each=each)
    told = dict(islice(((name, one) for name, one in by_type.items() if one.attempts), _TYPES))
    ran = defaultdict[str, list[tuple[float, float]]](list)
    for one in sample:
        ran[one.cell.job_type].append((one.ran, weight[one.cell]))
    slowest = sorted(sample, key=lambda one: (-one.ran, one.id))[:_SLOWEST]
    return Recent(
        minutes=int((grid.end - grid.start).total_seconds()) // 60,
        throughput_per_minute=round(sum(one.attempts for one in by_type.values()) / max(over, 1.0), 3),
        wait_seconds=_spread([(one.waited, weight[one.cell]) for one in sample if one.waited is not None]),
        processing_seconds=_spread([(one.ran, weight[one.cell]) for one in sample]),
        attempts_by_type={name: one.attempts for name, one in told.items()},
        processing_seconds_by_type={name: _spread(ran[name]) for name in told},
        failure_rate_by_type={name: one.failures / one.attempts for name, one in told.items()},
        slowest=tuple(
            SlowJob(one.id, one.cell.organization, one.cell.job_type, one.started_at, round(one.ran, 3))
            for one in slowest
        ),
    )


def recent_grid(now: datetime, minutes: int) -> Grid:
    """Return the steps in which the last minutes are looked at: few, and of whole minutes, as ends are counted."""
    return grid_of(now, minutes=minutes, step=-(-minutes // _STEPS))


def _spread(values: Sequence[tuple[float, float]]) -> Spread:
    """Return the spread of values with their weights."""
    if not values:
        return Spread(None, None)
    average = sum(value * weight for value, weight in values) / sum(weight for _, weight in values)
    return Spread(round(average, 3), percentile(values, 0.95))


@dataclass(frozen=True, slots=True)
class JobCounts:
    """How many jobs that fit a filter rest in each status.

    Attributes:
        by_status: counted no further than to 10,000.
        capped: of which statuses there are more.
        searched_newest: how many of the newest jobs a text was looked for in; None: no text, or an id.
    """

    by_status: Mapping[JobStatus, int]
    capped: tuple[JobStatus, ...]
    searched_newest: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A live worker. `queues` None = all; `running` of its `slots` are taken.

    `silent` is the seconds since its last heartbeat, `lease_left` those until it is taken for lost. `left_behind`
    handlers ignored their stop and go on beside its slots. `version` is Fairlane's; None: it did not say. Where
    `drain_requested`, it is to finish what it runs and leave; it is `stopping` from when it has heard of that. Of
    `lacks_keys` organizations it claims nothing, since it lacks the master key to their encryption keys. One that is
    `lost` has let its lease run out, and what it ran is still to be taken back, which takes a live worker.
    """

    id: UUID
    name: str
    queues: tuple[str, ...] | None
    job_types: tuple[str, ...]
    slots: int
    running: int
    started_at: datetime
    heartbeat_at: datetime
    silent: float
    lease_left: float
    stopping: bool
    version: str | None = None
    left_behind: int = 0
    drain_requested: bool = False
    lacks_keys: int = 0
    lost: bool = False

    @property
    def is_silent(self) -> bool:
        """Return True if more than half of its lease is over: one that works sends a heartbeat long before."""
        return self.silent > self.lease_left

    def claims(self, queue: str | None, job_type: str) -> bool:
        """Return True if it goes on claiming jobs of this type from this queue; None = from each."""
        goes_on = not (self.stopping or self.drain_requested)
        return goes_on and job_type in self.job_types and (self.queues is None or queue in self.queues)


def are_stood_in_for(workers: Collection[WorkerView], others: Collection[WorkerView]) -> bool:
    """Return True if, of all that these workers claim, each is claimed by one of the others as well."""
    claimed = {(queue, name) for one in workers for queue in one.queues or [None] for name in one.job_types}
    return all(any(other.claims(*what) for other in others) for what in claimed)


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that runs, with its progress in percent; `worker` None if its row is gone."""

    id: UUID
    organization: str
    job_type: str
    queue: str
    user: str | None
    attempt: int
    started_at: datetime
    worker: str | None
    progress: float | None
    progress_message: str | None
    cancel_requested_at: datetime | None


@dataclass(frozen=True, slots=True)
class Stranded:
    """`waiting` jobs, queued or pending, that no live worker could claim.

    None serves their queue, or none of those that do has their type.
    """

    queue: str
    job_type: str
    waiting: int
    queue_is_served: bool


@dataclass(frozen=True, slots=True)
class PauseView:
    """Who paused it, since when, and why, as whoever asks why their job waits is told."""

    by: str
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class QueueHold:
    """What keeps so many queued jobs of a queue, of these types, from starting, however much is free: a pause, an open
    circuit breaker, or that there is no worker for them. While none is alive at all, what a lost one ran counts, too.
    """

    code: ReasonCode
    job_types: tuple[str, ...]
    jobs: int


@dataclass(frozen=True, slots=True)
class QueueView:
    """The live jobs of a queue.

    `ready` may be claimed; `limited` could be, but wait since a limit is reached: an organization's, or a job type's on
    what runs or starts. `retrying` wait for their retry time. `holds` say what keeps some of these all the same,
    and `held` how many of the `ready` ones that are.
    """

    queue: str
    ready: int
    limited: int
    retrying: int
    running: int
    pending: int
    paused: bool
    pause: PauseView | None = None
    holds: tuple[QueueHold, ...] = ()
    held: int = 0

    @property
    def live(self) -> int:
        """Return all that have not ended."""
        return self.ready + self.limited + self.retrying + self.running + self.pending


@dataclass(frozen=True, slots=True)
class OrganizationView:
    """What an organization has at work and in line.

    `ready` and `limited` are as in a queue's view. `waiting_seconds` is for how long the next in line could have
    started, of its lanes the longest; None: nothing is in line.
    """

    organization: str
    running: int
    ready: int
    limited: int
    waiting_seconds: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """What all organizations have at work and in line, and the workers: all at one moment, so that it adds up.

    `organizations` that have something running or in line, the busiest first; `jobs` that run, the longest first.
    """

    queues: tuple[QueueView, ...]
    organizations: tuple[OrganizationView, ...]
    jobs: tuple[RunningJob, ...]
    workers: tuple[WorkerView, ...]
