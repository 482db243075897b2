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

OTHERS: Final = "others, together"  # a label of Prometheus; no organization's id has a comma
_TYPES: Final = 100  # job types that are shown by name
_SLOWEST: Final = 10
_STEPS: Final = 6  # parts of the time in which jobs are sampled, so that not all of them ended within the last minute


@dataclass(frozen=True, slots=True)
class Spread:
    """The average of some durations, in seconds, and their 95th percentile. None: there was nothing to measure."""

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
    """Counts and ages at one moment, and the attempts and jobs of the last minutes; of one organization or of all.

    Numbers of attempts are exact: they count all that completed, failed or timed out. Numbers of jobs are those of all
    jobs that ended, or are estimated from a sample of about 2,000. The sample takes the same number of jobs, those that
    ended last, from each sixth of the time, organization and job type, or from 500 of these, the busiest of each job
    type first. Each job in the sample stands for as many as ended with it.

    Attributes:
        jobs_by_status: every status that a job can rest in, zeros too.
        queue_depth_by_priority: jobs that may be claimed now, so without those that wait for their retry time.
        oldest_queued_seconds: how long the longest-waiting of these jobs could have started; None if there is none.
        dead_letter_depth: dead letters that nobody has decided about.
        workers: the number of workers with a valid lease; None for one organization: workers belong to no organization.
        minutes: the time that all following numbers are about; a little longer than asked for, so that it has equal
            parts.
        throughput_per_minute: attempts that ended.
        wait_seconds: of jobs, from the moment they were due to their first start; the wait of a child begins before its
            parents have ended.
        processing_seconds: of jobs, from the start to the end of the attempt that ended each of them.
        attempts_by_type: the number of attempts that ended, of the 100 busiest job types.
        processing_seconds_by_type: the same as `processing_seconds`, of jobs of these types.
        failure_rate_by_type: the part of the attempts that failed or timed out, 0 to 1, retried or not.
        slowest: the ten jobs in the sample with the longest processing time.
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
    """The numbers of the last minutes, as in `Metrics`."""

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
    """Return the numbers of the last minutes.

    Args:
        by_type: the outcomes of attempts by job type, the type with most attempts first.
        ends: the same by cell, as far as jobs of it were sampled.
        each: the largest number of jobs that were sampled of a cell.
    """
    over = (now - grid.start).total_seconds() / 60  # the present minute has begun
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
    """Return the steps of the last minutes: few, and of whole minutes, since outcomes are counted by the minute."""
    return grid_of(now, minutes=minutes, step=-(-minutes // _STEPS))


def _spread(values: Sequence[tuple[float, float]]) -> Spread:
    """Return the spread of values with their weights."""
    if not values:
        return Spread(None, None)
    average = sum(value * weight for value, weight in values) / sum(weight for _, weight in values)
    return Spread(round(average, 3), percentile(values, 0.95))


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Counts of the jobs that match a filter, by status.

    Attributes:
        by_status: counted to 10,000 at most.
        capped: the statuses of which there are more.
        searched_newest: the number of the newest jobs that a text was searched in; None: no text, or an id.
    """

    by_status: Mapping[JobStatus, int]
    capped: tuple[JobStatus, ...]
    searched_newest: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker. `queues` None = all; `running` of its `slots` are taken.

    `silent` is the seconds since its last heartbeat, `lease_left` those until its lease runs out. `left_behind`
    handlers ignored their stop and go on beside its slots. `version` is Fairlane's; None: the worker did not say. If
    `drain_requested`, the worker finishes its jobs and leaves; it is `stopping` once it has heard of the request. It
    claims nothing of `lacks_keys` organizations, since it lacks the master key to their encryption keys. The lease of a
    `lost` worker has run out; a live worker will take its jobs back.
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
        """Return True if more than half of its lease is over: a healthy worker sends a heartbeat long before."""
        return self.silent > self.lease_left

    def claims(self, queue: str | None, job_type: str) -> bool:
        """Return True if it goes on claiming jobs of this type from this queue; None = from each queue."""
        goes_on = not (self.stopping or self.drain_requested)
        return goes_on and job_type in self.job_types and (self.queues is None or queue in self.queues)


def are_stood_in_for(workers: Collection[WorkerView], others: Collection[WorkerView]) -> bool:
    """Return True if the others claim from every queue, and every job type, that these workers claim."""
    claimed = {(queue, name) for one in workers for queue in one.queues or [None] for name in one.job_types}
    return all(any(other.claims(*what) for other in others) for what in claimed)


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A running job, with its progress in percent; `worker` is None if the worker's row is gone."""

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

    No worker serves their queue, or no worker that serves the queue has their type.
    """

    queue: str
    job_type: str
    waiting: int
    queue_is_served: bool


@dataclass(frozen=True, slots=True)
class PauseView:
    """A pause: who paused it, since when, and why. It is shown to users whose jobs wait."""

    by: str
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class QueueHold:
    """A reason that keeps queued jobs of a queue, of these types, from starting, however many slots are free: a pause,
    an open circuit breaker, or no worker for them. While no worker is alive, the jobs of a lost worker count, too.
    """

    code: ReasonCode
    job_types: tuple[str, ...]
    jobs: int


@dataclass(frozen=True, slots=True)
class QueueView:
    """The live jobs of a queue.

    `ready` jobs may be claimed. `limited` jobs wait since a limit is reached: an organization's, or a job type's on
    running jobs or starts. `retrying` jobs wait for their retry time. `holds` are the reasons that keep some of these
    jobs from starting, and `held` is the number of `ready` jobs among them. `oldest_seconds`: how long the oldest job
    that is due could have started, whatever holds it back; None if there is none.
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
    oldest_seconds: float | None = None

    @property
    def live(self) -> int:
        """Return the number of jobs that have not ended."""
        return self.ready + self.limited + self.retrying + self.running + self.pending


@dataclass(frozen=True, slots=True)
class OrganizationView:
    """The running and waiting jobs of an organization.

    `ready` and `limited` are as in a queue's view. `waiting_seconds` is how long the next job in line could have
    started, the longest of its lanes; None: nothing is in line.
    """

    organization: str
    running: int
    ready: int
    limited: int
    waiting_seconds: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """The running and waiting jobs of all organizations, and the workers, read at one moment so that numbers add up.

    `organizations`: those that have running or waiting jobs, the busiest first; `jobs`: those that run, the longest
    first.
    """

    queues: tuple[QueueView, ...]
    organizations: tuple[OrganizationView, ...]
    jobs: tuple[RunningJob, ...]
    workers: tuple[WorkerView, ...]
