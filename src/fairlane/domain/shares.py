"""Who uses the workers, and who waits: the operators' view of fairness (R15)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

# Whoever waits less than this waits for a claim round, and not for others.
_SHORTEST_WAIT: Final = 1.0  # seconds
_LARGE: Final = 0.5  # of all live jobs: one that has so much is a crowd of its own


@dataclass(frozen=True, slots=True)
class Standing:
    """What an organization has at work and in line now.

    `ready` is counted no further than to 10,000 in each of its lanes. `waiting_seconds` is for how long the next in
    line could have started: of its lanes the longest; None: nothing is in line.
    """

    running: int = 0
    ready: int = 0
    ready_is_capped: bool = False
    waiting_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """What one organization, or the rest of them (`organization` None), used of the workers.

    Attributes:
        ended: attempts that ended, by minute.
        seconds: how long these had run, by the minute in which they ended.
    """

    organization: str | None
    now: Standing
    ended: tuple[int, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The organization that has most of what is live, while others wait.

    `others_waiting` organizations have something in line, and the next of theirs waits for up to `others_seconds`.
    """

    organization: str
    running: int
    ready: int
    ready_is_capped: bool
    others_waiting: int
    others_seconds: float


@dataclass(frozen=True, slots=True)
class Shares:
    """The organizations that use most, and the rest together; `neighbour` None: nobody waits behind anybody."""

    minutes: tuple[datetime, ...]
    shares: tuple[Share, ...]
    rest: Share | None
    organizations: int
    neighbour: Neighbour | None


def neighbour(standings: Mapping[str, Standing]) -> Neighbour | None:
    """Who has at least half of all that runs and is in line, while others have waited for a second or more."""
    total = sum(one.running + one.ready for one in standings.values())
    largest = max(standings, key=lambda name: (_live(standings[name]), name), default=None)
    if largest is None or _live(standings[largest]) < _LARGE * total:
        return None
    waits = [one.waiting_seconds or 0.0 for name, one in standings.items() if name != largest]
    waiting = [one for one in waits if one >= _SHORTEST_WAIT]
    if not waiting:
        return None
    it = standings[largest]
    return Neighbour(largest, it.running, it.ready, it.ready_is_capped, len(waiting), round(max(waiting), 3))


def together(standings: Sequence[Standing]) -> Standing:
    """Several organizations as one."""
    waits = [one.waiting_seconds for one in standings if one.waiting_seconds is not None]
    return Standing(
        running=sum(one.running for one in standings),
        ready=sum(one.ready for one in standings),
        ready_is_capped=any(one.ready_is_capped for one in standings),
        waiting_seconds=max(waits, default=None),
    )


def largest(standings: Mapping[str, Standing], spent: Mapping[str, float], number: int) -> list[str]:
    """The organizations to show: those that run most, used most of the time or have most in line, in this order."""
    nothing = Standing()

    def key(name: str) -> tuple[float, float, int, str]:
        now = standings.get(name, nothing)
        return (-spent.get(name, 0.0), -now.running, -now.ready, name)

    return sorted({*standings, *spent}, key=key)[:number]


def _live(one: Standing) -> int:
    return one.running + one.ready
