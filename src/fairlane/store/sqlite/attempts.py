"""Claims of jobs and completion of attempts on SQLite. Its write transaction is exclusive, and rows have a rowid.

Python's SQLite module releases the interpreter's lock at each row, and waits for it again beside a worker's busy loop.
So many jobs are read as one row of JSON.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate, groupby, zip_longest
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain import transitions
from fairlane.domain.fairness import Lane
from fairlane.store.sql import statement
from fairlane.store.statements.claim import AGED, MOST_AT_ONCE, RANKS, Claimed, Wanted, WantedRows
from fairlane.store.statements.finish import Finish, common, result_of
from fairlane.store.statements.transition import Key, values_for_many
from fairlane.store.tables import Instant

_CLAIM, _LOG, _READ, _READ_LONG, _READY, _READY_AGED, _SIZES = (
    statement(f"sqlite/{name}").execution_options(fairlane_across="claim")
    for name in ("claim", "claim_log", "claim_read", "claim_read_long", "ready", "ready_aged", "sizes")
)
_LONG: Final = 1000  # characters; longer parameters come in separate rows
_FIND, *_WRITES, _KEEP_RESULTS = (
    statement(f"sqlite/{name}").execution_options(fairlane_across="finish")
    for name in ("complete_find", "complete", "complete_log", "complete_delete", "complete_results")
)


class _Candidate(NamedTuple):
    """A job that may be claimed, with the values of its row: times and ids sort as text, too."""

    priority: int
    run_at: str
    id: str
    row: int


_Candidates: TypeAlias = Mapping[Lane, Sequence[_Candidate]]


def claim(connection: Connection, now: datetime, wanted: Wanted, *, worker_id: UUID, worker: str) -> list[Claimed]:
    """Find candidates in each lane, pick some of them, and claim these: SQLite has no LATERAL."""
    rows = wanted.rows
    urgent = _in_lanes(connection, ((room, lane) for lane, room, _ in rows))
    by_age = [(min(room, quota.oldest), lane) for lane, room, quota in rows if quota.oldest]
    before = Instant.as_text(now - AGED)
    old = _in_lanes(connection, by_age, ranks=json.dumps(RANKS), aged=before) if by_age else {}
    each = [_pick(list(mine), urgent, old) for _, mine in groupby(rows, key=lambda row: row[0].organization)]
    # Organizations take turns in the order of the given lanes: no organization's large jobs keep out another's.
    picked = _first(connection, [row for turn in zip_longest(*each) for row in turn if row is not None])
    if not picked:
        return []
    tokens = os.urandom(16 * len(picked)).hex()
    given = json.dumps([(row, tokens[32 * place : 32 * place + 32]) for place, row in enumerate(picked)])
    values = {
        **values_for_many(transitions.claim(worker), worker),
        "worker_id": worker_id.hex,
        "given": given,
        "now": Instant.as_text(now),
        "long": _LONG,
    }
    connection.execute(_CLAIM, values)
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
    """Return a claimed job, with its columns converted to Python's types."""
    place, organization, job_id, job_type, queue, user, permission, parameters, *rest = row
    labels, attempt, timeout, token, priority, run_at, has_parents, *membership = rest
    return Claimed(
        *(organization, _uuid(job_id), job_type, queue, user, permission),
        *(parameters if parameters is not None else long[place], labels, attempt, timeout, _uuid(token), priority),
        *(datetime.fromisoformat(run_at), bool(has_parents), *membership),
    )


def _uuid(digits: str) -> UUID:
    return UUID(int=int(digits, 16))  # twice as fast as UUID(digits)


def _in_lanes(connection: Connection, limits: Iterable[tuple[int, Lane]], **aged: object) -> _Candidates:
    """Return the first jobs of each lane, up to its limit."""
    found = defaultdict[Lane, list[_Candidate]](list)
    for limit, those in groupby(sorted(limits), key=lambda one: one[0]):
        lanes = [lane for _, lane in those]
        values = {"lanes": json.dumps(lanes), "limit": limit, **aged}
        for place, *candidate in json.loads(connection.execute(_READY_AGED if aged else _READY, values).scalar_one()):
            found[lanes[place]].append(_Candidate(*candidate))
    return found


def _pick(rows: WantedRows, urgent: _Candidates, old: _Candidates) -> list[int]:
    """Pick the organization's oldest jobs up to their share, then its most urgent, up to its quota and capacities."""
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


def complete(connection: Connection, now: datetime, ends: Sequence[Finish]) -> list[tuple[Key, bool]]:
    """Find the rows, then write and delete them by their rowids."""
    alike = common(ends)
    given = json.dumps([(one.organization, one.job_id.hex, one.lease_token.hex) for one in ends])
    found = json.loads(connection.execute(_FIND, {**alike, "given": given}).scalar_one())
    if not found:
        return []
    moment = Instant.as_text(now)
    values = {**alike, "now": moment, "rows": json.dumps([row for _, row, _ in found])}
    for write in _WRITES:
        connection.execute(write, values)
    done = [ends[place] for place, _, _ in found]
    left = [(*one.key, result) for one in done if (result := result_of(one)) is not None]
    if left:
        rows = json.dumps(
            [(organization, job_id.hex, result) for organization, job_id, result in left], ensure_ascii=False
        )
        connection.execute(_KEEP_RESULTS, {"now": moment, "given": rows})
    return [(ends[place].key, bool(has_child)) for place, _, has_child in found]
