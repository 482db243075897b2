"""What a claim round goes by: which lanes have something, how their organizations stand, and what limits there are.

It is read a little before the claim and kept for a tenth of a second, so that a busy worker does not look at all lanes
again for each batch; after a hint, only for as long as the look took, so that whoever is new is seen soon.

While some session holds an old snapshot, each look at lanes and each count of what runs passes all jobs that have
ended since then, and so would each claim. Looks that feel it also say where in its lanes claims have to begin and what
runs, so that the rounds till the next look need not find out; one that takes long is kept for longer. Whatever comes
before the place where claims begin, such as a more urgent job, is seen by the next look, just as a new lane is.

What must not be late is read by the claim itself: pauses, and what runs under a limit. That there is a new limit is
seen by the next look, which goes on beside the claims: so up to a second later than a look takes.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from math import inf
from typing import Final

from fairlane.domain.breaker import Pair
from fairlane.domain.fairness import Lane
from fairlane.domain.limits import Limit, Subject, limits_on, subjects_of
from fairlane.domain.statuses import OrganizationStatus
from fairlane.engine.patience import DirectoryAway
from fairlane.engine.service import in_thread
from fairlane.registry.directory import Directory, Standing, StoredDirectory
from fairlane.registry.options import Options
from fairlane.store.line import Line
from fairlane.store.statements import claim_round, lanes, running_limits
from fairlane.store.statements.claim import Claimed
from fairlane.store.statements.claim_round import Sight
from fairlane.store.statements.lanes import Rung, RunningRow
from fairlane.store.statements.workers import WorkerCard
from fairlane.store.transaction import Database

_MOST_ON_LOOP: Final = 500  # lanes: with more of them handlers on the loop would stand too long for each round


@dataclass(frozen=True, slots=True)
class Outlook:
    """Lanes that this worker serves, without those of suspended organizations and those that a breaker holds back.

    `limits` are those of these lanes only, `limited` says which of them hold for each lane; of each pair in `trials`
    one job may start, if its breaker lets it still.
    `rungs`: where claims begin in each lane; empty if that is cheap to find.
    `organizations`: whose standings were asked for, of suspended ones, too.
    `paused`, `running`: what was paused or suspended, and what ran, at `at`, by the database's clock.
    """

    at: datetime
    lanes: tuple[Lane, ...]
    standings: Mapping[str, Standing]
    limits: Mapping[Subject, Limit]
    limited: Mapping[Lane, tuple[Subject, ...]]
    trials: frozenset[Pair]
    rungs: Mapping[Lane, Sequence[Rung]]
    running: Sequence[RunningRow]
    organizations: frozenset[str]
    paused: frozenset[tuple[str, str]]

    @property
    def is_simple(self) -> bool:
        """Whether the loop may claim: nothing is to be locked but jobs, no organization is gone, and lanes are few."""
        is_plain = not (self.limits or self.trials) and len(self.lanes) <= _MOST_ON_LOOP
        return is_plain and self.standings.keys() >= self.organizations

    def without(self, gone: Iterable[Lane]) -> "Outlook":
        """The same without lanes that have turned out to be empty."""
        left = set(gone)
        return replace(self, lanes=tuple(lane for lane in self.lanes if lane not in left))

    def beyond(self, claimed: Iterable[Claimed]) -> "Outlook":
        """The same with rungs that begin where claims have come to."""
        last: dict[tuple[Lane, int], Rung] = {}
        for one in claimed:
            place = Lane(one.queue, one.organization, one.job_type), one.priority
            rung = Rung(one.priority, one.run_at, one.id)
            last[place] = max(last.get(place, rung), rung)
        moved = {lane: self.rungs[lane] for lane, _ in last}
        moved = {lane: [last.get((lane, one.priority), one) for one in rungs] for lane, rungs in moved.items()}
        return replace(self, rungs={**self.rungs, **moved})


_NOTHING: Final = Outlook(
    datetime.min.replace(tzinfo=UTC), (), {}, {}, {}, frozenset(), {}, (), frozenset(), frozenset()
)
_LATELY: Final = 0.2  # seconds
# Seconds, and for each lane (a scan of a thousand takes 15 ms, ten times as long on a busy machine); after a skip scan
# that took longer, the next ones spare claims what took them so long.
_FELT, _FELT_EACH = 0.02, 0.001
_DEAR: Final = 0.1  # seconds; a look that takes longer leaves most of the time to claims,
_REST: Final = 4  # this many times what it took
# Seconds at most, after one look that took so long: the process may have been stopped, or the machine busy.
_LONGEST: Final = 2.0
_LATE: Final = 1.0  # seconds that claims go by an outlook, while the next one is read
_MOST_PREPARED: Final = 10_000  # limits whose rows are known to be there; of more the ones not seen last are forgotten


@dataclass(slots=True)
class Outlooks:
    """Reads outlooks for one worker.

    Args:
        kept: how long an outlook holds, in seconds; 0 = each round looks, however long that takes.
    """

    database: Database
    directory: Directory
    card: WorkerCard
    kept: float = 0.1
    _kept: Outlook | None = field(default=None, init=False)
    _read_at: float = field(default=0.0, init=False)
    _drops: int = field(default=0, init=False)
    _took: float = field(default=0.0, init=False)  # by the last look
    _took_before: float = field(default=0.0, init=False)
    _is_felt: bool = field(default=False, init=False)
    _is_hinted: bool = field(default=False, init=False)
    _hinted_at: float = field(default=-inf, init=False)
    _prepared: frozenset[Subject] = field(default=frozenset(), init=False)

    def now(self) -> Outlook | None:
        """The outlook, read a tenth of a second ago at most; None while the directory can't be asked.

        Raises:
            StorageUnavailable, ConfigurationError
        """
        if self._kept is None or not self._kept.lanes or self.is_due():
            drops = self._drops
            self.keep(self.read(), drops)
        return self._kept

    def last(self) -> Outlook | None:
        """Return the last outlook, if it has a lane and is not too old to claim by while the next one is read."""
        is_usable = self.kept > 0 and time.monotonic() - self._read_at <= self._keeps() + _LATE
        return self._kept if is_usable and self._kept is not None and self._kept.lanes else None

    @property
    def current(self) -> Outlook | None:
        """What the last look saw; None: the directory could not be asked."""
        return self._kept

    def is_missing_some(self) -> bool:
        """Whether a hint has come since the last look, which may be of somebody new, and it is time for the next."""
        return self._is_hinted and self.is_due()

    def is_due(self) -> bool:
        """Whether it is time for the next look."""
        return time.monotonic() - self._read_at > self._keeps()

    async def look(self, line: Line | None, threads: Executor | None) -> None:
        """Read the next one, and go by it: on the loop by one statement, if that will do.

        Raises:
            StorageUnavailable, ConfigurationError
        """
        drops = self._drops
        has_many = self._kept is not None and len(self._kept.lanes) > _MOST_ON_LOOP
        if line is None or self._is_felt or has_many or not self._are_ours:
            outlook = await in_thread(threads, self.read)
        else:
            began = self._begun()
            seen = await claim_round.look_on(line, self.card.queues, suspended=True)
            if self._note(began) > _felt_from(len(seen.lanes)):
                self._is_felt = await in_thread(threads, partial(self._is_scan_felt, len(seen.lanes)))
            outlook, new = self._outlook(seen, {}, _standings(seen))
            if new:
                await in_thread(threads, partial(self._prepare, new))
        self.keep(outlook, drops)

    def keep(self, outlook: Outlook | None, drops: int) -> None:
        """Go by this outlook, unless what was known has been dropped since it was begun."""
        if drops == self._drops:
            self._kept, self._read_at = outlook, time.monotonic()

    def moment(self, outlook: Outlook) -> datetime:
        """Return what time it is by the database's clock, as far as the last outlook tells."""
        return outlook.at + timedelta(seconds=time.monotonic() - self._read_at)

    def _keeps(self) -> float:
        """Seconds for which the last look holds."""
        if not self.kept or self._took <= _DEAR:
            return min(self.kept, self._took) if self._is_hinted else self.kept
        # As while some session holds an old snapshot; or with thousands of lanes, where whoever is new is seen sooner.
        rest = _REST if self._is_felt or not self._is_hinted else 1
        return min(rest * self._took, max(_LONGEST, min(self._took, self._took_before)))

    def is_dear(self) -> bool:
        """Whether looks take long."""
        return self._took > _DEAR

    def hinted(self) -> None:
        """Something became ready, maybe in a lane that the outlook does not have. From any thread."""
        self._is_hinted, self._hinted_at = True, time.monotonic()

    def is_expecting(self) -> bool:
        """Whether jobs are coming in: there was a hint lately."""
        return time.monotonic() - self._hinted_at < _LATELY

    def claimed(self, by: Outlook, jobs: Sequence[Claimed], empty: Iterable[Lane]) -> None:
        """Until the next look leave out these lanes, and begin behind these jobs where a claim begins at a place.

        Args:
            by: the outlook that the claim went by. One that was read meanwhile may have seen more.
        """
        if self._kept is not None and self._kept.at == by.at:
            left = self._kept.without(empty)
            self._kept = left.beyond(jobs) if left.rungs else left

    def missed(self, subjects: Iterable[Subject]) -> None:
        """These limits could not be locked: another claim has them, or clean-up took their quota rows. Make sure."""
        self._prepared = self._prepared.difference(subjects)

    def drop(self) -> None:
        """Look afresh the next time."""
        self._kept = None
        self._drops += 1

    def read(self) -> Outlook | None:
        """Look; None while the directory can't be asked.

        Raises:
            StorageUnavailable, ConfigurationError
        """
        began, queues = self._begun(), self.card.queues
        was_felt = self._is_felt
        rungs = self.database.look(lambda connection: lanes.active_rungs(connection, queues)) if was_felt else {}
        took, served = time.monotonic() - began, () if was_felt else queues
        seen = self.database.look(
            lambda connection: claim_round.look(connection, self.database.clock, served, suspended=self._are_ours)
        )
        places = sum(map(len, rungs.values())) or len(seen.lanes)
        if self._note(began) > _felt_from(places) and self.kept > 0 and self.database.is_postgres:
            self._is_felt = self._is_felt_in(took, places) if was_felt else self._is_scan_felt(places)
        else:
            self._is_felt = False
        try:
            standings = self._stored_or_hosts(seen, rungs)
        except DirectoryAway:
            return None
        outlook, new = self._outlook(seen, rungs, standings)
        if new:
            self._prepare(new)
        return outlook

    def _stored_or_hosts(self, seen: Sight, rungs: Mapping[Lane, Sequence[Rung]]) -> Mapping[str, Standing]:
        if self._are_ours and not rungs:
            return _standings(seen)
        names = frozenset(lane.organization for lane in rungs or seen.lanes if lane.job_type in self.card.job_types)
        return self.directory.organizations(names) if names else {}

    def _outlook(
        self, seen: Sight, rungs: Mapping[Lane, Sequence[Rung]], standings: Mapping[str, Standing]
    ) -> tuple[Outlook, frozenset[Subject]]:
        """Return it, and the limits whose rows have to be prepared."""
        served = [lane for lane in rungs or seen.lanes if lane.job_type in self.card.job_types]
        breakers = {one.pair: one for one in seen.breakers}
        held = {pair for pair, one in breakers.items() if not one.lets_try(seen.now)}
        found = [lane for lane in served if pair_of(lane) not in held]
        names = frozenset(lane.organization for lane in found)
        open_ = tuple(lane for lane in found if not _is_suspended(standings.get(lane.organization)))
        trials = frozenset(pair_of(lane) for lane in found) & breakers.keys()
        limits = _limits(open_, standings, seen)
        if len(self._prepared) > _MOST_PREPARED:
            self._prepared &= limits.keys()
        limited = {
            lane: tuple(one for one in subjects_of(*pair_of(lane)) if one in limits) if limits else () for lane in open_
        }
        outlook = Outlook(seen.now, open_, standings, limits, limited, trials, rungs, seen.running, names, seen.paused)
        return outlook, frozenset(limits.keys() - self._prepared)

    def _prepare(self, new: frozenset[Subject]) -> None:
        self.database.write(lambda connection: running_limits.prepare(connection, self.database.clock, new))
        self._prepared |= new

    @property
    def _are_ours(self) -> bool:
        return isinstance(self.directory, StoredDirectory)

    def _begun(self) -> float:
        """Begin a look: what is told of from here on, it may miss."""
        self._is_hinted = False
        return time.monotonic()

    def _note(self, began: float) -> float:
        self._took_before, self._took = self._took, time.monotonic() - began
        return self._took

    def _is_scan_felt(self, places: int) -> bool:
        """Whether it is the scan that took a look so long, and not a new connection, or what else it looked at."""
        began = time.monotonic()
        self.database.look(lambda connection: lanes.active_lanes(connection, self.card.queues))
        return self._is_felt_in(time.monotonic() - began, places)

    def _is_felt_in(self, took: float, places: int) -> bool:
        """Whether a scan took longer than one of so many places should."""
        if took <= _felt_from(places):
            return False
        # Perhaps not the scan but the way to the database, or a connection that was waited for: ask next to nothing.
        began = time.monotonic()
        self.database.look(self.database.clock.now)
        return took - (time.monotonic() - began) > _felt_from(places)


def _felt_from(places: int) -> float:
    return _FELT + _FELT_EACH * places


def _standings(seen: Sight) -> dict[str, Standing]:
    """Those of the organizations that are there."""
    return {
        lane.organization: Standing(OrganizationStatus(own.status), max_running=own.max_running, weight=own.weight)
        for lane, own in seen.lanes.items()
        if own is not None and own.status != OrganizationStatus.DELETED
    }


def pair_of(lane: Lane) -> Pair:
    """Job type and organization of the lane, whatever its queue."""
    return Pair(lane.organization, lane.job_type)


def _limits(open_lanes: Iterable[Lane], standings: Mapping[str, Standing], seen: Sight) -> dict[Subject, Limit]:
    """All limits that hold for these lanes.

    What a type's handler says is what was registered last: processes that run other code must agree on one number.
    """
    found: dict[Subject, Limit] = {}
    for organization, job_type in {pair_of(lane) for lane in open_lanes}:
        standing = standings.get(organization)
        found |= limits_on(
            organization,
            job_type,
            max_running=standing.max_running if standing is not None else None,
            own=_own_limit(seen.options[job_type]) if job_type in seen.options else Limit(),
            overrides=seen.overrides,
        )
    return found


@lru_cache(maxsize=1000)
def _own_limit(options: str) -> Limit:
    return Options.from_json(options).limit


def _is_suspended(standing: Standing | None) -> bool:
    return standing is not None and standing.status is OrganizationStatus.SUSPENDED
