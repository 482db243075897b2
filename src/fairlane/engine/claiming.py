"""The claims of a worker: it chooses lanes, claims jobs in turn by organization, and prepares their attempts.

There are two kinds of claims. On PostgreSQL a claim is one statement on the worker's event loop. If a limit is counted
or a breaker tried, if there are very many lanes, and on SQLite, it is a transaction in a thread. On SQLite that
transaction begins with the results that wait to be written, since each commit waits for the disk.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from random import Random
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.backoff import Backoff
from fairlane.domain.breaker import Pair, Trial
from fairlane.domain.errors import ConfigurationError, StorageUnavailable
from fairlane.domain.events import Emit, ServiceFailed
from fairlane.domain.fairness import Capacities, CapacityShare, Contender, FairShare, Lane
from fairlane.domain.limits import Limit, Subject, running_by_subject, subjects_of
from fairlane.domain.outcomes import Released
from fairlane.encryption.keyring import Keyring
from fairlane.engine.lane_cache import SLOW, LaneCache, ReadyLanes, is_held
from fairlane.engine.results import Results
from fairlane.engine.service import in_thread
from fairlane.engine.start_checks import Checked, StartChecks, is_gone
from fairlane.store.engine import engine_of
from fairlane.store.line import Line
from fairlane.store.statements import breakers, running_limits, workers
from fairlane.store.statements.claim import Claimed, Wanted, claim_on
from fairlane.store.statements.finish import Finish, Finished, finish
from fairlane.store.statements.lanes import Beginning, RunningRow, begin_claim, counted, running_rows, running_rows_on
from fairlane.store.statements.workers import LostWorker, WorkerCard, rescue_worker
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database
from fairlane.tenancy.directory import Directory

# Settings for the sessions of claims on the loop: else the planner would sort a whole lane, or scan new tables.
_SESSION: Final = {"enable_sort": "off", "enable_seqscan": "off"}
_SHORT_ROUND: Final = 100  # jobs: a newcomer waits for one round, and shorter rounds cost throughput
_BATCH: Final = 500  # of jobs that are given back
# The reasons why jobs are given back, for the log.
_CUT_OFF: Final = "its claim was cut off"
_LEFT: Final = "its worker left before its end was written"


class _Round(NamedTuple):
    """The jobs that a claim wanted and got, and when, in seconds."""

    wanted: Wanted
    claimed: list[Claimed]
    at: float


@dataclass(slots=True)
class Claims:
    """The claims of a worker: `claim` on the loop, `claim_in_thread` from a thread, never two at once.

    `is_hungry`: the last round saw ready jobs, or jobs that a limit held; the next round should be soon.
    `is_held_up`: some of those were under a limit under which another worker was claiming.
    `is_unsure`: jobs may run under the worker that it does not know; the next round gives them back.
    `are_over`: the worker leaves. A claim under way is rolled back: it may hold jobs that were just given back.
    """

    database: Database
    directory: Directory
    card: WorkerCard
    lease: float
    lanes: LaneCache
    keyring: Keyring
    emit: Emit
    threads: Executor | None
    results: Results | None = None  # None: results are written elsewhere
    is_hungry: bool = field(default=False, init=False)
    is_held_up: bool = field(default=False, init=False)
    is_unsure: bool = field(default=False, init=False)
    are_over: bool = field(default=False, init=False)
    _claim_line: Line | None = field(default=None, init=False)  # on PostgreSQL
    _read_line: Line | None = field(default=None, init=False)  # for the lanes, which are read beside the claims
    _reading: asyncio.Task[None] | None = field(default=None, init=False)
    _share: FairShare = field(default_factory=FairShare, init=False)
    _capacities: CapacityShare = field(default_factory=CapacityShare, init=False)
    _slowly_counted: ReadyLanes | None = field(default=None, init=False)
    _checks: StartChecks = field(init=False)

    def __post_init__(self) -> None:
        self._checks = StartChecks(self.database, self.directory, self.keyring, self.emit)
        if self.threads is not None and self.database.kind.is_server:
            self._claim_line, self._read_line = (Line(self.database, self.threads, _SESSION) for _ in range(2))

    def locked(self) -> frozenset[str]:
        """Return the organizations whose jobs are not claimed here, since their keys are not here; from any thread."""
        return self._checks.locked

    def now(self) -> datetime | None:
        """Return the time by the database's clock, as the lanes were read with it; None if there are none."""
        return self.lanes.current.now() if self.lanes.current is not None else None

    def doubt(self) -> None:
        """Let the next round give back the jobs that the worker does not know, after an error. From any thread."""
        self.is_unsure = True

    async def close(self) -> None:
        """Read no more lanes, and close the connections of the loop."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        for line in filter(None, (self._claim_line, self._read_line)):
            await line.close()

    def give_back(self, known: frozenset[UUID]) -> int:
        """Give back the jobs that run under this worker and have no `known` lease token; return how many.

        A claim whose answer or whose jobs' inputs were lost leaves such jobs, and so does a result that could not be
        written. Each begins anew.
        """
        self.is_unsure = False  # before the work: a `doubt` from here on is for the next round

        def work(connection: Connection) -> list[Finished]:
            done = list[Finished]()
            for some in self._release(connection, known, _CUT_OFF):
                done += some
                if _changed(some):
                    break
            return done

        try:
            done = self.database.write(work)
        except BaseException:
            self.doubt()
            raise
        if any(one.is_locked for one in done) or len(done) >= _BATCH:
            self.doubt()
        return _changed(done)

    def leave(self, lost: Collection[UUID] = ()) -> int:
        """Give back the jobs that run under this worker, and remove the worker; return how many jobs.

        It is one transaction: a claim that is still under way, since `run_async` was cancelled, finds no worker.

        Args:
            lost: lease tokens of jobs of which one took the worker down: these are rescued, which counts.
        """

        def work(connection: Connection) -> int:
            if lost:
                mine = workers.running_jobs(connection, self.card.id, len(lost) + _BATCH)
                held = [row for row in mine if row.lease_token in lost]
                myself, random = LostWorker(self.card.id, self.card.name), Random()  # noqa: S311 - jitter, no secret
                rescue_worker(connection, self.database.clock, random, myself, held, are_ours=self.lanes.are_ours)
            number = sum(map(_changed, self._release(connection, frozenset(), _LEFT)))
            workers.remove(connection, self.card.id)
            return number

        return self.database.write(work)

    def _release(self, connection: Connection, known: frozenset[UUID], reason: str) -> Iterator[list[Finished]]:
        """Give back the jobs that are not known, a batch at a time."""

        def end(mine: Sequence[AnyRow]) -> list[Finished]:
            ends = [
                Finish(
                    row.organization_id,
                    row.id,
                    row.job_type,
                    row.lease_token,
                    Released(reason),
                    Backoff(),
                    self.card.name,
                )
                for row in mine
                if row.lease_token not in known
            ]
            now, random = self.database.clock.now(connection), Random()  # noqa: S311 - jitter, no secret
            return finish(connection, now, ends, random, are_ours=self.lanes.are_ours)

        return workers.end_running(connection, self.card.id, len(known) + _BATCH, end)

    async def claim(self, slots: int, known: frozenset[UUID]) -> list[Checked]:
        """Claim up to `slots` jobs, by one statement on the loop if nothing but jobs has to be read or locked.

        Args:
            known: the lease tokens that the worker has already.

        Raises:
            StorageUnavailable, ConfigurationError
        """
        line, reads = self._claim_line, self._read_line
        if line is None or reads is None or slots <= 0 or self.is_unsure or self._checks.locked:
            return await self._in_thread(slots, known)
        before = self.lanes.current
        lanes = self._of_use(await self._lanes_on(reads), before)
        if lanes is None:
            return []
        if not lanes.is_simple:
            return await self._in_thread(slots, known)
        running = await running_rows_on(line) if self._is_shared(lanes) else lanes.running
        at = lanes.now().timestamp()
        self._share.ended(known, at)
        wanted = self._wanted(lanes, self._contenders(lanes, running), slots)
        if not wanted.rows:
            return []
        try:
            claimed = await claim_on(
                line, wanted, worker_id=self.card.id, worker=self.card.name, are_ours=self.lanes.are_ours
            )
            self._remember(_Round(wanted, claimed, at), lanes)
            checked = await self._checks.prepare_on(line, claimed, lanes.standings)
            if checked is None:
                prepare = partial(self._checks.prepare, claimed, lanes.standings)
                checked = await in_thread(self.threads, prepare)
            return checked
        except BaseException:
            self.doubt()  # there may be claimed jobs that the worker never hears of
            raise

    async def _in_thread(self, slots: int, known: frozenset[UUID]) -> list[Checked]:
        claim = partial(self.claim_in_thread, slots, known)
        return await (self.results.beside_claim(claim) if self.results is not None else in_thread(self.threads, claim))

    async def _lanes_on(self, line: Line) -> ReadyLanes | None:
        """Return the lanes; lanes that are a little old are read again beside the claim."""
        cache = self.lanes
        lanes = cache.usable()
        is_reading = self._reading is not None and not self._reading.done()
        if lanes is None or cache.is_missing_some():
            if self._reading is not None and is_reading:
                await self._reading  # it has the line, and may have begun before the hint
            await cache.refresh(line, self.threads)
            return cache.current
        if cache.is_due() and not is_reading:
            self._reading = asyncio.create_task(self._read(line))
        return lanes

    async def _read(self, line: Line) -> None:
        try:
            await self.lanes.refresh(line, self.threads)
        except (StorageUnavailable, ConfigurationError):
            return  # the claims will report it
        except Exception as error:  # noqa: BLE001 - a mistake in a read must not end the worker
            self.emit(ServiceFailed("claim", error))

    def _is_shared(self, lanes: ReadyLanes) -> bool:
        """Return True if jobs on other workers count for the turns."""
        return len(lanes.contenders) > 1 and any(row.worker != self.card.id for row in lanes.running)

    def _contenders(self, lanes: ReadyLanes, running: Iterable[RunningRow]) -> dict[str, Contender]:
        """Return the organizations that contend for the slots, with their running jobs on all workers."""
        elsewhere = Counter[str]()
        for row in running:
            if row.worker != self.card.id and row.organization in lanes.contenders:
                elsewhere[row.organization] += row.number
        here = self._share.here
        return lanes.contenders | {
            name: lanes.contenders[name]._replace(running=number + here.get(name, 0))
            for name, number in elsewhere.items()
        }

    def _wanted(
        self,
        lanes: ReadyLanes,
        contenders: Mapping[str, Contender],
        slots: int,
        capacities: Mapping[Lane, int] | None = None,
    ) -> Wanted:
        # While jobs arrive, a newcomer may be among them: it shall not wait behind a round of a thousand.
        most = _SHORT_ROUND if self.lanes.is_expecting() else slots
        quotas = self._share.quotas(contenders, free=min(slots, most))
        mine = [lane for name in quotas for lane in lanes.by_organization.get(name, ())]
        return Wanted(mine, capacities or {}, quotas, lanes.marks)

    def _remember(self, done: _Round, lanes: ReadyLanes) -> None:
        """Note whose turn it was, and the lanes that were empty."""
        by_lane = Counter(Lane(one.queue, one.organization, one.job_type) for one in done.claimed)
        self._capacities.took(done.wanted.capacities, by_lane)
        self._share.started({one.lease_token: one.organization for one in done.claimed}, done.at)
        lanes.took(done.wanted, done.claimed, by_lane)

    def claim_in_thread(self, slots: int, known: frozenset[UUID]) -> list[Checked]:
        """Claim up to `slots` jobs; with 0 slots it still gives back the jobs that the worker does not know.

        Args:
            known: the lease tokens that the worker has already.

        Raises:
            StorageUnavailable, ConfigurationError
        """
        if self.is_unsure:
            self.give_back(known)
        if slots <= 0:
            return []
        if self._checks.locked:
            self._checks.look_for_keys()
        before = self.lanes.current
        lanes = self._of_use(self.lanes.now(), before)
        if lanes is None:
            return []
        try:
            write = self.results.write_with if self.results is not None else self.database.write
            done = write(lambda connection: self._claim(connection, lanes, slots, known))
            if done is None or not done.claimed:
                self.lanes.expire()
            if done is None:
                return []
            self._remember(done, lanes)
            return self._checks.prepare(done.claimed, lanes.standings) if done.claimed else []
        except BaseException:
            self.doubt()  # there may be claimed jobs that the worker never hears of
            raise

    def _of_use(self, lanes: ReadyLanes | None, before: ReadyLanes | None) -> ReadyLanes | None:
        """Return the lanes if they may start something, and note whether the next round should be soon.

        Args:
            before: the lanes of the last round; the same lanes are not checked twice.
        """
        self.is_held_up = False
        self.is_hungry = lanes is not None and bool(lanes.by_organization or lanes.held)
        if lanes is None or not lanes.by_organization:
            return None
        return lanes if lanes is before or self._may_start_some(lanes) else None

    def _may_start_some(self, lanes: ReadyLanes) -> bool:
        """Return True if some organization has its keys here and has not reached its limit on running jobs.

        Else the next round reads the lanes again, which is cheap: one statement tells whether anything has changed.
        """
        running = running_by_subject(counted(lanes.running)) if lanes.limits else {}
        left = {one: limit.room(running.get(one, 0), 0) for one, limit in lanes.limits.items()}
        may_start = any(
            all(left[one] for one in lanes.limited.get(lane, ()))
            for name, mine in lanes.by_organization.items()
            if name not in self._checks.locked
            for lane in mine
        )
        if not may_start:
            self.lanes.expire()
        return may_start

    def _claim(self, connection: Connection, lanes: ReadyLanes, slots: int, known: frozenset[UUID]) -> _Round | None:
        # Suspensions are read in the claim's transaction, so only the answers of a host's directory may be late. Limits
        # are counted exactly. If that is slow, limited lanes have one round for each read of the lanes.
        is_counted = self._slowly_counted is not lanes
        is_limited = bool(lanes.limits) and is_counted
        began = begin_claim(
            connection,
            self.database.clock,
            self.card.id,
            lease=self.lease,
            suspended=self.lanes.are_ours,
            running=None if is_limited or (is_counted and self._is_shared(lanes)) else lanes.running,
        )
        if began is None:
            return None
        self._share.ended(known, began.now.timestamp())
        trials = breakers.lock_due(connection, began.now, lanes.trials)
        allowed = self._allowed(lanes, began, trials)
        if not is_counted:
            allowed = [lane for lane in allowed if lane not in lanes.limited] or allowed
        open_lanes, locked = self._lock_limits(connection, began, lanes, allowed, trials=trials, slots=slots)
        if locked:
            # Once more, under the locks: the capacities are exact, and the log keeps to the limits, too.
            since = time.monotonic()
            began = began._replace(running=running_rows(connection), now=self.database.clock.now(connection))
            self._slowly_counted = lanes if time.monotonic() - since > SLOW else None
        starts = self._starts(connection, began, lanes, locked)
        capacities, contenders = self._view(began, lanes, open_lanes, starts=starts, subjects=locked, trials=trials)
        wanted = self._wanted(lanes, contenders, slots, capacities)
        claimed: list[Claimed] = []
        if wanted.rows:
            claimed = engine_of(connection).claim(
                connection, began.now, wanted, worker_id=self.card.id, worker=self.card.name
            )
        if claimed and self.are_over:
            raise StorageUnavailable("The worker leaves; its last claim is undone, and others take these jobs.")
        self._note_starts(connection, began, claimed, lanes)
        breakers.begin_trials(connection, _begun(claimed, trials))
        return _Round(wanted, claimed, began.now.timestamp())

    def _allowed(self, lanes: ReadyLanes, began: Beginning, trials: frozenset[Pair]) -> list[Lane]:
        """Return the lanes that are not paused and whose keys are here.

        Args:
            trials: the pairs whose trial may begin now.
        """
        locked, untried = self._checks.locked, lanes.trials - trials
        gone = {name for name in lanes.by_organization if is_gone(lanes.standings.get(name))} if began.paused else ()
        return [
            lane
            for name, mine in lanes.by_organization.items()
            if name not in locked
            for lane in mine
            if not (began.paused and is_held(lane, began.paused, gone)) and not (untried and lane.pair in untried)
        ]

    def _lock_limits(
        self,
        connection: Connection,
        began: Beginning,
        lanes: ReadyLanes,
        allowed: list[Lane],
        *,
        trials: frozenset[Pair],
        slots: int,
    ) -> tuple[list[Lane], frozenset[Subject]]:
        """Return the lanes under whose limits no other worker is claiming, and those limits, locked.

        There are at most as many limited organizations among them as slots: those whose turn it is, as far as that is
        known before the lock. If other workers hold all of these, the next ones follow, more each time: a claim that
        hangs holds up only the organizations whose limits it has locked.
        """
        limited = {lane: lanes.limited[lane] for lane in allowed if lane in lanes.limited}
        organizations = {lane.organization for lane in limited}
        turns = iter(organizations)
        if len(organizations) > slots:
            starts = self._starts(connection, began, lanes, lanes.limits)
            _, contenders = self._view(began, lanes, allowed, starts=starts, subjects=lanes.limits, trials=trials)
            turns = (name for name in self._share.in_turn(contenders, free=slots) if name in organizations)
        found: list[Lane] = []
        locked, others = frozenset[Subject](), frozenset[Subject]()
        number = slots
        while not found and (chosen := frozenset(islice(turns, number))):
            mine = [one for one in limited if one.organization in chosen and others.isdisjoint(limited[one])]
            wanted = frozenset(subject for lane in mine for subject in limited[lane])
            locked |= running_limits.lock(connection, wanted)
            others |= wanted - locked
            found = [lane for lane in mine if locked.issuperset(limited[lane])]
            number *= 2
        self.is_held_up = bool(others)
        self.lanes.missed(others)
        return [lane for lane in allowed if lane not in limited] + found, locked

    def _view(
        self,
        began: Beginning,
        lanes: ReadyLanes,
        open_lanes: Sequence[Lane],
        *,
        starts: Mapping[Subject, int],
        subjects: Iterable[Subject],
        trials: Iterable[Pair],
    ) -> tuple[dict[Lane, int], dict[str, Contender]]:
        """Return the capacity of each limited lane, and the contenders; exact if the subjects are locked.

        Args:
            began: the time, and the running jobs; counted under the locks, if there are some.
            starts: the number of jobs of the subjects that have started within their windows, if they have any.
            trials: one job of each of these pairs may start.
        """
        running = counted(began.running)
        limits = {subject: lanes.limits[subject] for subject in subjects}
        by_subject = running_by_subject(running) if limits else Counter[Subject]()
        left = {one: limit.room(by_subject[one], starts.get(one, 0)) for one, limit in limits.items()}
        able = [lane for lane in open_lanes if all(left.get(one, 1) for one in lanes.limited.get(lane, ()))]
        capacities = self._capacities.capacities(able, _by_kind(left, trials), running)
        # An organization that is held back stays known, so that it loses neither its turn nor its oldest jobs' share.
        capacities |= dict.fromkeys({*lanes.lanes}.difference(able), 0)
        contenders = self._contenders(lanes, began.running)
        for name, mine in lanes.by_organization.items():
            bounds = [
                left.get(Subject(name, None)),
                _sum(capacities.get(lane) for lane in mine),
                contenders[name].capacity,
            ]
            bound = min((one for one in bounds if one is not None), default=None)
            contenders[name] = contenders[name]._replace(capacity=bound)
        return capacities, contenders

    @staticmethod
    def _starts(
        connection: Connection, began: Beginning, lanes: ReadyLanes, subjects: Iterable[Subject]
    ) -> Mapping[Subject, int]:
        """Count the starts of these subjects within their windows."""
        return running_limits.started(connection, began.now, _windows({one: lanes.limits[one] for one in subjects}))

    @staticmethod
    def _note_starts(connection: Connection, began: Beginning, claimed: Iterable[Claimed], lanes: ReadyLanes) -> None:
        """Store the starts that count for an execution rate."""
        if not (windows := _windows(lanes.limits)):
            return
        subjects = (one for each in claimed for one in subjects_of(each.organization, each.job_type))
        if numbers := Counter(one for one in subjects if one in windows):
            running_limits.note_starts(connection, began.now, numbers, windows)
            running_limits.forget_starts(connection, began.now, {one: windows[one] for one in numbers})


def _changed(done: Iterable[Finished]) -> int:
    return sum(one.transition is not None for one in done)


def _windows(limits: Mapping[Subject, Limit]) -> dict[Subject, float]:
    """Return the window of each limit that has an execution rate, in seconds."""
    return {one: limit.execution_rate_window for one, limit in limits.items() if limit.execution_rate is not None}


def _sum(capacities: Iterable[int | None]) -> int | None:
    """Return the sum; None if one of the capacities is unlimited."""
    known = list(capacities)
    return None if None in known else sum(one for one in known if one is not None)


def _by_kind(left: Mapping[Subject, int], trials: Iterable[Pair]) -> Capacities:
    types = {one.job_type: capacity for one, capacity in left.items() if one.job_type and one.organization is None}
    pairs = {
        Pair(one.organization, one.job_type): capacity
        for one, capacity in left.items()
        if one.job_type and one.organization
    }
    pairs |= {pair: min(pairs.get(pair, 1), 1) for pair in trials}
    organizations = {
        one.organization: capacity for one, capacity in left.items() if one.organization and not one.job_type
    }
    return Capacities(types, pairs, organizations)


def _begun(claimed: Iterable[Claimed], trials: Iterable[Pair]) -> dict[Pair, Trial]:
    """Return the trials that begin with the claimed jobs: one job of each pair at most."""
    pairs = {Pair(one.organization, one.job_type): Trial(one.id, one.attempt, one.lease_token) for one in claimed}
    return {pair: pairs[pair] for pair in trials if pair in pairs}
