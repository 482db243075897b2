"""Reads and writes of a running attempt beside its live row: progress, checkpoint, log lines, artifacts.

Every write is fenced: it takes effect only while the job's row has the attempt's lease token.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Integer, Table, and_, cast, literal, select, true

from fairlane.domain.jobs import Artifact
from fairlane.store.engine import engine_of
from fairlane.store.sql import as_given, is_row, rows_given
from fairlane.store.statements.rows import HAS_STATE, STATUS, with_state
from fairlane.store.tables import AnyRow, artifacts, checkpoints, job_parents, jobs, live, log_lines, progress, results

MOST_ARTIFACTS: Final = 1_000  # of a job: lists of artifacts are read whole

_lines: Final = rows_given("place", "level", "message")


class AttemptKey(NamedTuple):
    """The key of an attempt. Its writes take effect only while the job's row has this lease token."""

    organization: str
    job_id: UUID
    lease_token: UUID


def _fenced(
    connection: Connection,
    table: Table,
    attempt: AttemptKey,
    values: Mapping[str, Any],
    replaces: Iterable[str] = (),
    *,
    given: str | None = None,
) -> bool:
    """Insert from the job's live row, if it has the attempt's lease token. Return True if something was written.

    Args:
        values: by column; a value may be a column of `_lines`.
        given: the rows of `_lines`, if any.
    """
    guard = and_(
        is_row(live, attempt.organization, attempt.job_id),
        live.c.lease_token == attempt.lease_token,  # gone once the job no longer runs
    )
    columns: dict[str, ColumnElement[Any]] = {
        "organization_id": live.c.organization_id,
        "job_id": live.c.id,
        "attempt": live.c.attempt,
    }
    columns = {name: column for name, column in columns.items() if name in table.c}
    columns |= {
        name: value if isinstance(value, ColumnElement) else literal(value, table.c[name].type).label(name)
        for name, value in values.items()
    }
    rows = live if given is None else live.join(_lines, true())
    source = select(*columns.values()).select_from(rows).where(guard)
    if given is not None:
        source = source.order_by(cast(_lines.c.place, Integer))
    # FOR SHARE keeps out a rescue or a finish until this is committed: an attempt's writes take effect before its end,
    # or never. If the worker freezes in between, idle_in_transaction_session_timeout ends its transaction.
    locked = source.with_for_update(read=True, of=live)
    statement = engine_of(connection).insert(table).from_select([*columns], locked)
    changed = [*replaces]
    if changed:
        keys = [column.name for column in table.primary_key.columns]
        set_: dict[str, Any] = {name: statement.excluded[name] for name in changed}
        if "sequence" in table.c:
            set_["sequence"] = table.c.sequence + 1
        statement = statement.on_conflict_do_update(index_elements=keys, set_=set_)
    # Not rowcount: drivers disagree about it for INSERT.
    written = connection.execute(statement.returning(table.c.job_id), {"given": given} if given is not None else None)
    return bool(written.all())


def set_progress(
    connection: Connection, now: datetime, attempt: AttemptKey, *, percent: float | None, message: str | None
) -> bool:
    """Write the latest progress of the attempt; False if its lease token is no longer valid."""
    values = {"percent": percent, "message": message, "at": now, "sequence": 1}
    return _fenced(connection, progress, attempt, values, replaces=("percent", "message", "at", "attempt"))


def set_checkpoint(connection: Connection, now: datetime, attempt: AttemptKey, state: str) -> bool:
    """Write the state from which the next attempt resumes; False if the lease token is no longer valid."""
    values = {"state": state, "at": now}
    return _fenced(connection, checkpoints, attempt, values, replaces=("state", "at", "attempt"))


def add_lines(connection: Connection, now: datetime, attempt: AttemptKey, lines: Sequence[tuple[str, str]]) -> bool:
    """Write log lines of the job, in their order; False if the lease token is no longer valid.

    Args:
        lines: level and message of each.
    """
    values = {"at": now, "level": _lines.c.level, "message": _lines.c.message}
    given = as_given((place, *line) for place, line in enumerate(lines))
    return _fenced(connection, log_lines, attempt, values, given=given)


def hold(connection: Connection, attempt: AttemptKey) -> bool:
    """Lock the live row against changes until this transaction ends; False if the lease token is no longer valid."""
    mine = is_row(live, attempt.organization, attempt.job_id)
    held = select(live.c.id).where(mine, live.c.lease_token == attempt.lease_token).with_for_update(read=True)
    return connection.execute(held).one_or_none() is not None


def replaced_by(connection: Connection, attempt: AttemptKey, files: Iterable[tuple[str, str]]) -> list[str]:
    """Return the paths of the job's files that these files, each a name and a path, replace.

    A file that the job has already, by a commit without an answer, replaces none.
    """
    given = list(files)
    earlier = artifacts_of(connection, attempt.organization, [attempt.job_id], {name for name, _ in given})
    latest, replaced = {row.name: row.path for row in earlier}, list[str]()
    for name, path in given:
        if latest.get(name, path) != path:
            replaced.append(latest[name])
        latest[name] = path
    return replaced


def names_of_artifacts(connection: Connection, attempt: AttemptKey) -> set[str]:
    """Return the names of the job's files: `MOST_ARTIFACTS` at most."""
    mine = is_row(artifacts, attempt.organization, attempt.job_id)
    return set(connection.execute(select(artifacts.c.name).where(mine).limit(MOST_ARTIFACTS)).scalars())


def set_artifact(connection: Connection, now: datetime, attempt: AttemptKey, file: Mapping[str, Any]) -> bool:
    """Add a stored file to the job, or replace one of the same name; False if the lease token is no longer valid.

    Args:
        file: name, path, size, content_type, sha256.
    """
    values = {**file, "at": now}
    return _fenced(connection, artifacts, attempt, values, replaces=[name for name in values if name != "name"])


def checkpoint_of(connection: Connection, organization: str, job_id: UUID) -> str | None:
    """Return the last checkpoint, as JSON text."""
    return connection.scalars(
        select(checkpoints.c.state).where(is_row(checkpoints, organization, job_id))
    ).one_or_none()


def parents_of(connection: Connection, organization: str, job_id: UUID) -> Sequence[AnyRow]:
    """Return the job's parents: id, job_type, status, labels, headers and result (JSON texts or None)."""
    parent = is_row(jobs, job_parents.c.organization_id, job_parents.c.parent_id)
    its_result = is_row(results, jobs.c.organization_id, jobs.c.id)
    return connection.execute(
        select(jobs.c.id, jobs.c.job_type, STATUS, jobs.c.labels, jobs.c.headers, results.c.value)
        .select_from(with_state(job_parents.join(jobs, parent)).outerjoin(results, its_result))
        .where(is_row(job_parents, organization, job_id), HAS_STATE)
        .order_by(jobs.c.id)
    ).all()


def artifacts_of(
    connection: Connection,
    organization: str,
    job_ids: Iterable[UUID],
    names: Iterable[str] | None = None,
    *,
    limit: int | None = None,
) -> Sequence[AnyRow]:
    """Return the artifacts of these jobs, by name: all of them, those of these names, or the first ones."""
    statement = select(artifacts).where(
        artifacts.c.organization_id == organization, artifacts.c.job_id.in_(list(job_ids))
    )
    statement = statement.where(artifacts.c.name.in_(list(names))) if names is not None else statement
    return connection.execute(statement.order_by(artifacts.c.job_id, artifacts.c.name).limit(limit)).all()


def artifact_of(row: AnyRow) -> Artifact:
    """Return the public value of an artifact's row."""
    return Artifact(
        name=row.name,
        size=row.size,
        content_type=row.content_type,
        sha256=row.sha256,
        created_at=row.at,
        job_id=row.job_id,
        organization=row.organization_id,
        path=row.path,
    )
