"""The rows of attempts that end, found by their leases: locked first, then read to decide what follows."""

import json
from collections.abc import Sequence
from typing import Any, Final, Protocol
from uuid import UUID

from sqlalchemy import Connection, text

from fairlane.store.dialects import is_sqlite
from fairlane.store.tables import AnyRow, jobs, live


class Leased(Protocol):
    """Whatever says which attempt it is about."""

    @property
    def organization(self) -> str: ...
    @property
    def job_id(self) -> UUID: ...
    @property
    def lease_token(self) -> UUID: ...


# Ids travel as one text: the driver would turn each of an array's into text by itself, at several times the cost.
# Every row by an index probe of its own: LATERAL leaves the planner no other way, whatever the statistics say. The
# token is there while the job runs and no longer; the status beside it would tempt the planner into another index.
_GIVEN: Final = """unnest(CAST(:organizations AS text[]), CAST(string_to_array(:ids, ' ') AS uuid[]),
    CAST(string_to_array(:tokens, ' ') AS uuid[])) AS given(organization_id, id, lease_token)"""
MINE: Final = (
    "live.organization_id = given.organization_id AND live.id = given.id AND live.lease_token = given.lease_token"
)
_FACTS: Final = "JOIN fairlane_jobs AS jobs ON jobs.organization_id = live.organization_id AND jobs.id = live.id"
# A row that somebody holds must not hold up the others. A host may hold the facts, which errors and dead letters refer
# to: their foreign keys would wait for it.
_LOCK: Final = text(f"""
SELECT mine.lease_token FROM {_GIVEN} CROSS JOIN LATERAL (
  SELECT lease_token FROM fairlane_live AS live {_FACTS} WHERE {MINE}
  FOR NO KEY UPDATE OF live SKIP LOCKED FOR KEY SHARE OF jobs SKIP LOCKED) AS mine
""").execution_options(fairlane_across="finish")  # noqa: S608 - a constant of ours

_COLUMNS: Final = (
    *(live.c.lease_token, live.c.attempt, live.c.retry_count, live.c.rescue_count, jobs.c.max_retries),
    *(live.c.deferrals, live.c.cancel_requested_by, live.c.cancel_reason),
)
_NAMES: Final = ", ".join(str(column).removeprefix("fairlane_") for column in _COLUMNS)
# With LIMIT the planner can't make a join of it.
_READ: Final = f"""
SELECT mine.* FROM {_GIVEN} CROSS JOIN LATERAL (
  SELECT {_NAMES} FROM fairlane_live AS live {_FACTS} WHERE {MINE} LIMIT 1) AS mine
"""  # noqa: S608 - a constant of ours
_SQLITE_READ: Final = f"""
SELECT {_NAMES} FROM json_each(:given) AS given
JOIN fairlane_live AS live ON live.organization_id = given.value ->> 0 AND live.id = given.value ->> 1
  AND live.lease_token = given.value ->> 2 {_FACTS}
"""  # noqa: S608 - a constant of ours
_READ_ON_POSTGRES, _READ_ON_SQLITE = (
    text(statement).columns(*_COLUMNS).execution_options(fairlane_across="finish")
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
        given = json.dumps([[one.organization, one.job_id.hex, one.lease_token.hex] for one in attempts])
        rows = connection.execute(_READ_ON_SQLITE, {"given": given}).all()
    else:
        rows = connection.execute(_READ_ON_POSTGRES, ids_of(attempts)).all()
    return {row.lease_token: row for row in rows}


def ids_of(attempts: Sequence[Leased]) -> dict[str, Any]:
    """Return the parameters of `_GIVEN`."""
    return {
        "organizations": [one.organization for one in attempts],
        "ids": " ".join([one.job_id.hex for one in attempts]),
        "tokens": " ".join([one.lease_token.hex for one in attempts]),
    }
