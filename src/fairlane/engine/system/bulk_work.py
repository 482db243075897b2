"""Works off many jobs, from the newest to the oldest: what bulk actions do.

Jobs that wait are canceled a page at a time, each page in one transaction that waits for nobody. Every other job is
changed in a transaction of its own. Then it is said how far that came. So a
crash leaves jobs that were changed and jobs that were not, and going over them again does the rest: one that was
canceled or deleted fits no more, and one that was retried is passed over, also if it has failed again. So is whatever
else has ended, or come back to life, after the beginning: who began it can't have meant that. When a retried one is due
is kept in its own transaction, so that no two are ever given one moment.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.bulk import BulkVerb, Refusal
from fairlane.domain.errors import (
    FairlaneError,
    IllegalTransition,
    InvalidParameters,
    JobNotFound,
    OrganizationNotFound,
    PermissionDenied,
    StorageUnavailable,
)
from fairlane.domain.jobs import decode_cursor, encode_cursor
from fairlane.engine.jobs import ChangedSince, JobControl
from fairlane.store.driver_errors import is_held_up
from fairlane.store.statements.job_list import Place, WantedJobs

TOLD: Final = 20  # refusals, in full
_PAGE: Final = 100  # jobs; those that wait are canceled in one transaction, which holds their rows
_REASON: Final = "canceled with others"
_PACES: Final = (0.001, 100_000.0)  # jobs a second
_KEPT_WAITING = "it is held by somebody else, who kept this waiting for too long; do it again later"

Places = Callable[..., tuple[Place, ...]]


@dataclass(frozen=True, slots=True)
class Order:
    """What to do, with which jobs, as whom.

    Args:
        begun: jobs that have ended or come back to life since are not those that were meant.
        due: gives a job that is retried its moment, in its transaction; None: all are ready at once.
    """

    verb: BulkVerb
    organization: str
    wanted: WantedJobs
    user: str | None
    begun: datetime
    due: Callable[[Connection], datetime] | None


@dataclass(frozen=True, slots=True)
class Worked:
    """How far it came; see `BulkAction`. `next_cursor`: where to go on; None: it came to the end."""

    changed: int
    passed_over: int
    refused: int
    refusals: tuple[Refusal, ...]
    next_cursor: str | None


class _NotWhole(Exception):
    """A piece of a job's history was deleted, and the step is over."""


class BulkWork:
    """Cancels, retries or deletes jobs.

    Args:
        places: gives where jobs that are wanted stand, newest first, from just after `before`: `Matching.places`.
    """

    def __init__(self, jobs: JobControl, places: Places) -> None:
        self._jobs = jobs
        self._places = places

    def run(self, order: Order, cursor: str | None, seconds: float, *, passes_held: bool = False) -> Worked:
        """Work for `seconds`, or for one job if that takes longer; of a long history that is deleted, for a piece.

        Args:
            cursor: the job that the step before came to; None: from the newest on.
            passes_held: refuse the first job if somebody holds it for too long, in place of being stopped by it.

        Raises:
            StorageUnavailable: before or at the first job. At a later one it says how far it came before.
        """
        before, deadline = Place(*decode_cursor(cursor)) if cursor is not None else None, monotonic() + seconds
        tally, has_passed = _Tally(order.verb), False  # a job: else there is no place to say where to go on
        while not has_passed or monotonic() <= deadline:
            try:
                page = self._places(order.organization, order.wanted, before=before, limit=_PAGE)
            except StorageUnavailable:
                if not has_passed:
                    raise
                return tally.worked(before)
            canceled = self._cancel_waiting(order, [place.id for place in page])
            tally.changed += len(canceled)
            for place in page:
                if place.id not in canceled:
                    is_late = has_passed and monotonic() > deadline
                    if is_late or not self._goes_on(
                        order, place.id, tally, passes_held, deadline, has_passed=has_passed
                    ):
                        return tally.worked(before or _just_newer(place))
                before, has_passed = place, True
            if len(page) < _PAGE:
                return tally.worked(None)
        return tally.worked(before)

    def _goes_on(
        self, order: Order, job: UUID, tally: "_Tally", passes_held: bool, deadline: float, *, has_passed: bool
    ) -> bool:
        """Change a job. Return False if it can't be had, and the step ends before it."""
        try:
            tally.count(job, partial(self._one, order, job, deadline))
        except _NotWhole:
            return False
        except StorageUnavailable as error:
            if has_passed:
                return False
            if not (passes_held and is_held_up(error)):
                raise
            tally.refuse(job, _KEPT_WAITING)
        return True

    def _cancel_waiting(self, order: Order, page: Sequence[UUID]) -> frozenset[UUID]:
        """Cancel at once those that only wait. Where that can't be done, each is tried by itself, which says why."""
        if order.verb is not BulkVerb.CANCEL or not page:
            return frozenset()
        with suppress(FairlaneError):
            return self._jobs.cancel_waiting(
                page, order.organization, user=order.user, reason=_REASON, same_since=order.begun
            )
        return frozenset()

    def _one(self, order: Order, job: UUID, deadline: float) -> None:
        organization, user = order.organization, order.user
        match order.verb:
            case BulkVerb.CANCEL:
                self._jobs.cancel(job, organization, user=user, reason=_REASON, same_since=order.begun)
            case BulkVerb.RETRY:
                self._jobs.retry(job, organization, user=user, at=order.due, same_since=order.begun)
            case BulkVerb.DELETE:
                if not self._jobs.delete(job, organization, user=user, same_since=order.begun, deadline=deadline):
                    raise _NotWhole


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


def _just_newer(place: Place) -> Place:
    return place._replace(created_at=place.created_at + timedelta(microseconds=1))


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

    def count(self, job: UUID, work: Callable[[], None]) -> None:
        try:
            work()
        except self._passes:
            self.passed_over += 1
        except (PermissionDenied, IllegalTransition, OrganizationNotFound) as error:
            self.refuse(job, str(error))
        else:
            self.changed += 1

    def refuse(self, job: UUID, detail: str) -> None:
        self.refused += 1
        if len(self.refusals) < TOLD:
            self.refusals.append(Refusal(job, detail))

    def worked(self, before: Place | None) -> Worked:
        """Return what was done so far, from the newest job to just after `before`; None: of all."""
        next_cursor = encode_cursor(*before) if before is not None else None
        return Worked(self.changed, self.passed_over, self.refused, tuple(self.refusals), next_cursor)
