"""One claim round: look at the lanes → lock what is limited → share the slots → claim → what the jobs need to begin."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.breaker import Pair, Trial
from fairlane.domain.errors import ConfigurationError, StorageUnavailable
from fairlane.domain.events import Emit, ServiceFailed
from fairlane.domain.fairness import Lane
from fairlane.domain.holds import pauses_on
from fairlane.domain.limits import Subject
from fairlane.engine import strays
from fairlane.engine.facts import Ready
from fairlane.engine.headcount import Headcount
from fairlane.engine.outlook import Outlook, Outlooks, pair_of
from fairlane.engine.preparing import Preparation
from fairlane.engine.rooms import Turns, View, note_starts, started
from fairlane.engine.service import in_thread
from fairlane.engine.standstill import Standstill
from fairlane.engine.verdict import is_gone
from fairlane.registry.directory import Directory, StoredDirectory
from fairlane.registry.keyring import Keyring
from fairlane.store.line import Line
from fairlane.store.statements import breakers, claim, claim_round, lanes, running_limits
from fairlane.store.statements.claim import Claimed, Wanted, claim_on
from fairlane.store.statements.claim_round import Beginning
from fairlane.store.statements.lanes import Running, RunningRow, running_rows_on
from fairlane.store.statements.workers import WorkerCard
from fairlane.store.transaction import Database

# What the sessions of claims on the loop set: the planner would sort a whole lane, or scan tables that are new.
_SESSION = {"enable_sort": "off", "enable_seqscan": "off"}
_SHORT_ROUND = 250  # jobs: a fifth of the work of a thousand, and little more of it for each


class _Round(NamedTuple):
    """Tell what was wanted and claimed in a claim round, and when, in seconds.

    `is_counted`: what runs was counted under limits' locks; `is_blocked`: nothing of what is ready was let start.
    """

    wanted: Wanted
    claimed: list[Claimed]
    at: float
    is_counted: bool = False
    is_blocked: bool = False


@dataclass(slots=True)
class Claims:
    """Claims for one worker: `claim` on the loop, `claim_round` from a thread, never two at once.

    `is_hungry`: something was ready in the last round and was not claimed; the next round should be soon.
    `is_held_up`: some of that was under a limit under which another worker was claiming.
    `is_unsure`: there may be jobs under the worker's lease that it does not know; the next round gives them back.
    """

    database: Database
    directory: Directory
    card: WorkerCard
    lease: float
    outlooks: Outlooks
    keyring: Keyring = field(default_factory=Keyring)
    emit: Emit = field(default=lambda _event: None)
    threads: Executor | None = None
    _line: Line | None = field(default=None, init=False)  # on PostgreSQL
    _looks: Line | None = field(default=None, init=False)  # the same, for what is looked at beside the claims
    _looking: asyncio.Task[None] | None = field(default=None, init=False)
    is_hungry: bool = field(default=False, init=False)
    is_held_up: bool = field(default=False, init=False)
    is_unsure: bool = field(default=False, init=False)
    _turns: Turns = field(init=False)
    _headcount: Headcount = field(init=False)
    _standstill: Standstill = field(init=False)
    _counted_for: Sequence[RunningRow] | None = field(default=None, init=False)  # of the outlook, for what is limited
    _preparation: Preparation = field(init=False)

    def __post_init__(self) -> None:
        self._turns = Turns()
        self._headcount = Headcount(self.card.id)
        self._standstill = Standstill(self.database, self.directory, self.card.queues)
        self._preparation = Preparation(self.database, self.directory, self.keyring, self.emit)
        if self.threads is not None and self.database.is_postgres:
            self._line, self._looks = (Line(self.database, self.threads, _SESSION) for _ in range(2))

    @property
    def _are_ours(self) -> bool:
        return isinstance(self.directory, StoredDirectory)

    def locked(self) -> frozenset[str]:
        """The organizations that have nothing claimed here, since their keys are not here; from any thread."""
        return self._preparation.locked

    def doubt(self) -> None:
        """Something went wrong with what was claimed: the next round gives back what the worker does not know."""
        self.is_unsure = True

    async def claim(self, slots: int, known: frozenset[UUID]) -> list[Ready]:
        """Claim up to `slots` jobs, by one statement on the loop where nothing but jobs has to be looked at or locked.

        Args:
            known: the leases that the worker has already.

        Raises:
            StorageUnavailable, ConfigurationError
        """
        line = self._line
        if line is None or slots <= 0 or self.is_unsure or self._preparation.locked or self._standstill.is_watched:
            return await in_thread(self.threads, partial(self.claim_round, slots, known))
        self.is_held_up = False
        outlook = self.outlooks.last()
        if outlook is None or self.outlooks.is_missing_some():
            if self._looking is not None and not self._looking.done():
                await self._looking  # it has the line, and perhaps began before the hint
            await self.outlooks.look(self._looks, self.threads)
            outlook = self.outlooks.current
            if outlook is None or not outlook.lanes:
                self.is_hungry = False
                self._standstill.ended(outlook, None, is_blocked=not self.outlooks.is_dear())
                return []
        elif self.outlooks.is_due() and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look())
        running = await running_rows_on(line) if self._is_shared(outlook) else outlook.running
        wanted = self._simple(outlook, slots, known, running)
        if wanted is None:
            return await in_thread(self.threads, partial(self.claim_round, slots, known))
        self.is_hungry = True
        self.is_unsure = True
        claimed = await claim_on(line, wanted, worker_id=self.card.id, worker=self.card.name, are_ours=self._are_ours)
        self._remember(_Round(wanted, claimed, self.outlooks.moment(outlook).timestamp()), outlook)
        prepare = partial(self._preparation.prepare, claimed, outlook.standings)
        ready = (
            prepare()
            if self._preparation.are_bare(claimed, outlook.standings)
            else await in_thread(self.threads, prepare)
        )
        self.is_unsure = False
        return ready

    async def close(self) -> None:
        """Look no more, and close the connections of the loop."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        for line in filter(None, (self._line, self._looks)):
            await line.close()

    async def _look(self) -> None:
        try:
            await self.outlooks.look(self._looks, self.threads)
        except (StorageUnavailable, ConfigurationError):
            return  # of which the claims will tell
        except Exception as error:  # noqa: BLE001 - a mistake in a look must not end the worker
            self.emit(ServiceFailed("claim", error))

    def _is_shared(self, outlook: Outlook) -> bool:
        """Whether others' jobs on other workers count for whose turn it is."""
        is_of_many = any(lane.organization != outlook.lanes[0].organization for lane in outlook.lanes)
        return is_of_many and any(row.worker != self.card.id for row in outlook.running)

    def _simple(
        self, outlook: Outlook, slots: int, known: frozenset[UUID], running: Sequence[RunningRow]
    ) -> Wanted | None:
        """Return what to claim; None where that takes more than one statement."""
        if not outlook.is_simple:
            return None
        began = Beginning(self.outlooks.moment(outlook), outlook.paused, self._headcount.running(running, known))
        self._turns.share.ended(known, began.now.timestamp())
        lanes = _allowed(outlook, outlook.paused, frozenset())
        view = self._turns.view(began, outlook, lanes, started={}, subjects=(), trials=())
        wanted = self._wanted(outlook, lanes, view, slots)
        return wanted if any(wanted.rows()) else None

    def claim_round(self, slots: int, known: frozenset[UUID]) -> list[Ready]:
        """Claim up to `slots` jobs; none at all still gives back what the worker does not know.

        Args:
            known: the leases that the worker has already.

        Raises:
            StorageUnavailable, ConfigurationError
        """
        if self.is_unsure:
            self.give_back(known)
        if slots <= 0:
            return []
        self.is_held_up = False
        if self._preparation.locked:
            self._preparation.look_for_keys()
        if (seen := self._standstill.look(self._preparation.locked)) is not None:
            if self._standstill.goes_on(seen):
                return []
            self.outlooks.drop()
        outlook = self.outlooks.now()
        self.is_hungry = bool(outlook and outlook.lanes)
        if outlook is None or not outlook.lanes:
            self._standstill.ended(outlook, seen, is_blocked=not self.outlooks.is_dear())
            return []
        # An error from here on may leave claimed jobs that the worker never heard of.
        was_unsure, self.is_unsure = self.is_unsure, True
        count = self._headcount.running(outlook.running, known)
        running = count if outlook.rungs else None  # else it is cheap to count what runs
        done = self.database.write(lambda connection: self._claim(connection, outlook, running, slots, known))
        claimed = done.claimed
        self._remember(done, outlook)
        if done.is_counted and outlook.rungs:
            self._counted_for = outlook.running
        is_blocked = done.is_blocked and not self.is_held_up and not self.outlooks.is_dear()
        self._standstill.ended(outlook, seen, is_blocked=is_blocked)
        ready = self._preparation.prepare(claimed, outlook.standings) if claimed else []
        self.is_unsure = was_unsure
        return ready

    def give_back(self, known: frozenset[UUID]) -> int:
        """Release the jobs that run under this worker's lease but are not `known`; how many."""
        number, self.is_unsure = strays.give_back(self.database, self.card, known, are_ours=self._are_ours)
        return number

    def leave(self) -> int:
        """Give back whatever still runs under this worker's lease, and remove the worker; how many jobs that were."""
        return strays.leave(self.database, self.card, are_ours=self._are_ours)

    def _claim(
        self,
        connection: Connection,
        outlook: Outlook,
        running: Running | None,
        slots: int,
        known: frozenset[UUID],
    ) -> _Round:
        # Suspensions are read in the claim's transaction, so that nothing comes late but what a host's directory says.
        began = claim_round.begin(
            connection, self.database.clock, self.card.id, lease=self.lease, suspended=self._are_ours, running=running
        )
        if began is None:
            return _Round(Wanted((), {}, {}), [], 0.0)
        self._turns.share.ended(known, began.now.timestamp())
        trials = breakers.lock_due(connection, began.now, outlook.trials)
        locked_out = frozenset(("organization", one) for one in self._preparation.locked)
        allowed = _allowed(outlook, _pauses(began, outlook) | locked_out, trials)
        if self._counted_for is not None and self._counted_for is outlook.running:
            # Limits are counted exactly, which is dear: what has any had its round after this look.
            allowed = [lane for lane in allowed if not outlook.limited[lane]] or allowed
        open_lanes, locked = self._lock_limits(connection, began, outlook, allowed, trials=trials, slots=slots)
        if locked:
            # Once more, under the locks: what the limits leave is exact, and what the log says keeps to them, too.
            began = began._replace(running=lanes.running(connection), now=self.database.clock.now(connection))
        counted = started(connection, began, outlook, locked)
        view = self._turns.view(began, outlook, open_lanes, started=counted, subjects=locked, trials=trials)
        wanted = self._wanted(outlook, open_lanes, view, slots)
        claimed = claim.claim(connection, view.now, wanted, worker_id=self.card.id, worker=self.card.name)
        note_starts(connection, view.now, claimed, outlook)
        breakers.begin_trials(connection, _begun(claimed, trials))
        return _Round(wanted, claimed, view.now.timestamp(), is_counted=bool(locked), is_blocked=not any(wanted.rows()))

    def _wanted(self, outlook: Outlook, lanes: Sequence[Lane], view: View, slots: int) -> Wanted:
        # While jobs come in, somebody new may be among them: nobody shall wait behind a round of a thousand.
        most = _SHORT_ROUND if self.outlooks.is_expecting() else slots
        quotas = self._turns.share.quotas(view.contenders, free=min(slots, most))
        return Wanted(lanes, view.rooms, quotas, outlook.rungs)

    def _lock_limits(
        self,
        connection: Connection,
        began: Beginning,
        outlook: Outlook,
        allowed: list[Lane],
        *,
        trials: frozenset[Pair],
        slots: int,
    ) -> tuple[list[Lane], frozenset[Subject]]:
        """The lanes under whose limits nobody else is claiming; those limits, locked.

        Of limited organizations there are no more among them than there are slots: those whose turn it is, as far as
        can be seen before the lock. Where others hold all of these, the next ones come, more each time: a claim that
        hangs holds up none but those whose limits it has.
        """
        limited = [lane for lane in allowed if outlook.limited[lane]]
        organizations = {lane.organization for lane in limited}
        turns = iter(organizations)
        if len(organizations) > slots:
            limits = outlook.limits
            counted = started(connection, began, outlook, limits)
            view = self._turns.view(began, outlook, allowed, started=counted, subjects=limits, trials=trials)
            turns = (name for name in self._turns.share.in_turn(view.contenders, free=slots) if name in organizations)
        found: list[Lane] = []
        locked: frozenset[Subject] = frozenset()
        held: frozenset[Subject] = frozenset()
        number = slots
        while not found and (chosen := frozenset(islice(turns, number))):
            mine = [one for one in limited if one.organization in chosen and held.isdisjoint(outlook.limited[one])]
            wanted = frozenset(subject for lane in mine for subject in outlook.limited[lane])
            locked |= running_limits.lock(connection, wanted)
            held |= wanted - locked
            found = [lane for lane in mine if locked.issuperset(outlook.limited[lane])]
            number *= 2
        self.is_held_up = bool(held)
        self.outlooks.missed(held)
        return [lane for lane in allowed if not outlook.limited[lane]] + found, locked

    def _remember(self, done: _Round, outlook: Outlook) -> None:
        """Whose turn it was, and which lanes turned out to be empty."""
        wanted, claimed = done.wanted, done.claimed
        by_lane = Counter(Lane(one.queue, one.organization, one.job_type) for one in claimed)
        by_organization = Counter(one.organization for one in claimed)
        self._turns.took(wanted, by_lane)
        self._turns.share.started({one.lease_token: one.organization for one in claimed}, done.at)
        self._headcount.claimed(claimed)
        empty = (
            lane
            for lane, room, quota in wanted.rows()
            if by_lane[lane] < room and by_organization[lane.organization] < quota.jobs
        )
        self.outlooks.claimed(outlook, claimed, empty)


def _allowed(outlook: Outlook, paused: frozenset[tuple[str, str]], trials: frozenset[Pair]) -> list[Lane]:
    """The lanes of which nothing is paused.

    Args:
        trials: those of the outlook's trials that may begin now.
    """
    found = [lane for lane in outlook.lanes if paused.isdisjoint(pauses_on(lane))] if paused else list(outlook.lanes)
    if untried := outlook.trials - trials:
        found = [lane for lane in found if pair_of(lane) not in untried]
    return found


def _pauses(began: Beginning, outlook: Outlook) -> frozenset[tuple[str, str]]:
    """What is paused, but for organizations that are gone: what waits there is claimed, to be refused."""
    if not began.paused:
        return began.paused
    gone = {lane.organization for lane in outlook.lanes if is_gone(outlook.standings.get(lane.organization))}
    return began.paused - {("organization", organization) for organization in gone}


def _begun(claimed: Iterable[Claimed], trials: Iterable[Pair]) -> dict[Pair, Trial]:
    """The trials that begin with what was claimed: of each pair it is one job at most."""
    pairs = {Pair(one.organization, one.job_type): Trial(one.id, one.attempt, one.lease_token) for one in claimed}
    return {pair: pairs[pair] for pair in trials if pair in pairs}
