"""Which lanes have something to claim, from where on, and what runs."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import BindParameter, Connection, Integer, String, TextClause, TextualSelect, bindparam, column, text

from fairlane.domain.fairness import Lane
from fairlane.domain.statuses import JobStatus
from fairlane.store.dialects import is_sqlite
from fairlane.store.line import Line
from fairlane.store.tables import live, organizations

# Skip scan: one index probe per lane, whatever the backlog. SELECT DISTINCT would read every ready entry. Where queues
# are named, no other is probed: who submits to queues that a worker does not serve, to however many, does not slow it.
_SKIP_SCAN: Final = """
WITH RECURSIVE place AS (
  SELECT its.* FROM {queues} CROSS JOIN LATERAL (
    SELECT {found} FROM fairlane_live WHERE ready AND {in_queues} ORDER BY {found} LIMIT 1) AS its
  UNION ALL
  SELECT following.* FROM place CROSS JOIN LATERAL (
    SELECT {found} FROM fairlane_live WHERE ready AND {in_same}({step}) > ({step_of_place})
    ORDER BY {found} LIMIT 1) AS following
)
SELECT {found} FROM place
"""
_QUEUES: Final = "json_array_elements_text(CAST(:queues AS json)) AS queues(queue)"


def _skip_scan(step: Sequence[str], *, behind: Sequence[str] = (), is_named: bool) -> TextClause:
    """Return the statement that finds the first ready job of each step.

    Args:
        step: columns that the index begins with.
        behind: columns behind them that are read, too.
        is_named: only in the queues of the parameter `queues`.
    """
    beyond = step[1:] if is_named else step
    return text(
        _SKIP_SCAN.format(
            queues=_QUEUES if is_named else "(VALUES (0)) AS all_queues",
            in_queues="queue = queues.queue" if is_named else "true",
            in_same="queue = place.queue AND " if is_named else "",
            found=", ".join((*step, *behind)),
            step=", ".join(beyond),
            step_of_place=", ".join(f"place.{column}" for column in beyond),
        )
    )


# SQLite has no LATERAL, and for `(queue, organization, type) > (…)` it would read on through all entries that are
# equal: so the next lane is looked for in the same queue and organization, then in the same queue, then in all.
_FIRST: Final = """(SELECT rowid FROM fairlane_live AS following WHERE ready = 1 {beyond}
      ORDER BY queue, organization_id, job_type LIMIT 1)"""
_BEYOND: Final = (
    "AND queue = job.queue AND organization_id = job.organization_id AND job_type > job.job_type",
    "AND queue = job.queue AND organization_id > job.organization_id",
    "AND queue > job.queue",
)


def _skip_scan_on_sqlite(*, is_named: bool) -> TextClause:
    begin, number = _FIRST.format(beyond=""), len(_BEYOND)
    if is_named:
        begin = f"{_FIRST.format(beyond='AND queue = queues.value')} FROM json_each(:queues) AS queues"
        number -= 1
    return text(f"""
WITH RECURSIVE lane(job) AS (
  SELECT {begin}
  UNION ALL
  SELECT coalesce({", ".join(_FIRST.format(beyond=one) for one in _BEYOND[:number])})
  FROM lane JOIN fairlane_live AS job ON job.rowid = lane.job
)
SELECT queue, organization_id, job_type FROM lane JOIN fairlane_live AS job ON job.rowid = lane.job
""")  # noqa: S608 - a constant of ours


_STEP: Final = ("queue", "organization_id", "job_type")
_LANE: Final = (live.c.queue, live.c.organization_id, live.c.job_type)
# By whether queues are named, and by database.
_SCANS: Final = {
    (is_named, sqlite): scan(is_named=is_named)
    for sqlite, scan in ((False, partial(_skip_scan, _STEP)), (True, _skip_scan_on_sqlite))
    for is_named in (False, True)
}
_ACTIVE: Final = {key: scan.columns(*_LANE).execution_options(fairlane_across="claim") for key, scan in _SCANS.items()}
# The same lanes, each with how its organization stands in Fairlane's own directory, and on PostgreSQL its first ready
# job, as text. What is dead stands in no claim's way on SQLite.
_MARK: Final = ("priority", "run_at", "id")
_WITH_STANDING: Final = {
    (is_named, sqlite): text(f"""
SELECT lane.queue, lane.organization_id, lane.job_type, own.status, own.max_running, own.weight,
  {", ".join("NULL" if sqlite else f"lane.{name}" for name in _MARK)}
FROM ({scan.text}) AS lane LEFT JOIN fairlane_organizations AS own ON own.id = lane.organization_id
""")  # noqa: S608 - constants of ours
    .bindparams(*([bindparam("queues", None, String())] if is_named else []))
    .columns(
        *(*_LANE, organizations.c.status, organizations.c.max_running, organizations.c.weight),
        *(column("priority", Integer), column("run_at", String), column("id", String)),
    )
    .execution_options(fairlane_across="claim")
    for (is_named, sqlite), scan in (
        {key: scan for key, scan in _SCANS.items() if key[1]}
        | {(is_named, False): _skip_scan(_STEP, behind=_MARK, is_named=is_named) for is_named in (False, True)}
    ).items()
}


def active_with_standing(*, is_named: bool, sqlite: bool) -> TextualSelect:
    """Ask for the lanes with a ready job, of all queues or of those that `named` gives.

    Each comes with how its organization stands, and where its ready jobs begin. The cost goes by the number of lanes.
    """
    return _WITH_STANDING[is_named, sqlite]


def active(connection: Connection, queues: Collection[str] | None) -> TextualSelect:
    """Ask for the lanes of these queues, None: of all, with a ready job; its cost goes by the number of these lanes.

    Its parameters are those that `named` returns.
    """
    return _ACTIVE[queues is not None, is_sqlite(connection)]


def named(queues: Collection[str] | None) -> dict[str, str]:
    """Return the parameters of `active`."""
    return {} if queues is None else {"queues": json.dumps(sorted({*queues}))}


def active_lanes(connection: Connection, queues: Collection[str] | None = None) -> list[Lane]:
    """Return the lanes of these queues, None: of all, with a ready job."""
    return [Lane(*row) for row in connection.execute(active(connection, queues), named(queues))]


class Mark(NamedTuple):
    """Where the ready jobs of a lane begin: no job before it is ready. `run_at` and `id` are as in SQL."""

    priority: int
    run_at: str
    id: str


# By worker, since each running job has one: else the planner may go through all jobs of some status for them.
_RUNNING: Final = """
SELECT worker_id, job_type, organization_id, count(*) AS number FROM fairlane_live
WHERE status = :status AND worker_id {of_any}
GROUP BY worker_id, job_type, organization_id
"""


# How many jobs run on all workers together, by job type and organization.
Running: TypeAlias = Counter[tuple[str, str]]


class RunningRow(NamedTuple):
    """How many jobs of a type and an organization run on a worker."""

    worker: UUID
    job_type: str
    organization: str
    number: int


def _running(of_any: str) -> TextualSelect:
    status: BindParameter[str] = bindparam("status", JobStatus.RUNNING.value, literal_execute=True)  # see `fixed`
    statement = text(_RUNNING.format(of_any=of_any)).bindparams(status)
    columns = (live.c.worker_id, live.c.job_type, live.c.organization_id, column("number", Integer))
    return statement.columns(*columns).execution_options(fairlane_across="claim")


WHO_RUNS: Final = (
    _running("= ANY(ARRAY(SELECT id FROM fairlane_workers))"),
    _running("IN (SELECT id FROM fairlane_workers)"),
)


def who_runs(connection: Connection) -> TextualSelect:
    """Asks for what `counted` reads."""
    return WHO_RUNS[is_sqlite(connection)]


def running(connection: Connection) -> Running:
    """All jobs that run, counted."""
    return counted(running_rows(connection))


def running_rows(connection: Connection) -> list[RunningRow]:
    """All jobs that run, for `counted`."""
    return [RunningRow(*row) for row in connection.execute(who_runs(connection))]


async def running_rows_on(line: Line) -> list[RunningRow]:
    """Return all jobs that run, for `counted`; on the event loop."""
    return [RunningRow(*row) for row in await line.fetch(WHO_RUNS[False], {})]


def counted(rows: Iterable[Iterable[Any]]) -> Running:
    """All jobs that run, from the rows of `who_runs`."""
    found: Running = Counter()
    for _, job_type, organization, number in rows:
        found[job_type, organization] += number
    return found
