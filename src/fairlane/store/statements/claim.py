"""Claiming: ready jobs of the given lanes become running, each under a lease token that is never used again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import Connection, TextClause, text

from fairlane.domain.fairness import Lane, Quota
from fairlane.domain.statuses import PRIORITY_RANK, TRANSITIONS, JobStatus, OrganizationStatus
from fairlane.store.dialects import is_sqlite
from fairlane.store.line import Line
from fairlane.store.statements import claim_on_sqlite
from fairlane.store.statements.lanes import Mark

assert (JobStatus.QUEUED, JobStatus.RUNNING) in TRANSITIONS
_MESSAGE: Final = "claimed by {worker}"
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
        """Each lane that may start something, with its room and its organization's quota."""
        found = []
        for lane in self.lanes:
            quota = self.quotas.get(lane.organization)
            room = 0 if quota is None else min(self.rooms.get(lane, quota.jobs), quota.jobs)
            if quota is not None and room > 0:
                found.append((lane, room, quota))
        return found


# One statement. LATERAL with LIMIT reads no further into a lane than what it may start; the window merges the lanes of
# an organization by priority, run_at, id. The lanes come as JSON, since arrays of a thousand took the driver as long as
# all else. SKIP LOCKED: two workers share a lane. Of large jobs it takes only the first, organizations in turn, so that
# none goes without for another's. The update goes by the places of the picked rows, which hold within the statement:
# joined to the table, the planner may scan it. LIMIT keeps sizes, facts and members from becoming such joins.
_CLAIM: Final = """
WITH moment AS MATERIALIZED (
  SELECT coalesce(CAST(:now AS timestamptz), clock_timestamp()) AS now
){held}, lane AS (
  SELECT l.* FROM jsonb_array_elements(CAST(:lanes AS jsonb)) AS one(lane) CROSS JOIN LATERAL (
    SELECT lane ->> 0 AS queue, lane ->> 1 AS organization_id, lane ->> 2 AS job_type, CAST(lane ->> 3 AS int) AS room,
      CAST(lane ->> 4 AS int) AS quota, CAST(lane ->> 5 AS int) AS oldest, CAST(lane ->> 6 AS int) AS first_priority,
      CAST(lane ->> 7 AS timestamptz) AS first_run_at, CAST(lane ->> 8 AS uuid) AS first_id) AS l{guard}
), urgent AS (
  SELECT lane.*, j.tid, j.id, j.priority, j.run_at, false AS is_old, 0 AS place_by_age FROM lane CROSS JOIN LATERAL (
    SELECT ctid AS tid, id, priority, run_at FROM fairlane_live
    WHERE ready AND queue = lane.queue AND organization_id = lane.organization_id AND job_type = lane.job_type
      AND (priority, run_at, id) >= (lane.first_priority, lane.first_run_at, lane.first_id)
    ORDER BY priority, run_at, id LIMIT lane.room FOR NO KEY UPDATE SKIP LOCKED) AS j
){oldest}, picked AS (
  SELECT tid FROM (
    SELECT tid, size, sum(size) OVER (ORDER BY place ROWS UNBOUNDED PRECEDING) AS octets FROM (
      SELECT *, row_number() OVER (PARTITION BY organization_id ORDER BY is_old DESC, priority, run_at, id) AS place
      FROM {candidates}) AS ranked
    CROSS JOIN LATERAL (SELECT octet_length(parameters) AS size FROM fairlane_jobs AS job
      WHERE job.organization_id = ranked.organization_id AND job.id = ranked.id LIMIT 1) AS its
    WHERE place <= quota) AS measured
  WHERE octets - size < {most}
), claimed AS (
  UPDATE fairlane_live SET status = :running, ready = false, attempt = attempt + 1, worker_id = :worker_id,
    lease_token = gen_random_uuid(), started_at = (SELECT now FROM moment), next_retry_at = NULL,
    log_sequence = log_sequence + 1
  WHERE ctid = ANY(ARRAY(SELECT tid FROM picked))
  RETURNING organization_id, id, job_type, queue, submitted_by, attempt, lease_token, log_sequence, priority, run_at,
    started_at
), logged AS (
  INSERT INTO fairlane_execution_log
    (organization_id, job_id, sequence, from_status, to_status, at, actor, message, attempt)
  SELECT organization_id, id, log_sequence, :queued, :running, started_at, :actor, :message, attempt FROM claimed
)
SELECT organization_id, id, job_type, queue, submitted_by, required_permission, parameters, labels, attempt,
  timeout_seconds, lease_token, priority, run_at, EXISTS (SELECT FROM fairlane_job_parents AS edge
    WHERE edge.organization_id = claimed.organization_id AND edge.job_id = claimed.id), role, permissions
FROM claimed CROSS JOIN LATERAL (
  SELECT required_permission, parameters, labels, timeout_seconds FROM fairlane_jobs AS job
  WHERE job.organization_id = claimed.organization_id AND job.id = claimed.id LIMIT 1) AS facts
LEFT JOIN LATERAL (
  SELECT role, permissions FROM fairlane_members AS member
  WHERE member.organization_id = claimed.organization_id AND member.user_id = claimed.submitted_by LIMIT 1
) AS its ON true
ORDER BY priority, run_at, id
"""
# The oldest of each priority, and of those the oldest of the organization, as far as its share goes; they go before the
# urgent ones, and both together take no more from a lane than its room.
_OLDEST: Final = """, old AS (
  SELECT lane.*, j.tid, j.id, j.priority, j.run_at, true AS is_old,
    row_number() OVER (PARTITION BY organization_id ORDER BY j.run_at, j.id) AS place_by_age
  FROM lane JOIN unnest(CAST(:ranks AS int[])) AS level(priority) ON level.priority >= lane.first_priority
  CROSS JOIN LATERAL (
    SELECT ctid AS tid, id, priority, run_at FROM fairlane_live
    WHERE ready AND queue = lane.queue AND organization_id = lane.organization_id AND job_type = lane.job_type
      AND priority = level.priority AND run_at < (SELECT now FROM moment) - {aged}
      AND (run_at, id) >= (
        CASE WHEN level.priority = lane.first_priority THEN lane.first_run_at ELSE '-infinity' END, lane.first_id)
    ORDER BY run_at, id LIMIT least(lane.oldest, lane.room) FOR NO KEY UPDATE SKIP LOCKED) AS j
), either AS (
  SELECT DISTINCT ON (organization_id, id) * FROM (
    SELECT * FROM urgent UNION ALL SELECT * FROM old WHERE place_by_age <= oldest) AS both_kinds
  ORDER BY organization_id, id, is_old DESC
), candidate AS (
  SELECT * FROM (
    SELECT *, row_number() OVER (
      PARTITION BY queue, organization_id, job_type ORDER BY is_old DESC, priority, run_at, id) AS place_in_lane
    FROM either) AS by_lane
  WHERE place_in_lane <= room
)"""
# What a claim that stands alone has to see for itself: that its worker was not given up, and what was paused or
# suspended since the worker looked. KEY SHARE lets the heartbeat through. Who locks the row
# FOR UPDATE (to give the worker up, or to have maintenance begin) is not waited for: what is seen here is from before.
_HELD: Final = """, me AS MATERIALIZED (
  SELECT FROM fairlane_workers
  WHERE id = :worker_id AND lease_expires > coalesce(:lease_now, extract(epoch FROM clock_timestamp()))
  FOR KEY SHARE SKIP LOCKED
)"""
_GUARD: Final = f"""
  CROSS JOIN me
  WHERE NOT EXISTS (SELECT FROM fairlane_pauses WHERE subject = 'maintenance')
    AND NOT EXISTS (SELECT FROM fairlane_pauses WHERE subject = 'queue' AND name = l.queue)
    AND NOT EXISTS (SELECT FROM fairlane_pauses WHERE subject = 'job_type' AND name = l.job_type)
    AND NOT EXISTS (SELECT FROM fairlane_pauses WHERE subject = 'organization' AND name = l.organization_id)
    AND NOT (:are_ours AND EXISTS (
      SELECT FROM fairlane_organizations AS own
      WHERE own.id = l.organization_id AND own.status = '{OrganizationStatus.SUSPENDED}'))"""  # noqa: S608 - ours
_AGED: Final = f"interval '{AGED.total_seconds():g} s'"


def _statement(*, is_plain: bool, stands_alone: bool) -> TextClause:
    return text(
        _CLAIM.format(
            most=MOST_AT_ONCE,
            oldest="" if is_plain else _OLDEST.format(aged=_AGED),
            candidates="urgent" if is_plain else "candidate",
            held=_HELD if stands_alone else "",
            guard=_GUARD if stands_alone else "",
        )
    ).execution_options(fairlane_across="claim")


# By whether only the urgent ones are wanted.
_IN_TRANSACTION: Final = {is_plain: _statement(is_plain=is_plain, stands_alone=False) for is_plain in (False, True)}
_ALONE: Final = {is_plain: _statement(is_plain=is_plain, stands_alone=True) for is_plain in (False, True)}


def claim(connection: Connection, now: datetime, wanted: Wanted, *, worker_id: UUID, worker: str) -> list[Claimed]:
    """Claim what is wanted, each organization's most urgent first; no more jobs after `MOST_AT_ONCE`.

    The caller has begun (`claim_round.begin`), so that no job is claimed by a worker that was given up.
    """
    rows = wanted.rows
    if not rows:
        return []
    values = _common(worker_id, worker)
    if is_sqlite(connection):
        made = claim_on_sqlite.claim(connection, now, now - AGED, rows, values, most=MOST_AT_ONCE)
        return [Claimed._make(row) for row in made]
    is_plain, given = _given(wanted)
    claimed = connection.execute(_IN_TRANSACTION[is_plain], {**values, **given, "now": now})
    return [Claimed._make(row) for row in claimed.all()]


async def claim_on(line: Line, wanted: Wanted, *, worker_id: UUID, worker: str, are_ours: bool) -> list[Claimed]:
    """Do as `claim`, on the event loop, in one statement that begins by itself.

    Nothing is claimed for a worker that was given up, nor of what was paused or suspended meanwhile.

    Args:
        are_ours: whether the organizations are in Fairlane's own directory.

    Raises:
        FairlaneError: as `Line.fetch`.
    """
    statement, values = alone(wanted, worker_id=worker_id, worker=worker, are_ours=are_ours)
    return [Claimed._make(row) for row in await line.fetch(statement, values)]


def alone(wanted: Wanted, *, worker_id: UUID, worker: str, are_ours: bool) -> tuple[TextClause, dict[str, object]]:
    """Return the statement of `claim_on`, and the values of its parameters but the time."""
    is_plain, given = _given(wanted)
    return _ALONE[is_plain], {**_common(worker_id, worker), **given, "are_ours": are_ours}


def _common(worker_id: UUID, worker: str) -> dict[str, object]:
    return {
        "worker_id": worker_id,
        "queued": JobStatus.QUEUED,
        "running": JobStatus.RUNNING,
        "actor": worker,
        "message": _MESSAGE.format(worker=worker),
    }


def _given(wanted: Wanted) -> tuple[bool, dict[str, object]]:
    """Return whether only the urgent ones are wanted, and the lanes as the statement reads them."""
    marks, is_plain = wanted.marks, not any(quota.oldest for _, _, quota in wanted.rows)
    lanes = [(*lane, room, quota.jobs, quota.oldest, *marks.get(lane, _FRONT)) for lane, room, quota in wanted.rows]
    return is_plain, {"lanes": json.dumps(lanes)} | ({} if is_plain else {"ranks": _RANKS})
