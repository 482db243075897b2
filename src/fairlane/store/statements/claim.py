"""Claiming: ready jobs of the given lanes become running, each under a lease token that is never used again."""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import accumulate, groupby, zip_longest
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import Connection, TextClause

from fairlane.domain import transitions
from fairlane.domain.fairness import Lane, Quota
from fairlane.domain.statuses import PRIORITY_RANK
from fairlane.store.engine import engine_of
from fairlane.store.line import Line
from fairlane.store.sql import statement
from fairlane.store.statements.lanes import Mark
from fairlane.store.statements.transition import values_for_many
from fairlane.store.tables import Instant

# What is ready for longer than this has a share of the claims whatever its priority, so that nothing starves.
AGED: Final = timedelta(minutes=1)
_RANKS: Final = sorted(PRIORITY_RANK.values())
# Octets of parameters, after which a claim takes no other job: a worker's loop stands for some 20 ms to decode them.
MOST_AT_ONCE: Final = 1_000_000
# The mark of a lane of which nothing is known.
_FRONT: Final = Mark(_RANKS[0], "-infinity", "00000000-0000-0000-0000-000000000000")
_Rows: TypeAlias = Sequence[tuple[Lane, int, Quota]]


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

    Lanes without a room are unlimited. PostgreSQL reads each lane from its mark on: what was claimed before costs
    nothing, and what came before the mark since then is not seen.
    """

    lanes: Sequence[Lane]
    rooms: Mapping[Lane, int]
    quotas: Mapping[str, Quota]
    marks: Mapping[Lane, Mark] = field(default_factory=dict)

    @cached_property
    def rows(self) -> _Rows:
        """Return each lane that may start something, with its room and its organization's quota."""
        found = []
        for lane in self.lanes:
            quota = self.quotas.get(lane.organization)
            room = 0 if quota is None else min(self.rooms.get(lane, quota.jobs), quota.jobs)
            if quota is not None and room > 0:
                found.append((lane, room, quota))
        return found


_CLAIM, _CLAIM_URGENT = (
    statement(f"postgres/{name}").execution_options(fairlane_across="claim") for name in ("claim", "claim_urgent")
)
_SQLITE_CLAIM, _LOG, _READ, _READ_LONG, _READY, _READY_AGED, _SIZES = (
    statement(f"sqlite/{name}").execution_options(fairlane_across="claim")
    for name in ("claim", "claim_log", "claim_read", "claim_read_long", "ready", "ready_aged", "sizes")
)
_LONG: Final = 1000  # characters of parameters, from which on SQLite gives them in rows of their own


def claim(connection: Connection, now: datetime, wanted: Wanted, *, worker_id: UUID, worker: str) -> list[Claimed]:
    """Claim what is wanted, each organization's most urgent first; no more jobs after `MOST_AT_ONCE`.

    The caller has begun (`claim_round.begin`), so that no job is claimed by a worker that was given up.
    """
    if not wanted.rows:
        return []
    if engine_of(connection).writers_are_serial:
        values = {**values_for_many(transitions.claim(worker), worker), "worker_id": worker_id.hex}
        return _claim_on_sqlite(connection, now, wanted, values)
    its, values = alone(wanted, worker_id=worker_id, worker=worker, are_ours=False)
    # `begin` has seen the lease, and what is paused or suspended; what a deleted organization has is claimed even so.
    values = {**values, "stands_alone": False, "now": now, "lease_now": 0.0}
    return [Claimed._make(row) for row in connection.execute(its, values)]


async def claim_on(line: Line, wanted: Wanted, *, worker_id: UUID, worker: str, are_ours: bool) -> list[Claimed]:
    """Do as `claim`, on the event loop, in one statement that begins by itself.

    Nothing is claimed for a worker that was given up, nor of what was paused or suspended meanwhile.

    Args:
        are_ours: whether the organizations are in Fairlane's own directory.

    Raises:
        FairlaneError: as `Line.fetch`.
    """
    its, values = alone(wanted, worker_id=worker_id, worker=worker, are_ours=are_ours)
    return [Claimed._make(row) for row in await line.fetch(its, values)]


def alone(wanted: Wanted, *, worker_id: UUID, worker: str, are_ours: bool) -> tuple[TextClause, dict[str, object]]:
    """Return PostgreSQL's statement, and the values of its parameters but the time."""
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
        return _CLAIM, {**values, "ranks": _RANKS, "aged": AGED}
    return _CLAIM_URGENT, values


class _Candidate(NamedTuple):
    """A job as its row has it: moments and ids of texts sort as they themselves would."""

    priority: int
    run_at: str
    id: str
    row: int


_Candidates: TypeAlias = Mapping[Lane, Sequence[_Candidate]]


def _claim_on_sqlite(
    connection: Connection, now: datetime, wanted: Wanted, values: Mapping[str, object]
) -> list[Claimed]:
    """Claim on SQLite, whose write transaction is exclusive, and which has no LATERAL."""
    rows = wanted.rows
    urgent = _in_lanes(connection, ((room, lane) for lane, room, _ in rows))
    by_age = [(min(room, quota.oldest), lane) for lane, room, quota in rows if quota.oldest]
    before = Instant.as_text(now - AGED)
    old = _in_lanes(connection, by_age, ranks=json.dumps(_RANKS), aged=before) if by_age else {}
    ordered = sorted(rows, key=lambda row: row[0].organization)
    each = [_pick(list(mine), urgent, old) for _, mine in groupby(ordered, key=lambda row: row[0].organization)]
    # Organizations in turn, so that none goes without for another's large jobs.
    picked = _first(connection, [row for turn in zip_longest(*each) for row in turn if row is not None])
    if not picked:
        return []
    tokens = os.urandom(16 * len(picked)).hex()
    given = json.dumps([(row, tokens[32 * place : 32 * place + 32]) for place, row in enumerate(picked)])
    values = {**values, "given": given, "now": Instant.as_text(now), "long": _LONG}
    connection.execute(_SQLITE_CLAIM, values)
    connection.execute(_LOG, values)
    claimed = json.loads(connection.execute(_READ, values).scalar_one())
    is_long = any(row[7] is None for row in claimed)
    long = dict(map(tuple, connection.execute(_READ_LONG, values))) if is_long else {}
    return [_read(row, long) for row in sorted(claimed)]


def _first(connection: Connection, picked: Sequence[int]) -> Sequence[int]:
    """Return the first of these rows, up to the one that exceeds `MOST_AT_ONCE`."""
    sizes = dict(json.loads(connection.execute(_SIZES, {"rows": json.dumps(picked)}).scalar_one())) if picked else {}
    before = accumulate((sizes[place] for place in range(len(picked))), initial=0)
    return [row for row, characters in zip(picked, before, strict=False) if characters < MOST_AT_ONCE]


def _read(row: Sequence[Any], long: Mapping[int, str]) -> Claimed:
    """Return a claimed job with its columns as they are in Python."""
    place, organization, job_id, job_type, queue, user, permission, parameters, *rest = row
    labels, attempt, timeout, token, priority, run_at, has_parents, *membership = rest
    return Claimed(
        *(organization, _uuid(job_id), job_type, queue, user, permission),
        *(parameters if parameters is not None else long[place], labels, attempt, timeout, _uuid(token), priority),
        *(datetime.fromisoformat(run_at), bool(has_parents), *membership),
    )


def _uuid(digits: str) -> UUID:
    return UUID(int=int(digits, 16))  # in half the time that it takes to read the digits itself


def _in_lanes(connection: Connection, limits: Iterable[tuple[int, Lane]], **aged: object) -> _Candidates:
    """Return the jobs of each lane that come first, as many as its limit."""
    found = defaultdict[Lane, list[_Candidate]](list)
    for limit, those in groupby(sorted(limits), key=lambda one: one[0]):
        lanes = [lane for _, lane in those]
        values = {"lanes": json.dumps(lanes), "limit": limit, **aged}
        for place, *candidate in json.loads(connection.execute(_READY_AGED if aged else _READY, values).scalar_one()):
            found[lanes[place]].append(_Candidate(*candidate))
    return found


def _pick(rows: _Rows, urgent: _Candidates, old: _Candidates) -> list[int]:
    """Pick the organization's oldest as far as their share goes, then its most urgent, up to its quota and rooms."""
    quota = rows[0][2]
    lanes = [lane for lane, _, _ in rows]
    oldest = [(one.run_at, one.id, one, lane) for lane in lanes for one in old.get(lane, ())]
    most_urgent = [(one, lane) for lane in lanes for one in urgent.get(lane, ())]
    left = {lane: room for lane, room, _ in rows}
    picked: dict[int, None] = {}
    for one, lane in [*(each[2:] for each in sorted(oldest)[: quota.oldest]), *sorted(most_urgent)]:
        if one.row not in picked and left[lane] > 0 and len(picked) < quota.jobs:
            picked[one.row] = None
            left[lane] -= 1
    return list(picked)
