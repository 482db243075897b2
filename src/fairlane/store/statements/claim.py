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

# Jobs that are ready for longer than this have a share of the claims, whatever their priority, so that none starves.
AGED: Final = timedelta(minutes=1)
RANKS: Final = sorted(PRIORITY_RANK.values())
# Octets of parameters, after which a claim takes no more jobs. Decoding them blocks the loop for some 20 ms, or half a
# second in the worst case.
MOST_AT_ONCE: Final = 1_000_000
# The mark of an unknown lane.
_FRONT: Final = Mark(RANKS[0], "-infinity", "00000000-0000-0000-0000-000000000000")
WantedRows: TypeAlias = Sequence[tuple[Lane, int, Quota]]


class Claimed(NamedTuple):
    """A job that this worker may run, as long as the row has this `lease_token`.

    `role` and `permissions` (JSON) are the user's in Fairlane's own directory; None = the user is no member there.
    `headers` are JSON; None = there are none.
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
    headers: str | None = None


@dataclass(frozen=True)
class Wanted:
    """The bounds of a claim: its lanes, the capacity of each lane, and the quota of each organization.

    The lanes of an organization are neighbors. If jobs are too large for one claim, the first lanes go first. A lane
    without a capacity is unlimited. PostgreSQL reads each lane from its mark on: index entries of claimed jobs cost
    nothing, and newer jobs before the mark are not seen.
    """

    lanes: Sequence[Lane]
    capacities: Mapping[Lane, int]
    quotas: Mapping[str, Quota]
    marks: Mapping[Lane, Mark] = field(default_factory=dict)

    @cached_property
    def rows(self) -> WantedRows:
        """Return each lane that may start jobs, with its capacity and its organization's quota."""
        found = []
        for lane in self.lanes:
            quota = self.quotas.get(lane.organization)
            room = 0 if quota is None else min(self.capacities.get(lane, quota.jobs), quota.jobs)
            if quota is not None and room > 0:
                found.append((lane, room, quota))
        return found


async def claim_on(line: Line, wanted: Wanted, *, worker_id: UUID, worker: str, are_ours: bool) -> list[Claimed]:
    """Claim jobs on the event loop, by one statement without a transaction.

    The statement claims nothing if the worker has lost its lease, and nothing from lanes that were paused or suspended
    meanwhile.

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
    """Return the statement that claims without a transaction, where there is one, and its values except the time."""
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
