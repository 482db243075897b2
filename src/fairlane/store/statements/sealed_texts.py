"""Every column that holds sealed texts, and how its rows are sealed anew: page by page, each where it is as read."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Column, Connection, Table, and_, func, not_, or_, select, tuple_, update

from fairlane.domain.sealing import ERASED, PREFIX, Field, is_sealed
from fairlane.domain.statuses import JobStatus
from fairlane.store.statements.keys import begun
from fairlane.store.tables import (
    attempt_errors,
    checkpoints,
    dead_letters,
    ended,
    execution_log,
    jobs,
    live,
    log_lines,
    progress,
    results,
    schedules,
)

_LOOKED_AT: Final = 10  # jobs


class Sealed(NamedTuple):
    """A column of sealed texts.

    `key` names the columns that tell its rows apart within an organization; `ends_only`: of the log only the ends of
    attempts are sealed, also those from before the organization had a key; its other entries tell nothing.
    """

    column: Column[str]
    field: Field
    key: tuple[str, ...] = ("job_id",)
    ends_only: bool = False

    @property
    def table(self) -> Table:
        """The column's table."""
        return self.column.table


COLUMNS: Final = (
    Sealed(jobs.c.parameters, Field.PARAMETERS, ("id",)),
    # In this order: an error's text moves on with its job.
    Sealed(live.c.error_message, Field.ERROR, ("id",)),
    Sealed(ended.c.error_message, Field.ERROR, ("id",)),
    Sealed(schedules.c.parameters, Field.PARAMETERS, ("id",)),
    Sealed(results.c.value, Field.RESULT),
    Sealed(checkpoints.c.state, Field.CHECKPOINT),
    Sealed(progress.c.message, Field.PROGRESS),
    Sealed(log_lines.c.message, Field.LOG_LINE, ("id",)),
    Sealed(execution_log.c.message, Field.LOG_ENTRY, ("id",), ends_only=True),
    Sealed(attempt_errors.c.message, Field.ATTEMPT_ERROR, ("job_id", "attempt")),
    Sealed(attempt_errors.c.traceback, Field.TRACEBACK, ("job_id", "attempt")),
    Sealed(dead_letters.c.reason, Field.REASON),
)


class Text(NamedTuple):
    """A stored text, the job or schedule that it is of, and the key of its row."""

    job_id: UUID
    key: tuple[Any, ...]
    text: str


def page(
    connection: Connection, organization: str, where: Sealed, version: int, after: tuple[Any, ...] | None, limit: int
) -> Sequence[Text]:
    """Texts of the organization that are not sealed under this version of its key, in the order of their keys."""
    table, column = where.table, where.column
    keys = [table.c[name] for name in where.key]
    owner = table.c.job_id if "job_id" in table.c else table.c.id
    statement = select(owner, column, *keys).where(
        table.c.organization_id == organization,
        column.is_not(None),
        not_(column.startswith(f"{PREFIX}{version}:")),
        column.not_in(["", ERASED]),
    )
    if where.ends_only:
        is_end = execution_log.c.from_status == JobStatus.RUNNING
        statement = statement.where(or_(column.startswith(PREFIX), is_end))
    if after is not None:
        statement = statement.where(tuple_(*keys) > after)
    rows = connection.execute(statement.order_by(*keys).limit(limit)).all()
    return [Text(row[0], tuple(row[2:]), row[1]) for row in rows]


def left_open(connection: Connection) -> list[str]:
    """Organizations with a key whose jobs from before it are not sealed, as far as a few of the newest of these tell.

    No index knows which are. But `reencrypt` goes from the oldest on, so the newest are the last that it comes to.
    """
    return [row.organization_id for row in begun(connection) if is_left_open(connection, *row)]


def is_left_open(connection: Connection, organization: str, since: datetime) -> bool:
    """Whether some of the organization's newest jobs from before that moment are not sealed."""
    # No more of each than tells: it may have 1 MiB.
    start = func.substr(jobs.c.parameters, 1, max(len(PREFIX), len(ERASED) + 1))
    before = select(start).where(jobs.c.organization_id == organization, jobs.c.created_at < since)
    newest = before.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(_LOOKED_AT)
    return not all(is_sealed(text) or text == ERASED for text in connection.scalars(newest))


def put(connection: Connection, organization: str, where: Sealed, old: Text, new: str) -> bool:
    """Write a text in the place of what was read; False if that has changed meanwhile."""
    table = where.table
    mine = [table.c[name] == value for name, value in zip(where.key, old.key, strict=True)]
    written = connection.execute(
        update(table)
        .where(and_(table.c.organization_id == organization, *mine, where.column == old.text))
        .values({where.column.name: new})
    )
    return written.rowcount == 1
