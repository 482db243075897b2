"""The kinds of reasons why a job does not run (R20), and the reasons that hold back many jobs at once.

A list of jobs reads once the reasons that hold back all jobs of an organization, a job type or a queue. `explain` gives
all reasons of one job.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Final

from fairlane.domain.breaker import Pair
from fairlane.domain.fairness import Lane
from fairlane.domain.jobs import Job
from fairlane.domain.limits import Limit, Subject, subjects_of
from fairlane.domain.statuses import WAITING, OrganizationStatus


class ReasonCode(StrEnum):
    """The kind of a reason, for programs; people read the sentence."""

    MAINTENANCE = "maintenance"
    WAITS_FOR_PARENTS = "waits_for_parents"
    SCHEDULED = "scheduled"
    WAITS_FOR_RETRY = "waits_for_retry"
    BEING_MADE_READY = "being_made_ready"
    ORGANIZATION_SUSPENDED = "organization_suspended"
    ORGANIZATION_DELETED = "organization_deleted"
    PERMISSION_LOST = "permission_lost"
    DIRECTORY_AWAY = "directory_away"
    ORGANIZATION_PAUSED = "organization_paused"
    JOB_TYPE_PAUSED = "job_type_paused"
    QUEUE_PAUSED = "queue_paused"
    ORGANIZATION_MAX_RUNNING = "organization_max_running"
    JOB_TYPE_MAX_RUNNING = "job_type_max_running"
    JOB_TYPE_MAX_RUNNING_IN_ORGANIZATION = "job_type_max_running_in_organization"
    JOB_TYPE_EXECUTION_RATE = "job_type_execution_rate"
    JOB_TYPE_EXECUTION_RATE_IN_ORGANIZATION = "job_type_execution_rate_in_organization"
    LIMIT_HELD = "limit_held"
    BREAKER_OPEN = "breaker_open"
    BREAKER_TRIAL = "breaker_trial"
    NO_WORKER = "no_worker"
    NO_WORKER_FOR_QUEUE = "no_worker_for_queue"
    NO_WORKER_FOR_JOB_TYPE = "no_worker_for_job_type"
    WORKERS_STOPPING = "workers_stopping"
    NO_WORKER_WITH_KEY = "no_worker_with_key"
    SLOTS_TAKEN = "slots_taken"
    NOTHING_BLOCKS = "nothing_blocks"
    WORKER_LOST = "worker_lost"
    CANCEL_REQUESTED = "cancel_requested"
    IS_RUNNING = "is_running"
    HAS_ENDED = "has_ended"
    PARENT_DELETED = "parent_deleted"


# The subjects that can be paused, in the order in which they are named.
PAUSED: Final = {
    "maintenance": ReasonCode.MAINTENANCE,
    "organization": ReasonCode.ORGANIZATION_PAUSED,
    "job_type": ReasonCode.JOB_TYPE_PAUSED,
    "queue": ReasonCode.QUEUE_PAUSED,
}
# The pause of everything, as (subject, name).
MAINTENANCE: Final = ("maintenance", "all")


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason that decides what happens to the job. `commands` do on a command line what the sentence advises."""

    code: ReasonCode
    sentence: str
    commands: tuple[str, ...] = ()

    @property
    def advice(self) -> str:
        """Return the sentence and its commands, for readers with a command line."""
        if not self.commands:
            return self.sentence
        return f"{self.sentence.removesuffix('.')}: {', '.join(f'`{command}`' for command in self.commands)}."


def pauses_on(lane: Lane) -> tuple[tuple[str, str], ...]:
    """Return the pauses that would hold the lane's jobs back, as (subject, name), in the order of `PAUSED`."""
    return MAINTENANCE, ("organization", lane.organization), ("job_type", lane.job_type), ("queue", lane.queue)


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A worker with a valid lease. `queues` None = all.

    `lacks_key`: the worker claims nothing of the job's organization, since it lacks the master key.
    """

    queues: frozenset[str] | None
    job_types: frozenset[str]
    stopping: bool
    free_slots: int
    lacks_key: bool = False

    @property
    def has_room(self) -> bool:
        """Return True if it has a free slot and may claim."""
        return self.free_slots > 0 and not self.stopping

    def serves(self, queue: str) -> bool:
        """Return True if it claims from the queue."""
        return self.queues is None or queue in self.queues


@dataclass(frozen=True, slots=True)
class Holds:
    """The reasons that hold an organization's jobs back.

    `status` is the organization's, None: it is unknown. `paused` holds pairs of a paused subject and its name, `limits`
    the organization's limits, `resting` the job types whose breaker is open, `workers` the live workers.
    """

    status: OrganizationStatus | None = None
    paused: Collection[tuple[str, str]] = frozenset()
    limits: Mapping[Subject, Limit] = field(default_factory=dict)
    resting: Collection[str] = frozenset()
    workers: Sequence[LiveWorker] = ()

    def on(self, job: Job) -> ReasonCode | None:
        """Return the first reason that holds a job back, whatever else it waits for; None: there is none."""
        if job.status not in WAITING:
            return None
        if MAINTENANCE in self.paused:
            return ReasonCode.MAINTENANCE
        if self.status is OrganizationStatus.SUSPENDED:
            return ReasonCode.ORGANIZATION_SUSPENDED
        pause = _pause_on(Lane(job.queue, job.organization, job.job_type), self.paused)
        if pause is not None:
            return pause
        # A limit that is reached holds no job back for long: the next job starts when one has ended.
        for limited in subjects_of(job.organization, job.job_type):
            limit = self.limits.get(limited, Limit())
            if limit.max_running == 0:
                return max_running_code(limited)
            if limit.execution_rate == 0:
                return execution_rate_code(limited)
        if job.job_type in self.resting:
            return ReasonCode.BREAKER_OPEN
        return missing_worker(self.workers, job.queue, job.job_type)


def held_lanes(
    lanes: Iterable[Lane],
    paused: Collection[tuple[str, str]],
    resting: Collection[Pair],
    workers: Sequence[LiveWorker],
) -> dict[Lane, ReasonCode]:
    """Return the first reason, other than a limit, that holds back all jobs of each of these lanes, if it has one.

    Args:
        paused: pairs of a paused subject and its name.
        resting: the pairs whose breaker is open.
    """
    missing = cache(lambda queue, job_type: missing_worker(workers, queue, job_type))
    found = {}
    for lane in lanes:
        code = _pause_on(lane, paused)
        if code is None and lane.pair in resting:
            code = ReasonCode.BREAKER_OPEN
        code = code or missing(lane.queue, lane.job_type)
        if code is not None:
            found[lane] = code
    return found


def missing_worker(workers: Sequence[LiveWorker], queue: str, job_type: str) -> ReasonCode | None:
    """Return the first thing that is missing for a worker to claim these jobs; None: a worker may claim them."""
    serving = [worker for worker in workers if worker.serves(queue)]
    able = [worker for worker in serving if job_type in worker.job_types]
    claiming = [worker for worker in able if not worker.stopping]
    with_key = [worker for worker in claiming if not worker.lacks_key]
    steps = (
        (workers, ReasonCode.NO_WORKER),
        (serving, ReasonCode.NO_WORKER_FOR_QUEUE),
        (able, ReasonCode.NO_WORKER_FOR_JOB_TYPE),
        (claiming, ReasonCode.WORKERS_STOPPING),
        (with_key, ReasonCode.NO_WORKER_WITH_KEY),
    )
    return next((code for left, code in steps if not left), None)


def max_running_code(subject: Subject) -> ReasonCode:
    """Return the reason for a limit on running jobs."""
    if subject.organization is None:
        return ReasonCode.JOB_TYPE_MAX_RUNNING
    if subject.job_type is None:
        return ReasonCode.ORGANIZATION_MAX_RUNNING
    return ReasonCode.JOB_TYPE_MAX_RUNNING_IN_ORGANIZATION


def execution_rate_code(subject: Subject) -> ReasonCode:
    """Return the reason for a limit on starts in a window."""
    if subject.organization is None:
        return ReasonCode.JOB_TYPE_EXECUTION_RATE
    return ReasonCode.JOB_TYPE_EXECUTION_RATE_IN_ORGANIZATION


def _pause_on(lane: Lane, paused: Collection[tuple[str, str]]) -> ReasonCode | None:
    return next((PAUSED[pause[0]] for pause in pauses_on(lane) if pause in paused), None)
