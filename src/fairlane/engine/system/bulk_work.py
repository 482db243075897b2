"""The work of bulk actions: change many jobs, from the newest to the oldest.

Waiting jobs are canceled a page at a time, each page in one transaction that waits for no lock. Every other job is
changed in a transaction of its own. Then the progress is stored. So a crash leaves jobs that were changed and jobs that
were not, and a second pass does the rest: a job that was canceled or deleted matches no more, and a job that was
retried is skipped, even if it has failed again. So is any other job that has ended or was revived after the beginning:
the user can't have meant it. The moment at which a retried job is due is stored in its own transaction, so that no two
jobs get the same moment.
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
_PAGE: Final = 100  # jobs; waiting jobs are canceled in one transaction, which holds their rows
_REASON: Final = "canceled with others"
_PACES: Final = (0.001, 100_000.0)  # jobs a second
_KEPT_WAITING = "another session held it for too long; try again later"

Places = Callable[..., tuple[Place, ...]]


@dataclass(frozen=True, slots=True)
class Order:
    """An order to change jobs: the verb, the wanted jobs and the acting user.

    Args:
        begun: jobs that have ended or were revived since are skipped.
        due: returns the moment for a retried job, in its transaction; None: all are ready at once.
    """

    verb: BulkVerb
    organization: str
    wanted: WantedJobs
    user: str | None
    begun: datetime
    due: Callable[[Connection], datetime] | None


@dataclass(frozen=True, slots=True)
class Worked:
    """The progress of a step; see `BulkAction`. `next_cursor`: where to go on; None: it has reached the end."""

    changed: int
    passed_over: int
    refused: int
    refusals: tuple[Refusal, ...]
    next_cursor: str | None


class _NotWhole(Exception):
    """A piece of a job's history was deleted, and the step is over."""


class BulkWork:
    """Cancel, retry or delete jobs.

    Args:
        places: returns the places of wanted jobs, newest first, from just after `before`: `Matching.places`.
    """

    def __init__(self, jobs: JobControl, places: Places) -> None:
        self._jobs = jobs
        self._places = places

    def run(self, order: Order, cursor: str | None, seconds: float, *, passes_held: bool = False) -> Worked:
        """Work for `seconds`, or for one job if that takes longer; a job with a long history is deleted in pieces.

        Args:
            cursor: the last job of the step before; None: begin at the newest.
            passes_held: refuse the first job if another session holds it for too long, instead of stopping at it.

        Raises:
            StorageUnavailable: before or at the first job. At a later job the progress is returned instead.
        """
        before, deadline = Place(*decode_cursor(cursor)) if cursor is not None else None, monotonic() + seconds
        tally, has_passed = _Tally(order.verb), False  # a job: else there is no place from which to go on
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
        """Change a job. Return False if another session holds it, and the step ends before it."""
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
        """Cancel the waiting jobs at once. If that fails, each is tried by itself, which finds the reason."""
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
    """The counts of jobs so far."""

    def __init__(self, verb: BulkVerb) -> None:
        # A job that has changed since it was found must not be canceled or retried any more, and the child of a dead
        # letter follows its parent. A job that can't be deleted yet is refused, so that a person looks at it.
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
        """Return the progress, from the newest job to just after `before`; None: of all jobs."""
        next_cursor = encode_cursor(*before) if before is not None else None
        return Worked(self.changed, self.passed_over, self.refused, tuple(self.refusals), next_cursor)
