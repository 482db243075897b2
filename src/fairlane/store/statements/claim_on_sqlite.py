"""Claims on SQLite, whose write transaction is exclusive, and which has no LATERAL.

What is looked at comes as one row of JSON: Python's module for SQLite gives up the interpreter's lock at each row, and
waits for it again beside a worker's busy loop. Rows are known by their rowid, which nobody changes meanwhile.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate, groupby, zip_longest
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import Connection, text

from fairlane.domain.fairness import Lane, Quota
from fairlane.domain.statuses import PRIORITY_RANK
from fairlane.store.tables import Instant

_RANKS: Final = json.dumps(sorted(PRIORITY_RANK.values()))
_Rows: TypeAlias = Sequence[tuple[Lane, int, Quota]]
_LONG: Final = (
    1000  # characters of parameters, from which on they come in rows of their own: JSON of all would be large
)

_CLAIM: Final = text("""
UPDATE fairlane_live SET status = :running, ready = 0, attempt = attempt + 1, worker_id = :worker_id,
  lease_token = given.value ->> 1, started_at = :now, next_retry_at = NULL, log_sequence = log_sequence + 1
FROM json_each(:given) AS given WHERE fairlane_live.rowid = given.value ->> 0
""").execution_options(fairlane_across="claim")
_GIVEN: Final = "FROM json_each(:given) AS given JOIN fairlane_live AS live ON live.rowid = given.value ->> 0"
_FACTS: Final = "JOIN fairlane_jobs AS jobs ON jobs.organization_id = live.organization_id AND jobs.id = live.id"
_LOG: Final = text(f"""
INSERT INTO fairlane_execution_log
  (organization_id, job_id, sequence, from_status, to_status, at, actor, message, attempt)
SELECT live.organization_id, live.id, live.log_sequence, :queued, :running, :now, :actor, :message, live.attempt
{_GIVEN}
""").execution_options(fairlane_across="claim")
_CLAIMED: Final = text(f"""
SELECT json_group_array(json_array(given.key, live.organization_id, live.id, live.job_type, live.queue,
  live.submitted_by, jobs.required_permission,
  CASE WHEN length(jobs.parameters) < {_LONG} THEN jobs.parameters END, jobs.labels, live.attempt,
  jobs.timeout_seconds, live.lease_token, live.priority, live.run_at,
  EXISTS (SELECT 1 FROM fairlane_job_parents AS edge
    WHERE edge.organization_id = live.organization_id AND edge.job_id = live.id), member.role, member.permissions))
{_GIVEN} {_FACTS} LEFT JOIN fairlane_members AS member
  ON member.organization_id = live.organization_id AND member.user_id = live.submitted_by
""").execution_options(fairlane_across="claim")  # noqa: S608 - constants of ours
_LONG_PARAMETERS: Final = text(f"""
SELECT given.key, jobs.parameters {_GIVEN} {_FACTS} WHERE length(jobs.parameters) >= {_LONG}
""").execution_options(fairlane_across="claim")

_SIZES: Final = text(
    """
SELECT json_group_array(json_array(given.key, length(jobs.parameters)))
FROM json_each(:rows) AS given JOIN fairlane_live AS live ON live.rowid = given.value
"""
    + _FACTS
).execution_options(fairlane_across="claim")

# All lanes that may start as many: a LIMIT can't go by the lane. Each is read no further than that.
_IN_LANES: Final = """
SELECT json_group_array(json_array(lane.key, job.priority, job.run_at, job.id, job.rowid))
FROM json_each(:lanes) AS lane {ranks} JOIN fairlane_live AS job ON job.rowid IN (
  SELECT one.rowid FROM fairlane_live AS one
  WHERE one.ready = 1 AND one.queue = lane.value ->> 0 AND one.organization_id = lane.value ->> 1
    AND one.job_type = lane.value ->> 2 {aged}
  ORDER BY one.priority, one.run_at, one.id LIMIT :limit)
"""
_URGENT_IN_LANES, _AGED_IN_LANES = (
    text(_IN_LANES.format(ranks=ranks, aged=aged)).execution_options(fairlane_across="claim")
    for ranks, aged in (
        ("", ""),
        ("JOIN json_each(:ranks) AS level", "AND one.priority = level.value AND one.run_at < :aged"),
    )
)


class _Candidate(NamedTuple):
    """A job as its row has it: moments and ids of texts sort as they themselves would."""

    priority: int
    run_at: str
    id: str
    row: int


_Candidates: TypeAlias = Mapping[Lane, Sequence[_Candidate]]


def claim(
    connection: Connection, now: datetime, aged: datetime, rows: _Rows, values: Mapping[str, object], *, most: int
) -> list[tuple[Any, ...]]:
    """Claim what is wanted, each organization's most urgent first; return the columns of each, in those of `Claimed`.

    Args:
        aged: what was ready before has a share of its own.
        rows: each lane that may start something, with its room and its organization's quota.
        values: of the log's parameters, and `worker_id`.
        most: characters of parameters, after which it takes no other job.
    """
    urgent = _in_lanes(connection, ((room, lane) for lane, room, _ in rows))
    by_age = [(min(room, quota.oldest), lane) for lane, room, quota in rows if quota.oldest]
    before = Instant.on_sqlite(aged)
    old = _in_lanes(connection, by_age, ranks=_RANKS, aged=before) if by_age else {}
    ordered = sorted(rows, key=lambda row: row[0].organization)
    each = [_pick(list(mine), urgent, old) for _, mine in groupby(ordered, key=lambda row: row[0].organization)]
    # Organizations in turn, so that none goes without for another's large jobs.
    picked = _first(connection, [row for turn in zip_longest(*each) for row in turn if row is not None], most)
    if not picked:
        return []
    tokens = os.urandom(16 * len(picked)).hex()
    given = json.dumps([(row, tokens[32 * place : 32 * place + 32]) for place, row in enumerate(picked)])
    worker_id = values["worker_id"]
    assert isinstance(worker_id, UUID)
    values = {**values, "given": given, "now": Instant.on_sqlite(now), "worker_id": worker_id.hex}
    connection.execute(_CLAIM, values)
    connection.execute(_LOG, values)
    claimed = json.loads(connection.execute(_CLAIMED, values).scalar_one())
    long = (
        dict(map(tuple, connection.execute(_LONG_PARAMETERS, values))) if any(row[7] is None for row in claimed) else {}
    )
    return [_read(row, long) for row in sorted(claimed)]


def _first(connection: Connection, picked: Sequence[int], most: int) -> Sequence[int]:
    """Return the first of these rows, up to the one that exceeds so many characters of parameters."""
    sizes = dict(json.loads(connection.execute(_SIZES, {"rows": json.dumps(picked)}).scalar_one())) if picked else {}
    before = accumulate((sizes[place] for place in range(len(picked))), initial=0)
    return [row for row, characters in zip(picked, before, strict=False) if characters < most]


def _read(row: Sequence[Any], long: Mapping[int, str]) -> tuple[Any, ...]:
    """Return the columns of a claimed job as they are in Python."""
    place, organization, job_id, job_type, queue, user, permission, parameters, *rest = row
    labels, attempt, timeout, token, priority, run_at, has_parents, *membership = rest
    return (
        *(organization, _uuid(job_id), job_type, queue, user, permission),
        *(parameters if parameters is not None else long[place], labels, attempt, timeout, _uuid(token), priority),
        *(datetime.fromisoformat(run_at), bool(has_parents), *membership),
    )


def _uuid(digits: str) -> UUID:
    return UUID(int=int(digits, 16))  # in half the time that it takes to read the digits itself


def _in_lanes(connection: Connection, limits: Iterable[tuple[int, Lane]], **aged: object) -> _Candidates:
    """The jobs of each lane that come first, as many as its limit."""
    statement = _AGED_IN_LANES if aged else _URGENT_IN_LANES
    found = defaultdict[Lane, list[_Candidate]](list)
    for limit, those in groupby(sorted(limits), key=lambda one: one[0]):
        lanes = [lane for _, lane in those]
        values = {"lanes": json.dumps(lanes), "limit": limit, **aged}
        for place, *candidate in json.loads(connection.execute(statement, values).scalar_one()):
            found[lanes[place]].append(_Candidate(*candidate))
    return found


def _pick(rows: _Rows, urgent: _Candidates, old: _Candidates) -> list[int]:
    """The organization's oldest as far as their share goes, then its most urgent, up to its quota and lanes' rooms."""
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
