"""Jobs by the hundred thousand, as SQL for PostgreSQL: so many submissions would take minutes."""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Table

from fairlane.domain.statuses import LIVE
from fairlane.store.tables import ended, jobs, live

_GIVEN: Final = ("organization_id", "id", "job_type", "status", "created_at")
# Of a job whose row does not say otherwise.
_USUAL: Final = {
    "queue": "'default'",
    "parameters": "'{}'",
    "labels": "'{}'",
    "on_parent_failure": "'dead_letter'",
    "ready": "false",
    "priority": "2",
    "run_at": "created_at",
    "attempt": "0",
    "retry_count": "0",
    "rescue_count": "0",
    "log_sequence": "1",
    "finished_at": "created_at",
}


def insert_jobs(rows: str, *more: str) -> str:
    """Return the statement that inserts jobs, each with its row in `live` or in `ended`.

    Args:
        rows: a SELECT of organization_id, id, job_type, status, created_at, and of `more` columns.
    """
    given = (*_GIVEN, *more)
    usual = {name: value for name, value in _USUAL.items() if name not in given}
    names = (*given, *usual)
    statuses = ", ".join(f"'{status}'" for status in sorted(LIVE))
    return f"""
WITH job AS MATERIALIZED (
  SELECT {", ".join((*given, *(f"{value} AS {name}" for name, value in usual.items())))} FROM ({rows}) AS its
), facts AS ({_insert(jobs, names)}), live AS ({_insert(live, names)} WHERE status IN ({statuses}))
{_insert(ended, names)} WHERE status NOT IN ({statuses})
"""


def _insert(table: Table, names: Iterable[str]) -> str:
    columns = ", ".join(name for name in names if name in table.c)
    return f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM job"
