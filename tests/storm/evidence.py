"""What the database shows after a storm."""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, exists, func, or_, select

from fairlane import Fairlane
from fairlane.control.ticks import TICK
from fairlane.domain.statuses import JobStatus
from fairlane.store.row_security import EVERYONE
from fairlane.store.tables import checkpoints, execution_log, jobs, labels, log_lines, results
from tests.storm.explain import Loss
from tests.storm.promises import Run
from tests.storm.verdict import Stored

_CLAIMED: Final = "claimed by "
_LOST_WORKER: Final = "%was lost%"  # in the reason of each rescue
_BLAMED: Final = "WorkerLost"  # error type of a job that was buried for its losses


def stored(fl: Fairlane) -> dict[str, Stored]:
    """All jobs, by id."""
    return fl.database.read(_stored, of=EVERYONE)


def _stored(connection: Connection) -> dict[str, Stored]:
    rows = connection.execute(
        select(jobs.c.id, jobs.c.status, jobs.c.error_type, jobs.c.finished_at, results.c.value).outerjoin(
            results, (results.c.organization_id == jobs.c.organization_id) & (results.c.job_id == jobs.c.id)
        )
    )
    monotonic, lost = _to_monotonic(), _losses(connection)
    return {
        str(row.id): Stored(
            JobStatus(row.status),
            _lease(row.value),
            tuple(lost[row.id]),
            is_blamed=row.error_type == _BLAMED,
            ended=monotonic(row.finished_at) if row.finished_at is not None else None,
        )
        for row in rows
    }


def _to_monotonic() -> Callable[[datetime], float]:
    """From one of this machine's clocks to the other; only workers have any that lie."""
    ahead = time.time() - time.monotonic()
    return lambda moment: moment.timestamp() - ahead


def _losses(connection: Connection) -> Mapping[object, Sequence[Loss]]:
    """How often each job was taken from its worker, as that was lost."""
    mine = execution_log.alias()
    is_lost = exists().where(
        mine.c.organization_id == execution_log.c.organization_id,
        mine.c.job_id == execution_log.c.job_id,
        mine.c.from_status == JobStatus.RUNNING,
        mine.c.message.like(_LOST_WORKER),
    )
    columns = (execution_log.c.job_id, execution_log.c.to_status, execution_log.c.attempt, execution_log.c.at)
    rows = connection.execute(
        select(*columns, execution_log.c.message)
        .where(is_lost, (execution_log.c.to_status == JobStatus.RUNNING) | execution_log.c.message.like(_LOST_WORKER))
        .order_by(execution_log.c.job_id, execution_log.c.sequence)
    )
    monotonic = _to_monotonic()
    found = defaultdict[object, list[Loss]](list)
    claims: dict[object, tuple[str, float]] = {}
    for job, status, attempt, at, message in rows:
        if status == JobStatus.RUNNING:
            claims[job] = message.removeprefix(_CLAIMED), monotonic(at)
        else:
            found[job].append(Loss(attempt, *claims[job], monotonic(at)))
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


def of_ticks(fl: Fairlane) -> dict[tuple[str, datetime], list[str]]:
    """The jobs of each tick of schedules, by organization and moment."""
    rows = select(labels.c.organization_id, labels.c.value, labels.c.job_id).where(labels.c.name == TICK)
    found = defaultdict[tuple[str, datetime], list[str]](list)
    for organization, tick, job in fl.database.read(lambda connection: connection.execute(rows).all(), of=EVERYONE):
        found[organization, datetime.fromisoformat(tick)].append(str(job))
    return found


def runs(fl: Fairlane, job_type: str) -> list[Run]:
    """From when to when each attempt at a job of this type ran, as the log has it; what has not ended is left out."""
    rows = (
        select(execution_log.c.job_id, execution_log.c.to_status, execution_log.c.at)
        .join(jobs, (jobs.c.organization_id == execution_log.c.organization_id) & (jobs.c.id == execution_log.c.job_id))
        .where(jobs.c.job_type == job_type)
        .where(or_(execution_log.c.from_status == JobStatus.RUNNING, execution_log.c.to_status == JobStatus.RUNNING))
        .order_by(execution_log.c.job_id, execution_log.c.sequence)
    )
    found: list[Run] = []
    begins: dict[object, float] = {}
    monotonic = _to_monotonic()
    for job, status, at in fl.database.read(lambda connection: connection.execute(rows).all(), of=EVERYONE):
        if status == JobStatus.RUNNING:
            begins[job] = monotonic(at)
        else:
            found.append((begins.pop(job), monotonic(at)))
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
