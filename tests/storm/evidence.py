"""The database's evidence after a storm.

The rows of a million jobs take longer to judge than the database lets a transaction pause, so they are judged when
the transaction is over.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, exists, func, or_, select, text, union_all

from fairlane import Fairlane
from fairlane.domain.statuses import TRANSITIONS, JobStatus
from fairlane.schedules.ticks import TICK
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements.rows import STATE, STATUS, WHOLE
from fairlane.store.tables import (
    artifacts,
    checkpoints,
    ended,
    execution_log,
    jobs,
    labels,
    live,
    log_lines,
    progress,
    results,
)
from tests.storm.clocks import Clocks
from tests.storm.explain import Loss
from tests.storm.promises import Run
from tests.storm.verdict import Finding, Stored

_CLAIMED: Final = "claimed by "
_LOST_WORKER: Final = "%was lost%"  # in the reason of each rescue
_RELEASED: Final = "released at shutdown"
_ENDS: Final = execution_log.c.from_status == JobStatus.RUNNING  # of an attempt
# An end reads the clock before it waits for the row, to which the attempt may write meanwhile.
_TOGETHER: Final = timedelta(seconds=1)
# What the attempt that completed a job has left, by the way that its parameters name.
_LEFT: Final[Mapping[str, Sequence[Table]]] = {"report": (log_lines, progress), "file": (artifacts,)}
# What attempts leave, and the column that says whose it is.
_TOLD: Final[Mapping[Table, str]] = {log_lines: "message", progress: "message", checkpoints: "state"}
_BLAMED: Final = "WorkerLost"  # error type of a job that was dead-lettered for its losses


def stored(fl: Fairlane, clocks: Clocks) -> dict[str, Stored]:
    """Return all jobs, by id."""
    mine = (results.c.organization_id == jobs.c.organization_id) & (results.c.job_id == jobs.c.id)
    state = [STATE[name] for name in ("status", "attempt", "error_type", "finished_at")]
    columns = (jobs.c.id, jobs.c.organization_id, *state, results.c.value)
    found = select(*columns).select_from(WHOLE.outerjoin(results, mine)).where(STATUS.element.is_not(None))
    lost = _losses(fl, clocks)
    return {
        str(row.id): Stored(
            JobStatus(row.status),
            row.organization_id,
            row.attempt,
            *_of_result(row.value),
            losses=tuple(lost[row.id]),
            is_blamed=row.error_type == _BLAMED,
            ended=clocks.monotonic(row.finished_at) if row.finished_at is not None else None,
        )
        for row in _rows(fl, found)
    }


def _rows(fl: Fairlane, wanted: Select[Any]) -> Sequence[Any]:
    def read(connection: Connection) -> Sequence[Any]:
        if connection.dialect.name == "postgresql":
            # Making rows of what came takes longer, too, of several millions.
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        return connection.execute(wanted).all()

    return fl.database.read(read, of=EVERYONE)


def _losses(fl: Fairlane, clocks: Clocks) -> Mapping[object, Sequence[Loss]]:
    """Return the losses of each job whose worker was lost."""
    mine = execution_log.alias()
    is_lost = exists().where(
        mine.c.organization_id == execution_log.c.organization_id,
        mine.c.job_id == execution_log.c.job_id,
        mine.c.from_status == JobStatus.RUNNING,
        mine.c.message.like(_LOST_WORKER),
    )
    columns = (execution_log.c.job_id, execution_log.c.to_status, execution_log.c.attempt, execution_log.c.at)
    steps = (
        select(*columns, execution_log.c.message)
        .where(is_lost, (execution_log.c.to_status == JobStatus.RUNNING) | execution_log.c.message.like(_LOST_WORKER))
        .order_by(execution_log.c.job_id, execution_log.c.sequence)
    )
    found = defaultdict[object, list[Loss]](list)
    claims: dict[object, tuple[str, float]] = {}
    for job, status, attempt, at, message in _rows(fl, steps):
        if status == JobStatus.RUNNING:
            claims[job] = message.removeprefix(_CLAIMED), clocks.monotonic(at)
        else:
            found[job].append(Loss(attempt, *claims[job], clocks.monotonic(at)))
    return found


def _of_result(value: str | None) -> tuple[int | None, str | None]:
    result = (json.loads(value) if value is not None else None) or {}
    return result.get("attempt"), result.get("lease")


def misplaced(fl: Fairlane) -> Iterator[Finding]:
    """Jobs that do not stand in exactly one of the tables of live and ended jobs, and such rows without their job."""
    state = union_all(*(select(table.c.organization_id, table.c.id) for table in (live, ended))).subquery()
    mine = (state.c.organization_id == jobs.c.organization_id) & (state.c.id == jobs.c.id)
    count = func.count(state.c.id)
    places = select(jobs.c.id, count).outerjoin(state, mine).group_by(jobs.c.organization_id, jobs.c.id)
    for job, number in _rows(fl, places.having(count != 1)):
        yield Finding("lost", str(job), f"stands {number} times among live and ended jobs")
    for (job,) in _rows(fl, select(state.c.id).outerjoin(jobs, mine).where(jobs.c.id.is_(None))):
        yield Finding("lost", str(job), "has a state, and no facts")


def illegal_steps(fl: Fairlane) -> list[Finding]:
    """Jobs whose log does not lead, step by legal step, to the row that they have: what overwrote it left a trace.

    A second end of one attempt is such a step. The database looks itself, as a million jobs have millions of steps.
    """
    return [*_broken_logs(fl), *_other_ends(fl)]


def _broken_logs(fl: Fairlane) -> Iterator[Finding]:
    log = execution_log.c

    def before(column: ColumnElement[Any], first: object) -> ColumnElement[Any]:
        last = func.lag(column).over(partition_by=(log.organization_id, log.job_id), order_by=log.sequence)
        return func.coalesce(last, first)

    source = func.coalesce(log.from_status, "")
    follows = (source == before(log.to_status, "")) & (log.sequence == before(log.sequence, 0) + 1)
    step = select(
        *(log.job_id, log.sequence, (source + ">" + log.to_status).label("step")),
        (follows & (log.attempt >= before(log.attempt, 0))).label("follows"),
    ).subquery()
    legal = [f"{start or ''}>{end}" for start, end in TRANSITIONS]
    wrong = select(step.c.job_id, step.c.sequence, step.c.step).where(~step.c.follows | step.c.step.not_in(legal))
    for job, number, told in _rows(fl, wrong):
        yield Finding("zombie", str(job), f"has a step that does not follow from the last, no. {number}: {told}")


def _other_ends(fl: Fairlane) -> Iterator[Finding]:
    log = execution_log.c
    attempts = func.count().filter(log.to_status == JobStatus.RUNNING)
    told = (
        select(log.organization_id, log.job_id, func.max(log.sequence).label("last"), attempts.label("attempts"))
        .group_by(log.organization_id, log.job_id)
        .subquery()
    )
    mine = (told.c.organization_id == jobs.c.organization_id) & (told.c.job_id == jobs.c.id)
    last = (log.organization_id == jobs.c.organization_id) & (log.job_id == jobs.c.id) & (log.sequence == told.c.last)
    attempt = STATE["attempt"].element
    other = or_(log.to_status.is_(None), log.to_status != STATUS.element, told.c.attempts != attempt)
    columns = (jobs.c.id, STATUS, attempt, log.to_status, told.c.attempts)
    ends = select(*columns).select_from(WHOLE.outerjoin(told, mine).outerjoin(execution_log, last))
    for job, status, attempt, last_status, number in _rows(fl, ends.where(other)):
        why = f"is {status} in attempt {attempt}, and its log ends with {last_status} in attempt {number}"
        yield Finding("zombie", str(job), why)


def foreign_writes(fl: Fairlane) -> list[Finding]:
    """Return what stands there under an attempt, but was written by another one, or after that attempt had ended.

    Attempts write their own number. Rows that an attempt that had the job overwrote again are not seen.
    """
    return [*_foreign_rows(fl), *_foreign_files(fl)]


def _foreign_rows(fl: Fairlane) -> Iterator[Finding]:
    for table, told in _TOLD.items():
        end = and_(
            execution_log.c.organization_id == table.c.organization_id,
            execution_log.c.job_id == table.c.job_id,
            execution_log.c.attempt == table.c.attempt,
            execution_log.c.from_status == JobStatus.RUNNING,
        )
        columns = (table.c.job_id, table.c.attempt, table.c.at, table.c[told], execution_log.c.at)
        told_and_ended = select(*columns).select_from(table.outerjoin(execution_log, end))
        for job, attempt, at, said, end_at in _rows(fl, told_and_ended):
            if said != str(attempt):
                yield Finding("zombie", str(job), f"has in {table.name} what attempt {said} wrote, under {attempt}")
            elif end_at is not None and at > end_at + _TOGETHER:
                yield Finding("zombie", str(job), f"has in {table.name} what attempt {attempt} wrote after its end")
    mine = (ended.c.organization_id == checkpoints.c.organization_id) & (ended.c.id == checkpoints.c.job_id)
    left = select(checkpoints.c.job_id).join(ended, mine).where(ended.c.status == JobStatus.COMPLETED)
    for (job,) in _rows(fl, left):
        yield Finding("zombie", str(job), "has completed, and has a checkpoint again")


def _foreign_files(fl: Fairlane) -> Iterator[Finding]:
    for job, digest, data, own in _files(fl):
        if digest != sha256(own).hexdigest() or data not in {own, None}:
            yield Finding("zombie", job, "has the file of another attempt than its result is from")


def _files(fl: Fairlane) -> Iterator[tuple[str, str, bytes | None, bytes]]:
    """The job of each file, what its row and its storage say of it, and what the job's result says that is in it."""
    mine = (results.c.organization_id == artifacts.c.organization_id) & (results.c.job_id == artifacts.c.job_id)
    files = select(artifacts.c.job_id, artifacts.c.sha256, artifacts.c.path, results.c.value).join(results, mine)
    for job, digest, path, value in _rows(fl, files):
        try:
            data = fl.artifacts.get(path)
        except FileNotFoundError:
            data = None
        yield str(job), digest, data, str(json.loads(value)["attempt"]).encode()


def lost_outputs(fl: Fairlane) -> list[Finding]:
    """Return what the attempt that completed a job had left with the engine, and is not there."""
    found = list[Finding]()
    for way, tables in _LEFT.items():
        for table in tables:
            its = (table.c.organization_id == ended.c.organization_id, table.c.job_id == ended.c.id)
            left = exists().where(*its, *_of_last_attempt(table))
            has_none = (ended.c.status == JobStatus.COMPLETED, jobs.c.parameters.like(f'%"{way}"%'), ~left)
            mine = (ended.c.organization_id == jobs.c.organization_id) & (ended.c.id == jobs.c.id)
            rows = _rows(fl, select(ended.c.id).join(jobs, mine).where(*has_none))
            found += (Finding("lost", str(job), f"is completed, and has nothing in {table.name}") for (job,) in rows)
    found += (
        Finding("lost", job, "is completed, and its file is gone") for job, _, data, _ in _files(fl) if data is None
    )
    return found


def _of_last_attempt(table: Table) -> Sequence[ColumnElement[bool]]:
    """Files do not say of which attempt they are; their contents do (`_foreign_files`)."""
    return [table.c.attempt == ended.c.attempt] if "attempt" in table.c else []


def of_ticks(fl: Fairlane) -> dict[tuple[str, datetime], list[str]]:
    """The jobs of each tick of schedules, by organization and moment."""
    rows = select(labels.c.organization_id, labels.c.value, labels.c.job_id).where(labels.c.name == TICK)
    found = defaultdict[tuple[str, datetime], list[str]](list)
    for organization, tick, job in _rows(fl, rows):
        found[organization, datetime.fromisoformat(tick)].append(str(job))
    return found


def moments(made: Mapping[tuple[str, datetime], Sequence[str]], clocks: Clocks) -> dict[str, float]:
    """Before which moment (monotonic) the job of each tick is not to begin."""
    return {job: clocks.monotonic(at) for (_, at), jobs_of_it in made.items() for job in jobs_of_it}


def runs(fl: Fairlane, job_type: str, clocks: Clocks) -> list[Run]:
    """Return the begin and end of each ended attempt at a job of this type, as the log has it."""
    rows = (
        select(execution_log.c.job_id, execution_log.c.to_status, execution_log.c.at)
        .join(jobs, (jobs.c.organization_id == execution_log.c.organization_id) & (jobs.c.id == execution_log.c.job_id))
        .where(jobs.c.job_type == job_type)
        .where(or_(execution_log.c.from_status == JobStatus.RUNNING, execution_log.c.to_status == JobStatus.RUNNING))
        .order_by(execution_log.c.job_id, execution_log.c.sequence)
    )
    found: list[Run] = []
    begins: dict[object, float] = {}
    for job, status, at in _rows(fl, rows):
        if status == JobStatus.RUNNING:
            begins[job] = clocks.monotonic(at)
        else:
            found.append((begins.pop(job), clocks.monotonic(at)))
    return found


def rescued(fl: Fairlane, since: datetime) -> int:
    """Return how many jobs were taken from workers since then."""
    return _count(fl, execution_log, _ENDS, execution_log.c.message.like(_LOST_WORKER), execution_log.c.at >= since)


def released(fl: Fairlane) -> set[tuple[str, int]]:
    """The jobs that were given back by a worker that was told to stop, and in which attempt; not all had begun."""
    given = select(execution_log.c.job_id, execution_log.c.attempt).where(_ENDS, execution_log.c.message == _RELEASED)
    return {(str(job), attempt) for job, attempt in _rows(fl, given)}


def stopped(fl: Fairlane) -> int:
    """Return how many jobs were canceled while they ran."""
    return _count(fl, execution_log, _ENDS, execution_log.c.to_status == JobStatus.CANCELED)


def unfinished(fl: Fairlane) -> int:
    """Return how many jobs have not ended."""
    return _count(fl, live)


def _count(fl: Fairlane, table: Table, *where: ColumnElement[bool]) -> int:
    count = select(func.count()).select_from(table).where(*where)
    return fl.database.read(lambda connection: connection.scalar(count), of=EVERYONE) or 0
