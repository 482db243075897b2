"""Insert new jobs on SQLite: their facts, their live rows and the first entries of their logs, by a statement each.

All rows are one JSON text: Python's SQLite module releases the interpreter's lock for each row that it receives.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.engine.interfaces import DBAPICursor

from fairlane.domain.statuses import JobStatus, OrganizationStatus
from fairlane.domain.transitions import SUBMITTED
from fairlane.store.clock import Clock
from fairlane.store.driver_errors import by_sqlalchemy
from fairlane.store.statements.drafts import Draft, Fresh, organizations_of_unsealed
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import Instant

_AT_ONCE: Final = 250  # jobs, with up to a megabyte of parameters each: SQLite's texts have less than a gigabyte
# The columns of a row, in its order.
_COLUMNS: Final = (
    *("organization_id", "id", "queue", "job_type", "submitted_by", "parameters", "labels", "required_permission"),
    *("max_retries", "timeout_seconds", "on_parent_failure", "headers"),
    *("status", "ready", "priority", "run_at", "unmet_parents", "has_children", "message"),
)
_FACTS: Final = _COLUMNS[: _COLUMNS.index("status")]
_STATE: Final = (*_COLUMNS[: _COLUMNS.index("parameters")], *_COLUMNS[_COLUMNS.index("status") : -1])


def _values(columns: Sequence[str]) -> str:
    return ", ".join(f"value ->> {_COLUMNS.index(name)}" for name in columns)


_INSERTS: Final = (
    text(f"""
INSERT INTO fairlane_jobs ({", ".join(_FACTS)}, created_at) SELECT {_values(_FACTS)}, :now FROM json_each(:given)
"""),  # noqa: S608 - Fairlane's names
    text(f"""
INSERT INTO fairlane_live ({", ".join(_STATE)}, created_at) SELECT {_values(_STATE)}, :now FROM json_each(:given)
"""),  # noqa: S608 - Fairlane's names
    text(f"""
INSERT INTO fairlane_execution_log (organization_id, job_id, to_status, message, actor, at, sequence, attempt)
SELECT {_values(("organization_id", "id", "status", "message"))},
  coalesce({_values(("submitted_by",))}, '{SYSTEM}'), :now, 1, 0
FROM json_each(:given)
"""),  # noqa: S608 - Fairlane's names
)
# Checks the assumptions about plain jobs, once for each kind. Nobody else writes meanwhile, so they stay true.
_PROOF: Final = f"""
SELECT count(*) FROM json_each(:kinds) AS kind JOIN fairlane_job_types AS type ON type.name = kind.value ->> 0
WHERE type.enabled AND (kind.value ->> 1 IS NULL OR type.schema || type.options = kind.value ->> 1)
  AND (:is_of_host OR EXISTS (
    SELECT 1 FROM fairlane_organizations
    WHERE id = kind.value ->> 2 AND status = '{OrganizationStatus.ACTIVE}' AND max_live_jobs IS NULL))
  AND (:is_of_host OR kind.value ->> 3 IS NULL OR EXISTS (
    SELECT 1 FROM fairlane_members WHERE organization_id = kind.value ->> 2 AND user_id = kind.value ->> 3
      AND role IN (SELECT value FROM json_each(kind.value -> 4))))
  AND NOT (kind.value ->> 5 AND EXISTS (
    SELECT 1 FROM fairlane_organization_keys WHERE organization_id = kind.value ->> 2))
"""  # noqa: S608 - a constant
_TAKE: Final = """
INSERT INTO fairlane_dedup_keys (organization_id, key, job_id, expires_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(:keys)
"""


def insert(connection: Connection, now: datetime, new: Sequence[Fresh], replaced: Mapping[UUID, UUID]) -> None:
    """Insert the rows of each table by one statement."""
    for start in range(0, len(new), _AT_ONCE):
        given = {"now": Instant.as_text(now), "given": _rows(new[start : start + _AT_ONCE], now, replaced)}
        for statement in _INSERTS:
            connection.execute(statement, given)


def at_once(
    connection: Connection,
    clock: Clock,
    chunks: Iterable[Sequence[Draft] | None],
) -> datetime | None:
    """Insert the jobs in a savepoint, which is rolled back if an id exists already, or a key was not free.

    Returns:
        The time of the insert; None if nothing was inserted.
    """
    now = clock.now(connection)
    driver: Any = connection.connection.driver_connection
    with by_sqlalchemy(connection.engine):
        driver.execute("SAVEPOINT plain")
        try:
            is_done = all(drafts is not None and _insert_proved(connection, now, drafts) for drafts in chunks)
        except sqlite3.IntegrityError:
            is_done = False
        if not is_done:
            driver.execute("ROLLBACK TO plain")
        driver.execute("RELEASE plain")
    return now if is_done else None


def _insert_proved(connection: Connection, now: datetime, drafts: Sequence[Draft]) -> bool:
    kinds = {id(draft.kind): draft.kind for draft in drafts}.values()
    unsealed = organizations_of_unsealed(drafts)
    rows = [
        (kind.job_type, kind.documents, kind.organization, kind.user, kind.roles, kind.organization in unsealed)
        for kind in kinds
    ]
    given: dict[str, object] = {"kinds": json.dumps(rows), "is_of_host": any(kind.is_of_host for kind in kinds)}
    if _send(connection, _PROOF, given).fetchone() != (len(rows),):
        return False
    keys = [
        (one.organization, one.dedup.key, one.id.hex, Instant.as_text(now + timedelta(seconds=one.dedup.window)))
        for one in drafts
        if one.dedup is not None
    ]
    if keys:
        _send(connection, _TAKE, {"keys": json.dumps(keys)})
    new = [Fresh(draft, 0, now, JobStatus.QUEUED, has_children=False) for draft in drafts]
    given = {"now": Instant.as_text(now), "given": _rows(new, now, {})}
    for statement in _INSERTS:
        _send(connection, statement.text, given)
    return True


def _send(connection: Connection, statement: str, values: Mapping[str, Any]) -> DBAPICursor:
    """Execute the statement by the driver: SQLAlchemy would take longer than SQLite itself."""
    cursor = connection.connection.cursor()
    try:
        # Sent as SQLAlchemy sends statements, so that tests can make it fail.
        connection.dialect.do_execute(cursor, statement, values)
    except BaseException:
        # The error keeps the cursor, and an open cursor keeps the transaction of a closed connection.
        cursor.close()
        raise
    return cursor


def _rows(new: Sequence[Fresh], now: datetime, replaced: Mapping[UUID, UUID]) -> str:
    moment = Instant.as_text(now)
    return json.dumps(
        [
            _row(one, moment if one.run_at is now else Instant.as_text(one.run_at), replaced.get(one.draft.id))
            for one in new
        ],
        ensure_ascii=False,
    )


def _row(new: Fresh, run_at: str, earlier: UUID | None) -> tuple[object, ...]:
    draft, kind = new.draft, new.draft.kind
    return (
        kind.organization,
        draft.id.hex,
        kind.queue,
        kind.job_type,
        kind.user,
        draft.parameters,
        draft.labels,
        kind.required_permission,
        kind.max_retries,
        kind.timeout,
        kind.on_parent_failure,
        draft.headers or None,
        new.status,
        new.status is JobStatus.QUEUED,
        kind.priority,
        run_at,
        new.unmet_parents,
        new.has_children,
        SUBMITTED if earlier is None else f"{SUBMITTED} in place of {earlier}",
    )
