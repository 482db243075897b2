"""Limits on jobs that run at once, and on starts in a window (R4)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from fairlane.domain.breaker import Pair
from fairlane.domain.fairness import Lane

DEFAULT_WINDOW: Final = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit: `max_running` jobs at once, `execution_rate` starts in any `execution_rate_window` seconds.

    None = unlimited, 0 = none.
    """

    max_running: int | None = None
    execution_rate: int | None = None
    execution_rate_window: float = DEFAULT_WINDOW

    @property
    def is_unlimited(self) -> bool:
        """Return True if it limits nothing."""
        return self.max_running is None and self.execution_rate is None

    def room(self, running: int, started: int) -> int:
        """Return the capacity, with so many running and started within the window; not for an unlimited one."""
        bounds = []
        if self.max_running is not None:
            bounds.append(self.max_running - running)
        if self.execution_rate is not None:
            bounds.append(self.execution_rate - started)
        return max(min(bounds), 0)


class Subject(NamedTuple):
    """The subject of a limit. `organization` None: all together; `job_type` None: all jobs of the organization."""

    organization: str | None
    job_type: str | None


def running_by_subject(running: Mapping[Pair, int]) -> Counter[Subject]:
    """Count the running jobs of each subject."""
    found: Counter[Subject] = Counter()
    for pair, number in running.items():
        for subject in subjects_of(*pair):
            found[subject] += number
    return found


def subjects_of(organization: str, job_type: str) -> tuple[Subject, Subject, Subject]:
    """Return the subjects whose limits hold for the jobs of a type in an organization."""
    return Subject(organization, None), Subject(None, job_type), Subject(organization, job_type)


def limits_on(
    organization: str,
    job_type: str,
    *,
    max_running: int | None,
    own: Limit,
    overrides: Mapping[Subject, Mapping[str, Any]],
) -> dict[Subject, Limit]:
    """Return the limits that hold for the jobs of a type in an organization.

    Args:
        max_running: the organization's.
        own: the limit in the job type's options.
        overrides: the values that were set instead, by the names of `Limit`'s fields.
    """
    everything, every, pair = subjects_of(organization, job_type)
    # Mostly there is no limit, and a worker asks for each of a thousand lanes.
    found = {every: replace(own, **overrides[every]) if every in overrides else own}
    if max_running is not None:
        found[everything] = Limit(max_running)
    if pair in overrides:
        found[pair] = Limit(**overrides[pair])
    return {subject: limit for subject, limit in found.items() if not limit.is_unlimited}


class LimitUse(NamedTuple):
    """The use of a limit: the number of running jobs, and of starts within the window of its execution rate."""

    running: int
    started: int = 0


def beyond_limits(ready: Mapping[Lane, int], left: Mapping[Subject, int]) -> dict[Lane, int]:
    """Count the ready jobs of each lane that wait at a limit: those beyond the capacity under all limits on the lane.

    Lanes under the same limit take its capacity one after the other; the next claims decide which lane really gets it.

    Args:
        left: the capacity under each limit.
    """
    capacities, found = dict(left), {}
    for lane, size in sorted(ready.items()):
        mine = [one for one in subjects_of(lane.organization, lane.job_type) if one in capacities]
        capacity = min([size, *(capacities[one] for one in mine)])
        for one in mine:
            capacities[one] -= capacity
        found[lane] = size - capacity
    return found


def next_start(limit: Limit, starts: Iterable[tuple[datetime, int]], now: datetime) -> datetime | None:
    """Return when an execution rate lets another job start; None if it does now, or if the rate is 0.

    Args:
        starts: moments and the number of jobs that started then, the newest first; read only as far as needed.
    """
    window, left = timedelta(seconds=limit.execution_rate_window), limit.execution_rate
    if not left:
        return None
    for at, number in starts:
        left -= number
        if left <= 0:
            return at + window if at + window > now else None
    return None
