"""A schedule of each organization, whose ticks fall into the storm: each is to become one job, in spite of kills."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Final

from fairlane import Fairlane
from fairlane.domain.schedules import Missed, Timetable
from tests.storm.handlers import IN_LOOP, name
from tests.storm.verdict import Finding
from tests.storm.work import ORGANIZATIONS

Made = Mapping[tuple[str, datetime], Sequence[str]]  # the jobs of each tick, by organization and moment

NAME: Final = "each-second"
_EVERY: Final = 1.0  # seconds
_PATIENCE: Final = 60.0  # seconds for ticks that were due when the storm was over
_LOOK: Final = 0.1  # seconds


@dataclass(frozen=True, slots=True)
class Ended:
    """A schedule that goes on no more. Each tick from `first` to `until` was to become a job, and none after `last`."""

    organization: str
    timetable: Timetable
    first: datetime
    until: datetime
    last: datetime


def put(fl: Fairlane) -> Mapping[str, datetime]:
    """Begin; when the first tick of each organization is due, by the engine's own word.

    That is after the start where the machine is so busy that the start has gone by before the schedule is there.
    """
    start = datetime.now(UTC) + timedelta(seconds=_EVERY)
    made = []
    for one in ORGANIZATIONS:
        parameters = {"seconds": 0.1, "way": "plain", "own": name(one)}
        made.append(
            fl.schedules.put(
                NAME, IN_LOOP, organization=one, every=_EVERY, start=start, missed=Missed.ALL, parameters=parameters
            )
        )
    return {one.organization: one.next_ticks[0] for one in made}


def end(fl: Fairlane, firsts: Mapping[str, datetime]) -> list[Ended]:
    """Wait for what is due, but not for ever, and let no further tick come."""
    until = datetime.now(UTC)
    give_up = time.monotonic() + _PATIENCE
    for organization in ORGANIZATIONS:
        while fl.schedules.get(NAME, organization=organization).next_ticks[0] <= until and time.monotonic() < give_up:
            time.sleep(_LOOK)
    paused = [fl.schedules.pause(NAME, organization=organization) for organization in ORGANIZATIONS]
    last = datetime.now(UTC)
    return [Ended(one.organization, one.timetable, firsts[one.organization], until, last) for one in paused]


def lost(ended: Iterable[Ended], made: Made) -> list[Finding]:
    """Ticks that became no job."""
    due = [(one.organization, tick) for one in ended for tick in _ticks(one, one.until)]
    return [
        Finding("lost", f"of {who}", f"was not made at the tick of {at}") for who, at in due if not made.get((who, at))
    ]


def duplicates(made: Made) -> list[Finding]:
    """Return all jobs of a tick beyond its first."""
    return [
        Finding("duplicate", job, f"is another one of the tick of {at} of {who}")
        for (who, at), jobs in made.items()
        for job in jobs[1:]
    ]


def unasked(ended: Iterable[Ended], made: Made) -> list[Finding]:
    """Jobs of moments that are no tick of their organization's schedule, or of one that had not come."""
    due = {(one.organization, tick) for one in ended for tick in _ticks(one, one.last)}
    return [
        Finding("broken", job, f"is of {at} of {who}, which was no tick of its schedule")
        for (who, at), jobs in made.items()
        if (who, at) not in due
        for job in jobs
    ]


def _ticks(one: Ended, until: datetime) -> Iterator[datetime]:
    yield one.first
    yield from takewhile(lambda tick: tick <= until, one.timetable.after(one.first))
