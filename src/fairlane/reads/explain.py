"""Gathers what `domain.explain` reasons about."""

import json
from collections.abc import Iterator
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.explain import LAST_PLACE, NAMED_PARENTS, Explanation, explain
from fairlane.domain.explain_facts import Facts, Holder, LiveWorker, Pause, WaitedFor
from fairlane.domain.ids import job_not_found
from fairlane.domain.jobs import Job
from fairlane.domain.statuses import TERMINAL, JobStatus, OrganizationStatus
from fairlane.reads.history import log_entry
from fairlane.store.clock import Clock
from fairlane.store.statements import explain as statements
from fairlane.store.statements import history, job_list, job_types, organizations, rows, workers
from fairlane.store.tables import AnyRow


def explain_job(connection: Connection, clock: Clock, organization: str, job_id: UUID) -> Explanation:
    """Why the job is not running, or how it runs, or how it ended.

    Raises:
        JobNotFound
    """
    row = job_list.find(connection, organization, job_id)
    if row is None:
        raise job_not_found(job_id, organization)
    depends_on = rows.parents_of(connection, organization, [job_id]).get(job_id, ())
    return explain(_facts(connection, clock, row, rows.to_job(row, depends_on)))


def _facts(connection: Connection, clock: Clock, row: AnyRow, job: Job) -> Facts:
    now = clock.now(connection)
    last_entry = log_entry(history.last_entry(connection, job.organization, job.id))
    if job.status in TERMINAL:
        return Facts(job, now, last_entry)
    live = tuple(_live_worker(worker) for worker in workers.all_workers(connection, clock))
    if job.status is JobStatus.RUNNING:
        holder = _holder(connection, clock, row)
        canceler = statements.canceler(connection, job.organization, job.id)
        return Facts(job, now, last_entry, workers=live, holder=holder, cancel_requested_by=canceler)
    parents = statements.unmet_parents(connection, job.organization, job.id, NAMED_PARENTS)
    return Facts(
        job,
        now,
        last_entry,
        parents=tuple(WaitedFor(parent.id, parent.job_type, JobStatus(parent.status)) for parent in parents),
        unmet_parents=parents[0].total if parents else 0,
        place_in_lane=_place(connection, row) if row.ready else None,
        organization_status=_organization_status(connection, job.organization),
        pauses=tuple(_pauses_on(connection, job)),
        workers=live,
    )


def _place(connection: Connection, row: AnyRow) -> int:
    return min(statements.ahead_in_lane(connection, row, up_to=LAST_PLACE) + 1, LAST_PLACE)


def _organization_status(connection: Connection, organization: str) -> OrganizationStatus | None:
    found = organizations.find(connection, [organization])
    return OrganizationStatus(found[0].status) if found else None


def _pauses_on(connection: Connection, job: Job) -> Iterator[Pause]:
    mine = {("organization", job.organization), ("job_type", job.job_type), ("queue", job.queue)}
    for row in job_types.paused(connection):
        if (row.subject, row.name) in mine:
            yield Pause(row.subject, row.name, row.paused_by, row.paused_at, row.reason)


def _live_worker(row: AnyRow) -> LiveWorker:
    queues = json.loads(row.queues)
    return LiveWorker(
        queues=frozenset(queues) if queues is not None else None,
        job_types=frozenset(json.loads(row.job_types)),
        stopping=row.stopping,
    )


def _holder(connection: Connection, clock: Clock, row: AnyRow) -> Holder | None:
    held = statements.holder(connection, row.worker_id) if row.worker_id is not None else None
    if held is None:
        return None
    silent = (clock.now(connection) - held.heartbeat_at).total_seconds()
    if held.boot_id != clock.boot_id(connection):
        return Holder(held.name, silent, None)
    return Holder(held.name, silent, held.lease_expires - clock.lease_seconds(connection))
