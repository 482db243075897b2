"""What the database shows after a storm."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, exists, func, select

from fairlane import Fairlane
from fairlane.domain.statuses import JobStatus
from fairlane.store.row_security import EVERYONE
from fairlane.store.tables import checkpoints, execution_log, jobs, log_lines, results
from tests.storm.verdict import Stored

_CLAIMED: Final = "claimed by "
_LOST_WORKER: Final = "%was lost%"  # in the reason of each rescue


def stored(fl: Fairlane) -> dict[str, Stored]:
    """All jobs, by id."""
    return fl.database.read(_stored, of=EVERYONE)


def _stored(connection: Connection) -> dict[str, Stored]:
    rows = connection.execute(
        select(jobs.c.id, jobs.c.status, results.c.value).outerjoin(
            results, (results.c.organization_id == jobs.c.organization_id) & (results.c.job_id == jobs.c.id)
        )
    )
    taken = _taken_down(connection)
    return {str(row.id): Stored(JobStatus(row.status), _lease(row.value), tuple(taken[row.id])) for row in rows}


def _taken_down(connection: Connection) -> Mapping[object, Sequence[str]]:
    """Of each job that was buried since it was lost with its workers too often: who these were."""
    rows = connection.execute(
        select(jobs.c.id, execution_log.c.message)
        .join(
            execution_log,
            (execution_log.c.organization_id == jobs.c.organization_id) & (execution_log.c.job_id == jobs.c.id),
        )
        .where(jobs.c.error_type == "WorkerLost", execution_log.c.to_status == JobStatus.RUNNING)
    )
    found = defaultdict[object, list[str]](list)
    for job, message in rows:
        found[job].append(message.removeprefix(_CLAIMED))
    return found


def _lease(value: str | None) -> str | None:
    result = json.loads(value) if value is not None else None
    return str(result["lease"]) if result is not None else None


def late_writes(fl: Fairlane) -> list[str]:
    """Jobs with a checkpoint or a log line that an attempt wrote after a later one had begun."""
    return [str(job) for job in fl.database.read(_late_writes, of=EVERYONE)]


def _late_writes(connection: Connection) -> list[object]:
    found: list[object] = []
    for written in (checkpoints, log_lines):
        later = exists().where(
            execution_log.c.organization_id == written.c.organization_id,
            execution_log.c.job_id == written.c.job_id,
            execution_log.c.to_status == JobStatus.RUNNING,
            execution_log.c.attempt > written.c.attempt,
            execution_log.c.at < written.c.at,
        )
        found += connection.scalars(select(written.c.job_id).where(later)).all()
    return found


def rescued(fl: Fairlane, since: datetime) -> int:
    """How many jobs were taken from workers since then."""
    count = select(func.count()).where(
        execution_log.c.from_status == JobStatus.RUNNING,
        execution_log.c.message.like(_LOST_WORKER),
        execution_log.c.at >= since,
    )
    return fl.database.read(lambda connection: connection.scalar(count), of=EVERYONE) or 0


def unfinished(fl: Fairlane) -> int:
    """How many jobs have not ended."""
    live = (JobStatus.PENDING, JobStatus.QUEUED, JobStatus.RUNNING)
    count = select(func.count()).select_from(jobs).where(jobs.c.status.in_(live))
    return fl.database.read(lambda connection: connection.scalar(count), of=EVERYONE) or 0
