"""One claim round: which lanes may start something, how much, and what the claimed jobs need to begin."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain import fairness
from fairlane.domain.backoff import Backoff
from fairlane.domain.outcomes import Outcome, Refused, Released
from fairlane.domain.statuses import JobStatus, OrganizationStatus
from fairlane.registry.directory import Directory, Membership, Standing
from fairlane.runtime.patience import DirectoryAway, ask_members
from fairlane.runtime.reports import AttemptFacts, ParentFacts
from fairlane.store.statements import attempts, claim, job_types, lanes, workers
from fairlane.store.statements.claim import Claimed
from fairlane.store.statements.finish import Finish, finish
from fairlane.store.statements.lanes import Lane
from fairlane.store.statements.workers import WorkerCard
from fairlane.store.transaction import Database

_BATCH = 500
_DEFERRED = 10.0  # seconds a job waits when the directory could not be asked about its user
ORGANIZATION_GONE = "Organization not found"  # R5 names both reasons
PERMISSION_LOST = "Permission denied"


@dataclass(frozen=True, slots=True)
class Ready:
    """A claimed job with all that its attempt needs, or with the outcome that it already has."""

    claimed: Claimed
    facts: AttemptFacts
    verdict: Outcome | None = None


@dataclass(slots=True)
class Claims:
    """Claims for one worker. `claim_round` is called from a thread, never twice at once."""

    database: Database
    directory: Directory
    card: WorkerCard
    _turn: int = field(default=0, init=False)
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
        open_lanes = self.database.read(self._open_lanes)
        if not open_lanes:
            return []
        standings = self._ask_standings({lane.organization for lane in open_lanes})
        if standings is None:
            return []
        open_lanes = [lane for lane in open_lanes if not _is_suspended(standings.get(lane.organization))]
        self._turn += 1
        quotas = fairness.quotas([lane.organization for lane in open_lanes], slots, self._turn)
        # An error from here on may leave claimed jobs that the worker never heard of.
        self._is_unsure = True
        claimed = self.database.write(lambda connection: self._claim(connection, open_lanes, quotas))
        ready = self._prepare(claimed, standings) if claimed else []
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

    def _open_lanes(self, connection: Connection) -> list[Lane]:
        """Lanes with ready jobs that this worker serves and nobody has paused."""
        paused: dict[str, set[str]] = defaultdict(set)
        for pause in job_types.paused(connection):
            paused[pause.subject].add(pause.name)
        mine = set(self.card.job_types)
        return [
            lane
            for lane in lanes.active_lanes(connection)
            if (self.card.queues is None or lane.queue in self.card.queues)
            and lane.job_type in mine
            and lane.queue not in paused["queue"]
            and lane.job_type not in paused["job_type"]
            and lane.organization not in paused["organization"]
        ]

    def _claim(self, connection: Connection, open_lanes: Sequence[Lane], quotas: Mapping[str, int]) -> list[Claimed]:
        if not workers.hold(connection, self.database.clock, self.card.id):
            return []
        now = self.database.clock.now(connection)
        return claim.claim(connection, now, open_lanes, quotas, worker_id=self.card.id, worker=self.card.name)

    def _prepare(self, claimed: Sequence[Claimed], standings: Mapping[str, Standing]) -> list[Ready]:
        members = self._ask_members(claimed)
        extras = self.database.read(lambda connection: _extras(connection, claimed))
        return [Ready(one, _facts(one, *extras[one.lease_token]), _verdict(one, standings, members)) for one in claimed]

    def _ask_standings(self, organizations: set[str]) -> Mapping[str, Standing] | None:
        try:
            return self.directory.organizations(organizations)
        except DirectoryAway:
            return None

    def _ask_members(self, claimed: Sequence[Claimed]) -> Mapping[tuple[str, str], Membership] | None:
        needs = {(one.organization, one.user, one.required_permission) for one in claimed if one.user is not None}
        try:
            return ask_members(self.directory, needs) if needs else {}
        except DirectoryAway:
            return None


def _is_suspended(standing: Standing | None) -> bool:
    return standing is not None and standing.status is OrganizationStatus.SUSPENDED


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
        labels=json.loads(claimed.labels),
        timeout=claimed.timeout,
        checkpoint=checkpoint,
        parents=parents,
    )
