"""The rows of attempts that end, found by their leases: locked first, then read to decide what follows."""

import json
from collections.abc import Sequence
from typing import Final, Protocol
from uuid import UUID

from sqlalchemy import Connection, text

from fairlane.store.dialects import is_sqlite
from fairlane.store.tables import AnyRow, cancel_requests, jobs


class Leased(Protocol):
    """Whatever says which attempt it is about."""

    @property
    def job_id(self) -> UUID: ...
    @property
    def lease_token(self) -> UUID: ...


# Ids travel as one text: the driver would turn each of an array's into text by itself, at several times the cost.
# Every row by an index probe of its own: LATERAL leaves the planner no other way, whatever the statistics say. The
# token is there while the job runs and no longer; the status beside it would tempt the planner into another index.
_GIVEN: Final = """unnest(CAST(string_to_array(:ids, ' ') AS uuid[]), CAST(string_to_array(:tokens, ' ') AS uuid[]))
  AS given(id, lease_token)"""
# A row that a host's transaction holds must not hold up the others.
_LOCK: Final = text(f"""
SELECT mine.lease_token FROM {_GIVEN} CROSS JOIN LATERAL (
  SELECT lease_token FROM fairlane_jobs
  WHERE id = given.id AND lease_token = given.lease_token
  FOR NO KEY UPDATE SKIP LOCKED) AS mine
""").execution_options(fairlane_across="finish")  # noqa: S608 - a constant of ours

_COLUMNS: Final = """job.lease_token, job.attempt, job.retry_count, job.rescue_count, job.max_retries,
    job.deferrals, request.requested_by, request.reason"""
_REQUEST: Final = """LEFT JOIN fairlane_cancel_requests AS request
    ON request.organization_id = job.organization_id AND request.job_id = job.id"""
# With LIMIT the planner can't make a join of it.
_READ: Final = f"""
SELECT mine.* FROM {_GIVEN} CROSS JOIN LATERAL (
  SELECT {_COLUMNS} FROM fairlane_jobs AS job {_REQUEST}
  WHERE job.id = given.id AND job.lease_token = given.lease_token LIMIT 1) AS mine
"""  # noqa: S608 - a constant of ours
_SQLITE_READ: Final = f"""
SELECT {_COLUMNS} FROM json_each(:given) AS given
JOIN fairlane_jobs AS job ON job.id = given.value ->> 0 AND job.lease_token = given.value ->> 1 {_REQUEST}
"""  # noqa: S608 - a constant of ours
_READ_ON_POSTGRES, _READ_ON_SQLITE = (
    text(statement)
    .columns(
        jobs.c.lease_token,
        jobs.c.attempt,
        jobs.c.retry_count,
        jobs.c.rescue_count,
        jobs.c.max_retries,
        jobs.c.deferrals,
        cancel_requests.c.requested_by,
        cancel_requests.c.reason,
    )
    .execution_options(fairlane_across="finish")
    for statement in (_READ, _SQLITE_READ)
)


def lock(connection: Connection, attempts: Sequence[Leased]) -> set[UUID]:
    """Lock the running rows under these leases until the transaction ends, in the order given.

    Returns:
        The leases of those that are locked now. The others' were lost, or somebody holds their row: `read` tells.
    """
    if is_sqlite(connection):  # whose write transaction is exclusive
        return {one.lease_token for one in attempts}
    return set(connection.execute(_LOCK, ids_of(attempts)).scalars().all())


def read(connection: Connection, attempts: Sequence[Leased]) -> dict[UUID, AnyRow]:
    """What `decide` needs to know of the attempts that have these leases still, by lease.

    A statement of its own after `lock`, since only a snapshot younger than the lock shows a cancel request that held
    the row before: so a request comes wholly before the decision or after it.
    """
    if is_sqlite(connection):
        given = json.dumps([[one.job_id.hex, one.lease_token.hex] for one in attempts])
        rows = connection.execute(_READ_ON_SQLITE, {"given": given}).all()
    else:
        rows = connection.execute(_READ_ON_POSTGRES, ids_of(attempts)).all()
    return {row.lease_token: row for row in rows}


def ids_of(attempts: Sequence[Leased]) -> dict[str, str]:
    """The parameters `ids` and `tokens`."""
    return {
        "ids": " ".join([one.job_id.hex for one in attempts]),
        "tokens": " ".join([one.lease_token.hex for one in attempts]),
    }
