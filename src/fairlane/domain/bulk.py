"""Bulk actions: one verb on all jobs that match filters, and its progress."""

from collections.abc import Mapping, Sized
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from fairlane.domain.errors import InvalidParameters
from fairlane.domain.jobs import empty_filter, statuses_of
from fairlane.domain.permissions import Right
from fairlane.domain.statuses import LIVE, JobStatus


class BulkVerb(StrEnum):
    """The verb of a bulk action."""

    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"


class BulkState(StrEnum):
    """The state of a bulk action."""

    WORKING = "working"
    DONE = "done"
    STOPPED = "stopped"


# The statuses of the jobs that each verb takes.
FITTING: Final = {
    BulkVerb.CANCEL: LIVE,
    BulkVerb.RETRY: frozenset({JobStatus.DEAD_LETTER}),
    BulkVerb.DELETE: frozenset({JobStatus.DEAD_LETTER}),
}
# The right that beginning a bulk action needs.
NEEDED: Final = {
    BulkVerb.CANCEL: Right.JOBS_CHANGE,
    BulkVerb.RETRY: Right.JOBS_CHANGE,
    BulkVerb.DELETE: Right.JOBS_DELETE,
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
        user: the user who began it, and as whom it acts; None = the system.
        filters: the filters of `Reads.list`. The action takes matching jobs that were there when it began.
        per_second: the number of retried dead letters that become ready each second; None: all at once.
        changed: the number of jobs that were changed so far.
        passed_over: the number of jobs that were gone, had changed, were decided about meanwhile, or follow a parent.
        refused: the number of jobs that were refused; `refusals` has the reasons of the first of them.
        is_waiting: no worker has worked at it for a while.
        ended_at: the moment of its end; None while it goes on.
        stopped_by: the user who stopped it before its end; None: nobody. `problem`: the reason, if Fairlane stopped it.
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
        """Return the state: it goes on, has come to its end, or was stopped before."""
        if self.ended_at is None:
            return BulkState.WORKING
        return BulkState.STOPPED if self.stopped_by is not None else BulkState.DONE


def verb_of(given: object) -> BulkVerb:
    """Return the verb of this name.

    Raises:
        InvalidParameters: there is none.
    """
    try:
        return BulkVerb(str(given))
    except ValueError:
        raise InvalidParameters(f"{given!r:.80} can't be done with many jobs; {', '.join(BulkVerb)} can.") from None


def fitting(verb: BulkVerb | str, filters: Mapping[str, Any]) -> frozenset[JobStatus]:
    """Return the statuses of the jobs that a bulk action with these filters takes.

    Raises:
        InvalidParameters: there is no such verb or status, a filter is empty, or it takes no jobs of these statuses.
    """
    able = FITTING[verb_of(verb)]
    for name, given in filters.items():
        # A filter that a program forgot to set must not select all jobs.
        if given is None or (isinstance(given, Sized) and not (given.strip() if isinstance(given, str) else given)):
            raise empty_filter(name)
    asked = statuses_of(filters.get("status"))
    if asked and not asked & able:
        raise InvalidParameters(
            f"A bulk {verb} takes jobs that are {_either(able)}, and none that are {_either(asked)}; change the status."
        )
    return asked & able or able


def _either(statuses: frozenset[JobStatus]) -> str:
    *others, last = (one for one in JobStatus if one in statuses)
    return f"{', '.join(others)} or {last}" if others else last
