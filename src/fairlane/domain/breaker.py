"""The circuit breaker of a job type in an organization (R16): what fails and fails is left alone for a while.

It is closed while enough succeeds. It opens at a failure, if half of at least ten attempts within half an hour have
failed: for a quarter of an hour nothing of the pair starts, then one job does, on trial. If that completes, the
breaker closes and counts afresh; if it fails, the pair rests again; if it ends in any other way, which says nothing,
another job is tried.
"""

import shlex
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from fairlane.domain.statuses import PASSING, JobStatus

FEWEST_ATTEMPTS: Final = 10  # of fewer nothing is concluded
FAILED_SHARE: Final = 0.5
WINDOW: Final = timedelta(minutes=30)
REST: Final = timedelta(minutes=15)


class Pair(NamedTuple):
    """A job type in an organization."""

    organization: str
    job_type: str

    @property
    def close_command(self) -> str:
        """Return what an operator types to close its breaker."""
        return f"fairlane types close-breaker {shlex.quote(self.job_type)} -o {shlex.quote(self.organization)}"


class Outcomes(NamedTuple):
    """How many attempts completed, how many failed or timed out, and how many seconds all of them took."""

    completions: int = 0
    failures: int = 0
    seconds: float = 0.0

    def plus(self, other: "Outcomes") -> "Outcomes":
        """Add both together."""
        return Outcomes(
            self.completions + other.completions, self.failures + other.failures, self.seconds + other.seconds
        )

    @property
    def attempts(self) -> int:
        """Return how many there were."""
        return self.completions + self.failures

    @property
    def open_a_breaker(self) -> bool:
        """Return True if so much has failed that nothing more should start for a while."""
        return self.attempts >= FEWEST_ATTEMPTS and self.failures >= FAILED_SHARE * self.attempts


@dataclass(frozen=True, slots=True)
class Trial:
    """The attempt that decides."""

    job_id: UUID
    attempt: int
    lease_token: UUID


@dataclass(frozen=True, slots=True)
class Breaker:
    """A breaker that was opened at `opened_at` and lets nothing start before `until`; then one job, its `trial`.

    Once `closed_at` is set it holds back nothing; it is kept since only outcomes after that moment count.
    """

    organization: str
    job_type: str
    opened_at: datetime
    until: datetime
    trial: Trial | None = None
    closed_at: datetime | None = None

    @property
    def pair(self) -> Pair:
        """Return what it is about."""
        return Pair(self.organization, self.job_type)

    def lets_try(self, now: datetime) -> bool:
        """Return True if one job, and only one, may start."""
        return self.closed_at is None and self.trial is None and self.until <= now

    def after_trial(self, ended: JobStatus | None, now: datetime) -> "Breaker":
        """Return what follows from the end of its trial.

        Args:
            ended: the status that the attempt came to; None if it says nothing: the job was deleted, or the handler
                takes no such parameters.
        """
        if ended is JobStatus.COMPLETED:
            return self.closed(now)
        return replace(self, trial=None, until=now + REST if ended in PASSING else self.until)

    def closed(self, now: datetime) -> "Breaker":
        """Return the same once it holds back nothing more."""
        return replace(self, trial=None, closed_at=now)


def opened(pair: Pair, now: datetime) -> Breaker:
    """Return a breaker that opens now."""
    return Breaker(*pair, opened_at=now, until=now + REST)


def counted_from(now: datetime, breaker: Breaker | None) -> datetime:
    """Return from which minute on outcomes count at `now`.

    They are kept by the minute in which they were written.

    Args:
        breaker: the pair's last one. The minute in which it closed still has what opened it.
    """
    begin = minute_of(now - WINDOW)
    if breaker is None or breaker.closed_at is None:
        return begin
    return max(begin, minute_of(breaker.closed_at) + timedelta(minutes=1))


def minute_of(moment: datetime) -> datetime:
    """Return the beginning of its minute."""
    return moment.replace(second=0, microsecond=0)
