"""The guarded write of a job's status.

Every transition goes through `write_all`, except frequent ones with their own statements: submissions and, by
`values_for_many`, claims and quick completions.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import Connection, Table, delete, select, tuple_, update

from fairlane.domain.outcomes import ErrorReport
from fairlane.domain.statuses import TERMINAL, JobStatus, Resolution
from fairlane.domain.transitions import DeadLetterCause, Transition
from fairlane.store import dead_letter_alarm
from fairlane.store.engine import engine_of
from fairlane.store.row_ending import end_waiting, may_delete
from fairlane.store.sql import insert_many, insert_missing, is_row, upsert
from fairlane.store.tables import (
    NAME_LIMIT,
    AnyRow,
    attempt_errors,
    checkpoints,
    dead_letters,
    ended,
    execution_log,
    live,
    progress,
    results,
)

SYSTEM = "system"
Key = tuple[str, UUID]
RETURNED: Final = (live.c.organization_id, live.c.id, live.c.log_sequence, live.c.attempt, live.c.job_type)
# The values of a row that moves into the table, unless its change sets others.
_OTHERWISE: Final[Mapping[Table, Mapping[str, object]]] = {
    live: {
        **dict.fromkeys(("worker_id", "lease_token", "next_retry_at")),
        **dict.fromkeys(("cancel_requested_at", "cancel_requested_by", "cancel_reason")),
        **dict.fromkeys(("unmet_parents", "deferrals"), 0),
        "has_children": False,
    },
    ended: {"canceled_at": None, "canceled_by": None},
}


class Row(NamedTuple):
    """The columns of a job's state after its transition that its log and related rows need."""

    log_sequence: int
    attempt: int
    job_type: str


class Change(NamedTuple):
    """A transition of one job to write.

    `lease_token` proves the right to change a running job. `caused_by`: the parent that the job fails with.
    """

    organization: str
    job_id: UUID
    transition: Transition
    actor: str = SYSTEM
    lease_token: UUID | None = None
    caused_by: UUID | None = None

    @property
    def key(self) -> Key:
        """Return the job's key."""
        return self.organization, self.job_id


def write(
    connection: Connection,
    now: datetime,
    organization: str,
    job_id: UUID,
    transition: Transition,
    *,
    actor: str,
) -> Row | None:
    """Apply `transition` to a job that is not running; return its row, or None if another change came first."""
    change = Change(organization, job_id, transition, actor)
    return write_all(connection, now, [change]).get(change.key)


def values_for_many(transition: Transition, actor: str) -> dict[str, object]:
    """Return the parameters of a statement that applies a transition of one step to many jobs."""
    (step,) = transition.steps
    told = {"source": step.source, "target": step.target, "message": step.message, "actor": actor}
    return {**transition.changes, **told}


def write_all(connection: Connection, now: datetime, changes: Sequence[Change]) -> dict[Key, Row]:
    """Apply each job's transition if the row still has its source status and, if it is running, this lease.

    Args:
        changes: of different jobs.

    Returns:
        The changed rows (log_sequence, attempt, job_type). Jobs where another change came first are missing, and
        unchanged.
    """
    engine, rows = engine_of(connection), dict[Key, Row]()
    dead_letter_alarm.note(connection, {one.organization for one in changes if one.transition.cause is not None})
    waited = any(one.lease_token is None and one.transition.target in TERMINAL for one in changes)
    submits = waited and not may_delete(connection)
    for (source, target, columns), alike in _by_way(changes).items():
        if target is source:
            rows |= _by_key(connection.execute(engine.update_live(columns), engine.values_of(alike)).all())
        elif submits:
            rows |= _end_waiting(connection, now, alike)
        else:
            rows |= _move(connection, source, target, alike)
    written = [(change, rows[change.key]) for change in changes if change.key in rows]
    if written:
        insert_many(connection, execution_log, [entry for one in written for entry in _entries(now, *one)])
        if not submits:  # the function writes the dead letters
            _record(connection, now, written)
    return rows


_Way: TypeAlias = tuple[Table, Table, tuple[str, ...]]


def _by_way(changes: Iterable[Change]) -> dict[_Way, list[Change]]:
    """Group the changes by the source table, the target table, and the columns that they set."""
    found = defaultdict[_Way, list[Change]](list)
    for change in changes:
        transition = change.transition
        source, target = (ended if one in TERMINAL else live for one in (transition.source, transition.target))
        found[source, target, tuple(transition.changes)].append(change)
    return found


def _move(connection: Connection, source: Table, target: Table, changes: Sequence[Change]) -> dict[Key, Row]:
    """Move rows to another table: only rows that were deleted from the source are inserted.

    A job has two states if the application's login has inserted a live row for an ended job. The existing row stays: a
    change would wait for a session that locks it, and hold up other organizations' jobs.
    """
    engine = engine_of(connection)
    found = connection.execute(engine.take(source), engine.values_of(changes)).all()
    before = {(row.organization_id, row.id): row for row in found}
    moved = [_moved(before[change.key], target, change) for change in changes if change.key in before]
    if moved:
        insert_missing(connection, target, moved)
    return {(row["organization_id"], row["id"]): Row(*(row[name] for name in Row._fields)) for row in moved}


def _moved(before: AnyRow, target: Table, change: Change) -> dict[str, Any]:
    """Return the row for the target table. Its own columns begin with the table's defaults, or the change's values."""
    columns = {**before._asdict(), **_OTHERWISE[target], **change.transition.changes}
    sequence = before.log_sequence + len(change.transition.steps)
    columns |= {"status": change.transition.target, "log_sequence": sequence}
    return {name: value for name, value in columns.items() if name in target.c}


def _end_waiting(connection: Connection, now: datetime, changes: Sequence[Change]) -> dict[Key, Row]:
    """End waiting jobs by the SQL function, as a submitter has to."""
    told = []
    for change in changes:
        transition = change.transition
        letter = _dead_letter(transition.cause, now, change.caused_by) if transition.cause is not None else {}
        key = {"organization": change.organization, "id": change.job_id, "at": now}
        told.append({**key, "source": transition.source, "target": transition.target, **transition.changes, **letter})
    return _by_key(end_waiting(connection, told))


def _by_key(found: Iterable[AnyRow]) -> dict[Key, Row]:
    return {(row.organization_id, row.id): Row(row.log_sequence, row.attempt, row.job_type) for row in found}


def _entries(now: datetime, change: Change, row: Row) -> list[dict[str, Any]]:
    """Return the entries of the log."""
    steps = change.transition.steps
    first = row.log_sequence - len(steps) + 1
    return [
        {
            "organization_id": change.organization,
            "job_id": change.job_id,
            "sequence": first + position,
            "from_status": step.source,
            "to_status": step.target,
            "at": now,
            "actor": change.actor,
            "message": step.message,
            "attempt": row.attempt,
        }
        for position, step in enumerate(steps)
    ]


def _record(connection: Connection, now: datetime, written: Iterable[tuple[Change, Row]]) -> None:
    """Write the related rows: attempts' errors, dead letters, results."""
    errors, dead, left, completed = [], [], [], []
    for change, row in written:
        key = {"organization_id": change.organization, "job_id": change.job_id}
        transition = change.transition
        if transition.error is not None:
            errors.append({**key, "attempt": row.attempt, "at": now, **_columns_of(transition.error)})
        if transition.cause is not None:
            dead.append({**key, "job_type": row.job_type, **_dead_letter(transition.cause, now, change.caused_by)})
        if transition.result is not None:
            left.append({**key, "value": transition.result, "at": now})
        if transition.target is JobStatus.COMPLETED:
            completed.append(change.key)
    for table, rows in ((attempt_errors, errors), (dead_letters, dead), (results, left)):
        if rows:
            upsert(connection, table, *rows)
    if completed:
        _forget_checkpoints(connection, completed)


def _forget_checkpoints(connection: Connection, completed: Sequence[Key]) -> None:
    """Delete the checkpoints of completed jobs. Their progress is attributed to the attempt that resumed."""
    key_of = checkpoints.c.organization_id, checkpoints.c.job_id
    forgotten = delete(checkpoints).where(tuple_(*key_of).in_(completed)).returning(*key_of)
    resumed = [(row.organization_id, row.job_id) for row in connection.execute(forgotten)]
    if not resumed:
        return
    attempt = select(ended.c.attempt).where(is_row(ended, progress.c.organization_id, progress.c.job_id))
    theirs = tuple_(progress.c.organization_id, progress.c.job_id).in_(resumed)
    connection.execute(update(progress).where(theirs).values(attempt=attempt.scalar_subquery()))


def _columns_of(error: ErrorReport) -> dict[str, str]:
    return {
        "error_type": error.error_type[:NAME_LIMIT],
        "message": error.message,
        "traceback": error.traceback,
        "fingerprint": (error.fingerprint or error.error_type)[:NAME_LIMIT],
    }


def _dead_letter(cause: DeadLetterCause, now: datetime, caused_by: UUID | None) -> dict[str, Any]:
    return {
        "reason": cause.reason,
        "error_type": cause.error_type[:NAME_LIMIT],
        "fingerprint": (cause.fingerprint or cause.error_type)[:NAME_LIMIT],
        "caused_by": caused_by,
        "entered_at": now,
        "resolution": Resolution.PENDING,
        "note": None,
        "resolved_by": None,
        "resolved_at": None,
    }
