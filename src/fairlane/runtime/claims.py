"""One claim round: look at the lanes → take what is limited → share the slots → claim → what the jobs need to begin."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.backoff import Backoff
from fairlane.domain.breaker import Pair, Trial
from fairlane.domain.fairness import Contender, FairShare, Lane, Rooms, lane_rooms
from fairlane.domain.limits import Limit, Subject, running_by_subject, subjects_of
from fairlane.domain.outcomes import Outcome, Refused, Released
from fairlane.domain.statuses import JobStatus, OrganizationStatus
from fairlane.registry.directory import Directory, Membership, Standing
from fairlane.runtime.outlook import Outlook, Outlooks, pair_of
from fairlane.runtime.patience import DirectoryAway, ask_members
from fairlane.runtime.reports import AttemptFacts, ParentFacts
from fairlane.store.statements import attempts, breakers, claim, job_types, lanes, running_limits, workers
from fairlane.store.statements.claim import Claimed, Wanted
from fairlane.store.statements.finish import Finish, finish
from fairlane.store.statements.workers import WorkerCard
from fairlane.store.transaction import Database

_BATCH = 500
_NO_LABELS = "{}"
_DEFERRED = 10.0  # seconds a job waits when the directory could not be asked about its user
ORGANIZATION_GONE = "Organization not found"  # R5 names both reasons
PERMISSION_LOST = "Permission denied"


class Ready(NamedTuple):
    """A claimed job with all that its attempt needs, or with the outcome that it already has."""

    claimed: Claimed
    facts: AttemptFacts
    verdict: Outcome | None = None


@dataclass(slots=True)
class Claims:
    """Claims for one worker. `claim_round` is called from a thread, never twice at once.

    `is_hungry`: something was ready in the last round and was not claimed; the next round should be soon.
    """

    database: Database
    directory: Directory
    card: WorkerCard
    outlooks: Outlooks
    is_hungry: bool = field(default=False, init=False)
    _share: FairShare = field(default_factory=FairShare, init=False)
    _started: Counter[str] = field(default_factory=Counter, init=False)  # by job type
    _passed: frozenset[Lane] = field(default=frozenset(), init=False)  # had room in the last round and took nothing
    _is_unsure: bool = field(default=False, init=False)

    def doubt(self) -> None:
        """Something went wrong with what was claimed: the next round gives back what the worker does not know."""
        self._is_unsure = True

    def claim_round(self, slots: int, known: frozenset[UUID]) -> list[Ready]:
        """Claim up to `slots` jobs.

        Args:
            known: the leases that the worker has already.

        Raises:
            StorageUnavailable, ConfigurationError
        """
        if self._is_unsure:
            self.give_back(known)
            self._is_unsure = False
        outlook = self.outlooks.now()
        self.is_hungry = bool(outlook and outlook.lanes)
        if outlook is None or not outlook.lanes:
            return []
        # An error from here on may leave claimed jobs that the worker never heard of.
        self._is_unsure = True
        plan, claimed = self.database.write(lambda connection: self._claim(connection, outlook, slots))
        self._remember(plan, claimed)
        ready = self._prepare(claimed, outlook.standings) if claimed else []
        self._is_unsure = False
        return ready

    def give_back(self, known: frozenset[UUID]) -> int:
        """Release the jobs that run under this worker's lease but are not `known`; how many.

        They are left by a claim that was committed although its answer, or what its jobs need to begin, was lost.
        """

        def work(connection: Connection) -> int:
            mine = workers.running_jobs(connection, self.card.id, len(known) + _BATCH)
            strays = [row for row in mine if row.lease_token not in known]
            lost = Released("its claim was cut off")
            ends = [
                Finish(row.organization_id, row.id, row.job_type, row.lease_token, lost, Backoff(), self.card.name)
                for row in strays
            ]
            return len(finish(connection, self.database.clock.now(connection), ends, Random()))  # noqa: S311

        return self.database.write(work)

    def _claim(self, connection: Connection, outlook: Outlook, slots: int) -> tuple[Wanted, list[Claimed]]:
        if not workers.hold(connection, self.database.clock, self.card.id):
            return Wanted((), {}, {}), []
        trials = breakers.lock_due(connection, self.database.clock.now(connection), outlook.trials)
        open_lanes, locked = self._open_lanes(connection, outlook, trials)
        running = lanes.running(connection)
        # Taken under the locks, and after the count: what the log says keeps to the limits, too.
        now = self.database.clock.now(connection)
        rooms = _rooms(connection, now, outlook, locked, running)
        in_lanes = lane_rooms(open_lanes, _lane_limits(rooms, trials), running, self._started, self._passed)
        # Whoever is held back stays known, so that it loses neither its turn nor what its oldest jobs are owed.
        in_lanes |= dict.fromkeys(set(outlook.lanes).difference(open_lanes), 0)
        contenders = _contenders(outlook, running, rooms, in_lanes)
        active = {name for name, one in contenders.items() if one.room != 0} | {one for _, one in running}
        reserve = self._share.reserve(self.card.slots, active, time.monotonic())
        wanted = Wanted(open_lanes, in_lanes, self._share.quotas(contenders, free=slots, reserve=reserve))
        claimed = claim.claim(connection, now, wanted, worker_id=self.card.id, worker=self.card.name)
        _note_starts(connection, now, claimed, outlook)
        breakers.begin_trials(connection, _begun(claimed, trials))
        return wanted, claimed

    def _open_lanes(
        self, connection: Connection, outlook: Outlook, trials: frozenset[Pair]
    ) -> tuple[list[Lane], frozenset[Subject]]:
        """The lanes of which nothing is paused and whose limits nobody else is claiming under; those limits, locked.

        The pauses are read here, in the claim's transaction, so that none comes late.

        Args:
            trials: those of the outlook's trials that may begin now.
        """
        paused = {(pause.subject, pause.name) for pause in job_types.paused(connection)}
        found = [lane for lane in outlook.lanes if not paused & _pausable(lane)] if paused else list(outlook.lanes)
        if untried := outlook.trials - trials:
            found = [lane for lane in found if pair_of(lane) not in untried]
        limited = {lane: [one for one in subjects_of(*pair_of(lane)) if one in outlook.limits] for lane in found}
        locked = running_limits.lock(connection, {subject for subjects in limited.values() for subject in subjects})
        open_lanes = [lane for lane in found if locked.issuperset(limited[lane])]
        return open_lanes, locked

    def _remember(self, wanted: Wanted, claimed: Sequence[Claimed]) -> None:
        """Whose turn it was, and which lanes turned out to be empty."""
        by_lane = Counter(Lane(one.queue, one.organization, one.job_type) for one in claimed)
        by_organization = Counter(one.organization for one in claimed)
        self._started.update(one.job_type for one in claimed)
        self._share.started(by_organization)
        self._passed = frozenset(lane for lane, *_ in wanted.rows() if lane in wanted.rooms and not by_lane[lane])
        self.outlooks.forget(
            lane
            for lane, room, quota in wanted.rows()
            if by_lane[lane] < room and by_organization[lane.organization] < quota.jobs
        )

    def _prepare(self, claimed: Sequence[Claimed], standings: Mapping[str, Standing]) -> list[Ready]:
        members = self._ask_members(claimed)
        extras = self.database.read(lambda connection: _extras(connection, claimed))
        return [Ready(one, _facts(one, *extras[one.lease_token]), _verdict(one, standings, members)) for one in claimed]

    def _ask_members(self, claimed: Sequence[Claimed]) -> Mapping[tuple[str, str], Membership] | None:
        needs = {(one.organization, one.user, one.required_permission) for one in claimed if one.user is not None}
        try:
            return ask_members(self.directory, needs) if needs else {}
        except DirectoryAway:
            return None


def _pausable(lane: Lane) -> set[tuple[str, str]]:
    return {("queue", lane.queue), ("job_type", lane.job_type), ("organization", lane.organization)}


def _rooms(
    connection: Connection,
    now: datetime,
    outlook: Outlook,
    locked: Iterable[Subject],
    running: Mapping[tuple[str, str], int],
) -> dict[Subject, int]:
    """How many more jobs may start under each limit; counted after it was locked."""
    limits = {subject: outlook.limits[subject] for subject in locked}
    started = running_limits.started(connection, now, _windows(limits))
    at_work = running_by_subject(running)
    return {one: limit.room(at_work[one], started.get(one, 0)) for one, limit in limits.items()}


def _windows(limits: Mapping[Subject, Limit]) -> dict[Subject, float]:
    """The window of each that has an execution rate, in seconds."""
    return {one: limit.execution_rate_window for one, limit in limits.items() if limit.execution_rate is not None}


def _lane_limits(rooms: Mapping[Subject, int], trials: Iterable[Pair]) -> Rooms:
    types = {one.job_type: room for one, room in rooms.items() if one.job_type and one.organization is None}
    pairs = {(one.job_type, one.organization): room for one, room in rooms.items() if one.job_type and one.organization}
    for organization, job_type in trials:
        pairs[job_type, organization] = min(pairs.get((job_type, organization), 1), 1)
    organizations = {one.organization: room for one, room in rooms.items() if one.organization and not one.job_type}
    return Rooms(types, pairs, organizations)


def _contenders(
    outlook: Outlook,
    running: Mapping[tuple[str, str], int],
    rooms: Mapping[Subject, int],
    in_lanes: Mapping[Lane, int],
) -> dict[str, Contender]:
    by_organization: dict[str, list[Lane]] = defaultdict(list)
    for lane in outlook.lanes:
        by_organization[lane.organization].append(lane)
    at_work: Counter[str] = Counter()
    for (_, organization), number in running.items():
        at_work[organization] += number
    found = {}
    for organization, mine in by_organization.items():
        standing = outlook.standings.get(organization)
        bounds = [rooms[one] for one in [Subject(organization, None)] if one in rooms]
        if all(lane in in_lanes for lane in mine):
            bounds.append(sum(in_lanes[lane] for lane in mine))
        weight = standing.weight if standing is not None else 1
        found[organization] = Contender(weight, at_work[organization], min(bounds, default=None))
    return found


def _begun(claimed: Iterable[Claimed], trials: Iterable[Pair]) -> dict[Pair, Trial]:
    """The trials that begin with what was claimed: of each pair it is one job at most."""
    pairs = {Pair(one.organization, one.job_type): Trial(one.id, one.attempt, one.lease_token) for one in claimed}
    return {pair: pairs[pair] for pair in trials if pair in pairs}


def _note_starts(connection: Connection, now: datetime, claimed: Iterable[Claimed], outlook: Outlook) -> None:
    """Write down the starts that count for an execution rate."""
    windows = _windows(outlook.limits)
    subjects = (one for each in claimed for one in subjects_of(each.organization, each.job_type))
    if numbers := Counter(one for one in subjects if one in windows):
        running_limits.note_starts(connection, now, numbers)
        running_limits.forget_starts(connection, now, {one: windows[one] for one in numbers})


def _verdict(
    claimed: Claimed,
    standings: Mapping[str, Standing],
    members: Mapping[tuple[str, str], Membership] | None,
) -> Outcome | None:
    """What the checks at start say; None = go. Only a definite no ends a job."""
    standing = standings.get(claimed.organization)
    if standing is None or standing.status is OrganizationStatus.DELETED:
        return Refused(ORGANIZATION_GONE)
    if claimed.user is None:
        return None
    if members is None:
        return Released("the directory could not be asked about its user", _DEFERRED)
    membership = members.get((claimed.organization, claimed.user))
    if membership is None or not membership.may_submit(claimed.required_permission):
        return Refused(PERMISSION_LOST)
    return None


def _extras(
    connection: Connection, claimed: Sequence[Claimed]
) -> dict[UUID, tuple[str | None, tuple[ParentFacts, ...]]]:
    """Checkpoint and parents of each job, where it has any, by its lease."""
    return {
        one.lease_token: (
            attempts.checkpoint_of(connection, one.organization, one.id) if one.attempt > 1 else None,
            _parents(connection, one) if one.has_parents else (),
        )
        for one in claimed
    }


def _parents(connection: Connection, claimed: Claimed) -> tuple[ParentFacts, ...]:
    rows = attempts.parents_of(connection, claimed.organization, claimed.id)
    files: dict[UUID, dict[str, str]] = defaultdict(dict)
    for file in attempts.artifacts_of(connection, claimed.organization, [row.id for row in rows]):
        files[file.job_id][file.name] = file.path
    return tuple(
        ParentFacts(
            id=row.id,
            job_type=row.job_type,
            status=JobStatus(row.status),
            result=json.loads(row.value) if row.value is not None else None,
            labels=json.loads(row.labels),
            artifacts=files[row.id],
        )
        for row in rows
    )


def _facts(claimed: Claimed, checkpoint: str | None, parents: tuple[ParentFacts, ...]) -> AttemptFacts:
    return AttemptFacts(
        organization=claimed.organization,
        job_id=claimed.id,
        job_type=claimed.job_type,
        user=claimed.user,
        attempt=claimed.attempt,
        lease_token=claimed.lease_token,
        parameters=claimed.parameters,
        labels=json.loads(claimed.labels) if claimed.labels != _NO_LABELS else {},
        timeout=claimed.timeout,
        checkpoint=checkpoint,
        parents=parents,
    )
