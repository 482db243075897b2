"""What happens, as values: the one seam for logs, metrics and the terminal. The code emits; subscribers have the words.

No event holds parameters, results or error texts: a log is read by more people than a job's organization has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from fairlane.domain.outcomes import Try
from fairlane.domain.statuses import JobStatus


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, as subscribers are told: each kind is a class of its own."""


@dataclass(frozen=True, slots=True)
class WorkerStarted(Event):
    """A worker has registered and begins to claim."""

    worker: str
    slots: int
    queues: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class QueuesNotServed(Event):
    """Job types of a worker that has just started name queues which it does not serve."""

    worker: str
    queues: tuple[str, ...]
    job_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkerStopping(Event):
    """A worker claims no more; `running` jobs have `grace` seconds to finish."""

    worker: str
    running: int
    grace: float


@dataclass(frozen=True, slots=True)
class WorkerStopped(Event):
    """A worker has ended; `released` jobs went back unfinished."""

    worker: str
    released: int


@dataclass(frozen=True, slots=True)
class JobStarted(Event):
    """An attempt begins."""

    organization: str
    job_id: UUID
    job_type: str
    attempt: int


@dataclass(frozen=True, slots=True)
class JobProgressed(Event):
    """A handler reported progress, in percent."""

    organization: str
    job_id: UUID
    job_type: str
    percent: float | None
    message: str | None


@dataclass(frozen=True, slots=True)
class JobEnded(Event):
    """An attempt ended, and its end is in the database.

    Jobs that end without an attempt have none of it: those that are canceled while they wait, that go to dead letter
    with their parent or their organization, or because their worker was lost too often. The execution log has them all.

    `error_type` None: it ended well; `seconds`: of its handler; `failed`: which of how many it was, if it failed;
    `snoozed`: for how many seconds its handler put the job off, if it raised `Snooze`.
    """

    organization: str
    job_id: UUID
    job_type: str
    status: JobStatus
    error_type: str | None
    seconds: float
    failed: Try | None = None
    snoozed: float | None = None


@dataclass(frozen=True, slots=True)
class LeaseLost(Event):
    """An attempt goes on here although its job was given to another worker; it is being stopped, its end ignored."""

    organization: str
    job_id: UUID
    job_type: str


@dataclass(frozen=True, slots=True)
class HandlerAbandoned(Event):
    """A handler did not stop when asked and was left behind."""

    organization: str
    job_id: UUID
    job_type: str


@dataclass(frozen=True, slots=True)
class LoopBlocked(Event):
    """An async handler has kept the event loop from turning for `seconds`; `where` is file, line and function.

    `job_types` has its type, or all that it may be of: those of the async handlers that run. It has none if the worker
    itself is what keeps the loop, or its host.
    """

    worker: str
    job_types: tuple[str, ...]
    seconds: float
    where: str


@dataclass(frozen=True, slots=True)
class WorkerUnfit(Event):
    """A worker drains, and its process is to be replaced: `reason` says why. `fairlane worker` exits with code 75."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerStuck(Event):
    """The event loop has not turned for `seconds`, longer than any handler on it may take: others get its jobs.

    Nothing can end them or the worker in order any more. `fairlane worker` ends its process.
    """

    worker: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StorageLost(Event):
    """A service could not reach the database and tries again in `seconds`."""

    service: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StorageBack(Event):
    """A service has reached the database again."""

    service: str


@dataclass(frozen=True, slots=True)
class DirectoryLost(Event):
    """The host's directory gives no answer that can be used; jobs that need it wait. Said once a minute at most."""

    reason: str


@dataclass(frozen=True, slots=True)
class DirectoryBack(Event):
    """The host's directory answers again."""


@dataclass(frozen=True, slots=True)
class JobsRescued(Event):
    """Jobs of a lost worker were taken back; `worker` is its name, or its id where its row is gone."""

    worker_id: UUID
    jobs: int
    worker: str


class AlertKind(StrEnum):
    """What whoever watches an organization is alerted of."""

    DEAD_LETTERS = "dead_letters"
    QUEUE_LIMIT = "queue_limit"


@dataclass(frozen=True, slots=True)
class DeadLetterAlert(Event):
    """An organization's unresolved dead letters passed the threshold (R8)."""

    organization: str
    depth: int


@dataclass(frozen=True, slots=True)
class QueueLimitWarning(Event):
    """An organization has 80 % of the live jobs that it may have (R4)."""

    organization: str
    live: int
    limit: int


@dataclass(frozen=True, slots=True)
class BreakerOpened(Event):
    """So much of a job type failed in an organization that nothing of it starts before `until` (R16)."""

    organization: str
    job_type: str
    until: datetime
    failures: int
    attempts: int


@dataclass(frozen=True, slots=True)
class BreakerClosed(Event):
    """Jobs of a type start again in an organization. `by` None: since one that was tried completed."""

    organization: str
    job_type: str
    by: str | None


@dataclass(frozen=True, slots=True)
class TickRefused(Event):
    """A schedule's tick could not be submitted; it is tried again by itself, and told once."""

    organization: str
    schedule: str
    error_type: str


@dataclass(frozen=True, slots=True)
class KeyMissed(Event):
    """A worker can't use an organization's encryption key, so that its jobs wait; told once until it can. `why`: what
    is wrong, and what to do.
    """

    organization: str
    why: str


@dataclass(frozen=True, slots=True)
class ServiceFailed(Event):
    """A service's round raised what it should not; it goes on with the next round.

    So does the event loop where what a handler began ended it, as by SystemExit; `service` names the types on it.
    """

    service: str
    error: BaseException


Emit = Callable[[Event], None]


def hears(emit: Emit) -> Callable[[type[Event]], bool]:
    """Return what says whether anybody wants to be told of events of a kind now: if nobody does, none need be made.

    Who wants only some has such a method `hears`.
    """
    ask: Callable[[type[Event]], bool] = getattr(emit, "hears", lambda _: True)
    return ask
