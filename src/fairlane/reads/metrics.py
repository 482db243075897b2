"""Gather the numbers of `domain.metrics`."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from fairlane.domain.breaker import Pair
from fairlane.domain.fairness import Lane
from fairlane.domain.limits import beyond_limits
from fairlane.domain.metrics import (
    Metrics,
    OrganizationView,
    PauseView,
    QueueHold,
    QueueView,
    Recent,
    RunningJob,
    Stranded,
    WorkerView,
    recent,
    recent_grid,
)
from fairlane.domain.reasons import ReasonCode, pauses_on
from fairlane.domain.sealing import Field
from fairlane.domain.statuses import PASSING, PRIORITY_OF_RANK, WAITING, JobStatus, Priority
from fairlane.domain.timeline import cells_to_sample, most_of_each
from fairlane.reads.waiting import limits_of, uses_of
from fairlane.store.clock import Clock
from fairlane.store.engine import engine_of
from fairlane.store.statements import job_types, lanes, timeline, workers
from fairlane.store.statements import metrics as statements
from fairlane.store.statements.rows import Opener
from fairlane.store.tables import AnyRow

_CELLS: Final = 500  # sampled pairs of job type and organization, however many pairs there are
_SAMPLED: Final = 2_000  # jobs


def metrics_of(connection: Connection, clock: Clock, organization: str | None, minutes: int) -> Metrics:
    """Return the numbers of an organization; None = of all organizations, for operators."""
    engine_of(connection).plan_for_values(connection)
    ready = statements.ready_by_priority(connection, organization)
    depth = {PRIORITY_OF_RANK[row.priority]: row.size for row in ready}
    oldest, now = min((row.since for row in ready), default=None), clock.now(connection)
    return Metrics(
        jobs_by_status=by_status(connection, organization),
        queue_depth_by_priority={priority: depth.get(priority, 0) for priority in Priority},
        # If the clock was set back, no wait is negative.
        oldest_queued_seconds=max((now - oldest).total_seconds(), 0.0) if oldest else None,
        dead_letter_depth=statements.dead_letter_depth(connection, organization),
        workers=len(workers.all_workers(connection, clock)) if organization is None else None,
        **_recent(connection, now, organization, minutes)._asdict(),
    )


def by_status(connection: Connection, organization: str | None) -> dict[JobStatus, int]:
    """Count the jobs in each status, with zeros; None = of all organizations."""
    sizes = statements.jobs_by_status(connection, organization)
    return {status: sizes.get(status, 0) for status in JobStatus if status not in PASSING}


def _recent(connection: Connection, now: datetime, organization: str | None, minutes: int) -> Recent:
    grid = recent_grid(now, minutes)
    ends = timeline.ends(connection, organization, grid, most=_CELLS)
    cells = cells_to_sample(ends)
    each = most_of_each(ends, _SAMPLED)
    return recent(
        grid,
        now,
        by_type=timeline.ends_by_type(connection, organization, grid),
        ends=ends,
        sample=timeline.sample(connection, grid, cells, each=each),
        each=each,
    )


def workers_of(connection: Connection, clock: Clock, *, lost: bool = False) -> tuple[WorkerView, ...]:
    """Return workers with a valid lease, by name, and how many jobs each runs; with `lost`, lost workers, too."""
    sizes = statements.running_by_worker(connection)
    now, lease_now = clock.now(connection), clock.lease_seconds(connection)
    lacking = workers.lacking_keys(connection)
    alive = workers.all_workers(connection, clock)
    found = [_worker(row, sizes[row.id], len(lacking.get(row.id, ())), now, lease_now) for row in alive]
    if lost:
        gone = (_worker(row, sizes[row.id], 0, now, lease_now) for row in workers.expired(connection, clock))
        found += [replace(one, lost=True, lease_left=0.0) for one in gone]
    return tuple(sorted(found, key=lambda one: one.name))


def lacking_keys(connection: Connection, clock: Clock) -> dict[str, tuple[str, ...]]:
    """Return organizations whose key a live worker can't use, each with the names of these workers."""
    lacking = workers.lacking_keys(connection)
    found: dict[str, tuple[str, ...]] = {}
    for row in workers.all_workers(connection, clock):
        for organization in lacking.get(row.id, ()):
            found[organization] = (*found.get(organization, ()), row.name)
    return found


def _worker(row: AnyRow, running: int, lacks_keys: int, now: datetime, lease_now: float) -> WorkerView:
    queues = json.loads(row.queues)
    return WorkerView(
        id=row.id,
        name=row.name,
        queues=tuple(queues) if queues is not None else None,
        job_types=tuple(json.loads(row.job_types)),
        slots=row.slots,
        running=running,
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
        silent=max((now - row.heartbeat_at).total_seconds(), 0.0),
        lease_left=max(row.lease_expires - lease_now, 0.0),
        stopping=row.stopping,
        version=row.version,
        left_behind=row.left_behind,
        drain_requested=row.drain_requested,
        lacks_keys=lacks_keys,
    )


def running_jobs(
    connection: Connection, organization: str | None, limit: int, opener: Opener
) -> tuple[RunningJob, ...]:
    """Return running jobs, the longest-running first."""
    return tuple(
        RunningJob(
            id=row.id,
            organization=row.organization_id,
            job_type=row.job_type,
            queue=row.queue,
            user=row.submitted_by,
            attempt=row.attempt,
            started_at=row.started_at,
            worker=row.worker,
            progress=row.percent,
            progress_message=opener.text(row.organization_id, row.id, Field.PROGRESS, row.message),
            cancel_requested_at=row.cancel_requested_at,
        )
        for row in statements.running(connection, organization, limit)
    )


def stranded(live: "LiveJobs", alive: Iterable[WorkerView]) -> tuple[Stranded, ...]:
    """Count waiting jobs without a worker for them, by queue and type. A worker that is stopping does not count."""
    going_on = [one for one in alive if not one.stopping]
    waiting: Counter[tuple[str, str]] = Counter()
    for status in WAITING:
        for lane, size in live.by_status[status].items():
            waiting[lane.queue, lane.job_type] += size
    found = []
    for (queue, job_type), size in sorted(waiting.items()):
        serving = [one for one in going_on if one.queues is None or queue in one.queues]
        if not any(job_type in one.job_types for one in serving):
            found.append(Stranded(queue, job_type, size, queue_is_served=bool(serving)))
    return tuple(found)


@dataclass(slots=True)
class LiveJobs:
    """The numbers of live jobs of each lane, by what the jobs wait for."""

    by_status: defaultdict[JobStatus, Counter[Lane]] = field(default_factory=lambda: defaultdict(Counter))
    ready: Counter[Lane] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        """Return True if there are live jobs."""
        return bool(self.by_status)

    def lanes(self) -> set[Lane]:
        """Return the lanes that have live jobs."""
        return {lane for sizes in self.by_status.values() for lane in sizes}

    def running(self) -> Counter[Pair]:
        """Count running jobs."""
        found: Counter[Pair] = Counter()
        for lane, size in self.by_status[JobStatus.RUNNING].items():
            found[lane.pair] += size
        return found


def live_jobs(connection: Connection, organization: str | None = None, queues: Sequence[str] | None = None) -> LiveJobs:
    """Count live jobs; None = of all organizations, or in all queues."""
    found = LiveJobs()
    for row in statements.live_by_lane(connection, organization, queues):
        lane = Lane(row.queue, row.organization, row.job_type)
        found.by_status[JobStatus(row.status)][lane] += row.size
        if row.ready:
            found.ready[lane] += row.size
    return found


@dataclass(frozen=True, slots=True)
class Held:
    """The ready jobs that can't start: how many of each lane wait for limits, and which lanes are paused."""

    limited: Mapping[Lane, int]
    paused: Mapping[tuple[str, str], PauseView]

    def is_paused(self, lane: Lane) -> bool:
        """Return True if the lane's queue, type or organization is paused."""
        return not self.paused.keys().isdisjoint(pauses_on(lane))


def held(
    connection: Connection,
    clock: Clock,
    live: LiveJobs,
    running_now: Mapping[Pair, int],
    max_running: Mapping[str, int | None],
) -> Held:
    """Return what keeps these ready jobs from starting.

    Args:
        running_now: the number of running jobs of all organizations.
        max_running: of the organizations; an organization that is missing has no limit of its own.
    """
    limits = limits_of(connection, {lane.pair for lane in live.ready}, max_running)
    uses = uses_of(connection, clock, limits, running_now)
    paused = {
        (row.subject, row.name): PauseView(row.paused_by, row.paused_at, row.reason)
        for row in job_types.paused(connection)
    }
    # Paused lanes use no capacity of others.
    startable = Counter({lane: size for lane, size in live.ready.items() if paused.keys().isdisjoint(pauses_on(lane))})
    return Held(beyond_limits(startable, {one: limit.room(*uses[one]) for one, limit in limits.items()}), paused)


def ages(connection: Connection, clock: Clock, ready: Iterable[Lane]) -> dict[str, float]:
    """Return by queue how long the oldest ready job in these lanes could have started, in seconds."""
    found: dict[str, float] = {}
    now = clock.now(connection)
    for lane, since in lanes.oldest_in_line(connection, ready).items():
        # If the clock was set back, no wait is negative.
        found[lane.queue] = max(found.get(lane.queue, 0.0), (now - since).total_seconds())
    return found


def queue_views(
    live: LiveJobs, held: Held, holds: Mapping[Lane, ReasonCode], ages: Mapping[str, float]
) -> tuple[QueueView, ...]:
    """Return queues with live jobs, and paused queues, by name.

    Args:
        holds: what holds back all jobs of a lane.
        ages: of their oldest ready jobs.
    """
    kept = _holds_by_queue(live, holds)
    # A job that also waits for a limit is counted as limited.
    kept_ready = _by_queue({lane: live.ready[lane] - held.limited.get(lane, 0) for lane in holds})
    queued, ready, limited = (
        _by_queue(sizes) for sizes in (live.by_status[JobStatus.QUEUED], live.ready, held.limited)
    )
    running, pending = (_by_queue(live.by_status[status]) for status in (JobStatus.RUNNING, JobStatus.PENDING))
    return tuple(
        QueueView(
            queue=name,
            ready=ready[name] - limited[name],
            limited=limited[name],
            retrying=queued[name] - ready[name],
            running=running[name],
            pending=pending[name],
            paused=("queue", name) in held.paused,
            pause=held.paused.get(("queue", name)),
            holds=kept.get(name, ()),
            held=kept_ready[name],
            oldest_seconds=ages.get(name),
        )
        for name in sorted(
            {*queued, *running, *pending, *(name for subject, name in held.paused if subject == "queue")}
        )
    )


def _holds_by_queue(live: LiveJobs, holds: Mapping[Lane, ReasonCode]) -> dict[str, tuple[QueueHold, ...]]:
    """Return the holds of each queue, the largest first, and equal ones by name."""
    queued, running = live.by_status[JobStatus.QUEUED], live.by_status[JobStatus.RUNNING]
    sizes: defaultdict[str, Counter[ReasonCode]] = defaultdict(Counter)
    types: defaultdict[tuple[str, ReasonCode], set[str]] = defaultdict(set)
    for lane, code in holds.items():
        # Without a live worker nobody rescues the jobs of a lost worker, so these jobs wait, too.
        size = queued[lane] + (running[lane] if code is ReasonCode.NO_WORKER else 0)
        if size:
            sizes[lane.queue][code] += size
            types[lane.queue, code].add(lane.job_type)
    return {
        queue: tuple(
            QueueHold(code, tuple(sorted(types[queue, code])), size)
            for code, size in sorted(found.items(), key=lambda one: (-one[1], one[0]))
        )
        for queue, found in sizes.items()
    }


def organization_views(
    connection: Connection, clock: Clock, live: LiveJobs, held: Held
) -> tuple[OrganizationView, ...]:
    """Return organizations with running or waiting jobs, by their running jobs, then by their waiting jobs."""
    now = clock.now(connection)
    running, ready, limited, waits = Counter[str](), Counter[str](), Counter[str](), dict[str, float]()
    for found, sizes in ((running, live.by_status[JobStatus.RUNNING]), (ready, live.ready), (limited, held.limited)):
        for lane, size in sizes.items():
            found[lane.organization] += size
    for one in lanes.in_line(connection, live.ready, up_to=1):
        name, wait = one.lane.organization, max((now - one.since).total_seconds(), 0.0)
        waits[name] = max(wait, waits.get(name, 0.0))
    return tuple(
        OrganizationView(name, running[name], ready[name] - limited[name], limited[name], waits.get(name))
        for name in sorted({*running, *ready}, key=lambda name: (-running[name], -ready[name], name))
    )


def _by_queue(sizes: Mapping[Lane, int]) -> Counter[str]:
    found: Counter[str] = Counter()
    for lane, size in sizes.items():
        found[lane.queue] += size
    return found
