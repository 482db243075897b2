"""Claiming: ready jobs of the given lanes become running, each under a lease token that is never used again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, cached_property
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import TextClause

from fairlane.domain import transitions
from fairlane.domain.fairness import Lane, Quota
from fairlane.domain.statuses import PRIORITY_RANK
from fairlane.store.engine import DatabaseEngine
from fairlane.store.line import Line
from fairlane.store.statements.lanes import Mark
from fairlane.store.statements.transition import values_for_many

# What is ready for longer than this has a share of the claims whatever its priority, so that nothing starves.
AGED: Final = timedelta(minutes=1)
RANKS: Final = sorted(PRIORITY_RANK.values())
# Octets of parameters, after which a claim takes no other job. To decode them takes a loop some 20 ms, or half a second
# where they are what takes longest.
MOST_AT_ONCE: Final = 1_000_000
# The mark of a lane of which nothing is known.
_FRONT: Final = Mark(RANKS[0], "-infinity", "00000000-0000-0000-0000-000000000000")
WantedRows: TypeAlias = Sequence[tuple[Lane, int, Quota]]


class Claimed(NamedTuple):
    """A job that this worker may run, for as long as `lease_token` is the row's.

    `role` and `permissions` (JSON) are its user's in Fairlane's own directory; None: they are no member there.
    """

    organization: str
    id: UUID
    job_type: str
    queue: str
    user: str | None
    required_permission: str | None
    parameters: str
    labels: str
    attempt: int
    timeout: float | None
    lease_token: UUID
    priority: int
    run_at: datetime
    has_parents: bool
    role: str | None = None
    permissions: str | None = None


@dataclass(frozen=True)
class Wanted:
    """What a claim may take: from these lanes, no more than a lane's room and an organization's quota.

    The lanes of an organization stand together. Where jobs are too large for one claim, who stands first goes first.
    Lanes without a room are unlimited. PostgreSQL reads each lane from its mark on: what was claimed before costs
    nothing, and what came before the mark since then is not seen.
    """

    lanes: Sequence[Lane]
    capacities: Mapping[Lane, int]
    quotas: Mapping[str, Quota]
    marks: Mapping[Lane, Mark] = field(default_factory=dict)

    @cached_property
    def rows(self) -> WantedRows:
        """Return each lane that may start something, with its room and its organization's quota."""
        found = []
        for lane in self.lanes:
            quota = self.quotas.get(lane.organization)
            room = 0 if quota is None else min(self.capacities.get(lane, quota.jobs), quota.jobs)
            if quota is not None and room > 0:
                found.append((lane, room, quota))
        return found


async def claim_on(line: Line, wanted: Wanted, *, worker_id: UUID, worker: str, are_ours: bool) -> list[Claimed]:
    """Do as `DatabaseEngine.claim`, on the event loop, in one statement that begins by itself.

    Nothing is claimed for a worker that was given up, nor of what was paused or suspended meanwhile.

    Args:
        are_ours: whether the organizations are in Fairlane's own directory.

    Raises:
        FairlaneError: as `Line.fetch`.
    """
    its, values = alone(line.database.kind, wanted, worker_id=worker_id, worker=worker, are_ours=are_ours)
    return [Claimed._make(row) for row in await line.fetch(its, values)]


def alone(
    engine: DatabaseEngine, wanted: Wanted, *, worker_id: UUID, worker: str, are_ours: bool
) -> tuple[TextClause, dict[str, object]]:
    """Return the statement that claims by itself, where a database has one, and its values but the time."""
    marks, rows = wanted.marks, wanted.rows
    lanes = [(*lane, room, quota.jobs, quota.oldest, *marks.get(lane, _FRONT)) for lane, room, quota in rows]
    values = {
        **values_for_many(transitions.claim(worker), worker),
        "worker_id": worker_id,
        "lanes": json.dumps(lanes),
        "stands_alone": True,
        "are_ours": are_ours,
        "most": MOST_AT_ONCE,
    }
    if any(quota.oldest for _, _, quota in rows):
        return _claim(engine), {**values, "ranks": RANKS, "aged": AGED}
    return _claim(engine, without="oldest"), values


@cache
def _claim(engine: DatabaseEngine, *, without: str | None = None) -> TextClause:
    return engine.statement("claim", without=without).execution_options(fairlane_across="claim")
