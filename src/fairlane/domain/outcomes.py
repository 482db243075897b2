"""How one attempt ended, as values. Runtime makes them, `decide` turns them into a transition."""

from dataclasses import dataclass, field
from typing import NamedTuple

from fairlane.domain.poison import RescueDecision


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """What is kept of an error: its type's name, its message and its traceback, secrets already redacted."""

    error_type: str
    message: str
    traceback: str = ""
    permanent: bool = False
    retries: int = 0  # that a permanent error gets all the same
    is_storage: bool = False  # Fairlane's own storage did not serve it: no failure of the handler
    retry_after: float | None = None  # seconds, as the other side asked
    fingerprint: str = ""  # groups alike errors: type and place, not message


@dataclass(frozen=True, slots=True)
class Completed:
    """The handler returned; `result` is its value as JSON text, None for no value."""

    result: str | None = None


class Try(NamedTuple):
    """Which of how many attempts a failure was, by the retries that were spent; `most` None: retries are unlimited."""

    number: int
    most: int | None

    def __str__(self) -> str:
        return f"attempt {self.number:,}" + (f" of {self.most:,}" if self.most is not None else "")


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler raised, its payload could not be decoded or its result could not be stored.

    `is_of_handler`: False if its parameters could not be decoded, so that it never ran, or by a mistake of Fairlane's.
    """

    error: ErrorReport
    is_of_handler: bool = True


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The handler ran longer than `seconds`."""

    error: ErrorReport
    seconds: float


@dataclass(frozen=True, slots=True)
class Stopped:
    """The handler ended because a cancel request asked it to."""

    how: str = "the handler stopped"


@dataclass(frozen=True, slots=True)
class Snoozed:
    """The handler asked to be run again in `seconds`."""

    seconds: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Deferred:
    """Fairlane's own storage did not serve the handler, so the job waits for it."""

    error: ErrorReport


@dataclass(frozen=True, slots=True)
class Released:
    """The worker gave the job back unfinished: shutdown, or a check at start that could not be answered."""

    reason: str
    seconds: float = 0.0  # before it may be claimed again


@dataclass(frozen=True, slots=True)
class Refused:
    """A check at start said a definite no: organization deleted, permission lost. `detail`: of whom, and what to do."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker's lease ran out while the job was running; `decision` says what follows for the job."""

    worker: str
    decision: RescueDecision = field(default_factory=RescueDecision)


Outcome = Completed | Failed | TimedOut | Stopped | Snoozed | Deferred | Released | Refused | Lost
