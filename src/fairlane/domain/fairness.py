"""How one claim round's free slots are shared among organizations, and what of a limit each lane may use.

Pure: counts come in, quotas go out. What is shared is the time of slots, by weight. Where each job takes as long as any
other that is the number of starts, too.

A worker is fair by itself, so that all workers are fair together, however many there are. Of the free slots it gives
each organization the whole ones of its share. Who gets a slot of which several have a part, the service decides that
each has had on this worker: the least served per weight is next. No slot is kept free for newcomers: they get the next
freed slot that is no other organization's whole slot.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from heapq import heapify, heappop, heapreplace
from math import ceil
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

# A job counts as so many seconds of a slot at least. So short jobs are shared by number, whatever disturbs the clock.
LEAST: Final = 0.25
# A tenth of an organization's starts goes to what has waited longest, whatever its priority.
TENTH: Final = 10
_TINY: Final = 1e-9  # sums of parts of slots are not exact


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


class Quota(NamedTuple):
    """How many jobs an organization may start this round, and how many of them are for those that waited longest."""

    jobs: int
    oldest: int


class FairShare:
    """Start-time fair queueing over the claim rounds of one worker, bounded by the running jobs of all workers.

    `started` and `ended` tell it of each job. Whoever comes new, or could start nothing, is owed nothing for that time.
    """

    def __init__(self) -> None:
        # Who has a job here, by lease, the oldest first; since when; what a second of it adds to what they were served.
        self._jobs: dict[UUID, tuple[str, float, float]] = {}
        self.here: dict[str, int] = {}  # how many of these
        # Seconds of slots here, per weight. Who has just started something goes to the end, where newcomers come, too.
        self._served: dict[str, float] = {}
        self._least = 0.0  # served to each that can start something
        self._longest = 0.0  # seconds, of the jobs that run here or have just ended
        self._contenders: Mapping[str, Contender] = {}  # of the last round
        self._owed_to_oldest: dict[str, int] = {}

    def ended(self, known: Collection[UUID], now: float) -> None:
        """Count how long jobs have run that run here no more. Call it at the beginning of each round.

        Args:
            known: the leases of the jobs that run here still.
            now: seconds of the clock that `started` is told, too.
        """
        self._longest = now - next((since for _, since, _ in self._jobs.values()), now)
        for name, since, per_second in [self._jobs.pop(lease) for lease in self._jobs.keys() - known]:
            self.here[name] -= 1
            if not self.here[name]:
                del self.here[name]
            served = self._served.get(name, self._least)
            self._served[name] = served + max(now - since - LEAST, 0.0) * per_second

    def quotas(self, contenders: Mapping[str, Contender], *, free: int) -> dict[str, Quota]:
        """Share `free` slots, all of them as far as there is something to start. Who gets none is left out.

        Who has started nothing for the longest time comes first: a claim of large jobs may take only the first ones.
        """
        order = self._order(contenders, free)
        given: dict[str, int] = {}
        waiting = [order.turn(name, 0) for name, one in contenders.items() if one.room != 0]
        heapify(waiting)
        # Not all can have one: where jobs are known to be short, each has four at a time, since a claim costs by lanes.
        together = 4 if order.are_short and self._longest and len(waiting) > free else 1
        while free > 0 and waiting:
            kind, *_, name = waiting[0]
            one, so_far = contenders[name], given.get(name, 0)
            most = free if one.room is None else min(free, one.room - so_far)
            jobs = most if len(waiting) == 1 else min(most, together if kind == 1 else 1)
            given[name], free = so_far + jobs, free - jobs
            if _has_room(one, given[name]):
                heapreplace(waiting, order.turn(name, given[name]))
            else:
                heappop(waiting)
        return {
            name: Quota(given[name], self._share_of_oldest(name, given[name])) for name in self._served if name in given
        }

    def in_turn(self, contenders: Mapping[str, Contender], *, free: int) -> Iterator[str]:
        """Return those that can start something, in the order in which they get the `free` slots."""
        order = self._order(contenders, free)
        able = [order.turn(name, 0) for name, one in contenders.items() if one.room != 0]
        heapify(able)  # mostly only the first few of thousands are asked for
        return (heappop(able)[-1] for _ in range(len(able)))

    def started(self, jobs: Mapping[UUID, str], now: float) -> None:
        """Count what was really claimed: whose jobs, by lease."""
        a_second: dict[str, float] = {}
        for name, number in Counter(jobs.values()).items():
            one = self._contenders.get(name)
            a_second[name] = 1 / one.weight if one is not None else 1.0
            self.here[name] = self.here.get(name, 0) + number
            self._served[name] = self._served.pop(name, self._least) + number * LEAST * a_second[name]
        self._jobs |= {lease: (name, now, a_second[name]) for lease, name in jobs.items()}

    def _order(self, contenders: Mapping[str, Contender], free: int) -> "_Order":
        self._welcome(contenders)
        return _Order(contenders, free, self.here, self._served, are_short=self._longest <= LEAST)

    def _welcome(self, contenders: Mapping[str, Contender]) -> None:
        served, able, held = self._served, list[float](), list[str]()
        for name, one in contenders.items():
            if one.room == 0:
                held.append(name)
            elif name in served:
                able.append(served[name])
        self._least = least = max(min(able, default=0.0), self._least)
        # Who was served more than the others is remembered until these have had as much.
        for name in served.keys() - contenders.keys():
            if served[name] <= least:
                del served[name]
        served |= {name: least for name in contenders if name not in served}
        served |= {name: max(served[name], least) for name in held}
        for name in self._owed_to_oldest.keys() - contenders.keys():
            del self._owed_to_oldest[name]
        self._contenders = contenders

    def _share_of_oldest(self, name: str, jobs: int) -> int:
        share, self._owed_to_oldest[name] = divmod(self._owed_to_oldest.get(name, 0) + jobs, TENTH)
        return min(share, jobs)


# Sorts by whose turn it is: which kind of a turn (below the share by a slot or more, by a part of one, or at it), how
# much it was served, how much runs per weight, and the organization. A plain tuple, as rounds make thousands.
_Turn: TypeAlias = tuple[int, float, float, str]


class _Order:
    """Tell whose turn it is in one claim round.

    Jobs that run here are compared with a fair share of this worker's slots. Where a job takes longer than `LEAST`, an
    organization keeps the whole slots of its share, and gets no more than one of which it has a part. Else slots are
    free again at once, and the service that each has had decides alone, within wider bounds. The jobs of all workers
    are held to such bounds, too, so that a newcomer does not get the next slot of each worker.

    Args:
        here: how many jobs of each organization run on this worker.
        served: seconds of slots, per weight.
    """

    def __init__(
        self,
        contenders: Mapping[str, Contender],
        free: int,
        here: Mapping[str, int],
        served: Mapping[str, float],
        *,
        are_short: bool,
    ) -> None:
        self._contenders = contenders
        self._served = served
        self.are_short = are_short
        self._here = {name: here.get(name, 0) for name in contenders}
        self._share_here = fair_shares(contenders, self._here, free)
        # A job that has just been claimed may not be counted yet over all workers.
        if any(one.running > self._here[name] for name, one in contenders.items() if one.running):
            self._running = {name: max(one.running, self._here[name]) for name, one in contenders.items()}
            self._share = fair_shares(contenders, self._running, free)
        else:
            self._running, self._share = self._here, self._share_here

    def turn(self, name: str, given: int) -> _Turn:
        """Return when the organization's turn is, once it was given so many of the free slots."""
        weight, here, running = self._contenders[name].weight, self._here[name] + given, self._running[name] + given
        share, of_all = self._share_here[name], self._share[name]
        if running < of_all + _leeway(of_all):
            bound = _leeway(share) if self.are_short else 0.0
            if here + 1 <= share - bound + _TINY:
                return 0, 0.0, running / weight, name
            if here < share + bound - _TINY:
                # The middle of the next job's service: so nobody is ahead by more than half a job, in the mean.
                return 1, self._served[name] + (given + 0.5) * LEAST / weight, running / weight, name
        return 2, 0.0, running / weight, name


def fair_shares(contenders: Mapping[str, Contender], running: Mapping[str, int], free: int) -> dict[str, float]:
    """Share the slots that these have and the free ones by weight; who has no room for its share leaves it to others.

    Args:
        running: how many slots each has.
    """
    slots, weight = float(sum(running.values()) + free), sum(one.weight for one in contenders.values())
    # Who reaches its bound first leaves the most to the others.
    bounds = {name: running[name] + one.room for name, one in contenders.items() if one.room is not None}
    found = {}
    for name in sorted(bounds, key=lambda name: bounds[name] / contenders[name].weight):
        one = contenders[name].weight
        found[name] = min(slots * one / weight, bounds[name])
        slots, weight = slots - found[name], weight - one
    return {name: slots * one.weight / weight for name, one in contenders.items() if name not in found} | found


def _leeway(share: float) -> float:
    """Return how far running jobs may be from a share, to make up for what was before."""
    return 1 + share / 4


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
    """Return what each limited lane may start, so that no limit is passed whatever the lanes hold.

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
