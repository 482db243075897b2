"""Whole jobs: the columns of their facts and states, and the conversion of rows to `Job`.

This is for reads by key, and for jobs that a list has found: the state is joined from its table. To search by a column
of the state, use `live` or `ended`.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Join,
    Label,
    Select,
    String,
    Table,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    or_,
    select,
)

from fairlane.domain.jobs import Job
from fairlane.domain.sealing import LOCKED, Field, is_sealed
from fairlane.domain.secrets import shown_labels, shown_object
from fairlane.domain.statuses import PRIORITY_OF_RANK, WAITING, JobStatus
from fairlane.store.sql import fixed, is_row
from fairlane.store.tables import AnyRow, checkpoints, ended, job_parents, jobs, live, progress


def _of_job(state: Table) -> ColumnElement[bool]:
    return is_row(state, jobs.c.organization_id, jobs.c.id)


def with_state(found: FromClause) -> Join:
    """Join each job's state to rows with its facts. In one statement's snapshot a job has one state."""
    return found.outerjoin(live, _of_job(live)).outerjoin(ended, _of_job(ended))


WHOLE: Final = with_state(jobs)
# The application's session may insert facts without a state. They are no job.
HAS_STATE: Final = or_(live.c.id.is_not(None), ended.c.id.is_not(None))


def _state() -> Mapping[str, Label[Any]]:
    columns: dict[str, ColumnElement[Any]] = {**ended.c, **live.c}
    shared = {name for name in columns if name in live.c and name in ended.c}
    columns |= {name: func.coalesce(live.c[name], ended.c[name], type_=live.c[name].type) for name in shared}
    return {name: column.label(name) for name, column in columns.items() if name not in jobs.c}


STATE: Final[Mapping[str, Label[Any]]] = _state()
STATUS: Final = STATE["status"]
COLUMNS: Final = (*jobs.c, *STATE.values())
# For reads of many jobs: each may have megabytes of parameters.
WITHOUT_PARAMETERS: Final = tuple(column for column in COLUMNS if column is not jobs.c.parameters)


def select_whole(*, with_parameters: bool = True) -> Select[Any]:
    """Select jobs with the columns of their facts and of their state. The caller adds the organization."""
    return select(*(COLUMNS if with_parameters else WITHOUT_PARAMETERS)).select_from(WHOLE).where(HAS_STATE)


# One row for each job: a list of 100 jobs has up to 100,000 parents, and a row for each would cost Python seconds.
_PARENTS: Final = (
    select(job_parents.c.job_id, func.aggregate_strings(cast(job_parents.c.parent_id, String), ","))
    .where(
        job_parents.c.organization_id == bindparam("organization"),
        job_parents.c.job_id.in_(bindparam("ids", expanding=True)),
    )
    .group_by(job_parents.c.job_id)
)
_IDS: Final = TypeAdapter(tuple[UUID, ...])  # three times as fast as UUID()


def progress_of(job: FromClause, attempt: ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition for the row of progress that is a job's.

    The row outlives its attempt. The next attempt begins without it, unless it resumes from a checkpoint.

    Args:
        job: has organization_id and id.
        attempt: the running attempt, or the one that ended the job; NULL = the job waits for its next attempt.
    """
    resumes = select(checkpoints.c.attempt).where(is_row(checkpoints, job.c.organization_id, job.c.id))
    return and_(is_row(progress, job.c.organization_id, job.c.id), or_(progress.c.attempt == attempt, resumes.exists()))


class Opener(Protocol):
    """A converter of stored texts for people: decrypted, and without secret parameters."""

    def parameters(self, organization: str, job_id: UUID, text: str) -> Mapping[str, Any]:
        """Return a job's parameters."""

    def text(self, organization: str, job_id: UUID, field: Field, text: str | None) -> str | None:
        """Return a text, if there is one."""


class _WithoutKeys:
    """An `Opener` without keys."""

    def parameters(self, organization: str, job_id: UUID, text: str) -> Mapping[str, Any]:
        """Return a job's parameters."""
        return {"parameters": LOCKED} if is_sealed(text) else shown_object(text, "parameters")

    def text(self, organization: str, job_id: UUID, field: Field, text: str | None) -> str | None:
        """Return a text, if there is one."""
        return LOCKED if text is not None and is_sealed(text) else text


WITHOUT_KEYS: Final = _WithoutKeys()


def select_jobs(
    found: FromClause | None = None, on: ColumnElement[bool] | None = None, *, with_parameters: bool = True
) -> Select[Any]:
    """Return jobs with their state and progress. The caller adds the organization.

    Args:
        found: rows to join jobs to, by the condition `on`.
        with_parameters: False = the column is not read, and `to_job` returns jobs with empty parameters.
    """
    columns = COLUMNS if with_parameters else (*WITHOUT_PARAMETERS, fixed("{}").label("parameters"))
    rows = WHOLE if found is None else with_state(found.join(jobs, on))
    attempt = case((live.c.status.in_(map(fixed, sorted(WAITING))), None), else_=STATE["attempt"])
    told = (
        progress.c.percent.label("progress"),
        progress.c.message.label("progress_message"),
        progress.c.at.label("progress_at"),
    )
    return select(*columns, *told).select_from(rows.outerjoin(progress, progress_of(jobs, attempt))).where(HAS_STATE)


def find(connection: Connection, organization: str, job_id: UUID) -> AnyRow | None:
    """Return a job's present facts and state, without a lock; None if there is none."""
    return connection.execute(select_whole().where(is_row(jobs, organization, job_id))).one_or_none()


def shown(connection: Connection, organization: str, job_id: UUID) -> AnyRow | None:
    """Return a job's row with its progress but without its parameters, for `to_job`; None if there is none."""
    wanted = select_jobs(with_parameters=False).add_columns(jobs.c.required_permission)
    return connection.execute(wanted.where(is_row(jobs, organization, job_id))).one_or_none()


def get(
    connection: Connection, organization: str, job_id: UUID, opener: Opener, *, with_parameters: bool = True
) -> Job | None:
    """Return a job; None if there is none."""
    wanted = select_jobs(with_parameters=with_parameters).where(jobs.c.id == job_id)
    return next(iter(jobs_of(connection, organization, wanted, opener)), None)


def has_id_in(connection: Connection, organization: str, ids: tuple[UUID, UUID]) -> bool:
    """Return True if any job's id is in the range, from the first to the last: one probe of the primary key."""
    there = exists().where(jobs.c.organization_id == organization, jobs.c.id.between(*ids))
    return connection.execute(select(there)).scalar_one()


def known(connection: Connection, organization: str, job_ids: Collection[UUID]) -> set[UUID]:
    """Return those of the ids that are jobs of the organization."""
    named = (jobs.c.organization_id == organization, jobs.c.id.in_(sorted(job_ids)))
    return set(connection.scalars(select(jobs.c.id).select_from(WHOLE).where(*named, HAS_STATE)))


def jobs_of(
    connection: Connection, organization: str, statement: Select[Any], opener: Opener = WITHOUT_KEYS
) -> tuple[Job, ...]:
    """Run a `select_jobs` statement and add each job's parents."""
    rows = connection.execute(statement.where(jobs.c.organization_id == organization)).all()
    parents = parents_of(connection, organization, [row.id for row in rows])
    return tuple(to_job(row, parents.get(row.id, ()), opener) for row in rows)


def parents_of(connection: Connection, organization: str, ids: list[UUID]) -> dict[UUID, tuple[UUID, ...]]:
    """Return the parents of each of these jobs that has any, in the order of their ids."""
    if not ids:
        return {}
    found = connection.execute(_PARENTS, {"organization": organization, "ids": ids})
    return {job_id: _IDS.validate_python(sorted(parents.split(","))) for job_id, parents in found}


def to_job(row: AnyRow, depends_on: tuple[UUID, ...], opener: Opener = WITHOUT_KEYS) -> Job:
    """Return the public value of a row of `select_jobs`."""
    mine = (row.organization_id, row.id)
    return Job(
        id=row.id,
        organization=row.organization_id,
        job_type=row.job_type,
        user=row.submitted_by,
        status=JobStatus(row.status),
        priority=PRIORITY_OF_RANK[row.priority],
        queue=row.queue,
        parameters=opener.parameters(*mine, row.parameters),
        labels=shown_labels(row.labels),
        attempt=row.attempt,
        retry_count=row.retry_count,
        max_retries=row.max_retries,
        next_retry_at=row.next_retry_at,
        run_at=row.run_at,
        timeout=row.timeout_seconds,
        progress=row.progress,
        progress_message=opener.text(*mine, Field.PROGRESS, row.progress_message),
        progress_at=row.progress_at,
        error_type=row.error_type,
        error_message=opener.text(*mine, Field.ERROR, row.error_message),
        depends_on=depends_on,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        cancel_requested_at=row.cancel_requested_at,
        canceled_at=row.canceled_at,
        canceled_by=row.canceled_by,
    )
