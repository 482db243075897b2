"""Events as values: the one seam for logs, metrics and the terminal. The code emits events; subscribers word them.

No event holds parameters, results or error texts: more people read a log than the members of a job's organization. The
exception is a dead letter's traceback, where the setting `log_tracebacks` asks for it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from fairlane.domain.outcomes import Try
from fairlane.domain.statuses import JobStatus


@dataclass(frozen=True, slots=True)
class Event:
    """An event that subscribers are told: each kind is a class of its own."""


@dataclass(frozen=True, slots=True)
class WorkerStarted(Event):
    """A worker has registered and begins to claim."""

    worker: str
    slots: int
    queues: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class QueuesNotServed(Event):
    """Job types of a worker that has just started name queues that the worker does not serve."""

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
    """An attempt begins.

    `waited`: the seconds from when the job was due to this first start; None: it is a later attempt.
    """

    organization: str
    job_id: UUID
    job_type: str
    attempt: int
    waited: float | None = None


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
    """An attempt ended, and its outcome is in the database.

    Jobs that end without an attempt have no such event: those that are canceled while they wait, that go to dead letter
    with their parent or their organization, or because their worker was lost too often. The execution log has them all.

    `error_type` None: the attempt ended well; `seconds`: how long its handler ran; `failed`: the number of the failed
    attempt and of all attempts; `snoozed`: the seconds until the next attempt, if the handler raised `Snooze`;
    `traceback`: of a dead letter, as it is stored with the job; None unless the setting `log_tracebacks` is on, and for
    an organization with an encryption key; `outcome`: failed or timed out, if that made the job a dead letter.
    """

    organization: str
    job_id: UUID
    job_type: str
    status: JobStatus
    error_type: str | None
    seconds: float
    failed: Try | None = None
    snoozed: float | None = None
    traceback: str | None = field(default=None, repr=False)
    outcome: JobStatus | None = None


@dataclass(frozen=True, slots=True)
class LeaseLost(Event):
    """An attempt still runs here although its job was given to another worker; it is stopped, its outcome ignored."""

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
    """An async handler has blocked the event loop for `seconds`; `where` is file, line and function.

    `job_types` has the handler's type, or the types of all async handlers that run. It is empty if the worker itself or
    its host blocks the loop.
    """

    worker: str
    job_types: tuple[str, ...]
    seconds: float
    where: str


@dataclass(frozen=True, slots=True)
class WorkerUnfit(Event):
    """A worker drains, and its process must be replaced: `reason` says why. `fairlane worker` exits with code 75."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerStuck(Event):
    """The event loop has been blocked for `seconds`, longer than any handler on it may take: others get its jobs.

    Neither the handlers nor the worker can be ended in order any more. `fairlane worker` ends its process.
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
    """The host's directory gives no usable answer; jobs that need it wait. Emitted once a minute at most."""

    reason: str


@dataclass(frozen=True, slots=True)
class DirectoryBack(Event):
    """The host's directory answers again."""


@dataclass(frozen=True, slots=True)
class JobsRescued(Event):
    """Jobs of a lost worker were taken back; `worker` is its name, or its id if its row is gone."""

    worker_id: UUID
    jobs: int
    worker: str


class AlertKind(StrEnum):
    """The kind of an alert of an organization."""

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
    """So many jobs of a type failed in an organization that none of them starts before `until` (R16)."""

    organization: str
    job_type: str
    until: datetime
    failures: int
    attempts: int


@dataclass(frozen=True, slots=True)
class BreakerClosed(Event):
    """Jobs of a type start again in an organization. `by` None: because the trial completed."""

    organization: str
    job_type: str
    by: str | None


@dataclass(frozen=True, slots=True)
class TickRefused(Event):
    """A schedule's tick could not be submitted; it is retried by itself, and told once."""

    organization: str
    schedule: str
    error_type: str


@dataclass(frozen=True, slots=True)
class KeyMissed(Event):
    """A worker can't use an organization's encryption key, so the organization's jobs wait; told once until it can.
    `why`: what is wrong, and what to do.
    """

    organization: str
    why: str


@dataclass(frozen=True, slots=True)
class ServiceFailed(Event):
    """A service's round raised an unexpected error; the service goes on with the next round.

    So does the event loop if a task of a handler ended it, as by SystemExit; `service` names the types on the loop.
    """

    service: str
    error: BaseException


Emit = Callable[[Event], None]


def hears(emit: Emit) -> Callable[[type[Event]], bool]:
    """Return a function that says whether any subscriber wants events of a kind now: if none does, none need be made.

    A subscriber that wants only some kinds has a method `hears`.
    """
    ask: Callable[[type[Event]], bool] = getattr(emit, "hears", lambda _: True)
    return ask
