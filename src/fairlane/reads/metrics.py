"""Gathers the numbers of `domain.metrics`."""

import json
from collections import Counter, defaultdict

from sqlalchemy import Connection

from fairlane.domain.metrics import Metrics, QueueView, RunningJob, Stranded, WorkerView
from fairlane.domain.statuses import PASSING, PRIORITY_OF_RANK, JobStatus, Priority
from fairlane.store.clock import Clock
from fairlane.store.statements import job_types, workers
from fairlane.store.statements import metrics as statements
from fairlane.store.tables import AnyRow


def metrics_of(connection: Connection, clock: Clock, organization: str | None) -> Metrics:
    """Counts and ages of an organization; None = of all, for operators."""
    sizes = statements.jobs_by_status(connection, organization)
    ready = statements.ready_by_priority(connection, organization)
    depth = {PRIORITY_OF_RANK[row.priority]: row.size for row in ready}
    oldest = min((row.since for row in ready), default=None)
    return Metrics(
        jobs_by_status={status: sizes.get(status, 0) for status in JobStatus if status not in PASSING},
        queue_depth_by_priority={priority: depth.get(priority, 0) for priority in Priority},
        # A clock that was set back makes no job wait for less than no time.
        oldest_queued_seconds=max((clock.now(connection) - oldest).total_seconds(), 0.0) if oldest else None,
        dead_letter_depth=statements.dead_letter_depth(connection, organization),
    )


def live_workers(connection: Connection, clock: Clock) -> tuple[WorkerView, ...]:
    """Workers with a valid lease, by name, and how many jobs each runs."""
    sizes = {row.worker_id: row.size for row in statements.running_by_worker(connection)}
    return tuple(_worker(row, sizes.get(row.id, 0)) for row in workers.all_workers(connection, clock))


def _worker(row: AnyRow, running: int) -> WorkerView:
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
        stopping=row.stopping,
    )


def running_jobs(connection: Connection, organization: str | None, limit: int) -> tuple[RunningJob, ...]:
    """What runs, the longest-running first."""
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
            progress_message=row.message,
            cancel_requested_at=row.requested_at,
        )
        for row in statements.running(connection, organization, limit)
    )


def stranded_jobs(connection: Connection, clock: Clock) -> tuple[Stranded, ...]:
    """What is queued without a worker for it, by queue and type. One that is stopping claims no more."""
    alive = [one for one in live_workers(connection, clock) if not one.stopping]
    waiting: Counter[tuple[str, str]] = Counter()
    for row in statements.live_by_queue(connection):
        if row.status == JobStatus.QUEUED:
            waiting[row.queue, row.job_type] += row.size
    found = []
    for (queue, job_type), size in sorted(waiting.items()):
        serving = [one for one in alive if one.queues is None or queue in one.queues]
        if not any(job_type in one.job_types for one in serving):
            found.append(Stranded(queue, job_type, size, queue_is_served=bool(serving)))
    return tuple(found)


def queue_views(connection: Connection) -> tuple[QueueView, ...]:
    """Queues with live jobs, and paused ones, by name."""
    sizes: dict[str, Counter[tuple[JobStatus, bool]]] = defaultdict(Counter)
    for row in statements.live_by_queue(connection):
        sizes[row.queue][JobStatus(row.status), row.ready] += row.size
    paused = {row.name for row in job_types.paused(connection) if row.subject == "queue"}
    return tuple(
        QueueView(
            queue=name,
            ready=sizes[name][JobStatus.QUEUED, True],
            retrying=sizes[name][JobStatus.QUEUED, False],
            running=sizes[name][JobStatus.RUNNING, False],
            pending=sizes[name][JobStatus.PENDING, False],
            paused=name in paused,
        )
        for name in sorted({*sizes, *paused})
    )
