"""Who uses the workers, and who waits: the operators' view of fairness (R15)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

# Whoever waits less than this waits for a claim round, and not for others.
_SHORTEST_WAIT: Final = 1.0  # seconds
_LARGE: Final = 0.5  # of all that runs: one that has so much is a crowd of its own


@dataclass(frozen=True, slots=True)
class OrganizationLoad:
    """What an organization has at work and in line now.

    `ready` is counted no further than to 10,000 in each of its lanes. Of that, `held` would not start whatever others
    do: it is paused, at a limit, held by a breaker, or no worker serves it. `waiting_seconds` is for how long the next
    of the rest could have started: of its lanes the longest; None: there is none. `behind_seconds` is the same of what
    waits while at least half of the slots that it could have are taken: with more of them free, it waits behind nobody.
    """

    running: int = 0
    ready: int = 0
    ready_is_capped: bool = False
    waiting_seconds: float | None = None
    held: int = 0
    behind_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """What one organization, or the rest of them (`organization` None), used of the workers.

    Attributes:
        ended: attempts that ended, by minute.
        seconds: how long these had run, by the minute in which they ended.
    """

    organization: str | None
    now: OrganizationLoad
    ended: tuple[int, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The organization that has most of what runs, while others wait for slots.

    Of its own, `ready` is in line and could start. `others_waiting` organizations have something in line, too, and the
    next of theirs waits for up to `others_seconds`.
    """

    organization: str
    running: int
    ready: int
    ready_is_capped: bool
    others_waiting: int
    others_seconds: float


@dataclass(frozen=True, slots=True)
class WaitingOrganizations:
    """How many organizations wait, the next of theirs for up to so many seconds."""

    organizations: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Shares:
    """The organizations that use most, and the rest together.

    Attributes:
        neighbour: who has most while others wait; None: nobody waits, or no single organization has most.
        waiting: who waits for slots, but for the one that has most itself; None: nobody.
    """

    minutes: tuple[datetime, ...]
    shares: tuple[Share, ...]
    rest: Share | None
    organizations: int
    neighbour: Neighbour | None
    waiting: WaitingOrganizations | None


def neighbour(standings: Mapping[str, OrganizationLoad]) -> Neighbour | None:
    """Return who has at least half of all that runs, while others have waited for slots for a second or more."""
    largest, others = _largest(standings), waiting(standings)
    if largest is None or others is None:
        return None
    it = standings[largest]
    return Neighbour(largest, it.running, it.ready - it.held, it.ready_is_capped, others.organizations, others.seconds)


def waiting(standings: Mapping[str, OrganizationLoad]) -> WaitingOrganizations | None:
    """Return who has waited for slots for a second or more.

    The one that has most itself is left out: that waits for its own.
    """
    largest = _largest(standings)
    waits = [one.behind_seconds or 0.0 for name, one in standings.items() if name != largest]
    long = [one for one in waits if one >= _SHORTEST_WAIT]
    return WaitingOrganizations(len(long), round(max(long), 3)) if long else None


def _largest(standings: Mapping[str, OrganizationLoad]) -> str | None:
    """Return the only one with half of all that runs, as a line holds no slots."""
    total = sum(one.running for one in standings.values())
    found = [name for name, one in standings.items() if one.running > 0 and one.running >= _LARGE * total]
    return found[0] if len(found) == 1 else None


def together(standings: Sequence[OrganizationLoad]) -> OrganizationLoad:
    """Return several organizations as one."""
    waits = [one.waiting_seconds for one in standings if one.waiting_seconds is not None]
    behind = [one.behind_seconds for one in standings if one.behind_seconds is not None]
    return OrganizationLoad(
        running=sum(one.running for one in standings),
        ready=sum(one.ready for one in standings),
        ready_is_capped=any(one.ready_is_capped for one in standings),
        waiting_seconds=max(waits, default=None),
        held=sum(one.held for one in standings),
        behind_seconds=max(behind, default=None),
    )


def largest(standings: Mapping[str, OrganizationLoad], spent: Mapping[str, float], number: int) -> list[str]:
    """Return the organizations to show: those that run most, used most of the time or have most in line."""
    nothing = OrganizationLoad()

    def key(name: str) -> tuple[float, float, int, str]:
        now = standings.get(name, nothing)
        return (-spent.get(name, 0.0), -now.running, -now.ready, name)

    return sorted({*standings, *spent}, key=key)[:number]
