"""The circuit breaker of a job type in an organization (R16): after too many failures, no job starts for a while.

The breaker is closed while enough attempts succeed. It opens at a failure, if half of at least ten attempts within half
an hour have failed. For a quarter of an hour no job of the pair starts; then one job starts, on trial. If the trial
completes, the breaker closes and counts afresh. If the trial fails, the breaker stays open for as long again. If the
trial ends in any other way, which proves nothing, another job is tried.
"""

import shlex
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from fairlane.domain.statuses import PASSING, JobStatus

FEWEST_ATTEMPTS: Final = 10  # fewer prove nothing
FAILED_SHARE: Final = 0.5
WINDOW: Final = timedelta(minutes=30)
REST: Final = timedelta(minutes=15)


class Pair(NamedTuple):
    """A job type in an organization."""

    organization: str
    job_type: str

    @property
    def close_command(self) -> str:
        """Return the command that closes its breaker."""
        return f"fairlane types close-breaker {shlex.quote(self.job_type)} -o {shlex.quote(self.organization)}"


class Outcomes(NamedTuple):
    """Counts of attempts that completed, and that failed or timed out; and the seconds that all of them took."""

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
        """Return True if so many attempts have failed that no more should start for a while."""
        return self.attempts >= FEWEST_ATTEMPTS and self.failures >= FAILED_SHARE * self.attempts


@dataclass(frozen=True, slots=True)
class Trial:
    """The attempt that decides whether the breaker closes."""

    job_id: UUID
    attempt: int
    lease_token: UUID


@dataclass(frozen=True, slots=True)
class Breaker:
    """A breaker that was opened at `opened_at` and lets nothing start before `until`; then one job, its `trial`.

    Once `closed_at` is set the breaker holds back nothing. It is kept because only outcomes after that moment count.
    """

    organization: str
    job_type: str
    opened_at: datetime
    until: datetime
    trial: Trial | None = None
    closed_at: datetime | None = None

    @property
    def pair(self) -> Pair:
        """Return the pair whose jobs it holds back."""
        return Pair(self.organization, self.job_type)

    def lets_try(self, now: datetime) -> bool:
        """Return True if one job, and only one, may start."""
        return self.closed_at is None and self.trial is None and self.until <= now

    def after_trial(self, ended: JobStatus | None, now: datetime) -> "Breaker":
        """Return the breaker after the end of its trial.

        Args:
            ended: the status that the attempt reached; None if the trial proves nothing: the job was deleted, or the
                handler does not take its parameters.
        """
        if ended is JobStatus.COMPLETED:
            return self.closed(now)
        return replace(self, trial=None, until=now + REST if ended in PASSING else self.until)

    def closed(self, now: datetime) -> "Breaker":
        """Return the breaker as closed at `now`."""
        return replace(self, trial=None, closed_at=now)


def opened(pair: Pair, now: datetime) -> Breaker:
    """Return a breaker that opens now."""
    return Breaker(*pair, opened_at=now, until=now + REST)


def counted_from(now: datetime, breaker: Breaker | None) -> datetime:
    """Return the first minute whose outcomes count at `now`.

    Outcomes are kept by the minute in which they were written.

    Args:
        breaker: the pair's last one. The minute in which it closed still holds the outcomes that opened it.
    """
    begin = minute_of(now - WINDOW)
    if breaker is None or breaker.closed_at is None:
        return begin
    return max(begin, minute_of(breaker.closed_at) + timedelta(minutes=1))


def minute_of(moment: datetime) -> datetime:
    """Return the beginning of the moment's minute."""
    return moment.replace(second=0, microsecond=0)
