"""How one claim round's free slots are shared among organizations, and what of a limit each lane may use.

Pure: counts come in, quotas go out. `FairShare` remembers only whose turn it is among those that stand equal.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from math import ceil
from typing import Final, NamedTuple
from uuid import UUID

# An organization counts as active for so many seconds after it last had something ready or running.
ACTIVE_SECONDS: Final = 60.0
# A tenth of the workers' slots is kept for organizations with nothing running, and a tenth of an organization's starts
# goes to what has waited longest, whatever its priority.
TENTH: Final = 10


class Lane(NamedTuple):
    """One job type of one organization in one queue: the first three columns of the ready index."""

    queue: str
    organization: str
    job_type: str


class Contender(NamedTuple):
    """An organization with something to claim: its weight, its running jobs, and how many more may run (None = any)."""

    weight: int = 1
    running: int = 0
    room: int | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """How many jobs an organization may start this round, and how many of them are for those that waited longest."""

    jobs: int
    oldest: int


class FairShare:
    """Weighted deficit round robin over claim rounds: who has the fewest running jobs per weight is next.

    Running jobs decide, so it holds for jobs of any length and across workers. Among those that stand equal (short jobs
    have all ended by the next round) it is the one that was served least per weight; whoever comes new is not owed
    anything for the time before.
    """

    def __init__(self) -> None:
        self._served: dict[str, float] = {}  # jobs started per weight
        self._owed_to_oldest: dict[str, int] = {}
        self._weights: dict[str, int] = {}
        self._last_active: dict[str, float] = {}

    def quotas(self, contenders: Mapping[str, Contender], *, free: int, reserve: int) -> dict[str, Quota]:
        """Share `free` slots. Organizations without a share are left out.

        Every organization with nothing running gets one, as far as the slots go; then those that are left beyond the
        reserve go round.

        Args:
            reserve: slots that are for organizations with nothing running only.
        """
        self._welcome(contenders)
        given = dict.fromkeys(self._with_nothing_running(contenders)[: max(free, 0)], 1)
        fill(contenders, free - len(given) - reserve, self._served, given)
        return {name: Quota(jobs, self._share_of_oldest(name, jobs)) for name, jobs in given.items()}

    def in_turn(self, contenders: Mapping[str, Contender]) -> Iterator[str]:
        """Those that can start something, by whose turn it is."""
        self._welcome(contenders)
        able = [(*_standing(one, 0, self._served[name]), name) for name, one in contenders.items() if one.room != 0]
        heapify(able)  # mostly only the first few of thousands are asked for
        return (heappop(able)[-1] for _ in range(len(able)))

    def started(self, jobs: Mapping[str, int]) -> None:
        """Count what was really claimed, by organization."""
        for name, number in jobs.items():
            self._served[name] = self._served.get(name, 0.0) + number / self._weights.get(name, 1)

    def reserve(self, slots: int, organizations: Iterable[str], now: float) -> int:
        """How many slots to keep for organizations with nothing running.

        As `reserve_of`, by the organizations that were active in the last minute.

        Args:
            slots: of all workers that claim alike.
            organizations: those that have something running on these workers, or ready that may start on them.
            now: seconds of any clock that only goes forward.
        """
        self._last_active.update(dict.fromkeys(organizations, now))
        since = now - ACTIVE_SECONDS
        self._last_active = {name: at for name, at in self._last_active.items() if at >= since}
        return reserve_of(slots, len(self._last_active))

    def _welcome(self, contenders: Mapping[str, Contender]) -> None:
        """Forget who has nothing to claim; nobody who is new, or may start nothing now, is owed anything for it."""
        known = {name: self._served[name] for name in contenders if name in self._served}
        able = [served for name, served in known.items() if contenders[name].room != 0]
        start = min(able or known.values(), default=0.0)
        for name, one in contenders.items():
            if one.room == 0 or name not in known:
                known[name] = max(known.get(name, start), start)
        self._served = known
        self._weights = {name: one.weight for name, one in contenders.items()}
        self._owed_to_oldest = {name: self._owed_to_oldest.get(name, 0) for name in contenders}

    def _with_nothing_running(self, contenders: Mapping[str, Contender]) -> list[str]:
        names = [name for name, one in contenders.items() if not one.running and one.room != 0]
        return sorted(names, key=lambda name: (self._served[name], name))

    def _share_of_oldest(self, name: str, jobs: int) -> int:
        share, self._owed_to_oldest[name] = divmod(self._owed_to_oldest[name] + jobs, TENTH)
        return min(share, jobs)


def reserve_of(slots: int, organizations: int) -> int:
    """How many of so many slots are for organizations with nothing running.

    A tenth, at least one, while two or more organizations are active. A single slot is none to spare.
    """
    return max(1, slots // TENTH) if organizations > 1 and slots > 1 else 0


def reserve_here(reserve: int, fleet: Mapping[UUID, int], running: Mapping[UUID, int], here: UUID) -> int:
    """How much of the reserve of all workers that claim alike one of them has to keep.

    Each keeps its part, so that workers which claim at the same moment together keep all of it. Where one that should
    keep more has had to give it away, those keep it that get a slot free.

    Args:
        reserve: in slots, of all these workers.
        fleet: the slots of each.
        running: jobs on each.
    """
    before = sum(slots for worker, slots in fleet.items() if worker < here)
    total = sum(fleet.values())
    part = reserve * (before + fleet[here]) // total - reserve * before // total
    free_elsewhere = sum(max(slots - running.get(worker, 0), 0) for worker, slots in fleet.items() if worker != here)
    return max(part, reserve - free_elsewhere)


def fill(
    contenders: Mapping[str, Contender], slots: int, served: Mapping[str, float], given: dict[str, int]
) -> dict[str, int]:
    """Give `slots` one by one to whoever has the fewest running jobs per weight, beyond what is `given`; into `given`.

    Args:
        served: breaks ties: the least served per weight is first.
    """
    open_ = [
        (*_standing(one, given.get(name, 0), served.get(name, 0.0)), name)
        for name, one in contenders.items()
        if _has_room(one, given.get(name, 0))
    ]
    heapify(open_)
    while slots > 0 and open_:
        name = open_[0][-1]
        one, slots = contenders[name], slots - 1
        given[name] = given.get(name, 0) + 1
        if not _has_room(one, given[name]):
            heappop(open_)
        elif len(open_) == 1:
            given[name] += slots if one.room is None else min(slots, one.room - given[name])
            break
        else:
            heapreplace(open_, (*_standing(one, given[name], served.get(name, 0.0)), name))
    return given


def _standing(one: Contender, given: int, served: float) -> tuple[float, float]:
    return (one.running + given) / one.weight, served + given / one.weight


def _has_room(one: Contender, given: int) -> bool:
    return one.room is None or given < one.room


class Rooms(NamedTuple):
    """How many more jobs may start under each limit that there is: per type, per type and organization, and overall."""

    job_types: Mapping[str, int]
    pairs: Mapping[tuple[str, str], int]
    organizations: Mapping[str, int]


class RoomShare:
    """Shares what limits leave among lanes, over claim rounds.

    A lane that had room and took nothing (its organization had more urgent jobs, or somebody else holds its rows) sits
    out for as many rounds as the others need to have their turn: room is its own only if they do not take it.
    """

    def __init__(self) -> None:
        self._started: Counter[str] = Counter()  # by job type
        self._sits_out: dict[Lane, int] = {}  # until that round
        self._round = 0

    def rooms(self, lanes: Iterable[Lane], rooms: Rooms, running: Mapping[tuple[str, str], int]) -> dict[Lane, int]:
        """See `lane_rooms`."""
        return lane_rooms(lanes, rooms, running, self._started, self._sits_out)

    def took(self, rooms: Mapping[Lane, int], started: Mapping[Lane, int]) -> None:
        """Count what was really claimed.

        Args:
            rooms: of the limited lanes, those too that were held back.
            started: jobs started, by lane.
        """
        self._round += 1
        self._started.update(_by_type(started))
        sharing = _by_type(dict.fromkeys(rooms, 1))
        offered = _by_type({lane: 1 for lane, room in rooms.items() if room})
        for lane, room in rooms.items():
            if room and not started.get(lane):
                turns = ceil(sharing[lane.job_type] / offered[lane.job_type])
                self._sits_out[lane] = self._round + max(turns - 1, 1)
        self._sits_out = {
            lane: until for lane, until in self._sits_out.items() if until > self._round and not started.get(lane)
        }


def _by_type(numbers: Mapping[Lane, int]) -> Counter[str]:
    found: Counter[str] = Counter()
    for lane, number in numbers.items():
        found[lane.job_type] += number
    return found


def lane_rooms(
    lanes: Iterable[Lane],
    rooms: Rooms,
    running: Mapping[tuple[str, str], int],
    started: Mapping[str, int],
    passed: Collection[Lane] = (),
) -> dict[Lane, int]:
    """What each limited lane may start, so that no limit is passed whatever the lanes hold.

    A job type's room is shared among its organizations, those with the fewest running jobs of it first; what is for an
    organization goes to its lanes of that type (there are several if the type is in several queues).

    Args:
        running: running jobs by (job type, organization).
        started: jobs started so far by type; whoever stands equal comes first by turns as this grows.
        passed: lanes that had room lately and took nothing: room is theirs only if no other takes it.
    """
    by_pair: dict[tuple[str, str], list[Lane]] = defaultdict(list)
    for lane in sorted(lanes):
        by_pair[lane.job_type, lane.organization].append(lane)
    willing = {pair: [lane for lane in mine if lane not in passed] for pair, mine in by_pair.items()}
    found: dict[Lane, int] = {}
    for pair, room in _pair_rooms(willing, rooms, running, started).items():
        takers, turn = willing[pair] or by_pair[pair], started.get(pair[0], 0)
        share, rest = divmod(room, len(takers))
        found |= dict.fromkeys(by_pair[pair], 0)
        found |= {lane: share + ((place - turn) % len(takers) < rest) for place, lane in enumerate(takers)}
    return found


def _pair_rooms(
    willing: Mapping[tuple[str, str], Collection[Lane]],
    rooms: Rooms,
    running: Mapping[tuple[str, str], int],
    started: Mapping[str, int],
) -> dict[tuple[str, str], int]:
    found = {pair: rooms.pairs[pair] for pair in willing if pair in rooms.pairs}
    by_type: dict[str, dict[str, Contender]] = defaultdict(dict)
    for job_type, organization in willing:
        if job_type in rooms.job_types:
            pair = job_type, organization
            bounds = [bound for bound in (found.get(pair), rooms.organizations.get(organization)) if bound is not None]
            by_type[job_type][organization] = Contender(1, running.get(pair, 0), min(bounds, default=None))
    for job_type, contenders in by_type.items():
        turn = started.get(job_type, 0)
        order = {name: float((place - turn) % len(contenders)) for place, name in enumerate(contenders)}
        eager = {name: one for name, one in contenders.items() if willing[job_type, name]}
        shares = fill(eager, rooms.job_types[job_type], order, {})
        shares = fill(contenders, rooms.job_types[job_type] - sum(shares.values()), order, shares)
        found |= {(job_type, organization): shares.get(organization, 0) for organization in contenders}
    return found
