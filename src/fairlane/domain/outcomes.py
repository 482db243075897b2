"""The outcome of an attempt, as a value. The engine makes it, `decide` turns it into a transition."""

from dataclasses import dataclass, field
from typing import NamedTuple

from fairlane.domain.poison import RescueDecision


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """A report of an error: the name of its type, its message and its traceback, with secrets redacted."""

    error_type: str
    message: str
    traceback: str = ""
    permanent: bool = False
    retries: int = 0  # the retries that a permanent error still gets
    is_storage: bool = False  # Fairlane's own storage did not serve the handler: no failure of the handler
    retry_after: float | None = None  # the seconds that the other side asked for
    fingerprint: str = ""  # the same for errors of the same type and place, whatever the message


@dataclass(frozen=True, slots=True)
class Completed:
    """The handler returned; `result` is its value as JSON text, None for no value."""

    result: str | None = None


class Try(NamedTuple):
    """The number of a failed attempt among all attempts, by the retries spent; `most` None: retries are unlimited."""

    number: int
    most: int | None

    def __str__(self) -> str:
        return f"attempt {self.number:,}" + (f" of {self.most:,}" if self.most is not None else "")


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler raised, its payload could not be decoded or its result could not be stored.

    `is_of_handler`: False if its parameters could not be decoded, so that it never ran, or if Fairlane has a bug.
    """

    error: ErrorReport
    is_of_handler: bool = True


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The attempt reached its timeout: before the handler began, while it ran, or while its result was encoded."""

    error: ErrorReport


@dataclass(frozen=True, slots=True)
class Stopped:
    """The handler ended because of a cancel request."""

    how: str = "the handler stopped"


@dataclass(frozen=True, slots=True)
class Snoozed:
    """The handler asked to run again in `seconds`."""

    seconds: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Deferred:
    """Fairlane's own storage did not serve the handler, so the job waits for the storage."""

    error: ErrorReport


@dataclass(frozen=True, slots=True)
class Released:
    """The worker gave the job back unfinished: it stops, or a check at the start could not be answered."""

    reason: str
    seconds: float = 0.0  # before it may be claimed again


@dataclass(frozen=True, slots=True)
class Refused:
    """A check at the start refused the job: organization deleted, permission lost. `detail`: whose, and what to do."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker's lease ran out while the job was running; `decision` says what follows for the job."""

    worker: str
    decision: RescueDecision = field(default_factory=RescueDecision)


Outcome = Completed | Failed | TimedOut | Stopped | Snoozed | Deferred | Released | Refused | Lost
