"""The organizations that use the workers, and those that wait: the operators' view of fairness (R15)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

# An organization that waits less than this waits for a claim round, and not for others.
_SHORTEST_WAIT: Final = 1.0  # seconds
_LARGE: Final = 0.5  # the part of all running jobs that makes an organization the largest


@dataclass(frozen=True, slots=True)
class OrganizationLoad:
    """The running and ready jobs of an organization.

    `ready` is counted to 10,000 at most in each of its lanes. `held` of them would not start whatever others do: they
    are paused, at a limit, held by a breaker, or no worker serves them. `waiting_seconds` is how long the next of the
    other ready jobs could have started, the longest of its lanes; None: there is none. `behind_seconds` is the same for
    jobs that wait while at least half of the slots that they could have are taken: if more are free, the job waits
    behind nobody.
    """

    running: int = 0
    ready: int = 0
    ready_is_capped: bool = False
    waiting_seconds: float | None = None
    held: int = 0
    behind_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """The use of the workers by one organization, or by the rest of them (`organization` None).

    Attributes:
        ended: attempts that ended, by minute.
        seconds: how long these attempts ran, by the minute in which they ended.
    """

    organization: str | None
    now: OrganizationLoad
    ended: tuple[int, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The organization that has most of the running jobs, while others wait for slots.

    `ready` jobs of its own are in line and could start. `others_waiting` organizations have jobs in line, too, and
    their next job has waited for up to `others_seconds`.
    """

    organization: str
    running: int
    ready: int
    ready_is_capped: bool
    others_waiting: int
    others_seconds: float


@dataclass(frozen=True, slots=True)
class WaitingOrganizations:
    """The number of organizations that wait for slots; their next job has waited for up to so many seconds."""

    organizations: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Shares:
    """The organizations that use most, and the rest together.

    Attributes:
        neighbour: the organization that has most while others wait; None: nobody waits, or no single one has most.
        waiting: the organizations that wait for slots, except the one that has most; None: no organization waits.
    """

    minutes: tuple[datetime, ...]
    shares: tuple[Share, ...]
    rest: Share | None
    organizations: int
    neighbour: Neighbour | None
    waiting: WaitingOrganizations | None


def neighbour(standings: Mapping[str, OrganizationLoad]) -> Neighbour | None:
    """Return the organization with half of all running jobs, while others have waited a second or more for slots."""
    largest, others = _largest(standings), waiting(standings)
    if largest is None or others is None:
        return None
    it = standings[largest]
    return Neighbour(largest, it.running, it.ready - it.held, it.ready_is_capped, others.organizations, others.seconds)


def waiting(standings: Mapping[str, OrganizationLoad]) -> WaitingOrganizations | None:
    """Return the organizations that have waited a second or more for slots.

    The largest organization is excluded: it waits for its own jobs.
    """
    largest = _largest(standings)
    waits = [one.behind_seconds or 0.0 for name, one in standings.items() if name != largest]
    long = [one for one in waits if one >= _SHORTEST_WAIT]
    return WaitingOrganizations(len(long), round(max(long), 3)) if long else None


def _largest(standings: Mapping[str, OrganizationLoad]) -> str | None:
    """Return the only organization with half of all running jobs. Waiting jobs hold no slots, so they do not count."""
    total = sum(one.running for one in standings.values())
    found = [name for name, one in standings.items() if one.running > 0 and one.running >= _LARGE * total]
    return found[0] if len(found) == 1 else None


def together(standings: Sequence[OrganizationLoad]) -> OrganizationLoad:
    """Return the sum of several organizations."""
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
    """Return the organizations to show: those that run most, used most of the time or have most jobs in line."""
    nothing = OrganizationLoad()

    def key(name: str) -> tuple[float, float, int, str]:
        now = standings.get(name, nothing)
        return (-spent.get(name, 0.0), -now.running, -now.ready, name)

    return sorted({*standings, *spent}, key=key)[:number]
