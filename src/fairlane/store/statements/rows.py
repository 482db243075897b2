"""From rows to the values of `domain.jobs`, and the columns that take part."""

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Select, select

from fairlane.domain.jobs import Job
from fairlane.domain.statuses import PRIORITY_OF_RANK, JobStatus
from fairlane.store.tables import AnyRow, cancel_requests, job_parents, jobs, progress


def select_jobs() -> Select[Any]:
    """Jobs with their progress and cancel request. The caller adds the organization."""
    return (
        select(
            jobs,
            progress.c.percent.label("progress"),
            progress.c.message.label("progress_message"),
            cancel_requests.c.requested_at.label("cancel_requested_at"),
        )
        .select_from(jobs)
        .outerjoin(progress, (progress.c.organization_id == jobs.c.organization_id) & (progress.c.job_id == jobs.c.id))
        .outerjoin(
            cancel_requests,
            (cancel_requests.c.organization_id == jobs.c.organization_id) & (cancel_requests.c.job_id == jobs.c.id),
        )
    )


def jobs_of(connection: Connection, organization: str, statement: Select[Any]) -> tuple[Job, ...]:
    """Run a `select_jobs` statement and add each job's parents."""
    rows = connection.execute(statement.where(jobs.c.organization_id == organization)).all()
    parents = parents_of(connection, organization, [row.id for row in rows])
    return tuple(to_job(row, parents.get(row.id, ())) for row in rows)


def parents_of(connection: Connection, organization: str, ids: list[UUID]) -> dict[UUID, tuple[UUID, ...]]:
    """The parents of each of these jobs that has any."""
    found: dict[UUID, tuple[UUID, ...]] = {}
    if not ids:
        return found
    edges = connection.execute(
        select(job_parents.c.job_id, job_parents.c.parent_id)
        .where(job_parents.c.organization_id == organization, job_parents.c.job_id.in_(ids))
        .order_by(job_parents.c.job_id, job_parents.c.parent_id)
    )
    for edge in edges:
        found[edge.job_id] = (*found.get(edge.job_id, ()), edge.parent_id)
    return found


_NEW: Final = dict.fromkeys(
    (
        "next_retry_at",
        "progress",
        "progress_message",
        "error_type",
        "error_message",
        "started_at",
        "finished_at",
        "cancel_requested_at",
        "canceled_at",
        "canceled_by",
    )
)


def new_job(values: Mapping[str, Any]) -> Job:
    """The public value of a job without parents, from the columns that were inserted just now."""
    return to_job(SimpleNamespace(**_NEW, **values), ())


def to_job(row: AnyRow | SimpleNamespace, depends_on: tuple[UUID, ...]) -> Job:
    """The public value of a row of `select_jobs`."""
    return Job(
        id=row.id,
        organization=row.organization_id,
        job_type=row.job_type,
        user=row.submitted_by,
        status=JobStatus(row.status),
        priority=PRIORITY_OF_RANK[row.priority],
        queue=row.queue,
        parameters=json.loads(row.parameters),
        labels=json.loads(row.labels),
        attempt=row.attempt,
        retry_count=row.retry_count,
        max_retries=row.max_retries,
        next_retry_at=row.next_retry_at,
        run_at=row.run_at,
        timeout=row.timeout_seconds,
        progress=row.progress,
        progress_message=row.progress_message,
        error_type=row.error_type,
        error_message=row.error_message,
        depends_on=depends_on,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        cancel_requested_at=row.cancel_requested_at,
        canceled_at=row.canceled_at,
        canceled_by=row.canceled_by,
    )
