"""The values that people see: a job, its log, its results."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, make_dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar, cast
from uuid import UUID

from fairlane.domain.errors import InvalidParameters, JobNotFound, JobTypeNotFound
from fairlane.domain.statuses import JobStatus, Priority, Resolution
from fairlane.domain.texts import require_organization, storable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stood when it was read.

    `attempt` counts claims and only grows; `retry_count` starts afresh when a person retries the job. `timeout` is in
    seconds. `run_at` is the moment from which the job is due; a retry moves it. `started_at` is the start of the
    attempt that runs or that ended the job. `max_retries` None means unlimited. `user` None is the system. `progress`
    is that of the latest attempt, in percent; it was reported at `progress_at`. A job that waits for its next attempt
    has no progress, unless there is a checkpoint: the next attempt begins with the progress of the one before.
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


JobOrId: TypeAlias = Job | UUID | str  # as callers name a job

# A job that is not frozen yet.
_Open: Final[Any] = make_dataclass("_Open", [field.name for field in fields(Job)], slots=True)


def job_of(*values: object) -> Job:
    """Return the job whose fields, in their order, have these values: in a tenth of the time that `Job(…)` takes."""
    job = _Open(*values)
    job.__class__ = Job
    return cast("Job", job)


class JobState(NamedTuple):
    """A job's type and status, as they were read or have just been written."""

    organization: str
    id: UUID
    job_type: str
    status: JobStatus


@dataclass(frozen=True, slots=True)
class JobChange:
    """A job as it is now, and the transition that it made; None: the first look, or its progress has changed."""

    job: "Job"
    entry: "LogEntry | None"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A step of a job to another status, time or priority: a row of the execution log.

    Rows that ended an attempt badly have `error_type` and `traceback`. `traceback` and the handler's own words in
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
    """A line that a handler wrote with `ctx.log`."""

    at: datetime
    attempt: int
    level: str
    message: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a job left: `size` in bytes, `sha256` in hex, `path` in the storage."""

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
    """The result of a job: the value that its handler returned, decoded from JSON, and its artifacts."""

    value: Any
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that will not run again unless a person retries it, and what people decided about it.

    `user` submitted it (None: the system); `status` is the job's present status: a retried job runs again.
    `fingerprint` is the same for all dead letters with the same error. The handler's own words in `reason` are payload.
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
    """Dead letters of an organization with the same error fingerprint. `reason` is that of one of them.

    `count_is_capped`: there are more than were counted. The handler's own words in `reason` are payload.
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
    """Counts of a group's dead letters that were queued again, and that were refused, as they are not the user's."""

    retried: int
    refused: int


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list.

    `total_is_capped`: there are more than `total`, as counting stops there. `searched_newest`: the number of the newest
    jobs that a text search read; None: no text, or an id.
    """

    items: tuple[T, ...]
    next_cursor: str | None
    total: int
    total_is_capped: bool = False
    searched_newest: int | None = None


def job_id_of(job: JobOrId, organization: str) -> UUID:
    """Return the id of a job that the caller named by itself or by its id.

    Raises:
        JobNotFound: it is text, but no UUID, so no job has it.
        InvalidParameters: it is neither a job nor an id; or no organization can have such an id.
    """
    require_organization(organization)
    storable(organization=organization)
    if isinstance(job, UUID):
        return job
    if isinstance(job, Job):
        return job.id
    if not isinstance(job, str):
        raise InvalidParameters(f"Name a job by itself or by its id, as in job.id, not by a {type(job).__name__}.")
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
        InvalidParameters: Fairlane did not make this cursor.
    """
    try:
        moment, last = urlsafe_b64decode(cursor.encode()).decode().split(" ")
        at = datetime.fromisoformat(moment)
        if at.tzinfo is None:
            raise ValueError("not a moment that Fairlane wrote")
        return at.astimezone(UTC), UUID(last)
    except (ValueError, OverflowError):
        raise InvalidParameters("No list gave this cursor; omit it to begin at the newest.") from None


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
    """Return the error for a filter that is empty, for example a list that a program has put nothing into."""
    return InvalidParameters(f"The filter {name} is empty; give it a value, or leave it out for all jobs.")


def without_quotes(message: str) -> str:
    """Return a message without the handler's own words, which stand after a colon: "ValueError: no row 4711".

    The part before the colon is Fairlane's, or a class's name.
    """
    return message.partition(": ")[0]


def entry_without_payload(entry: LogEntry) -> LogEntry:
    """Return an entry of the execution log without the handler's own words."""
    return replace(entry, message=without_quotes(entry.message), traceback=None)


def job_without_errors(job: Job) -> Job:
    """Return a job without the handler's own words about its error."""
    return replace(job, error_message=None)
