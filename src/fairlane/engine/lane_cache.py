"""Cache the lanes that have ready jobs, with the limits and breakers that decide which of them may start.

A claim uses lanes that were read a tenth of a second ago, so that a busy worker does not scan all lanes for each batch.
After a hint the next read waits only as long as the last read took, so that newcomers are seen soon. Many lanes, or
lanes that are slow to read, are read less often.

Each lane keeps a mark, behind which its next claim begins. While a session holds an old snapshot, PostgreSQL can't
clear away ended jobs, and a claim that began at the lane's front would pass all of them. A job before the mark (a more
urgent job, or a job that was given back) is seen by the next read, like a new lane.

The claim itself reads what must not be late: pauses, and the jobs that run under a limit.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache, partial
from math import inf
from typing import Final

from fairlane.domain.breaker import Pair
from fairlane.domain.fairness import Contender, Lane
from fairlane.domain.limits import Limit, Subject, limits_on, subjects_of
from fairlane.domain.reasons import pauses_on
from fairlane.domain.statuses import OrganizationStatus
from fairlane.domain.texts import PLATFORM
from fairlane.domain.timing import LANES_KEPT, LANES_LATE, LOCK_WAIT_OF_MOMENT
from fairlane.engine.cached_directory import DirectoryAway
from fairlane.engine.service import in_thread
from fairlane.engine.start_checks import is_gone
from fairlane.jobtypes.options import Options
from fairlane.store.line import Line
from fairlane.store.statements import lanes, running_limits
from fairlane.store.statements.claim import MOST_AT_ONCE, Claimed, Wanted
from fairlane.store.statements.lanes import Mark, RunningRow, Sight
from fairlane.store.statements.workers import WorkerCard
from fairlane.store.transaction import Database
from fairlane.tenancy.directory import OF_PLATFORM, Directory, Standing, StoredDirectory

MOST_ON_LOOP: Final = 1_200  # lanes: with more of them a read or a claim would hold up handlers for 10 ms
SLOW: Final = 0.1  # seconds; other work should not wait for a slower statement
_LATELY: Final = 0.2  # seconds
# Lanes: up to this number they are kept for a tenth of a second, twice as many for twice as long, unless a hint comes.
_FEW: Final = 250
_FEW_ENDED: Final = 10  # jobs of a lane, which a claim passes in less time than it takes to move the mark behind them
_REST: Final = 4  # a slow read is kept for this many times its duration, unless a hint comes
# The most seconds after a single slow read: the process may have been stopped, or the machine was busy.
_LONGEST: Final = 2.0
_OCTETS: Final = 4  # of a character, at most
# Limits whose rows are known to exist; beyond this number, limits that the last read lacks are forgotten.
_MOST_PREPARED: Final = 10_000
# Any lane may have all of the most urgent jobs. So a claim locks as many jobs in each lane as its organization may
# start: 1,000 jobs in each of 100 lanes took 3 s. With several lanes an organization starts fewer jobs in a round, and
# the next round follows at once.
_MOST_LOCKED: Final = 4_000


@dataclass(slots=True)
class ReadyLanes:
    """The lanes of a worker that may start something, by organization, with their limits, trials and running jobs.

    They do not include lanes of suspended organizations, or lanes that a breaker holds back. Paused lanes are in `held`
    only. Claims remove lanes that they find empty, and move the marks on.
    `limits` are those of these lanes only, `limited` says which of them hold for a limited lane; one job of each pair
    in `trials` may start, if its breaker still allows it.
    `at` is the database's time, `read_at` the worker's own time of the same moment.
    `contenders`: the organizations that have a lane, also a held one, as if none of their jobs ran.
    `size` is the number of lanes found, `is_simple` whether the loop may claim them: only jobs have to be locked.
    """

    at: datetime
    read_at: float
    by_organization: dict[str, list[Lane]]
    held: frozenset[Lane]
    contenders: dict[str, Contender]
    marks: dict[Lane, Mark]
    standings: Mapping[str, Standing]
    limits: Mapping[Subject, Limit]
    limited: Mapping[Lane, tuple[Subject, ...]]
    trials: frozenset[Pair]
    running: Sequence[RunningRow]
    size: int
    is_simple: bool

    @property
    def lanes(self) -> list[Lane]:
        """Return all lanes that may start something."""
        return [lane for mine in self.by_organization.values() for lane in mine]

    def now(self) -> datetime:
        """Return the time by the database's clock."""
        return self.at + timedelta(seconds=time.monotonic() - self.read_at)

    def took(self, wanted: Wanted, claimed: Sequence[Claimed], by_lane: Mapping[Lane, int]) -> None:
        """Remove the lanes that were empty, and move the marks of lanes with many claimed jobs.

        A mark moves to the last of the most urgent claimed jobs of the lane. The claimed jobs that had waited longest
        may be far behind it, with other ready jobs before them.
        """
        by_organization = Counter(one.organization for one in claimed)
        may_be_cut = sum(len(one.parameters) for one in claimed) * _OCTETS >= MOST_AT_ONCE
        moved = set[Lane]()
        for lane, capacity, quota in wanted.rows:
            number = by_lane.get(lane, 0)
            if number < capacity and by_organization[lane.organization] < quota.jobs and not may_be_cut:
                self._leave_out(lane)
            elif number > max(quota.oldest, _FEW_ENDED) and lane in self.marks:
                moved.add(lane)
        last = dict[Lane, Claimed]()
        for one in claimed if moved else ():  # by priority, run_at, id
            lane = Lane(one.queue, one.organization, one.job_type)
            if lane in moved and (lane not in last or last[lane].priority == one.priority):
                last[lane] = one
        self.marks |= {lane: Mark(one.priority, one.run_at.isoformat(), str(one.id)) for lane, one in last.items()}

    def _leave_out(self, lane: Lane) -> None:
        mine = self.by_organization.get(lane.organization, [])
        if lane in mine:
            mine.remove(lane)
        if not mine:
            self.by_organization.pop(lane.organization, None)
            self.contenders.pop(lane.organization, None)


@dataclass(slots=True)
class LaneCache:
    """Read the lanes for the claims of a worker, and keep them.

    Args:
        kept: how long the lanes are kept, in seconds; 0 = each round reads, however long that takes.
    """

    database: Database
    directory: Directory
    card: WorkerCard
    kept: float = LANES_KEPT
    current: ReadyLanes | None = field(default=None, init=False)  # None: the directory gave no answer
    _ended_at: float = field(default=0.0, init=False)  # when it was read, by the worker's clock
    _took: float = field(default=0.0, init=False)  # seconds, by the last read
    _took_before: float = field(default=0.0, init=False)
    _drops: int = field(default=0, init=False)
    _is_hinted: bool = field(default=False, init=False)
    _hinted_at: float = field(default=-inf, init=False)
    _prepared: frozenset[Subject] = field(default=frozenset(), init=False)

    def now(self) -> ReadyLanes | None:
        """Return the lanes, read a tenth of a second ago at most; None while the directory gives no answer.

        Raises:
            StorageUnavailable, ConfigurationError
        """
        if self.current is None or not self.current.by_organization or self.is_due():
            drops, began = self._begin()
            self._keep(self._read(began), drops, began)
        return self.current

    def usable(self) -> ReadyLanes | None:
        """Return the lanes, if there are any and they may still be used while they are read again."""
        is_usable = self.kept > 0 and time.monotonic() - self._ended_at <= self._keeps() + LANES_LATE
        return self.current if is_usable and self.current is not None and self.current.by_organization else None

    def is_due(self) -> bool:
        """Return True if it is time for the next read."""
        return time.monotonic() - self._ended_at > self._keeps()

    def is_missing_some(self) -> bool:
        """Return True if there was a hint since the last read, maybe for a new lane, and it is time for the next."""
        return self._is_hinted and self.is_due()

    def is_expecting(self) -> bool:
        """Return True if jobs are arriving: there was a hint lately."""
        return time.monotonic() - self._hinted_at < _LATELY

    def hinted(self) -> None:
        """Note that a job became ready, maybe in a lane that is not kept. From any thread."""
        self._is_hinted, self._hinted_at = True, time.monotonic()

    def missed(self, subjects: Iterable[Subject]) -> None:
        """Check again that the rows of these limits exist: another claim has locked them, or clean-up deleted them."""
        self._prepared = self._prepared.difference(subjects)

    def expire(self) -> None:
        """Read again before the next claim: no job of the present lanes may start."""
        self._ended_at = -inf

    def drop(self) -> None:
        """Read again the next time, and drop a read that is under way."""
        self.current = None
        self._drops += 1

    async def refresh(self, line: Line, threads: Executor | None) -> None:
        """Read again: on the loop by one statement, if that is enough.

        Raises:
            StorageUnavailable, ConfigurationError
        """
        drops, began = self._begin()
        has_many = self.current is not None and self.current.size > MOST_ON_LOOP
        if has_many or not self.are_ours:
            found = await in_thread(threads, partial(self._read, began))
        else:
            seen = await lanes.look_on(line, self.card.queues, suspended=True)
            await asyncio.sleep(0)  # a read of a thousand lanes keeps the loop busy as long as the code below
            found = self._lanes_of(seen, _standings(seen), began)
            if new := self._unprepared(found):
                await in_thread(threads, partial(self._prepare, new))
        self._keep(found, drops, began)

    def _begin(self) -> tuple[int, float]:
        """Begin a read. It may miss hints and changes from here on."""
        self._is_hinted = False
        return self._drops, time.monotonic()

    def _keep(self, found: ReadyLanes | None, drops: int, began: float) -> None:
        """Keep these lanes, unless `drop` was called since their read began."""
        self._ended_at = time.monotonic()
        self._took_before, self._took = self._took, self._ended_at - began
        if drops == self._drops:
            self.current = found

    def _keeps(self) -> float:
        """Return the seconds for which the last read is kept."""
        if not self.kept:
            return 0.0
        if self._is_hinted:
            rest = self._took
        else:
            size = self.current.size if self.current is not None else 0
            rest = max(self.kept * max(1.0, size / _FEW), _REST * self._took if self._took > SLOW else 0.0)
        return min(rest, max(_LONGEST, min(self._took, self._took_before)))

    def _read(self, began: float) -> ReadyLanes | None:
        seen = self.database.look(
            lambda connection: lanes.look(connection, self.database.clock, self.card.queues, suspended=self.are_ours)
        )
        try:
            standings = _standings(seen) if self.are_ours else self._of_host(seen)
        except DirectoryAway:
            return None
        found = self._lanes_of(seen, standings, began)
        if new := self._unprepared(found):
            self._prepare(new)
        return found

    def _of_host(self, seen: Sight) -> Mapping[str, Standing]:
        names = frozenset(lane.organization for lane in seen.lanes if lane.job_type in self.card.job_types)
        return self.directory.organizations(names) if names else {}

    def _lanes_of(self, seen: Sight, standings: Mapping[str, Standing], began: float) -> ReadyLanes:
        breakers = {one.pair: one for one in seen.breakers}
        resting = {pair for pair, one in breakers.items() if not one.lets_try(seen.now)}
        served = frozenset(self.card.job_types)
        found = [lane for lane in seen.lanes if lane.job_type in served]
        if resting:
            found = [lane for lane in found if lane.pair not in resting]
        names = {lane.organization for lane in found}
        gone = {name for name in names if is_gone(standings.get(name))}
        closed = {name for name in names if (one := standings.get(name)) and one.status is OrganizationStatus.SUSPENDED}
        open_ = [lane for lane in found if lane.organization not in closed] if closed else found
        held = (
            frozenset(lane for lane in open_ if is_held(lane, seen.paused, gone)) if seen.paused else frozenset[Lane]()
        )
        limits = _limits(open_, standings, seen)
        by_organization = defaultdict[str, list[Lane]](list)
        for lane in [lane for lane in open_ if lane not in held] if held else open_:
            by_organization[lane.organization].append(lane)
        trials = frozenset(lane.pair for lane in found) & breakers.keys() if breakers else frozenset[Pair]()
        contenders = {
            name: _contender(_weight(standings.get(name)), len(mine)) for name, mine in by_organization.items()
        }
        for lane in held:  # included, so that they keep their turn and their oldest jobs' share
            weight = _weight(standings.get(lane.organization))
            contenders.setdefault(lane.organization, Contender(weight, 0, 0))
        return ReadyLanes(
            at=seen.now,
            read_at=began,
            by_organization=dict(by_organization),
            held=held,
            contenders=contenders,
            marks=seen.marks,
            standings=standings,
            limits=limits,
            limited=_limited(open_, limits) if limits else {},
            trials=trials,
            running=seen.running,
            size=len(open_),
            is_simple=not (limits or trials or gone) and len(open_) <= MOST_ON_LOOP,
        )

    def _unprepared(self, found: ReadyLanes) -> frozenset[Subject]:
        """Return the limits whose rows must be created; none on SQLite, where no other claim runs at the same time."""
        if self.database.kind.writers_are_serial:
            return frozenset()
        if len(self._prepared) > _MOST_PREPARED:
            self._prepared &= found.limits.keys()
        return frozenset(found.limits.keys() - self._prepared)

    def _prepare(self, new: frozenset[Subject]) -> None:
        """Create these rows. A claim skips lanes whose limit rows another session has locked; the next read retries."""
        held = self.database.write_each(
            lambda connection, some: running_limits.prepare(connection, self.database.clock, some),
            list(new),
            lock_seconds=LOCK_WAIT_OF_MOMENT,
        )
        self._prepared |= new.difference(held)

    @property
    def are_ours(self) -> bool:
        """Return True if organizations are in Fairlane's own directory."""
        return isinstance(self.directory, StoredDirectory)


def is_held(lane: Lane, paused: frozenset[tuple[str, str]], gone: Iterable[str]) -> bool:
    """Return True if the lane is paused.

    Args:
        gone: organizations that do not exist; their jobs are claimed even if they are paused, to be refused.
    """
    pauses = pauses_on(lane)
    return any(one in paused for one in pauses if one[0] != "organization" or lane.organization not in gone)


@lru_cache(1000)
def _standing(status: str, max_running: int | None, weight: int) -> Standing:
    return Standing(OrganizationStatus(status), max_running=max_running, weight=weight)


def _standings(seen: Sight) -> dict[str, Standing]:
    """Return the standings of the organizations that exist."""
    return {
        lane.organization: _standing(*own) if own is not None else OF_PLATFORM
        for lane, own in seen.lanes.items()
        if (own is not None and own.status != OrganizationStatus.DELETED) or lane.organization == PLATFORM
    }


def _weight(standing: Standing | None) -> int:
    return standing.weight if standing is not None else 1


@lru_cache(1000)
def _contender(weight: int, lanes: int) -> Contender:
    return Contender(weight, 0, max(_MOST_LOCKED // lanes, 1) if lanes > 1 else None)


def _limits(lanes: Iterable[Lane], standings: Mapping[str, Standing], seen: Sight) -> dict[Subject, Limit]:
    """Return all limits that hold for these lanes.

    The limit of a type's handler is the one registered last: processes that run other code must agree on one number.
    """
    found: dict[Subject, Limit] = {}
    own = {job_type: limit for job_type, options in seen.options.items() if (limit := _own_limit(options)) is not None}
    for lane in lanes:
        standing = standings.get(lane.organization)
        most = standing.max_running if standing is not None else None
        if most is not None or seen.overrides or lane.job_type in own:
            mine = own.get(lane.job_type, Limit())
            found |= limits_on(lane.organization, lane.job_type, max_running=most, own=mine, overrides=seen.overrides)
    return found


def _limited(lanes: Iterable[Lane], limits: Mapping[Subject, Limit]) -> dict[Lane, tuple[Subject, ...]]:
    found = {lane: tuple(one for one in subjects_of(*lane.pair) if one in limits) for lane in lanes}
    return {lane: mine for lane, mine in found.items() if mine}


@lru_cache(maxsize=1000)
def _own_limit(options: str) -> Limit | None:
    limit = Options.from_json(options).limit
    return None if limit.is_unlimited else limit
