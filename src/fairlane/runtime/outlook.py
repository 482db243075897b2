"""What a claim round goes by: which lanes have something, how their organizations stand, and what limits there are.

It is read a little before the claim and kept for a tenth of a second, so that a busy worker does not look at all lanes
again for each batch. What must not be late (pauses, limits' counts) is read in the claim's own transaction.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection

from fairlane.domain.fairness import Lane
from fairlane.domain.limits import Limit, Subject
from fairlane.domain.statuses import OrganizationStatus
from fairlane.registry.directory import Directory, Standing
from fairlane.runtime.patience import DirectoryAway
from fairlane.store.statements import lanes, running_limits
from fairlane.store.statements.workers import WorkerCard
from fairlane.store.transaction import Database


@dataclass(frozen=True, slots=True)
class Outlook:
    """Lanes that this worker serves, without those of suspended organizations; limits of these lanes only."""

    lanes: tuple[Lane, ...]
    standings: Mapping[str, Standing]
    limits: Mapping[Subject, Limit]

    def without(self, gone: Iterable[Lane]) -> "Outlook":
        """The same without lanes that have turned out to be empty."""
        left = set(gone)
        return replace(self, lanes=tuple(lane for lane in self.lanes if lane not in left))


@dataclass(slots=True)
class Outlooks:
    """Reads outlooks for one worker.

    Args:
        own_limits: those that the job types of this process name themselves.
        kept: how long an outlook holds, in seconds.
    """

    database: Database
    directory: Directory
    card: WorkerCard
    own_limits: Mapping[str, Limit]
    kept: float = 0.1
    _kept: Outlook | None = field(default=None, init=False)
    _read_at: float = field(default=0.0, init=False)
    _prepared: frozenset[Subject] = field(default=frozenset(), init=False)

    def now(self) -> Outlook | None:
        """The outlook, at most a tenth of a second old; None while the directory can't be asked.

        Raises:
            StorageUnavailable, ConfigurationError
        """
        at = time.monotonic()
        if self._kept is None or not self._kept.lanes or at - self._read_at > self.kept:
            self._kept = self._read()
            self._read_at = at
        return self._kept

    def forget(self, empty: Iterable[Lane]) -> None:
        """Leave these lanes out until the next look."""
        if self._kept is not None:
            self._kept = self._kept.without(empty)

    def _read(self) -> Outlook | None:
        found = self.database.look(self._look)
        if not found:
            return Outlook((), {}, {})
        overrides = self.database.look(running_limits.overrides)
        try:
            standings = self.directory.organizations({lane.organization for lane in found})
        except DirectoryAway:
            return None
        open_ = tuple(lane for lane in found if not _is_suspended(standings.get(lane.organization)))
        limits = self._limits(open_, standings, overrides)
        if new := limits.keys() - self._prepared:
            self.database.write(lambda connection: running_limits.prepare(connection, new))
            self._prepared |= new
        return Outlook(open_, standings, limits)

    def _look(self, connection: Connection) -> list[Lane]:
        mine = set(self.card.job_types)
        queues = self.card.queues
        return [
            lane
            for lane in lanes.active_lanes(connection)
            if lane.job_type in mine and (queues is None or lane.queue in queues)
        ]

    def _limits(
        self,
        open_lanes: Iterable[Lane],
        standings: Mapping[str, Standing],
        overrides: Mapping[Subject, Mapping[str, Any]],
    ) -> dict[Subject, Limit]:
        found: dict[Subject, Limit] = {}
        for lane in open_lanes:
            standing = standings.get(lane.organization)
            own = self.own_limits.get(lane.job_type, Limit())
            every, pair = Subject(None, lane.job_type), Subject(lane.organization, lane.job_type)
            found[Subject(lane.organization, None)] = Limit(standing.max_running if standing else None)
            found[every] = replace(own, **overrides.get(every, {}))
            found[pair] = Limit(**overrides.get(pair, {}))
        return {subject: limit for subject, limit in found.items() if not limit.is_unlimited}


def _is_suspended(standing: Standing | None) -> bool:
    return standing is not None and standing.status is OrganizationStatus.SUSPENDED
