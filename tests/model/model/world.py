"""The model's world: organizations' jobs, keys and workers, and the changes of a job's status.

The model says what Fairlane has to do: a dataclass per job, and a plain function for each thing that happens. It is
written from the requirements and knows no rows, locks or statements. If they leave something open (the jitter of a
backoff, which of two parents is named) the model has all that is allowed, and keeps to what the engine chose.

Verbs of people have a function `why_not_…`, which names the error that must be raised; then nothing changes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from fairlane import FairlaneError, JobStatus, OnDuplicate
from fairlane.domain.breaker import Pair
from fairlane.domain.limits import Subject
from fairlane.domain.outcomes import Outcome
from fairlane.domain.statuses import TERMINAL, TRANSITIONS, EdgeState, ParentPolicy, Priority, Resolution, Role

Refusal = type[FairlaneError] | None
Hold = tuple[str, str]  # "suspension", "organization", "queue" or "job_type", and its name


class Span(NamedTuple):
    """A moment, as far as it is known."""

    earliest: datetime
    latest: datetime


class End(NamedTuple):
    """The end of an attempt, proved by its lease."""

    job_id: UUID
    lease: UUID
    outcome: Outcome


class Step(NamedTuple):
    """An entry of the execution log."""

    source: JobStatus | None
    target: JobStatus
    attempt: int


@dataclass
class DeadLetter:
    """The dead letter of a job, as people see it.

    `culprits`: the parents of which one is named for it; `refusal`: why the job was not allowed to run.
    """

    culprits: frozenset[UUID] = frozenset()
    resolution: Resolution = Resolution.PENDING
    refusal: str = ""


@dataclass
class Asked:
    """A submission. `user` None: the system's; `key` None: not deduplicated."""

    id: UUID
    organization: str
    parents: tuple[UUID, ...] = ()
    user: str | None = None
    job_type: str = "report"
    policy: ParentPolicy = ParentPolicy.DEAD_LETTER
    delay: float = 0.0  # seconds
    queue: str = "default"
    max_retries: int = 1
    key: str | None = None
    on_duplicate: OnDuplicate = "reject"


@dataclass
class Job:
    """A job. `due` is when it may be claimed again, while it is queued and not `ready`."""

    asked: Asked
    run_at: datetime
    status: JobStatus
    parents: dict[UUID, EdgeState]
    ready: bool = False
    priority: Priority = Priority.NORMAL
    due: Span | None = None
    attempt: int = 0
    retry_count: int = 0
    rescue_count: int = 0
    lease: UUID | None = None
    worker: UUID | None = None
    cancel_requested: bool = False
    ended_at: datetime | None = None
    dead_letter: DeadLetter | None = None
    log: list[Step] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)  # the attempts of which an error was recorded

    @property
    def pair(self) -> Pair:
        """Return its type in its organization."""
        return Pair(self.asked.organization, self.asked.job_type)

    @property
    def unmet(self) -> int:
        """Return how many parents it waits for."""
        return sum(state is not EdgeState.SETTLED for state in self.parents.values())


class Key(NamedTuple):
    """The job that has a deduplication key, and until when."""

    job_id: UUID
    expires_at: datetime


class Member(NamedTuple):
    """A user in an organization."""

    role: Role
    permissions: frozenset[str] = frozenset()


class Trial(NamedTuple):
    """The attempt that decides whether a breaker closes."""

    job_id: UUID
    attempt: int
    lease: UUID


@dataclass
class Breaker:
    """Lets nothing start before `until`, then one job, its `trial`; once `closed_at` is set, it holds back nothing."""

    until: datetime
    trial: Trial | None = None
    closed_at: datetime | None = None


class Ends(NamedTuple):
    """The numbers of completed and failed attempts of a pair that were written down in a minute."""

    pair: Pair
    minute: datetime
    completions: int
    failures: int


@dataclass
class World:
    """The whole state of the model.

    `workers`: when the lease of each runs out; `held`: what is suspended or paused; `limits`: how many jobs may run at
    once; `untold`: how attempts ended since that was last written down, True for those that failed.
    """

    now: datetime
    jobs: dict[UUID, Job] = field(default_factory=dict)
    keys: dict[tuple[str, str, str], Key] = field(default_factory=dict)
    workers: dict[UUID, datetime] = field(default_factory=dict)
    held: set[Hold] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    members: dict[tuple[str, str], Member] = field(default_factory=dict)
    limits: dict[Subject, int] = field(default_factory=dict)
    breakers: dict[Pair, Breaker] = field(default_factory=dict)
    ends: list[Ends] = field(default_factory=list)
    untold: list[tuple[Pair, bool]] = field(default_factory=list)


WhyNot = Callable[[World, Job, str], Refusal]


def find(world: World, job_id: UUID, organization: str) -> Job | None:
    """The job, to somebody of the organization: a foreign one looks like an unknown one."""
    job = world.jobs.get(job_id)
    return job if job is not None and job.asked.organization == organization else None


def children_of(world: World, parent: UUID) -> Iterator[Job]:
    """Return the jobs that were submitted to wait for it."""
    return (job for job in world.jobs.values() if parent in job.parents)


def move(world: World, job: Job, *targets: JobStatus) -> None:
    """The only way from one status to the next."""
    for target in targets:
        assert (job.status, target) in TRANSITIONS, "a mistake in the model"
        job.log.append(Step(job.status, target, job.attempt))
        job.status = target
    job.ready, job.due, job.lease, job.worker = False, None, None, None
    job.ended_at = world.now if job.status in TERMINAL else None


def queue(world: World, job: Job, seconds: float = 0.0) -> None:
    """Queue a job to be claimed at once, or in so many seconds."""
    move(world, job, JobStatus.QUEUED)
    at = world.now + timedelta(seconds=seconds)
    job.ready, job.due = not seconds, Span(at, at) if seconds else None


def keep_to(job: Job, due: Span | None, culprits: frozenset[UUID]) -> None:
    """Take over the engine's choice if the engine was free to choose."""
    if job.due is not None and due is not None and job.due.earliest <= due.earliest <= job.due.latest:
        job.due = due
    letter = job.dead_letter
    if letter is not None and culprits and culprits <= letter.culprits:
        letter.culprits = culprits
