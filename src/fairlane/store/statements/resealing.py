"""Statements to encrypt an organization's data again: texts, files and hashes, by pages. Changed rows are skipped.

Hashes for deduplication and for idempotent requests are keyed with the organization's key. With a plain hash, anyone
who has the database could guess parameters.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Column, Connection, Table, and_, delete, func, not_, or_, select, text, tuple_, update

from fairlane.domain.sealing import ERASED, HIDDEN, PREFIX, Field, is_sealed
from fairlane.domain.statuses import JobStatus
from fairlane.store.sql import is_row
from fairlane.store.statements.keys import begun
from fairlane.store.tables import (
    AnyRow,
    artifacts,
    attempt_errors,
    checkpoints,
    dead_letters,
    dedup_keys,
    ended,
    execution_log,
    idempotency_keys,
    jobs,
    live,
    log_lines,
    progress,
    results,
    schedules,
)

_LOOKED_AT: Final = 10  # jobs
Hide = Callable[[str], str]

# A job submitted after the key was created may hold the hidden key already; then that one stays.
_MOVE: Final = text("""
INSERT INTO fairlane_dedup_keys (organization_id, key, job_id, expires_at)
SELECT organization_id, :hidden, job_id, expires_at FROM fairlane_dedup_keys
WHERE organization_id = :organization AND key = :plain
ON CONFLICT DO NOTHING
""")


class Sealed(NamedTuple):
    """A column of encrypted texts.

    `key`: the columns that identify a row within an organization. `ends_only`: in the log only entries that ended an
    attempt are encrypted, even those from before the organization had a key. Other entries hold no payload.
    """

    column: Column[str]
    field: Field
    key: tuple[str, ...] = ("job_id",)
    ends_only: bool = False

    @property
    def table(self) -> Table:
        """Return the column's table."""
        return self.column.table


COLUMNS: Final = (
    Sealed(jobs.c.parameters, Field.PARAMETERS, ("id",)),
    # In this order: an error's text moves with its job from table to table.
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
    """A stored text, its job or schedule, and the key of its row."""

    job_id: UUID
    key: tuple[Any, ...]
    text: str


def page(
    connection: Connection, organization: str, where: Sealed, version: int, after: tuple[Any, ...] | None, limit: int
) -> Sequence[Text]:
    """Return texts of the organization that this version of its key has not encrypted, in the order of their keys."""
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
    """Return organizations with unencrypted jobs from before their key, judged by a few of the newest jobs.

    No index has the encrypted jobs. But `reencrypt` starts with the oldest jobs, so it comes to the newest last.
    """
    return [row.organization_id for row in begun(connection) if is_left_open(connection, *row)]


def is_left_open(connection: Connection, organization: str, since: datetime) -> bool:
    """Return True if some of the organization's newest jobs from before that time are not encrypted."""
    # Only the first characters of each, which may have 1 MiB.
    start = func.substr(jobs.c.parameters, 1, max(len(PREFIX), len(ERASED) + 1))
    before = select(start).where(jobs.c.organization_id == organization, jobs.c.created_at < since)
    newest = before.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(_LOOKED_AT)
    return not all(is_sealed(one) or one == ERASED for one in connection.scalars(newest))


def put(connection: Connection, organization: str, where: Sealed, old: Text, new: str) -> bool:
    """Replace a text that was read; False if it has changed meanwhile."""
    table = where.table
    mine = [table.c[name] == value for name, value in zip(where.key, old.key, strict=True)]
    written = connection.execute(
        update(table)
        .where(and_(table.c.organization_id == organization, *mine, where.column == old.text))
        .values({where.column.name: new})
    )
    return written.rowcount == 1


def page_of_files(
    connection: Connection, organization: str, after: tuple[UUID, str] | None, limit: int
) -> Sequence[AnyRow]:
    """Return artifacts that are not empty, in the order of their jobs and names."""
    key = (artifacts.c.job_id, artifacts.c.name)
    statement = select(artifacts).where(artifacts.c.organization_id == organization, artifacts.c.size > 0)
    if after is not None:
        statement = statement.where(tuple_(*key) > after)
    return connection.execute(statement.order_by(*key).limit(limit)).all()


def move_file(connection: Connection, old: AnyRow, path: str, digest: str) -> bool:
    """Set the artifact's file to a new one of the same content; False if its file has changed meanwhile."""
    moved = connection.execute(
        update(artifacts)
        .where(
            is_row(artifacts, old.organization_id, old.job_id),
            artifacts.c.name == old.name,
            artifacts.c.path == old.path,
        )
        .values(path=path, sha256=digest)
    )
    return moved.rowcount == 1


def hide_dedup_keys(connection: Connection, organization: str, hide: Hide, limit: int) -> int:
    """Hide up to `limit` plain keys of the organization whose rows are not locked, and return their number."""
    mine = (dedup_keys.c.organization_id == organization) & not_(dedup_keys.c.key.startswith(HIDDEN))
    plain = select(dedup_keys.c.key).where(mine).order_by(dedup_keys.c.key).limit(limit)
    found = connection.scalars(plain.with_for_update(skip_locked=True)).all()
    for key in found:
        connection.execute(_MOVE, {"organization": organization, "plain": key, "hidden": hide(key)})
        this = is_row(dedup_keys, organization, key)
        connection.execute(delete(dedup_keys).where(this))
    return len(found)


def hide_requests(connection: Connection, organization: str, hide: Hide, limit: int) -> int:
    """Hide up to `limit` plain hashes of the organization's requests, skipping locked rows; return their number."""
    table = idempotency_keys
    mine = (table.c.organization_id == organization) & not_(table.c.request_hash.startswith(HIDDEN))
    plain = select(table.c.user_id, table.c.key, table.c.request_hash).where(mine)
    ordered = plain.order_by(table.c.user_id, table.c.key).limit(limit)
    found = connection.execute(ordered.with_for_update(skip_locked=True)).all()
    for user, key, request_hash in found:
        this = is_row(table, organization, user, key)
        connection.execute(update(table).where(this).values(request_hash=hide(request_hash)))
    return len(found)


def forget_hashes(connection: Connection, organization: str) -> None:
    """Delete all hashes of the organization."""
    for table in (dedup_keys, idempotency_keys):
        connection.execute(delete(table).where(table.c.organization_id == organization))
