"""The values that people see: a job, its log, its results."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, make_dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast
from uuid import UUID

from fairlane.domain.errors import InvalidParameters, JobNotFound, JobTypeNotFound
from fairlane.domain.statuses import JobStatus, Priority, Resolution
from fairlane.domain.texts import require_organization, storable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stood when it was read.

    `attempt` counts claims and only ever grows; `retry_count` starts afresh when a person retries it. `timeout` is in
    seconds. `run_at` is since when it is due, or from when it will be: a retry moves it. `started_at` is the start of
    the attempt that runs or that ended it. `max_retries` None means unlimited. `user` None is the system. `progress` is
    in percent, and was reported last at `progress_at`. It is that of the latest attempt. A job that waits for its
    next attempt has none, unless that one resumes from a checkpoint: it begins with the progress of the one before.
    """

    id: UUID
    organization: str
    job_type: str
    user: str | None
    status: JobStatus
    priority: Priority
    queue: str
    parameters: Mapping[str, Any]
    labels: Mapping[str, str]
    attempt: int
    retry_count: int
    max_retries: int | None
    next_retry_at: datetime | None
    run_at: datetime
    timeout: float | None
    progress: float | None
    progress_message: str | None
    progress_at: datetime | None
    error_type: str | None
    error_message: str | None
    depends_on: tuple[UUID, ...]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    canceled_at: datetime | None
    canceled_by: str | None


JobOrId: TypeAlias = Job | UUID | str  # as callers name one

# A job that is not frozen yet.
_Open: Final[Any] = make_dataclass("_Open", [field.name for field in fields(Job)], slots=True)


def job_of(*values: object) -> Job:
    """Return the job whose fields, in their order, have these values: in a tenth of the time that `Job(…)` takes."""
    job = _Open(*values)
    job.__class__ = Job
    return cast("Job", job)


@dataclass(frozen=True, slots=True)
class JobChange:
    """The job as it stands, and the transition that is told; None: the first look, or its progress has changed."""

    job: "Job"
    entry: "LogEntry | None"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A step of a job to another status, time or priority: one row of the execution log.

    `error_type` and `traceback` stand on rows that ended an attempt badly. `traceback` and what the handler said in
    `message` are payload.
    """

    sequence: int
    from_status: JobStatus | None
    to_status: JobStatus
    at: datetime
    actor: str
    message: str
    attempt: int
    error_type: str | None
    traceback: str | None


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a handler wrote with `ctx.log`."""

    at: datetime
    attempt: int
    level: str
    message: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a job left: `size` in bytes, `sha256` in hex, `path` where the storage has it."""

    name: str
    size: int
    content_type: str
    sha256: str
    created_at: datetime
    job_id: UUID
    organization: str
    path: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a job left: its handler's value, decoded from JSON, and its artifacts."""

    value: Any
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that will not run again unless a person says so, and what people decided about it.

    `user` submitted it (None: the system); `status` is how it stands now, as one that was retried runs again.
    `fingerprint` is the same for all dead letters with the same error. What the handler said in `reason` is payload.
    `parent_deleted`: a parent of it was deleted, so it can't be retried.
    """

    job_id: UUID
    organization: str
    job_type: str
    reason: str
    error_type: str
    fingerprint: str
    entered_at: datetime
    resolution: Resolution
    note: str | None
    resolved_by: str | None
    resolved_at: datetime | None
    user: str | None
    status: JobStatus
    parent_deleted: bool


@dataclass(frozen=True, slots=True)
class DeadLetterGroup:
    """Dead letters of an organization with one error fingerprint. `reason` is that of one of them.

    `count_is_capped`: there are more than were counted. What the handler said in `reason` is payload.
    """

    organization: str
    fingerprint: str
    job_type: str
    error_type: str
    reason: str
    count: int
    first_at: datetime
    last_at: datetime
    count_is_capped: bool


@dataclass(frozen=True, slots=True)
class RetriedGroup:
    """How many dead letters of a group were queued again, and how many were refused, as they are not the user's."""

    retried: int
    refused: int


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list. `total` stops counting at `total_capped_at`; `searched` says how far a text search looked."""

    items: tuple[T, ...]
    next_cursor: str | None
    total: int
    total_is_capped: bool = False
    searched_newest: int | None = None


def job_id_of(job: JobOrId, organization: str) -> UUID:
    """Return the id of a job that is named by itself or by its id.

    Raises:
        JobNotFound: it is text, but no UUID, so no job has it.
        InvalidParameters: it is neither a job nor an id; or no organization has such an id.
    """
    require_organization(organization)
    storable(organization=organization)
    if isinstance(job, UUID):
        return job
    if isinstance(job, Job):
        return job.id
    if not isinstance(job, str):
        raise InvalidParameters(f"Name a job by itself or by its id, such as job.id, not by a {type(job).__name__}.")
    try:
        return UUID(job)
    except ValueError:
        raise JobNotFound(
            f"Organization {organization} has no job {job:.80}; the whole id is needed here, as job.id has it."
        ) from None


def job_not_found(job_id: UUID | str, organization: str) -> JobNotFound:
    """Return the error for an id that the organization does not have, whether it is unknown or foreign."""
    return JobNotFound(
        f"Organization {organization} has no job {job_id!s:.80}; "
        "one submitted by connection= or connection_of is found after its commit."
    )


def job_type_not_found(name: str) -> JobTypeNotFound:
    """Return the error for a job type that no application or worker has registered."""
    return JobTypeNotFound(f"Job type {name:.200} is not registered; correct its name, or start a worker that has it.")


def encode_cursor(at: datetime, last: UUID) -> str:
    """Return the cursor of the page after this row, which is opaque to its holder."""
    return urlsafe_b64encode(f"{at.isoformat()} {last}".encode()).decode()


def decode_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Return the row that a cursor stands for.

    Raises:
        InvalidParameters: it is no cursor of ours.
    """
    try:
        moment, last = urlsafe_b64decode(cursor.encode()).decode().split(" ")
        at = datetime.fromisoformat(moment)
        if at.tzinfo is None:
            raise ValueError("no moment of ours")
        return at.astimezone(UTC), UUID(last)
    except (ValueError, OverflowError):
        raise InvalidParameters(
            "The cursor is not one that a list gave; leave it out to begin at the newest."
        ) from None


def statuses_of(status: str | Iterable[str] | None) -> frozenset[JobStatus]:
    """Return the statuses that a filter asks for, one or several; no status if it is None, which stands for all.

    Raises:
        InvalidParameters: there is no such status, or the filter is empty.
    """
    found: set[JobStatus] = set()
    one: object = status
    try:
        for one in [status] if isinstance(status, str) else () if status is None else status:
            found.add(JobStatus(one))
    except (TypeError, ValueError):
        raise InvalidParameters(f"A status is one of {', '.join(JobStatus)}, and not {one!r:.200}.") from None
    if status is not None and not found:
        raise empty_filter("status")
    return frozenset(found)


def empty_filter(name: str) -> InvalidParameters:
    """Return the error for a filter that is empty, such as a list that a program has put nothing into."""
    return InvalidParameters(f"The filter {name} is empty; give it a value, or leave it out for all jobs.")


def without_quotes(message: str) -> str:
    """Return a message without what its handler said, which stands after a colon: "ValueError: no row 4711".

    What stands before the colon is of our making, or a class's name.
    """
    return message.partition(": ")[0]


def entry_without_payload(entry: LogEntry) -> LogEntry:
    """Return an entry of the execution log without what its handler said."""
    return replace(entry, message=without_quotes(entry.message), traceback=None)


def job_without_errors(job: Job) -> Job:
    """Return a job without what its handler said of its error."""
    return replace(job, error_message=None)
