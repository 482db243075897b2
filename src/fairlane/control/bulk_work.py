"""Works off many jobs, one by one: what bulk actions do.

Each job is changed in a transaction of its own, from the newest to the oldest; then it is said how far that came. So a
crash leaves jobs that were changed and jobs that were not, and going over them again does the rest: one that was
canceled or deleted fits no more, and one that was retried is passed over, also if it has failed again. So is whatever
else has ended, or come back to life, after the beginning: who began it can't have meant that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Final
from uuid import UUID

from fairlane.control.jobs import ChangedSince, JobControl
from fairlane.domain.bulk import BulkVerb, Refusal
from fairlane.domain.errors import (
    IllegalTransition,
    InvalidParameters,
    JobNotFound,
    PermissionDenied,
    StorageUnavailable,
)
from fairlane.store.statements.job_list import Wanted
from fairlane.store.transaction import Database

TOLD: Final = 20  # refusals, in full
_PAGE: Final = 200
_UNTIL: Final = " "  # in a cursor, between the job and the moment from which the next one may be due
_PACES: Final = (0.001, 100_000.0)  # jobs a second
_KEPT_WAITING = "it is held by somebody else, who kept this waiting for too long; do it again later"

Ids = Callable[..., tuple[UUID, ...]]


@dataclass(frozen=True, slots=True)
class Order:
    """What to do, with which jobs, as whom.

    Args:
        begun: jobs that have ended or come back to life since are not those that were meant.
        per_second: how many dead letters become ready each second, over all steps; None: all at once.
    """

    verb: BulkVerb
    organization: str
    wanted: Wanted
    user: str | None
    begun: datetime
    per_second: float | None


@dataclass(frozen=True, slots=True)
class Worked:
    """How far it came; see `BulkAction`. `next_cursor`: where to go on; None: it came to the end."""

    changed: int
    passed_over: int
    refused: int
    refusals: tuple[Refusal, ...]
    next_cursor: str | None


class BulkWork:
    """Cancels, retries or deletes jobs.

    Args:
        ids: gives the ids of jobs that are wanted, newest first, from just after `before`: `Matching.ids`.
    """

    def __init__(self, database: Database, jobs: JobControl, ids: Ids) -> None:
        self._database = database
        self._jobs = jobs
        self._ids = ids

    def run(self, order: Order, cursor: str | None, seconds: float, *, passes_held: bool = False) -> Worked:
        """Work for `seconds`, or for one job if that takes longer.

        Args:
            cursor: where the step before came to; None: from the newest job on.
            passes_held: refuse the first job if it can't be had, in place of being stopped by it.

        Raises:
            StorageUnavailable: before or at the first job. At a later one it says how far it came before.
        """
        (before, since), deadline = _place_of(cursor), monotonic() + seconds
        tally, pace = _Tally(order.verb), self._pace(order, since)
        while order.wanted.statuses:  # none: it can be done with none of those that were asked for
            try:
                page = self._ids(order.organization, order.wanted, before=before, limit=_PAGE)
            except StorageUnavailable:
                if not tally.seen:
                    raise
                return tally.worked(_cursor(before, pace))
            for job in page:
                if tally.seen and monotonic() > deadline:
                    return tally.worked(_cursor(before, pace))
                try:
                    tally.count(job, partial(self._one, order, job, pace))
                except StorageUnavailable:
                    if not tally.seen and not passes_held:
                        raise
                    if tally.seen:
                        return tally.worked(_cursor(before, pace))
                    tally.refuse(job, _KEPT_WAITING)
                before = job
            if len(page) < _PAGE:
                break
        return tally.worked(None)

    def _pace(self, order: Order, since: datetime | None) -> "_Pace | None":
        if order.per_second is None:
            return None
        now = self._database.read(self._database.clock.now)
        return _Pace(max(now, since or now), timedelta(seconds=1 / order.per_second))

    def _one(self, order: Order, job: UUID, pace: "_Pace | None") -> None:
        organization, user = order.organization, order.user
        match order.verb:
            case BulkVerb.CANCEL:
                self._jobs.cancel(job, organization, user=user, reason="canceled with others", same_since=order.begun)
            case BulkVerb.RETRY:
                at = pace.due if pace is not None else None
                self._jobs.retry(job, organization, user=user, at=at, same_since=order.begun)
                if pace is not None:
                    pace.due += pace.step
            case BulkVerb.DELETE:
                self._jobs.delete(job, organization, user=user, same_since=order.begun)


def check_pace(verb: BulkVerb, per_second: float | None) -> None:
    """Refuse a pace that makes no sense.

    Raises:
        InvalidParameters
    """
    least, most = _PACES
    if per_second is not None and (verb is not BulkVerb.RETRY or not least <= per_second <= most):
        raise InvalidParameters(
            f"per_second is for retries and {least:g} to {most:,.0f}, not {per_second!r} for {verb}."
        )


@dataclass(slots=True)
class _Pace:
    """When the next retried job is due, and how long after it the one behind."""

    due: datetime
    step: timedelta


class _Tally:
    """What became of the jobs so far."""

    def __init__(self, verb: BulkVerb) -> None:
        # One that has changed since it was found is not to be canceled or retried any more, and the child of a dead
        # letter follows it. One that can't be deleted yet is somebody's to look at.
        self._passes: tuple[type[Exception], ...] = (JobNotFound, ChangedSince)
        if verb is not BulkVerb.DELETE:
            self._passes = (JobNotFound, IllegalTransition)
        self.changed = self.passed_over = self.refused = 0
        self.refusals: list[Refusal] = []

    @property
    def seen(self) -> int:
        return self.changed + self.passed_over + self.refused

    def count(self, job: UUID, work: Callable[[], None]) -> None:
        try:
            work()
        except self._passes:
            self.passed_over += 1
        except (PermissionDenied, IllegalTransition) as error:
            self.refuse(job, str(error))
        else:
            self.changed += 1

    def refuse(self, job: UUID, detail: str) -> None:
        self.refused += 1
        if len(self.refusals) < TOLD:
            self.refusals.append(Refusal(job, detail))

    def worked(self, next_cursor: str | None) -> Worked:
        return Worked(self.changed, self.passed_over, self.refused, tuple(self.refusals), next_cursor)


def _cursor(before: UUID | None, pace: _Pace | None) -> str | None:
    if before is None:
        return None
    return str(before) if pace is None else f"{before}{_UNTIL}{pace.due.isoformat()}"


def _place_of(cursor: str | None) -> tuple[UUID | None, datetime | None]:
    """The job that a step came to, and when the next one may be due, if it has a pace."""
    if cursor is None:
        return None, None
    job, _, due = cursor.partition(_UNTIL)
    return UUID(job), datetime.fromisoformat(due) if due else None
