"""The faults of a storm: a plan is data, made by one random generator, so that a seed gives the same one again."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final


class Fault(StrEnum):
    """A kind of fault that can be injected."""

    KILL = "kill -9 of a worker"
    STOP = "SIGSTOP of a worker past its lease, then SIGCONT"
    TERM = "SIGTERM of a worker under load"
    CLOCK = "a worker's own clock an hour off"
    BACKEND = "pg_terminate_backend"
    RESTART = "immediate restart of PostgreSQL"
    HALF_OPEN = "half-open connections of a worker"
    LATENCY = "latency between a worker and PostgreSQL"
    SILENCE = "PostgreSQL silent to all workers for longer than a lease, then going on"
    LOCK = "another writer holds SQLite's lock"
    LONG_LOCK = "another writer holds SQLite's lock for two leases"
    FULL = "no room for SQLite's file to grow"
    OUTAGE = "outage of PostgreSQL"


# Faults that may keep a worker from writing down what its handler has done, until another has the job. No fault of the
# database is among them: workers live through those, and keep their jobs.
EXPLAINING: Final = frozenset({Fault.KILL, Fault.STOP, Fault.HALF_OPEN})
# While these last, no worker can write.
AWAY: Final = frozenset({Fault.RESTART, Fault.SILENCE, Fault.LOCK, Fault.LONG_LOCK, Fault.FULL, Fault.OUTAGE})
# What resets a rescuer, or the one that is to run the job: a kill beside it recovers later.
DISTURBING: Final = AWAY | {Fault.STOP, Fault.HALF_OPEN}
# The part of a storm in which these begin: by the kills that come later it is seen how soon jobs recover.
_DISTURBED: Final = 0.8


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault to inject. `at`: seconds from the storm's beginning; `slot`: of the worker, whichever is there then."""

    at: float
    fault: Fault
    slot: int
    draw: float  # between 0 and 1: whatever else is left to chance


@dataclass(frozen=True, slots=True)
class Injection:
    """A fault that was injected, from `began` to `ended` (monotonic seconds). `worker` is empty for the database.

    `is_cut`: the worker ended before it was over. It has done what it has until then, but does not count.
    """

    kind: Fault
    worker: str
    began: float
    ended: float
    is_cut: bool = False

    def meets(self, began: float, ended: float) -> bool:
        """Return True if it went on at some moment of this time."""
        return began <= self.ended and self.began <= ended


def plan(random: Random, counts: Mapping[Fault, int], seconds: float, slots: int) -> list[Planned]:
    """Plan so many of each, at random moments of the storm, or of its first part, if it disturbs recovery."""

    def until(fault: Fault) -> float:
        return seconds * _DISTURBED if fault in DISTURBING else seconds

    drawn = [
        Planned(random.uniform(0, until(fault)), fault, random.randrange(slots), random.random())
        for fault, count in counts.items()
        for _ in range(count)
    ]
    return sorted(drawn, key=lambda one: one.at)
