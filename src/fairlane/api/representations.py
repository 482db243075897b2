"""Representations of jobs in answers. Parameters, error texts, log lines and results are payload.

If the reader may not see payload, the field is null and `payload_hidden` is true, so that nobody takes it for empty.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from fairlane.domain import jobs as domain
from fairlane.domain.jobs import without_quotes
from fairlane.domain.permissions import Access, Right
from fairlane.domain.reasons import ReasonCode
from fairlane.domain.statuses import JobStatus, Priority

EXAMPLE_ID = "01928f3a-1b2c-7d4e-8f50-9a6b7c8d9e0f"
EXAMPLE_TIME = "2026-11-26T10:00:00Z"


class JobItem(BaseModel):
    """A job without its parameters."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID = Field(examples=[EXAMPLE_ID])
    organization: str = Field(examples=["acme"])
    job_type: str = Field(examples=["report.pdf"])
    user: str | None = Field(description="Who submitted it; null: the system.", examples=["ana"])
    status: JobStatus
    priority: Priority
    queue: str = Field(examples=["default"])
    labels: dict[str, str] = Field(examples=[{"document": "42"}])
    attempt: int = Field(description="How often the job was claimed.")
    retry_count: int
    max_retries: int | None = Field(description="Null: unlimited.")
    next_retry_at: datetime | None
    run_at: datetime
    timeout: float | None = Field(description="In seconds; null: unlimited.")
    progress: float | None = Field(description="In percent.")
    progress_message: str | None
    progress_at: datetime | None = Field(description="When the job last reported its progress; null: never.")
    error_type: str | None
    error_message: str | None = Field(description="The text of its last error; payload.")
    depends_on: list[UUID]
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    canceled_at: datetime | None
    canceled_by: str | None
    payload_hidden: bool = Field(description="Whether payload was omitted, because you may not see it.")

    @classmethod
    def of(cls, job: domain.Job, access: Access, **more: object) -> Self:
        """Return the job as the reader may see it."""
        given = {one.name: getattr(job, one.name) for one in fields(job)}
        sees = access.sees_payload(job.user)
        hidden: Mapping[str, Any] = {} if sees else {"error_message": None, "parameters": None}
        return cls.model_validate({**given, **hidden, **more, "payload_hidden": not sees})


class ListedJob(JobItem):
    """A job as lists show it."""

    held_by: ReasonCode | None = Field(
        description="What keeps a waiting job from starting, apart from its parents and its times: maintenance mode, "
        "a pause, a suspension, a limit of zero, an open circuit breaker, or a missing worker. Null: none of these; "
        "the job's explanation says more.",
        examples=["queue_paused"],
    )


class Job(JobItem):
    """A job in its current state."""

    parameters: dict[str, Any] | None = Field(description="Payload.", examples=[{"month": "2026-11-01"}])


class History(BaseModel):
    """The newest 1,000 entries of the execution log of a job, oldest first.

    If the `sequence` of the first entry is above 1, older entries are omitted.
    """

    items: list[domain.LogEntry]
    payload_hidden: bool


class LogLines(BaseModel):
    """The lines that a job's handler wrote, oldest first; payload."""

    items: list[domain.LogLine] | None
    next_after: int | None = Field(description="Send it as `after` to get the next lines; null: there are none yet.")
    payload_hidden: bool


class Artifact(BaseModel):
    """A file that a job's handler stored. `size` is in bytes, `sha256` in hex."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(examples=["report.pdf"])
    size: int
    content_type: str = Field(examples=["application/pdf"])
    sha256: str
    created_at: datetime


class Result(BaseModel):
    """The result of a job: the value that its handler returned, and its artifacts; payload."""

    value: Any = Field(examples=[{"pages": 12}])
    artifacts: list[Artifact] | None
    payload_hidden: bool

    @classmethod
    def of(cls, result: domain.Result, *, sees: bool) -> Self:
        """Return the result as the reader may see it."""
        if not sees:
            return cls(value=None, artifacts=None, payload_hidden=True)
        artifacts = [Artifact.model_validate(one) for one in result.artifacts]
        return cls(value=result.value, artifacts=artifacts, payload_hidden=False)


class Reason(BaseModel):
    """A reason for a job's current state."""

    model_config = ConfigDict(from_attributes=True)

    code: str = Field(examples=["no_worker"])
    sentence: str


class Explanation(BaseModel):
    """A job's current state and the reasons for it. The most important reason is first, and is the summary."""

    model_config = ConfigDict(from_attributes=True)

    status: JobStatus
    summary: str = Field(examples=["No live worker serves the queue default."])
    reasons: list[Reason]
    place_in_lane: int | None = Field(description="From 1; 10,000 stands for 10,000 or later; null: it is not ready.")


def shown_letter(letter: domain.DeadLetter, access: Access) -> domain.DeadLetter:
    """Return the dead letter as the reader may see it."""
    return letter if access.sees_payload(letter.user) else replace(letter, reason=without_quotes(letter.reason))


def shown_group(group: domain.DeadLetterGroup, rights: frozenset[Right]) -> domain.DeadLetterGroup:
    """Return the group as a reader with these rights may see it."""
    # A group does not name its job's user, so the text of the reader's own job is cut, too. The list of jobs shows it.
    return group if Right.PAYLOAD_READ in rights else replace(group, reason=without_quotes(group.reason))
