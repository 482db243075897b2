"""The events that clients get. `docs/asyncapi.json` is made from these models.

No event holds parameters, results, error texts or quotations of them: these are payload, which not every client of a
room may see. Every client that may see a job gets its progress.
"""

from datetime import datetime
from typing import ClassVar, Final
from uuid import UUID

from pydantic import BaseModel, Field

from fairlane.domain.statuses import JobStatus

_JOB: Final = "01928f3a-1b2c-7d4e-8f50-9a6b7c8d9e0f"


class Event(BaseModel):
    """An event that clients get."""

    name: ClassVar[str]


class InRoom(Event):
    """An event of a room."""

    room: str = Field(description="The room of the event.", examples=["org:acme"])


class Placed(InRoom):
    """An event with a position in the feed."""

    cursor: str = Field(
        description="Opaque. Send the last one as `after`, or as Last-Event-ID, to get all later events.",
        examples=["…"],
    )


class JobStatusChanged(Placed):
    """A job's status changed, or a user changed its time or its priority. Get the job again for details.

    After a change of time or priority, both statuses may be the same.
    """

    name: ClassVar[str] = "job_status_changed"

    organization: str = Field(examples=["acme"])
    job_id: UUID = Field(examples=[_JOB])
    job_type: str = Field(examples=["report.pdf"])
    queue: str = Field(examples=["default"])
    sequence: int = Field(description="Counts the job's transitions from 1: drop events that you know already.")
    from_status: JobStatus | None = Field(description="Null: it was submitted.")
    to_status: JobStatus
    at: datetime
    attempt: int
    user: str | None = Field(description="Who submitted the job; null: the system.", examples=["ana"])


class JobProgress(Placed):
    """The progress of a job. If several come together, only the latest is sent."""

    name: ClassVar[str] = "job_progress"

    organization: str = Field(examples=["acme"])
    job_id: UUID = Field(examples=[_JOB])
    attempt: int
    percent: float | None
    message: str | None = Field(examples=["page 5 of 11"])
    at: datetime


class DeadLetterAlert(Placed):
    """The number of an organization's unresolved dead letters passed the threshold."""

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
    """The missed events can't be sent: get everything again. The events after this one are complete."""

    name: ClassVar[str] = "reset"


class Revoked(InRoom):
    """The client may no longer see the room, and has left it. A connection without rooms is closed."""

    name: ClassVar[str] = "revoked"


class Heartbeat(Event):
    """The note that all events so far were sent. It comes every five seconds; without it a client is not up to date."""

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
    """The snapshot of an organization, or of all: the longest-running jobs, and the number of jobs by status."""

    running: list[Running]
    counts: dict[JobStatus, int]


class Subscribed(BaseModel):
    """The acknowledgement of `subscribe`.

    `reset`: the events since `after` can't be sent, and the snapshot replaces them. There is a snapshot without
    `after`, or with a reset.
    """

    room: str = Field(examples=["org:acme"])
    cursor: str = Field(examples=["…"])
    snapshot: dict[str, object] | None
    reset: bool
