"""Insert new jobs on SQLite: their facts, their live rows and the first entries of their logs, a statement each.

All rows are one JSON text: Python's module for SQLite gives up the interpreter's lock for each row that it is handed.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.engine.interfaces import DBAPICursor

from fairlane.domain.statuses import JobStatus, OrganizationStatus
from fairlane.domain.transitions import SUBMITTED
from fairlane.store.driver_errors import by_sqlalchemy
from fairlane.store.statements.drafts import Draft, Fresh, Granted
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import Instant

_AT_ONCE: Final = 250  # jobs, whose parameters may be a megabyte each: SQLite takes no text of a gigabyte
# The columns of a row, in its order.
_COLUMNS: Final = (
    *("organization_id", "id", "queue", "job_type", "submitted_by", "parameters", "labels", "required_permission"),
    *("max_retries", "timeout_seconds", "on_parent_failure"),
    *("status", "ready", "priority", "run_at", "unmet_parents", "has_children", "message"),
)
_FACTS: Final = _COLUMNS[: _COLUMNS.index("status")]
_STATE: Final = (*_COLUMNS[: _COLUMNS.index("parameters")], *_COLUMNS[_COLUMNS.index("status") : -1])


def _values(columns: Sequence[str]) -> str:
    return ", ".join(f"value ->> {_COLUMNS.index(name)}" for name in columns)


_INSERTS: Final = (
    text(f"""
INSERT INTO fairlane_jobs ({", ".join(_FACTS)}, created_at) SELECT {_values(_FACTS)}, :now FROM json_each(:given)
"""),  # noqa: S608 - names of ours
    text(f"""
INSERT INTO fairlane_live ({", ".join(_STATE)}, created_at) SELECT {_values(_STATE)}, :now FROM json_each(:given)
"""),  # noqa: S608 - names of ours
    text(f"""
INSERT INTO fairlane_execution_log (organization_id, job_id, to_status, message, actor, at, sequence, attempt)
SELECT {_values(("organization_id", "id", "status", "message"))},
  coalesce({_values(("submitted_by",))}, '{SYSTEM}'), :now, 1, 0
FROM json_each(:given)
"""),  # noqa: S608 - names of ours
)
# What was taken for granted of a job by itself. Nobody else writes, so it stays so until the commit.
_PROOF: Final = """
SELECT 1 FROM fairlane_job_types
WHERE name = :type AND enabled AND (:documents IS NULL OR schema || options = :documents)
  AND (:is_host_s OR EXISTS (
    SELECT 1 FROM fairlane_organizations WHERE id = :organization AND status = :active AND max_live_jobs IS NULL))
  AND (:is_host_s OR :user IS NULL OR EXISTS (
    SELECT 1 FROM fairlane_members WHERE organization_id = :organization AND user_id = :user
      AND role IN (SELECT value FROM json_each(:roles))))
  AND NOT EXISTS (SELECT 1 FROM fairlane_jobs WHERE organization_id = :organization AND id = :id)
  AND NOT EXISTS (SELECT 1 FROM fairlane_dedup_keys WHERE organization_id = :organization AND key = :key)
"""
_TAKE: Final = """
INSERT INTO fairlane_dedup_keys (organization_id, key, job_id, expires_at)
VALUES (:organization, :key, :id, :expires_at)
"""


def insert(connection: Connection, now: datetime, new: Sequence[Fresh], replaced: Mapping[UUID, UUID]) -> None:
    """Insert the jobs and their logs.

    Args:
        replaced: which job a new one replaces, for its log.

    Raises:
        IntegrityError
    """
    for start in range(0, len(new), _AT_ONCE):
        given = {"now": Instant.on_sqlite(now), "given": _rows(new[start : start + _AT_ONCE], replaced)}
        for statement in _INSERTS:
            connection.execute(statement, given)


def at_once(connection: Connection, now: datetime, draft: Draft, granted: Granted) -> bool:
    """Insert a plain draft, in a transaction that writes, if all that was taken for granted of it holds.

    Returns:
        False: nothing was done; or there is a job of its id, or somebody has had its key.
    """
    proof = {
        "type": draft.job_type,
        "documents": granted.documents,
        "is_host_s": granted.is_host_s,
        "organization": draft.organization,
        "active": OrganizationStatus.ACTIVE,
        "user": draft.user,
        "roles": json.dumps([*granted.roles]),
        "id": draft.id.hex,
        "key": draft.dedup.key if draft.dedup is not None else None,
    }
    with by_sqlalchemy(connection.engine):
        if _send(connection, _PROOF, proof).fetchone() is None:
            return False
        if draft.dedup is not None:
            expires_at = Instant.on_sqlite(now + timedelta(seconds=draft.dedup.window))
            _send(connection, _TAKE, {**proof, "expires_at": expires_at})
        new = Fresh(draft, 0, now, JobStatus.QUEUED, has_children=False)
        given = {"now": Instant.on_sqlite(now), "given": _rows([new], {})}
        for statement in _INSERTS:
            _send(connection, statement.text, given)
    return True


def _send(connection: Connection, statement: str, values: Mapping[str, Any]) -> DBAPICursor:
    """Execute it by the driver: SQLAlchemy would take longer than SQLite does."""
    cursor = connection.connection.cursor()
    # As SQLAlchemy sends what it sends, so that tests can have it fail.
    connection.dialect.do_execute(cursor, statement, values)
    return cursor


def _rows(new: Sequence[Fresh], replaced: Mapping[UUID, UUID]) -> str:
    return json.dumps([_row(one, replaced.get(one.draft.id)) for one in new], ensure_ascii=False)


def _row(new: Fresh, earlier: UUID | None) -> tuple[object, ...]:
    draft = new.draft
    return (
        draft.organization,
        draft.id.hex,
        draft.kind.queue,
        draft.job_type,
        draft.user,
        draft.parameters,
        draft.labels,
        draft.kind.required_permission,
        draft.kind.max_retries,
        draft.kind.timeout,
        draft.kind.on_parent_failure,
        new.status,
        new.status is JobStatus.QUEUED,
        draft.kind.priority,
        Instant.on_sqlite(new.run_at),
        new.unmet_parents,
        new.has_children,
        SUBMITTED if earlier is None else f"{SUBMITTED} in place of {earlier}",
    )
