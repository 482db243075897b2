"""Bulk actions: what is done with all jobs that fit filters, and how far it has come."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from fairlane.domain.errors import InvalidParameters
from fairlane.domain.statuses import LIVE, JobStatus


class BulkVerb(StrEnum):
    """What to do with many jobs."""

    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"


class BulkState(StrEnum):
    """What is with a bulk action."""

    WORKING = "working"
    DONE = "done"
    STOPPED = "stopped"


# Which jobs each of them can be done with.
FITTING: Final = {
    BulkVerb.CANCEL: LIVE,
    BulkVerb.RETRY: frozenset({JobStatus.DEAD_LETTER}),
    BulkVerb.DELETE: frozenset({JobStatus.DEAD_LETTER}),
}
MOST_WORKING: Final = 10  # bulk actions of an organization at once


@dataclass(frozen=True, slots=True)
class Refusal:
    """A job that was not changed, and why."""

    job: UUID
    detail: str


@dataclass(frozen=True, slots=True)
class BulkAction:
    """A bulk action that was begun.

    Attributes:
        user: who began it, and as whom it acts; None = the system.
        filters: which jobs, as `Reads.list` has them; of these, those that were there when it began.
        per_second: how many retried dead letters become ready each second; None: all at once.
        changed: how many jobs, so far.
        passed_over: how many were gone, had changed, were decided about meanwhile, or follow a parent.
        refused: how many were refused; `refusals` says of the first of them why.
        is_waiting: no worker has gone on with it for a while.
        ended_at: None: it goes on.
        stopped_by: who ended it before its end; None: nobody. `problem`: why, where that was Fairlane.
    """

    id: UUID
    organization: str
    verb: BulkVerb
    user: str | None
    filters: Mapping[str, Any]
    per_second: float | None
    changed: int
    passed_over: int
    refused: int
    refusals: tuple[Refusal, ...]
    is_waiting: bool
    created_at: datetime
    ended_at: datetime | None
    stopped_by: str | None
    problem: str | None

    @property
    def state(self) -> BulkState:
        """Whether it goes on, has come to its end, or was stopped before."""
        if self.ended_at is None:
            return BulkState.WORKING
        return BulkState.STOPPED if self.stopped_by is not None else BulkState.DONE


def verb_of(given: object) -> BulkVerb:
    """The verb of this name.

    Raises:
        InvalidParameters: there is none.
    """
    try:
        return BulkVerb(str(given))
    except ValueError:
        raise InvalidParameters(f"{given!r:.80} can't be done with many jobs; {', '.join(BulkVerb)} can.") from None


def fitting(verb: BulkVerb | str, statuses: Any) -> frozenset[JobStatus]:
    """With which of these statuses, or of all (None), it can be done.

    Raises:
        InvalidParameters: there is no such status, or no such verb.
    """
    able = FITTING[verb_of(verb)]
    given = [statuses] if isinstance(statuses, str) else statuses
    try:
        return able if not given else able & frozenset(map(JobStatus, given))
    except ValueError as error:
        raise InvalidParameters(f"{error}; a status is one of {', '.join(JobStatus)}.") from None
