"""What a running handler tells its worker, as values. They cross threads and, as JSON, the process boundary."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol
from uuid import UUID

from fairlane.domain.statuses import JobStatus


@dataclass(frozen=True, slots=True)
class Progress:
    """Percent from 0 to 100, or None for unknown, and what is being done."""

    percent: float | None
    message: str | None


@dataclass(frozen=True, slots=True)
class LoggedLine:
    """A log line of the job."""

    level: str
    message: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State, as JSON text, from which the next attempt may resume."""

    state: str


@dataclass(frozen=True, slots=True)
class File:
    """An artifact: its bytes, or the file to take them from: its path, or an open one, read from its start."""

    name: str
    data: bytes | Path | BinaryIO
    content_type: str | None = None


Report = Progress | LoggedLine | Checkpoint | File


class Interruption(StrEnum):
    """Why a handler is asked to stop."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"
    LEASE_LOST = "lease lost"


class Channel(Protocol):
    """The way from one attempt to its worker. Safe to use from any thread; `send` never blocks."""

    def send(self, report: Report) -> "Future[Any]":
        """Take the report; the future is done when it is durable, or fails with why it can't be."""

    def read_artifact(self, parent_id: UUID, name: str) -> Iterator[bytes]:
        """Return the bytes of a parent's artifact in pieces. Blocks.

        Raises StorageUnavailable if the storage did not answer.
        """


@dataclass(frozen=True, slots=True)
class ParentFacts:
    """How a parent ended and what it left."""

    id: UUID
    job_type: str
    status: JobStatus
    result: Any
    labels: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # by name: where each is stored, its size


class AttemptFacts(NamedTuple):
    """What an attempt is, as plain data. `timeout` in seconds; `checkpoint` and `parameters` are JSON text."""

    organization: str
    job_id: UUID
    job_type: str
    user: str | None
    attempt: int
    lease_token: UUID
    parameters: str
    labels: Mapping[str, str]
    timeout: float | None
    checkpoint: str | None = None
    parents: tuple[ParentFacts, ...] = ()

    def __repr__(self) -> str:
        return f"<attempt {self.attempt} of {self.job_id}>"  # what a job holds is in no log and no traceback
