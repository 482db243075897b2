"""Share the free slots of a claim round among organizations, and the capacity under a limit among lanes.

The functions are pure: they compute quotas from counts. Organizations share the time of slots, by weight. If all jobs
take equally long, organizations share the number of starts, too.

Each worker is fair by itself, so any number of workers is fair together. The worker gives each organization the whole
slots of its share. If several organizations have a part of the same slot, the slot goes to the organization that was
served least on this worker, per weight. The worker keeps no slot free for newcomers. A newcomer gets the next freed
slot that is not a whole slot of another organization.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from heapq import heapify, heappop, heapreplace
from math import ceil
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from fairlane.domain.breaker import Pair

# A job counts as at least so many seconds of a slot. So short jobs are shared by number, even if the clock is wrong.
LEAST: Final = 0.25
# A tenth of an organization's starts goes to the jobs that have waited longest, whatever their priority.
TENTH: Final = 10
_TINY: Final = 1e-9  # sums of parts of slots are not exact


class Lane(NamedTuple):
    """A job type of an organization in a queue: the first three columns of the ready index."""

    queue: str
    organization: str
    job_type: str

    @property
    def pair(self) -> Pair:
        """Return the organization and job type, whatever the queue."""
        return Pair(self.organization, self.job_type)


class Contender(NamedTuple):
    """An organization with something to claim: its weight, its running jobs, and how many more may run (None = any)."""

    weight: int = 1
    running: int = 0
    capacity: int | None = None


class Quota(NamedTuple):
    """The number of jobs that an organization may start this round, and how many of them are for the oldest jobs."""

    jobs: int
    oldest: int


class FairShare:
    """Start-time fair queueing over the claim rounds of one worker, bounded by the running jobs of all workers.

    `started` and `ended` count each job. An organization that is new, or that could start nothing, gets no compensation
    for that time.
    """

    def __init__(self) -> None:
        # By lease token, the oldest first: the job's organization; its start; what a second adds to the service.
        self._jobs: dict[UUID, tuple[str, float, float]] = {}
        self.here: dict[str, int] = {}  # the number of jobs here, by organization
        # Seconds of slots here, per weight. An organization that starts a job goes to the end, like a newcomer.
        self._served: dict[str, float] = {}
        self._least = 0.0  # served to each that can start something
        self._longest = 0.0  # seconds, of the jobs that run here or have just ended
        self._contenders: Mapping[str, Contender] = {}  # of the last round
        self._owed_to_oldest: dict[str, int] = {}

    def ended(self, known: Collection[UUID], now: float) -> None:
        """Count how long the jobs ran that have ended here. Call it at the beginning of each round.

        Args:
            known: the lease tokens of the jobs that still run here.
            now: seconds of the same clock as in `started`.
        """
        self._longest = now - next((since for _, since, _ in self._jobs.values()), now)
        for name, since, per_second in [self._jobs.pop(token) for token in self._jobs.keys() - known]:
            self.here[name] -= 1
            if not self.here[name]:
                del self.here[name]
            served = self._served.get(name, self._least)
            self._served[name] = served + max(now - since - LEAST, 0.0) * per_second

    def quotas(self, contenders: Mapping[str, Contender], *, free: int) -> dict[str, Quota]:
        """Share `free` slots among organizations that have something to start. Return only those that get a slot.

        The organization whose last start is the oldest comes first: a claim of large jobs may take only the first
        jobs.
        """
        order = self._order(contenders, free)
        given: dict[str, int] = {}
        waiting = [order.turn(name, 0) for name, one in contenders.items() if one.capacity != 0]
        heapify(waiting)
        # Not all can have a slot. If jobs are known to be short, each organization gets four at a time: the cost of a
        # claim grows with its lanes.
        together = 4 if order.are_short and self._longest and len(waiting) > free else 1
        while free > 0 and waiting:
            kind, *_, name = waiting[0]
            one, so_far = contenders[name], given.get(name, 0)
            most = free if one.capacity is None else min(free, one.capacity - so_far)
            jobs = most if len(waiting) == 1 else min(most, together if kind == 1 else 1)
            given[name], free = so_far + jobs, free - jobs
            if _has_capacity(one, given[name]):
                heapreplace(waiting, order.turn(name, given[name]))
            else:
                heappop(waiting)
        return {
            name: Quota(given[name], self._share_of_oldest(name, given[name])) for name in self._served if name in given
        }

    def in_turn(self, contenders: Mapping[str, Contender], *, free: int) -> Iterator[str]:
        """Return the organizations that can start something, in the order in which they get the `free` slots."""
        order = self._order(contenders, free)
        able = [order.turn(name, 0) for name, one in contenders.items() if one.capacity != 0]
        heapify(able)  # mostly only the first few of thousands are needed
        return (heappop(able)[-1] for _ in range(len(able)))

    def started(self, jobs: Mapping[UUID, str], now: float) -> None:
        """Count the claimed jobs: `jobs` has the organization of each lease token."""
        a_second: dict[str, float] = {}
        for name, number in Counter(jobs.values()).items():
            one = self._contenders.get(name)
            a_second[name] = 1 / one.weight if one is not None else 1.0
            self.here[name] = self.here.get(name, 0) + number
            self._served[name] = self._served.pop(name, self._least) + number * LEAST * a_second[name]
        self._jobs |= {token: (name, now, a_second[name]) for token, name in jobs.items()}

    def _order(self, contenders: Mapping[str, Contender], free: int) -> "_Order":
        self._welcome(contenders)
        return _Order(contenders, free, self.here, self._served, are_short=self._longest <= LEAST)

    def _welcome(self, contenders: Mapping[str, Contender]) -> None:
        served, able, held = self._served, list[float](), list[str]()
        for name, one in contenders.items():
            if one.capacity == 0:
                held.append(name)
            elif name in served:
                able.append(served[name])
        self._least = least = max(min(able, default=0.0), self._least)
        # An organization that was served more than the others is remembered until these have had as much.
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


# Sorts by turn: the kind of turn (below the share by a slot or more, by a part of a slot, or at the share), the service
# so far, the running jobs per weight, and the organization. A plain tuple, as rounds make thousands.
_Turn: TypeAlias = tuple[int, float, float, str]


class _Order:
    """The order of organizations in a claim round.

    The jobs that run here are compared with a fair share of this worker's slots. If a job takes longer than `LEAST`, an
    organization keeps the whole slots of its share, and gets no more than one slot of which it has a part. Else slots
    are free again at once, and the service so far decides alone, within wider bounds. Such bounds also hold for the
    jobs of all workers, so that a newcomer does not get the next slot of each worker.

    Args:
        here: the number of jobs of each organization that run on this worker.
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
        # The counts over all workers may lack a job that has just been claimed.
        if any(one.running > self._here[name] for name, one in contenders.items() if one.running):
            self._running = {name: max(one.running, self._here[name]) for name, one in contenders.items()}
            self._share = fair_shares(contenders, self._running, free)
        else:
            self._running, self._share = self._here, self._share_here

    def turn(self, name: str, given: int) -> _Turn:
        """Return the organization's turn after it was given so many of the free slots."""
        weight, here, running = self._contenders[name].weight, self._here[name] + given, self._running[name] + given
        share, of_all = self._share_here[name], self._share[name]
        if running < of_all + _leeway(of_all):
            bound = _leeway(share) if self.are_short else 0.0
            if here + 1 <= share - bound + _TINY:
                return 0, 0.0, running / weight, name
            if here < share + bound - _TINY:
                # The middle of the next job's service: on average, no organization is ahead by more than half a job.
                return 1, self._served[name] + (given + 0.5) * LEAST / weight, running / weight, name
        return 2, 0.0, running / weight, name


def fair_shares(contenders: Mapping[str, Contender], running: Mapping[str, int], free: int) -> dict[str, float]:
    """Share the used and the free slots by weight; slots that an organization can't use go to the others.

    Args:
        running: the number of slots that each organization has.
    """
    slots, weight = float(sum(running.values()) + free), sum(one.weight for one in contenders.values())
    # The organization that reaches its bound first leaves the most to the others.
    bounds = {name: running[name] + one.capacity for name, one in contenders.items() if one.capacity is not None}
    found = {}
    for name in sorted(bounds, key=lambda name: bounds[name] / contenders[name].weight):
        one = contenders[name].weight
        found[name] = min(slots * one / weight, bounds[name])
        slots, weight = slots - found[name], weight - one
    return {name: slots * one.weight / weight for name, one in contenders.items() if name not in found} | found


def _leeway(share: float) -> float:
    """Return how far running jobs may be from a share, to make up for earlier service."""
    return 1 + share / 4


def fill(
    contenders: Mapping[str, Contender], slots: int, served: Mapping[str, float], given: dict[str, int]
) -> dict[str, int]:
    """Give `slots` one by one to the organization with the fewest running jobs per weight; count them in `given`.

    Args:
        served: breaks ties: the least served per weight is first.
    """
    open_ = [
        (*_standing(one, given.get(name, 0), served.get(name, 0.0)), name)
        for name, one in contenders.items()
        if _has_capacity(one, given.get(name, 0))
    ]
    heapify(open_)
    while slots > 0 and open_:
        name = open_[0][-1]
        one, slots = contenders[name], slots - 1
        given[name] = given.get(name, 0) + 1
        if not _has_capacity(one, given[name]):
            heappop(open_)
        elif len(open_) == 1:
            given[name] += slots if one.capacity is None else min(slots, one.capacity - given[name])
            break
        else:
            heapreplace(open_, (*_standing(one, given[name], served.get(name, 0.0)), name))
    return given


def _standing(one: Contender, given: int, served: float) -> tuple[float, float]:
    return (one.running + given) / one.weight, served + given / one.weight


def _has_capacity(one: Contender, given: int) -> bool:
    return one.capacity is None or given < one.capacity


class Capacities(NamedTuple):
    """The number of jobs that may still start under each limit: per type, per type and organization, and overall."""

    job_types: Mapping[str, int]
    pairs: Mapping[Pair, int]
    organizations: Mapping[str, int]


class CapacityShare:
    """The sharing of the capacity under limits among lanes, over claim rounds.

    A lane may have capacity and take nothing: its organization had more urgent jobs, or another transaction holds its
    rows. Such a lane sits out for as many rounds as the others need to have their turn: it gets only the capacity that
    they do not take.
    """

    def __init__(self) -> None:
        self._started: Counter[str] = Counter()  # by job type
        self._sits_out: dict[Lane, int] = {}  # until that round
        self._round = 0

    def capacities(self, lanes: Iterable[Lane], capacities: Capacities, running: Mapping[Pair, int]) -> dict[Lane, int]:
        """See `lane_capacities`."""
        return lane_capacities(lanes, capacities, running, self._started, self._sits_out)

    def took(self, capacities: Mapping[Lane, int], started: Mapping[Lane, int]) -> None:
        """Count the jobs that were really claimed.

        Args:
            capacities: the capacity of the limited lanes, also of those that were held back.
            started: jobs started, by lane.
        """
        self._round += 1
        self._started.update(_by_type(started))
        sharing = _by_type(dict.fromkeys(capacities, 1))
        offered = _by_type({lane: 1 for lane, capacity in capacities.items() if capacity})
        for lane, capacity in capacities.items():
            if capacity and not started.get(lane):
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


def lane_capacities(
    lanes: Iterable[Lane],
    capacities: Capacities,
    running: Mapping[Pair, int],
    started: Mapping[str, int],
    passed: Collection[Lane] = (),
) -> dict[Lane, int]:
    """Return the number of jobs that each limited lane may start, so that no limit is passed whatever the lanes hold.

    A job type's capacity is shared among its organizations, those with the fewest running jobs of it first. The part of
    an organization goes to its lanes of that type (there are several if the type is in several queues).

    Args:
        running: the number of running jobs of each pair.
        started: jobs started so far, by type; organizations that are equal take turns as this grows.
        passed: lanes that had capacity lately and took nothing: they get only what no other takes.
    """
    by_pair: dict[Pair, list[Lane]] = defaultdict(list)
    for lane in sorted(lanes):
        by_pair[lane.pair].append(lane)
    willing = {pair: [lane for lane in mine if lane not in passed] for pair, mine in by_pair.items()}
    found: dict[Lane, int] = {}
    for pair, capacity in _pair_capacities(willing, capacities, running, started).items():
        takers, turn = willing[pair] or by_pair[pair], started.get(pair.job_type, 0)
        share, rest = divmod(capacity, len(takers))
        found |= dict.fromkeys(by_pair[pair], 0)
        found |= {lane: share + ((place - turn) % len(takers) < rest) for place, lane in enumerate(takers)}
    return found


def _pair_capacities(
    willing: Mapping[Pair, Collection[Lane]],
    capacities: Capacities,
    running: Mapping[Pair, int],
    started: Mapping[str, int],
) -> dict[Pair, int]:
    found = {pair: capacities.pairs[pair] for pair in willing if pair in capacities.pairs}
    by_type: dict[str, dict[str, Contender]] = defaultdict(dict)
    for pair in willing:
        if pair.job_type in capacities.job_types:
            bounds = [
                bound
                for bound in (found.get(pair), capacities.organizations.get(pair.organization))
                if bound is not None
            ]
            by_type[pair.job_type][pair.organization] = Contender(1, running.get(pair, 0), min(bounds, default=None))
    for job_type, contenders in by_type.items():
        turn = started.get(job_type, 0)
        order = {name: float((place - turn) % len(contenders)) for place, name in enumerate(contenders)}
        eager = {name: one for name, one in contenders.items() if willing[Pair(name, job_type)]}
        shares = fill(eager, capacities.job_types[job_type], order, {})
        shares = fill(contenders, capacities.job_types[job_type] - sum(shares.values()), order, shares)
        found |= {Pair(name, job_type): shares.get(name, 0) for name in contenders}
    return found
