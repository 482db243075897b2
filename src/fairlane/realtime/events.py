"""The events that clients get: the contract. `docs/asyncapi.json` is made of these models.

No event holds parameters, results, error texts or what a transition's message quotes: that is payload, which not all in
a room may see. A handler's progress is for all who may see the job.
"""

from datetime import datetime
from typing import ClassVar, Final
from uuid import UUID

from pydantic import BaseModel, Field

from fairlane.domain.statuses import JobStatus

_JOB: Final = "01928f3a-1b2c-7d4e-8f50-9a6b7c8d9e0f"


class Event(BaseModel):
    """What clients are told."""

    name: ClassVar[str]


class InRoom(Event):
    """An event of a room."""

    room: str = Field(description="In which room it is told.", examples=["org:acme"])


class Placed(InRoom):
    """An event with a place in the feed."""

    cursor: str = Field(
        description="Opaque. Give the last one as `after`, or as Last-Event-ID, to get what came since.", examples=["…"]
    )


class JobStatusChanged(Placed):
    """A job went from one status to another, or people changed its time or its priority. For details get the job anew.

    After a change of time or priority, both statuses may be the same.
    """

    name: ClassVar[str] = "job_status_changed"

    organization: str = Field(examples=["acme"])
    job_id: UUID = Field(examples=[_JOB])
    job_type: str = Field(examples=["report.pdf"])
    queue: str = Field(examples=["default"])
    sequence: int = Field(description="Counts the job's transitions from 1: drop what you have seen.")
    from_status: JobStatus | None = Field(description="Null: it was submitted.")
    to_status: JobStatus
    at: datetime
    attempt: int
    user: str | None = Field(description="Who submitted the job; null: the system.", examples=["ana"])


class JobProgress(Placed):
    """How far a job is. Of several that come together only the latest is told."""

    name: ClassVar[str] = "job_progress"

    organization: str = Field(examples=["acme"])
    job_id: UUID = Field(examples=[_JOB])
    attempt: int
    percent: float | None
    message: str | None = Field(examples=["page 5 of 11"])
    at: datetime


class DeadLetterAlert(Placed):
    """Unresolved dead letters of an organization passed the threshold."""

    name: ClassVar[str] = "dead_letter_alert"

    organization: str = Field(examples=["acme"])
    depth: int
    threshold: int
    at: datetime


class QueueLimitWarning(Placed):
    """An organization has 80 % of the live jobs that it may have."""

    name: ClassVar[str] = "queue_limit_warning"

    organization: str = Field(examples=["acme"])
    live: int
    limit: int
    at: datetime


class Reset(Placed):
    """What was missed can't be told: get everything anew. What comes after it is complete again."""

    name: ClassVar[str] = "reset"


class Revoked(InRoom):
    """The room may no longer be seen, and was left. Without a room left the connection is closed."""

    name: ClassVar[str] = "revoked"


class Heartbeat(Event):
    """All that has happened was told. It comes every five seconds; who hears none for longer is not up to date."""

    name: ClassVar[str] = "heartbeat"


EVENTS: Final[tuple[type[Event], ...]] = (
    JobStatusChanged,
    JobProgress,
    DeadLetterAlert,
    QueueLimitWarning,
    Reset,
    Revoked,
    Heartbeat,
)


class Running(BaseModel):
    """A running job in a snapshot."""

    organization: str
    job_id: UUID
    job_type: str
    attempt: int
    percent: float | None
    message: str | None
    started_at: datetime


class Overview(BaseModel):
    """The snapshot of an organization, or of all: the longest-running jobs, and how many there are by status."""

    running: list[Running]
    counts: dict[JobStatus, int]


class Subscribed(BaseModel):
    """The acknowledgement of `subscribe`.

    `reset`: what came since `after` can't be told; the snapshot stands for it. Without `after` there is always a
    snapshot, with it only then.
    """

    room: str = Field(examples=["org:acme"])
    cursor: str = Field(examples=["…"])
    snapshot: dict[str, object] | None
    reset: bool
