"""Limits on what runs (R4): how many jobs at once, how many starts in a window."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from fairlane.domain.fairness import Lane

DEFAULT_WINDOW: Final = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Limit:
    """What may run: `max_running` at once, `execution_rate` starts in any `execution_rate_window` seconds.

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
        """Return how many more may start, with so many running and started within the window; not for unlimited."""
        rooms = []
        if self.max_running is not None:
            rooms.append(self.max_running - running)
        if self.execution_rate is not None:
            rooms.append(self.execution_rate - started)
        return max(min(rooms), 0)


class Subject(NamedTuple):
    """What a limit is about. `organization` None: all together; `job_type` None: all of the organization's jobs."""

    organization: str | None
    job_type: str | None


def running_by_subject(running: Mapping[tuple[str, str], int]) -> Counter[Subject]:
    """Count how many jobs of each subject run.

    Args:
        running: by (job type, organization).
    """
    found: Counter[Subject] = Counter()
    for (job_type, organization), number in running.items():
        for subject in subjects_of(organization, job_type):
            found[subject] += number
    return found


def subjects_of(organization: str, job_type: str) -> tuple[Subject, Subject, Subject]:
    """Return all that may limit the jobs of a type in an organization."""
    return Subject(organization, None), Subject(None, job_type), Subject(organization, job_type)


def limits_on(
    organization: str,
    job_type: str,
    *,
    max_running: int | None,
    own: Limit,
    overrides: Mapping[Subject, Mapping[str, Any]],
) -> dict[Subject, Limit]:
    """Return all that limits the jobs of a type in an organization.

    Args:
        max_running: of the organization.
        own: what the job type says itself.
        overrides: what was set beyond that, by the names of `Limit`'s fields.
    """
    everything, every, pair = subjects_of(organization, job_type)
    # Mostly there is none, and a worker asks for each of a thousand lanes.
    found = {every: replace(own, **overrides[every]) if every in overrides else own}
    if max_running is not None:
        found[everything] = Limit(max_running)
    if pair in overrides:
        found[pair] = Limit(**overrides[pair])
    return {subject: limit for subject, limit in found.items() if not limit.is_unlimited}


class LimitUse(NamedTuple):
    """How far a limit is used: how many jobs run, and how many have started within the window of its execution rate."""

    running: int
    started: int = 0


def beyond_limits(ready: Mapping[Lane, int], left: Mapping[Subject, int]) -> dict[Lane, int]:
    """Count the ready jobs of each lane that wait at a limit: those beyond what all limits on the lane leave.

    Lanes under the same limit take of its room one after the other; which of them it will be, the next claims decide.

    Args:
        left: how many more may start under each limit that there is.
    """
    rooms, found = dict(left), {}
    for lane, size in sorted(ready.items()):
        mine = [one for one in subjects_of(lane.organization, lane.job_type) if one in rooms]
        room = min([size, *(rooms[one] for one in mine)])
        for one in mine:
            rooms[one] -= room
        found[lane] = size - room
    return found


def next_start(limit: Limit, starts: Iterable[tuple[datetime, int]], now: datetime) -> datetime | None:
    """Return when an execution rate lets another job start; None if it does now, or never since the rate is 0.

    Args:
        starts: moments and how many jobs started then, the newest first; no more of them are looked at than needed.
    """
    window, left = timedelta(seconds=limit.execution_rate_window), limit.execution_rate
    if not left:
        return None
    for at, number in starts:
        left -= number
        if left <= 0:
            return at + window if at + window > now else None
    return None
