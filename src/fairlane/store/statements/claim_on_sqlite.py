"""Claims on SQLite, whose write transaction is exclusive, and which has no LATERAL."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final, TypeAlias
from uuid import UUID, uuid4

from sqlalchemy import Boolean, Connection, column, text

from fairlane.domain.fairness import Lane, Quota
from fairlane.domain.statuses import PRIORITY_RANK
from fairlane.store.tables import AnyRow, Instant, jobs, live

_RANKS: Final = sorted(PRIORITY_RANK.values())
_Rows: TypeAlias = Sequence[tuple[Lane, int, Quota]]

_EDGES: Final = """EXISTS (SELECT 1 FROM fairlane_job_parents AS edge
    WHERE edge.organization_id = live.organization_id AND edge.job_id = live.id) AS has_parents"""
_CLAIM: Final = text("""
UPDATE fairlane_live SET status = :running, ready = 0, attempt = attempt + 1, worker_id = :worker_id,
  lease_token = given.value ->> 2, started_at = :now, next_retry_at = NULL, log_sequence = log_sequence + 1
FROM json_each(:given) AS given
WHERE organization_id = given.value ->> 0 AND fairlane_live.id = given.value ->> 1 AND ready = 1
""").execution_options(fairlane_across="claim")
_OF_LEASE: Final = """
FROM json_each(:given) AS given JOIN fairlane_live AS live
  ON live.organization_id = given.value ->> 0 AND live.id = given.value ->> 1 AND live.lease_token = given.value ->> 2
"""
_LOG: Final = text(f"""
INSERT INTO fairlane_execution_log
  (organization_id, job_id, sequence, from_status, to_status, at, actor, message, attempt)
SELECT live.organization_id, live.id, live.log_sequence, :queued, :running, :now, :actor, :message, live.attempt
{_OF_LEASE}
""").execution_options(fairlane_across="claim")
_CLAIMED: Final = (
    text(f"""
SELECT live.organization_id, live.id, live.job_type, live.queue, live.submitted_by, jobs.required_permission,
  jobs.parameters, jobs.labels, live.attempt, jobs.timeout_seconds, live.lease_token, live.priority, live.run_at,
  {_EDGES}
{_OF_LEASE}
JOIN fairlane_jobs AS jobs ON jobs.organization_id = live.organization_id AND jobs.id = live.id
""")
    .columns(
        live.c.organization_id,
        live.c.id,
        live.c.job_type,
        live.c.queue,
        live.c.submitted_by,
        jobs.c.required_permission,
        jobs.c.parameters,
        jobs.c.labels,
        live.c.attempt,
        jobs.c.timeout_seconds,
        live.c.lease_token,
        live.c.priority,
        live.c.run_at,
        column("has_parents", Boolean),
    )
    .execution_options(fairlane_across="claim")
)


# All lanes that may start as many: a LIMIT can't go by the lane. Each is read no further than that.
_IN_LANES: Final = """
SELECT job.queue, job.organization_id, job.job_type, job.id, job.priority, job.run_at
FROM json_each(:lanes) AS lane JOIN fairlane_live AS job ON job.rowid IN (
  SELECT one.rowid FROM fairlane_live AS one
  WHERE one.ready = 1 AND one.queue = lane.value ->> 0 AND one.organization_id = lane.value ->> 1
    AND one.job_type = lane.value ->> 2 {aged}
  ORDER BY one.priority, one.run_at, one.id LIMIT :limit)
"""
_URGENT_IN_LANES, _AGED_IN_LANES = (
    text(_IN_LANES.format(aged=aged))
    .columns(live.c.queue, live.c.organization_id, live.c.job_type, live.c.id, live.c.priority, live.c.run_at)
    .execution_options(fairlane_across="claim")
    for aged in ("", "AND one.priority = :rank AND one.run_at < :aged")
)
_Candidates: TypeAlias = Mapping[Lane, Sequence[AnyRow]]


def claim(
    connection: Connection, now: datetime, aged: datetime, rows: _Rows, values: Mapping[str, object]
) -> list[tuple[Any, ...]]:
    """Claim what is wanted, most urgent first; return the columns of each, in the order of `Claimed`.

    Args:
        aged: what was ready before has a share of its own.
        rows: each lane that may start something, with its room and its organization's quota.
        values: of the log's parameters, and `worker_id`.
    """
    urgent = _in_lanes(connection, ((room, lane) for lane, room, _ in rows))
    by_age = [(min(room, quota.oldest), lane) for lane, room, quota in rows if quota.oldest]
    before = Instant().process_bind_param(aged, connection.dialect)
    old = [_in_lanes(connection, by_age, rank=rank, aged=before) for rank in _RANKS] if by_age else []
    picked: list[tuple[str, UUID]] = []
    ordered = sorted(rows, key=lambda row: row[0].organization)
    for organization, mine in groupby(ordered, key=lambda row: row[0].organization):
        picked += [(organization, job_id) for job_id in _pick(list(mine), urgent, old)]
    if not picked:
        return []
    places = {key: place for place, key in enumerate(picked)}
    given = json.dumps([[organization, job_id.hex, uuid4().hex] for organization, job_id in picked])
    moment = Instant().process_bind_param(now, connection.dialect)
    worker_id = values["worker_id"]
    assert isinstance(worker_id, UUID)
    values = {**values, "given": given, "now": moment, "worker_id": worker_id.hex}
    connection.execute(_CLAIM, values)
    connection.execute(_LOG, {name: value for name, value in values.items() if name != "worker_id"})
    claimed = connection.execute(_CLAIMED, {"given": given}).all()
    return sorted(map(tuple, claimed), key=lambda row: places[row[0], row[1]])


def _in_lanes(connection: Connection, limits: Iterable[tuple[int, Lane]], **aged: object) -> _Candidates:
    """The jobs of each lane that come first, as many as its limit."""
    statement = _AGED_IN_LANES if aged else _URGENT_IN_LANES
    found = defaultdict[Lane, list[AnyRow]](list)
    for limit, those in groupby(sorted(limits), key=lambda one: one[0]):
        values = {"lanes": json.dumps([lane for _, lane in those]), "limit": limit}
        for row in connection.execute(statement, values | aged):
            found[Lane(row.queue, row.organization_id, row.job_type)].append(row)
    return found


def _pick(rows: _Rows, urgent: _Candidates, old: Sequence[_Candidates]) -> list[UUID]:
    """The organization's oldest as far as their share goes, then its most urgent, up to its quota and lanes' rooms."""
    quota = rows[0][2]
    lanes = [lane for lane, _, _ in rows]
    oldest = [(row, lane) for lane in lanes for one in old for row in one.get(lane, ())]
    oldest = sorted(oldest, key=lambda one: (one[0].run_at, one[0].id))[: quota.oldest]
    most_urgent = [(row, lane) for lane in lanes for row in urgent.get(lane, ())]
    most_urgent.sort(key=lambda one: (one[0].priority, one[0].run_at, one[0].id))
    left = {lane: room for lane, room, _ in rows}
    picked: dict[UUID, None] = {}
    for row, lane in [*oldest, *most_urgent]:
        if row.id not in picked and left[lane] > 0 and len(picked) < quota.jobs:
            picked[row.id] = None
            left[lane] -= 1
    return list(picked)
