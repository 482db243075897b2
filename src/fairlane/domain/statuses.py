"""The statuses of a job, sets of statuses and every legal transition, as data.

This is the only file in which a status is written as a string (a test says so).
"""

from enum import StrEnum
from typing import Final


class JobStatus(StrEnum):
    """The status of a job; equal to its plain string."""

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    DEAD_LETTER = "dead_letter"
    CANCELED = "canceled"


class Priority(StrEnum):
    """The urgency of a job within its organization."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"


class Resolution(StrEnum):
    """The decision of a person about a dead letter."""

    PENDING = "pending"
    RETRIED = "retried"
    RESOLVED = "resolved"
    IGNORED = "ignored"


class ParentPolicy(StrEnum):
    """The policy for a job whose parent ended without completing."""

    DEAD_LETTER = "dead_letter"
    CANCEL = "cancel"
    RUN_ANYWAY = "run_anyway"


class EdgeState(StrEnum):
    """The state of an edge between a job and its parent.

    `new`: `stage` must look once, since the child may have been submitted while its parent finished, or the parent has
    ended and has more children. `watched`: the transaction that ends the parent, or goes on with its children, will see
    the edge. `settled`: the parent's end has been counted.
    """

    NEW = "new"
    WATCHED = "watched"
    SETTLED = "settled"


class OrganizationStatus(StrEnum):
    """The status of an organization: only an active one may submit and run jobs."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


class Role(StrEnum):
    """The role of a member in an organization, the lowest first."""

    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"


# The claim orders by this number, smallest first.
PRIORITY_RANK: Final = {
    Priority.CRITICAL: 0,
    Priority.HIGH: 1,
    Priority.NORMAL: 2,
    Priority.LOW: 3,
}
PRIORITY_OF_RANK: Final = {rank: priority for priority, rank in PRIORITY_RANK.items()}

_S = JobStatus

# (from, to) -> when. `None`: the job does not exist yet. Any other transition is an error and changes nothing.
TRANSITIONS: Final[dict[tuple[JobStatus | None, JobStatus], str]] = {
    (None, _S.PENDING): "submitted, to wait for parents or its time",
    (None, _S.QUEUED): "submitted",
    (_S.PENDING, _S.QUEUED): "all parents ended as its policy asks and run_at reached, or run now by a person",
    (_S.PENDING, _S.CANCELED): "canceled",
    (_S.QUEUED, _S.CANCELED): "canceled",
    (_S.PENDING, _S.DEAD_LETTER): "a parent did not complete, organization deleted or permission lost",
    (_S.QUEUED, _S.DEAD_LETTER): "a parent did not complete, organization deleted or permission lost",
    (_S.QUEUED, _S.RUNNING): "claimed",
    (_S.RUNNING, _S.COMPLETED): "handler returned",
    (_S.RUNNING, _S.FAILED): "handler raised",
    (_S.RUNNING, _S.TIMED_OUT): "handler ran past its timeout",
    (_S.FAILED, _S.QUEUED): "transient, retries left",
    (_S.TIMED_OUT, _S.QUEUED): "retries left",
    (_S.FAILED, _S.DEAD_LETTER): "permanent, or retries exhausted",
    (_S.TIMED_OUT, _S.DEAD_LETTER): "retries exhausted",
    (_S.RUNNING, _S.CANCELED): "cancel took effect",
    (_S.RUNNING, _S.DEAD_LETTER): "refused at start, or rescued too often",
    (_S.RUNNING, _S.QUEUED): "worker lost, released (shutdown, or storage that did not answer) or snoozed",
    (_S.DEAD_LETTER, _S.QUEUED): "retried by a person",
    (_S.DEAD_LETTER, _S.PENDING): "revived because its parent was retried",
    (_S.PENDING, _S.PENDING): "rescheduled, or given another priority by a person",
    (_S.QUEUED, _S.PENDING): "rescheduled by a person",
    (_S.QUEUED, _S.QUEUED): "run now instead of at its retry, or given another priority by a person",
}

TERMINAL: Final = frozenset({_S.COMPLETED, _S.DEAD_LETTER, _S.CANCELED})
# Outcomes of one attempt; no row rests in them.
PASSING: Final = frozenset({_S.FAILED, _S.TIMED_OUT})
LIVE: Final = frozenset(_S) - TERMINAL - PASSING
# Not started yet: cancel takes effect at once, `on_duplicate="replace"` may replace it.
WAITING: Final = frozenset({_S.PENDING, _S.QUEUED})
# Ended without completing.
ENDED_BADLY: Final = TERMINAL - {_S.COMPLETED}


class KeyState(StrEnum):
    """The state of an organization's key: it encrypts and decrypts, only decrypts, or does nothing any more."""

    ACTIVE = "active"
    RETIRED = "retired"
    DESTROYED = "destroyed"
