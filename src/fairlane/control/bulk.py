"""Many jobs at once: `fl.bulk`.

Nothing is kept of a bulk action while it goes on. It works from the newest job to the oldest, each in a transaction of
its own, and says where it has come to; whoever asked goes on from there. So a crash on either side leaves jobs that
were changed and jobs that were not, and asking again does the rest: what was changed fits no more.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from time import monotonic
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from fairlane.control.jobs import JobControl
from fairlane.domain.errors import FairlaneError, InvalidParameters, JobNotFound, StorageUnavailable
from fairlane.domain.statuses import LIVE, JobStatus
from fairlane.domain.texts import storable
from fairlane.store.statements import audit
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.transaction import Database

_SECONDS: Final = 5.0  # after so long it says how far it came
_PAGE: Final = 200
_TOLD: Final = 20  # refusals, in full
_UNTIL: Final = " "  # in a cursor, between the job and the moment from which the next one may be due


class BulkAction(StrEnum):
    """What to do with many jobs."""

    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"


# Which of them it can be done with.
FITTING: Final = {
    BulkAction.CANCEL: LIVE,
    BulkAction.RETRY: frozenset({JobStatus.DEAD_LETTER}),
    BulkAction.DELETE: frozenset({JobStatus.DEAD_LETTER}),
}


@dataclass(frozen=True, slots=True)
class Worked:
    """How far a bulk action came.

    Attributes:
        changed: how many jobs.
        passed_over: how many were gone meanwhile.
        refused: how many were refused; `errors` says of the first of them why.
        next_cursor: where to go on; None: it came to the end.
    """

    changed: int
    passed_over: int
    refused: int
    errors: tuple[tuple[UUID, FairlaneError], ...]
    next_cursor: str | None


class Bulk:
    """Cancel, retry or delete all jobs that fit filters. Each job is audited by itself, and each request as a whole.

    Args:
        ids: gives the ids of jobs that fit, newest first, from just after `before`: `Matching.ids`.
    """

    def __init__(self, database: Database, jobs: JobControl, ids: Callable[..., tuple[UUID, ...]]) -> None:
        self._database = database
        self._jobs = jobs
        self._ids = ids

    def run(
        self,
        action: BulkAction | str,
        organization: str,
        filters: Mapping[str, Any],
        *,
        user: str | None = None,
        cursor: str | None = None,
        seconds: float = _SECONDS,
        per_second: float | None = None,
    ) -> Worked:
        """Work for `seconds`, then say how far it came.

        Args:
            filters: as `Reads.list` has them; of their statuses only those count with which it can be done.
            user: who acts; what is not theirs to change is refused, job by job.
            cursor: where the run before came to; None: from the newest job on.
            per_second: how many dead letters become ready each second, over all runs, so that they don't fail together
                a second time; None: all at once. Other actions have no pace.

        Raises:
            InvalidParameters: a filter, the action, the pace or the cursor makes no sense.
            StorageUnavailable: the database is away; some may have been changed. Ask again.
        """
        verb, wanted = _action(action), {**filters, "status": fitting(action, filters.get("status"))}
        storable(user=user)
        (before, since), deadline = _place_of(cursor), monotonic() + seconds
        tally, pace = _Tally(), self._pace(verb, per_second, since)
        while wanted["status"]:
            page = self._ids(organization, before=before, limit=_PAGE, **wanted)
            for job in page:
                if monotonic() > deadline and tally.seen:
                    return self._worked(verb, organization, user, filters, tally.worked(_cursor(before, pace)))
                tally.count(job, partial(self._one, verb, job, organization, user, pace))
                before = job
            if len(page) < _PAGE:
                break
        return self._worked(verb, organization, user, filters, tally.worked(None))

    def _pace(self, action: BulkAction, per_second: float | None, since: datetime | None) -> "_Pace | None":
        if per_second is None:
            return None
        if action is not BulkAction.RETRY or not per_second > 0:
            raise InvalidParameters(f"per_second is for retries and above 0, not {per_second!r} for {action}.")
        now = self._database.read(self._database.clock.now)
        return _Pace(max(now, since or now), timedelta(seconds=1 / per_second))

    def _one(
        self, action: BulkAction, job: UUID, organization: str, user: str | None, pace: "_Pace | None" = None
    ) -> None:
        match action:
            case BulkAction.CANCEL:
                self._jobs.cancel(job, organization, user=user, reason="canceled with others")
            case BulkAction.RETRY:
                self._jobs.retry(job, organization, user=user, at=pace.due if pace is not None else None)
                if pace is not None:
                    pace.due += pace.step
            case BulkAction.DELETE:
                self._jobs.delete(job, organization, user=user)

    def _worked(
        self, action: BulkAction, organization: str, user: str | None, filters: Mapping[str, Any], worked: Worked
    ) -> Worked:
        """Audit it. What happened to each job stands in the audit already."""
        after = {
            "changed": worked.changed,
            "refused": worked.refused,
            "is_done": worked.next_cursor is None,
            "filters": sorted(name for name, value in filters.items() if value),
        }

        def record(connection: Connection) -> None:
            now = self._database.clock.now(connection)
            audit.record(connection, now, organization, user or SYSTEM, f"jobs.bulk_{action}", "jobs", after=after)

        self._database.write(record, of=organization)
        return worked


@dataclass(slots=True)
class _Pace:
    """When the next retried job is due, and how long after it the one behind."""

    due: datetime
    step: timedelta


class _Tally:
    """What became of the jobs so far."""

    def __init__(self) -> None:
        self.changed = self.passed_over = self.refused = 0
        self.errors: list[tuple[UUID, FairlaneError]] = []

    @property
    def seen(self) -> int:
        return self.changed + self.passed_over + self.refused

    def count(self, job: UUID, work: Callable[[], None]) -> None:
        try:
            work()
        except StorageUnavailable:
            raise
        except JobNotFound:
            self.passed_over += 1
        except FairlaneError as error:
            self.refused += 1
            if len(self.errors) < _TOLD:
                self.errors.append((job, error))
        else:
            self.changed += 1

    def worked(self, next_cursor: str | None) -> Worked:
        return Worked(self.changed, self.passed_over, self.refused, tuple(self.errors), next_cursor)


def fitting(action: BulkAction | str, statuses: Any) -> frozenset[JobStatus]:
    """With which of these statuses, or of all (None), the action can be done.

    Raises:
        InvalidParameters: there is no such status, or no such action.
    """
    able = FITTING[_action(action)]
    given = [statuses] if isinstance(statuses, str) else statuses
    try:
        return able if not given else able & frozenset(map(JobStatus, given))
    except ValueError as error:
        raise InvalidParameters(f"{error}; a status is one of {', '.join(JobStatus)}.") from None


def _action(action: BulkAction | str) -> BulkAction:
    try:
        return BulkAction(action)
    except ValueError:
        raise InvalidParameters(f"{action!r:.80} is no bulk action; there are {', '.join(BulkAction)}.") from None


def _cursor(before: UUID | None, pace: _Pace | None) -> str:
    return str(before) if pace is None else f"{before}{_UNTIL}{pace.due.isoformat()}"


def _place_of(cursor: str | None) -> tuple[UUID | None, datetime | None]:
    """The job that a run came to, and when the next one may be due, if it had a pace.

    Raises:
        InvalidParameters: it is no cursor of ours.
    """
    try:
        job, _, due = (cursor or "").partition(_UNTIL)
        moment = datetime.fromisoformat(due) if due else None
        if moment is not None and moment.utcoffset() is None:
            raise ValueError(due)
        return UUID(job) if cursor is not None else None, moment
    except ValueError:
        raise InvalidParameters("The cursor is not one that a bulk action gave; leave it out to begin anew.") from None
