"""What an explanation of a job is made from (R20): plain values, read together by `reads.explain`."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from fairlane.domain.breaker import Breaker
from fairlane.domain.jobs import Job, LogEntry
from fairlane.domain.limits import Limit, Subject
from fairlane.domain.statuses import JobStatus, OrganizationStatus, Resolution


@dataclass(frozen=True, slots=True)
class WaitedFor:
    """A parent that has not ended."""

    id: UUID
    job_type: str
    status: JobStatus


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person wrote down about a dead letter: that the matter is closed; then its parents may be deleted."""

    resolution: Resolution
    by: str
    note: str
    parent_deleted: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause that concerns the job: of everything, its organization, job type or queue, as the store names them."""

    subject: str
    name: str
    by: str
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class LimitOn:
    """A limit that concerns the job, and how far it is used.

    `next_start` is when its execution rate lets another job start; None: at once, or never if the rate is 0.
    """

    subject: Subject
    limit: Limit
    running: int
    next_start: datetime | None = None


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A worker with a valid lease. `queues` None = all.

    `lacks_key`: it claims nothing of the job's organization, since it lacks the master key.
    """

    queues: frozenset[str] | None
    job_types: frozenset[str]
    stopping: bool
    free_slots: int
    lacks_key: bool = False

    @property
    def has_room(self) -> bool:
        """Return True if it may claim now."""
        return self.free_slots > 0 and not self.stopping

    def serves(self, queue: str) -> bool:
        """Return True if it claims from the queue."""
        return self.queues is None or queue in self.queues


@dataclass(frozen=True, slots=True)
class Holder:
    """The worker that runs the job.

    `silent` is the seconds since its last heartbeat, `lease_left` those until its lease runs out, negative since then;
    None if its machine has restarted, which ends a lease too.
    """

    name: str
    silent: float
    lease_left: float | None

    @property
    def is_lost(self) -> bool:
        """Return True if the lease has run out."""
        return self.lease_left is None or self.lease_left < 0


@dataclass(frozen=True, slots=True)
class Facts:
    """All that an explanation needs, read at the moment `now`.

    `parents` are the first of `unmet_parents` parents that have not ended. `organization_status` None: nobody knows,
    as where `directory_is_away`: that of the host gave no answer.
    `is_hosted`: the host keeps the organizations. `breaker`: if it is open. `culprit`: the parent that
    took a dead letter down, as it is now. `decision`: about a dead letter, if there is any.
    """

    job: Job
    now: datetime
    last_entry: LogEntry
    parents: tuple[WaitedFor, ...] = ()
    unmet_parents: int = 0
    place_in_lane: int | None = None
    organization_status: OrganizationStatus | None = None
    directory_is_away: bool = False
    is_hosted: bool = False
    pauses: tuple[Pause, ...] = ()
    limits: tuple[LimitOn, ...] = ()
    breaker: Breaker | None = None
    workers: tuple[LiveWorker, ...] = ()
    holder: Holder | None = None
    cancel_requested_by: str | None = None
    cancel_reason: str = ""
    culprit: WaitedFor | None = None
    decision: Decision | None = None
