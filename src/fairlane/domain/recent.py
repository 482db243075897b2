"""How jobs went of late (R15): how long they waited and ran, what failed, and which were the slowest.

Workers count attempts anyway, so what is told of attempts is exact, whatever their number: how many ended, and what
failed. What is told of jobs is estimated from a sample of those that ended last, as in a timeline: how long they
waited, their processing time, and which were the slowest. The processing time of a job is the time of the attempt that
ended it, from its start to its end.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final
from uuid import UUID

from fairlane.domain.breaker import Outcomes
from fairlane.domain.timeline import Cell, EndedJob, Grid, grid_of, percentile, weights

_TYPES: Final = 100  # job types that are told of by name
_SLOWEST: Final = 10
_STEPS: Final = 6  # in which jobs are sampled, so that not all of them ended within the last minute


@dataclass(frozen=True, slots=True)
class Spread:
    """How many seconds something took on average, and how many 95 of 100 took at most. None: there was nothing."""

    average: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class SlowJob:
    """A job that ended, with its processing time in seconds."""

    id: UUID
    organization: str
    job_type: str
    started_at: datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class Recent:
    """What is known of the last minutes.

    Args:
        by_type: how attempts ended, by job type, that with most attempts first.
        ends: the same by cell, as far as jobs of it were sampled.
        each: how many of a cell were sampled at most.
    """

    grid: Grid
    now: datetime
    by_type: Mapping[str, Outcomes]
    ends: Mapping[Cell, Outcomes]
    sample: Sequence[EndedJob]
    each: int

    @property
    def minutes(self) -> int:
        """Return how far back it goes."""
        return int((self.grid.end - self.grid.start).total_seconds()) // 60

    @property
    def throughput_per_minute(self) -> float:
        """Return how many attempts ended a minute, of the time that is over: the minute that is now has begun."""
        over = (self.now - self.grid.start).total_seconds() / 60
        return round(sum(one.attempts for one in self.by_type.values()) / max(over, 1.0), 3)

    @property
    def wait_seconds(self) -> Spread:
        """Return the seconds that jobs waited."""
        return _spread([(one.waited, weight) for one, weight in self._weighted() if one.waited is not None])

    @property
    def processing_seconds(self) -> Spread:
        """Return the processing time of jobs."""
        return _spread([(one.ran, weight) for one, weight in self._weighted()])

    @property
    def attempts_by_type(self) -> dict[str, int]:
        """Count how many completed, failed or timed out."""
        return {name: one.attempts for name, one in self._told()}

    @property
    def processing_seconds_by_type(self) -> dict[str, Spread]:
        """Return the processing time of jobs, by their type."""
        found = defaultdict[str, list[tuple[float, float]]](list)
        for one, weight in self._weighted():
            found[one.cell.job_type].append((one.ran, weight))
        return {name: _spread(found[name]) for name, _ in self._told()}

    @property
    def failure_rate_by_type(self) -> dict[str, float]:
        """Return which part of the attempts failed or timed out, 0 to 1."""
        return {name: one.failures / one.attempts for name, one in self._told()}

    @property
    def slowest(self) -> tuple[SlowJob, ...]:
        """Return the jobs of the sample with the longest processing time."""
        found = sorted(self.sample, key=lambda one: (-one.ran, one.id))[:_SLOWEST]
        return tuple(
            SlowJob(one.id, one.cell.organization, one.cell.job_type, one.started_at, round(one.ran, 3))
            for one in found
        )

    def _told(self) -> Iterator[tuple[str, Outcomes]]:
        return islice(((name, one) for name, one in self.by_type.items() if one.attempts), _TYPES)

    def _weighted(self) -> Iterator[tuple[EndedJob, float]]:
        weight = weights(self.ends, self.sample, each=self.each)
        return ((one, weight[one.cell]) for one in self.sample)


def recent_grid(now: datetime, minutes: int) -> Grid:
    """Return the steps in which the last minutes are looked at: few, and of whole minutes, as ends are counted."""
    return grid_of(now, minutes=minutes, step=-(-minutes // _STEPS))


def _spread(values: Sequence[tuple[float, float]]) -> Spread:
    """Return the spread of values with their weights."""
    if not values:
        return Spread(None, None)
    average = sum(value * weight for value, weight in values) / sum(weight for _, weight in values)
    return Spread(round(average, 3), percentile(values, 0.95))
