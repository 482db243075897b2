"""Completing many attempts at once: handlers that returned and whose job nobody asked to cancel.

It writes what `transitions.complete` says, the columns of its changes, for all in one statement; every other end is
decided by itself in `finish`.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from sqlalchemy import Connection, bindparam, text

from fairlane.domain import transitions
from fairlane.domain.statuses import EdgeState
from fairlane.store.dialects import is_sqlite
from fairlane.store.line import Line
from fairlane.store.tables import Instant, ended, live


class Leased(Protocol):
    """Whatever says which attempt it is about."""

    @property
    def organization(self) -> str: ...
    @property
    def job_id(self) -> UUID: ...
    @property
    def lease_token(self) -> UUID: ...


class Done(NamedTuple):
    """A job that was completed, and when. `has_child`: one was submitted a moment ago, and is to be told."""

    organization: str
    job_id: UUID
    at: datetime
    has_child: bool

    @property
    def key(self) -> tuple[str, UUID]:
        """Return the job's key."""
        return self.organization, self.job_id


# What the transition changes, so that a column of it that is new is written here, too; all else stays as it was.
_SAMPLE: Final = transitions.complete(datetime.min.replace(tzinfo=UTC), None).changes
_CHANGED: Final = tuple(name for name in _SAMPLE if name in ended.c)
_KEPT: Final = tuple(one.name for one in ended.c if one.name in live.c and one.name not in {*_CHANGED, "status"})
_INTO: Final = ", ".join(("status", *_CHANGED, *_KEPT))
# PostgreSQL tells the moment in the statement, if the caller does not: `now`.
_VALUES, _SQLITE_VALUES = (
    ", ".join(
        (
            ":target",
            *(now if isinstance(_SAMPLE[name], datetime) else f":{name}" for name in _CHANGED),
            *(f"live.{name}" + (" + 1" if name == "log_sequence" else "") for name in _KEPT),
        )
    )
    for now in ("moment.now", ":now")
)
# The application's login may have planted a live row of a job that has ended. Its end stays, and it stops nobody's.
_UNLESS_ENDED: Final = "ON CONFLICT (organization_id, id) DO NOTHING"
_TYPED: Final = [
    bindparam(name, type_=ended.c[name].type) for name in _CHANGED if not isinstance(_SAMPLE[name], datetime)
]
_GUARD: Final = "live.cancel_requested_at IS NULL AND NOT live.has_children"

# Ids travel as one text: the driver would turn each of an array's into text by itself, at several times the cost.
_GIVEN: Final = """unnest(CAST(:organizations AS text[]), CAST(string_to_array(:ids, ' ') AS uuid[]),
    CAST(string_to_array(:tokens, ' ') AS uuid[]), CAST(:leave_results AS boolean[]))
    AS given(organization_id, id, lease_token, leaves_result)"""
MINE: Final = (
    "live.organization_id = given.organization_id AND live.id = given.id AND live.lease_token = given.lease_token"
)
# A host may hold the facts, which results refer to: the foreign key would wait for it.
_FACTS_ARE_FREE: Final = """EXISTS (SELECT FROM fairlane_jobs AS jobs
      WHERE jobs.organization_id = given.organization_id AND jobs.id = given.id FOR KEY SHARE SKIP LOCKED)"""

# Each row by a probe of its own, locked here: what somebody holds, or has changed since this statement began, is left
# out and goes its own way. A cancel request and children are columns of the row, so a lock that was waited for shows
# them. The look for edges that are not watched yet goes by the index that has their order: with LIMIT alone, where most
# edges were of one parent when they were analyzed, the planner takes any index, and reads all of them.
_COMPLETE: Final = (
    text(f"""
WITH moment AS MATERIALIZED (
  SELECT coalesce(CAST(:now AS timestamptz), clock_timestamp()) AS now
), place AS MATERIALIZED (
  SELECT its.place FROM {_GIVEN} CROSS JOIN LATERAL (
    SELECT ctid AS place FROM fairlane_live AS live
    WHERE {MINE} AND {_GUARD} AND (NOT given.leaves_result OR {_FACTS_ARE_FREE})
    FOR UPDATE SKIP LOCKED) AS its
), live AS (
  DELETE FROM fairlane_live WHERE ctid = ANY(ARRAY(SELECT place FROM place)) RETURNING *
), done AS (
  INSERT INTO fairlane_ended ({_INTO}) SELECT {_VALUES} FROM live CROSS JOIN moment {_UNLESS_ENDED}
  RETURNING organization_id, id, log_sequence, attempt, finished_at
), logged AS (
  INSERT INTO fairlane_execution_log
    (organization_id, job_id, sequence, from_status, to_status, at, actor, message, attempt)
  SELECT organization_id, id, log_sequence, :source, :target, finished_at, :actor, :message, attempt FROM done
), kept AS (
  INSERT INTO fairlane_results (organization_id, job_id, value, at)
  SELECT done.organization_id, done.id, given.value, done.finished_at
  FROM ROWS FROM (unnest(CAST(:result_organizations AS text[])), unnest(CAST(:result_ids AS uuid[])),
    json_array_elements_text(CAST(:results AS json))) AS given(organization_id, id, value)
  JOIN done ON done.organization_id = given.organization_id AND done.id = given.id
  ON CONFLICT (organization_id, job_id) DO UPDATE SET value = excluded.value, at = excluded.at
)
SELECT organization_id, id, finished_at, child.is_there IS NOT NULL
FROM done LEFT JOIN LATERAL (
  SELECT true AS is_there FROM fairlane_job_parents AS edge
  WHERE edge.organization_id = done.organization_id AND edge.parent_id = done.id
    AND edge.state <> '{EdgeState.SETTLED}' ORDER BY edge.state, edge.job_id LIMIT 1) AS child ON true
""")  # noqa: S608 - names of ours
    .bindparams(*_TYPED)
    .execution_options(fairlane_across="finish")
)

# SQLite's write transaction is exclusive, so nothing is locked, and rows are known by their rowid. It has no statement
# within a statement, so these follow each other. Which rows it is about comes as one row of JSON: Python's module for
# SQLite gives up the interpreter's lock at each row, and waits for it again beside a worker's busy loop.
_SQLITE_MINE: Final = text(f"""
SELECT json_group_array(json_array(given.key, live.rowid, EXISTS (
  SELECT 1 FROM fairlane_job_parents AS edge
  WHERE edge.organization_id = live.organization_id AND edge.parent_id = live.id
    AND edge.state <> '{EdgeState.SETTLED}')))
FROM json_each(:given) AS given JOIN fairlane_live AS live
  ON live.organization_id = given.value ->> 0 AND live.id = given.value ->> 1 AND live.lease_token = given.value ->> 2
WHERE {_GUARD}
""").execution_options(fairlane_across="finish")  # noqa: S608 - names of ours
_AT_ROWS: Final = "FROM fairlane_live AS live WHERE rowid IN (SELECT value FROM json_each(:rows))"
_SQLITE_COMPLETE: Final = (
    text(f"INSERT INTO fairlane_ended ({_INTO}) SELECT {_SQLITE_VALUES} {_AT_ROWS} {_UNLESS_ENDED}")
    .bindparams(*_TYPED)
    .execution_options(fairlane_across="finish")
)
_SQLITE_LOG: Final = text(f"""
INSERT INTO fairlane_execution_log
  (organization_id, job_id, sequence, from_status, to_status, at, actor, message, attempt)
SELECT organization_id, id, log_sequence + 1, :source, :target, :now, :actor, :message, attempt {_AT_ROWS}
""").execution_options(fairlane_across="finish")
_SQLITE_GONE: Final = text(f"DELETE {_AT_ROWS}").execution_options(fairlane_across="finish")
_SQLITE_RESULTS: Final = text("""
INSERT INTO fairlane_results (organization_id, job_id, value, at)
SELECT given.value ->> 0, given.value ->> 1, given.value ->> 2, :now FROM json_each(:given) AS given WHERE true
ON CONFLICT (organization_id, job_id) DO UPDATE SET value = excluded.value, at = excluded.at
""").execution_options(fairlane_across="finish")


def complete(
    connection: Connection, now: datetime, attempts: Sequence[Leased], results: Sequence[str | None], actor: str
) -> list[Done]:
    """Complete the jobs of these attempts.

    Args:
        results: of each what its handler returned, as JSON text; None if it returned nothing.

    Returns:
        Those that were completed. The others have lost their lease, or somebody holds a row of theirs, or their cancel
        was asked for, or they have children to tell: `finish` finds out which.
    """
    if is_sqlite(connection):
        return _on_sqlite(connection, now, attempts, results, _common(actor))
    rows = connection.execute(_COMPLETE, {**_arrays(attempts, results, actor), "now": now})
    return [Done(*row) for row in rows]


async def complete_on(line: Line, attempts: Sequence[Leased], results: Sequence[str | None], actor: str) -> list[Done]:
    """Do as `complete`, on the event loop.

    Raises:
        FairlaneError: as `Line.fetch`.
    """
    return [Done(*row) for row in await line.fetch(_COMPLETE, _arrays(attempts, results, actor))]


def _common(actor: str) -> dict[str, object]:
    transition = transitions.complete(datetime.min.replace(tzinfo=UTC), None)
    (step,) = transition.steps
    return {
        **{name: value for name, value in transition.changes.items() if name in ended.c},
        "source": step.source,
        "target": step.target,
        "message": step.message,
        "actor": actor,
    }


def _arrays(attempts: Sequence[Leased], results: Sequence[str | None], actor: str) -> dict[str, object]:
    left = [one for one, result in zip(attempts, results, strict=True) if result is not None]
    return {
        **_common(actor),
        **ids_of(attempts),
        "leave_results": [result is not None for result in results],
        "result_organizations": [one.organization for one in left],
        "result_ids": [one.job_id for one in left],
        # As one text: of an array the driver escapes each quote by itself, which took half a minute for 80 MB.
        "results": json.dumps([result for result in results if result is not None], ensure_ascii=False),
    }


def _on_sqlite(
    connection: Connection,
    now: datetime,
    attempts: Sequence[Leased],
    results: Sequence[str | None],
    common: Mapping[str, object],
) -> list[Done]:
    given = json.dumps([(one.organization, one.job_id.hex, one.lease_token.hex) for one in attempts])
    found = json.loads(connection.execute(_SQLITE_MINE, {"given": given}).scalar_one())
    if not found:
        return []
    moment = Instant.on_sqlite(now)
    values = {**common, "now": moment, "rows": json.dumps([row for _, row, _ in found])}
    for statement in (_SQLITE_COMPLETE, _SQLITE_LOG, _SQLITE_GONE):
        connection.execute(statement, values)
    done = [(attempts[place], results[place], bool(has_child)) for place, _, has_child in found]
    left = [(one.organization, one.job_id.hex, result) for one, result, _ in done if result is not None]
    if left:
        connection.execute(_SQLITE_RESULTS, {"now": moment, "given": json.dumps(left)})
    return [Done(one.organization, one.job_id, now, has_child) for one, _, has_child in done]


def ids_of(attempts: Sequence[Leased]) -> dict[str, Any]:
    """Return the parameters by which statements find attempts."""
    return {
        "organizations": [one.organization for one in attempts],
        "ids": " ".join([one.job_id.hex for one in attempts]),
        "tokens": " ".join([one.lease_token.hex for one in attempts]),
    }
