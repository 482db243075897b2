"""Dead letters: their lists, people's decisions about them, and the way back into the queue."""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    String,
    TextualSelect,
    bindparam,
    cast,
    column,
    func,
    select,
    text,
    tuple_,
    union_all,
    update,
)

from fairlane.domain import transitions
from fairlane.domain.errors import IllegalTransition, JobNotFound
from fairlane.domain.statuses import JobStatus, OrganizationStatus, Resolution
from fairlane.domain.texts import time_of
from fairlane.store.sql import is_row
from fairlane.store.statements import dedup, revival
from fairlane.store.statements.locks import lock_job
from fairlane.store.statements.rows import STATUS, with_state
from fairlane.store.statements.transition import write
from fairlane.store.tables import AnyRow, dead_letters, jobs


class Edit(NamedTuple):
    """New parameters in stored form, and the names of the changed ones: values do not belong in a history.

    `key` is their deduplication key, and `old_keys` the possible forms of the old parameters' key.
    """

    parameters: str
    names: Sequence[str]
    key: str
    old_keys: Collection[str]


class WantedDeadLetters(NamedTuple):
    """A filter of dead letters. None matches every value."""

    resolution: Resolution | None = None
    fingerprint: str | None = None
    job_type: str | None = None


def retry(
    connection: Connection,
    now: datetime,
    organization: str,
    job_id: UUID,
    *,
    actor: str,
    edit: Edit | None = None,
    at: datetime | None = None,
) -> None:
    """Queue a dead letter again, or let it wait for live parents, and revive the children that failed with it.

    Args:
        edit: its new parameters, if a person edited them.
        at: when it may run, at the earliest.

    Raises:
        JobNotFound: no such job.
        IllegalTransition: it is not a dead letter, a parent of it was deleted, or the parent that it failed with is
            still a dead letter.
    """
    row = lock_job(connection, organization, job_id)
    if row is None:
        raise JobNotFound(f"Organization {organization} has no job {job_id}.")
    if row.status != JobStatus.DEAD_LETTER:
        if row.status == JobStatus.QUEUED and row.next_retry_at is not None and row.next_retry_at > now:
            raise IllegalTransition(
                f"Job {job_id} is queued and waits for its next attempt at {time_of(row.next_retry_at)}; "
                "only a dead letter can be retried. Wait until then, or cancel the job and submit it anew."
            )
        raise IllegalTransition(f"Job {job_id} is {row.status}; only a dead letter can be retried.")
    revival.hold_parents(connection, organization, job_id)
    letter = find(connection, organization, job_id)
    if letter is not None and letter.parent_deleted_at is not None:
        raise IllegalTransition(f"A parent of job {job_id} was deleted; submit it anew.")
    parent = culprit(connection, organization, job_id)
    if parent is not None and parent.status == JobStatus.DEAD_LETTER:
        raise IllegalTransition(
            f"Job {job_id} went to dead letter with its parent {parent.job_type} {parent.id}. "
            "Retry that parent: its children follow."
        )
    edited = ""
    if edit is not None:
        edited = f", parameters edited: {', '.join(edit.names) or 'none'}"
        connection.execute(update(jobs).where(is_row(jobs, organization, job_id)).values(parameters=edit.parameters))
        if edit.key not in edit.old_keys:
            dedup.exchange(connection, now, organization, job_id, edit.old_keys, edit.key)
    reason, later = f"retried by {actor}{edited}", at if at is not None and at > now else None
    unmet = revival.wait_for_live_parents(connection, organization, job_id)
    transition = transitions.revive_pending(reason, unmet) if unmet else transitions.revive(reason, now, later)
    write(connection, now, organization, job_id, transition, actor=actor)
    resolve(connection, now, organization, job_id, Resolution.RETRIED, actor=actor, note=None)
    revival.revive_children(connection, now, organization, {job_id: actor})


def culprit(connection: Connection, organization: str, job_id: UUID) -> AnyRow | None:
    """Return the parent that the job failed with: id, job_type, status; None if there is none, or it was deleted."""
    cause = is_row(jobs, dead_letters.c.organization_id, dead_letters.c.caused_by)
    return connection.execute(
        select(jobs.c.id, jobs.c.job_type, STATUS)
        .select_from(with_state(dead_letters.join(jobs, cause)))
        .where(is_row(dead_letters, organization, job_id))
    ).one_or_none()


def resolve(
    connection: Connection,
    now: datetime,
    organization: str,
    job_id: UUID,
    resolution: Resolution,
    *,
    actor: str,
    note: str | None,
) -> bool:
    """Store a person's decision; False if the job is no dead letter."""
    written = connection.execute(
        update(dead_letters)
        .where(is_row(dead_letters, organization, job_id))
        .values(resolution=resolution, note=note, resolved_by=actor, resolved_at=now)
    )
    return written.rowcount == 1


def find(connection: Connection, organization: str, job_id: UUID) -> AnyRow | None:
    """Return one dead letter."""
    return connection.execute(select(dead_letters).where(is_row(dead_letters, organization, job_id))).one_or_none()


def resolution_of(connection: Connection, organization: str, job_id: UUID) -> str | None:
    """Return the decision about a dead letter; None if the job is no dead letter."""
    letter = find(connection, organization, job_id)
    return letter.resolution if letter is not None else None


def decided(connection: Connection, organization: str, job_id: UUID) -> AnyRow | None:
    """Return a dead letter that a person has resolved or dismissed; None otherwise."""
    letter = find(connection, organization, job_id)
    is_decided = letter is not None and letter.resolution in {Resolution.RESOLVED, Resolution.IGNORED}
    return letter if is_decided else None


def page(
    connection: Connection,
    organization: str,
    wanted: WantedDeadLetters,
    *,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[AnyRow]:
    """Return dead letters with `submitted_by` and `status` of their jobs, newest first, from just after `before`."""
    # Without a decision in the filter: the newest of each decision, by its index. There is no index across decisions:
    # the planner would sometimes use it for one decision, too, and read all others.
    decisions = Resolution if wanted.resolution is None else (wanted.resolution,)
    each = [_newest(organization, wanted._replace(resolution=one), before).limit(limit).subquery() for one in decisions]
    letters = union_all(*map(select, each)).subquery() if len(each) > 1 else each[0]
    letter, mine = letters.c, is_row(jobs, organization, letters.c.job_id)
    statement = select(*letter, jobs.c.submitted_by, STATUS).select_from(with_state(letters.join(jobs, mine)))
    return connection.execute(statement.order_by(letter.entered_at.desc(), letter.job_id.desc()).limit(limit)).all()


def _newest(
    organization: str, wanted: WantedDeadLetters, before: tuple[datetime, UUID] | None
) -> Select[*tuple[Any, ...]]:
    letter = dead_letters.c
    statement = select(dead_letters).where(letter.organization_id == organization, *_conditions(wanted))
    if before is not None:
        statement = statement.where(tuple_(letter.entered_at, letter.job_id) < before)
    return statement.order_by(letter.entered_at.desc(), letter.job_id.desc())


def groups(
    connection: Connection, organization: str, *, resolution: Resolution | None, limit: int | None = None
) -> Sequence[AnyRow]:
    """Count dead letters by job type and error fingerprint, the largest group first. `one_id`: a job of the group."""
    size = func.count().label("size")
    statement = (
        select(
            dead_letters.c.fingerprint,
            dead_letters.c.job_type,
            func.max(dead_letters.c.error_type).label("error_type"),
            func.max(dead_letters.c.reason).label("reason"),
            func.max(cast(dead_letters.c.job_id, String)).label("one_id"),
            size,
            func.min(dead_letters.c.entered_at, type_=dead_letters.c.entered_at.type).label("first_at"),
            func.max(dead_letters.c.entered_at, type_=dead_letters.c.entered_at.type).label("last_at"),
        )
        .where(dead_letters.c.organization_id == organization)
        .group_by(dead_letters.c.fingerprint, dead_letters.c.job_type)
        .order_by(size.desc(), dead_letters.c.fingerprint)
        .limit(limit)
    )
    if resolution is not None:
        statement = statement.where(dead_letters.c.resolution == resolution)
    return connection.execute(statement).all()


def count(connection: Connection, organization: str, wanted: WantedDeadLetters) -> int:
    """Count the dead letters that match."""
    mine = select(func.count()).select_from(dead_letters).where(dead_letters.c.organization_id == organization)
    return connection.execute(mine.where(*_conditions(wanted))).scalar_one()


def _conditions(wanted: WantedDeadLetters) -> Iterator[ColumnElement[bool]]:
    yield from (dead_letters.c[name] == value for name, value in wanted._asdict().items() if value is not None)


_KEYS: Final = 1000  # keys in one statement
_START: Final = (datetime(9999, 12, 31, tzinfo=UTC), UUID(int=2**128 - 1))


class Group(NamedTuple):
    """The dead letters of an organization with one error: their number, the time of the first, and the newest."""

    size: int
    first_at: datetime
    newest: AnyRow


class Groups(NamedTuple):
    """A page of groups, and their total. `is_capped`: an organization has more groups than were searched."""

    page: Sequence[Group]
    total: int
    is_capped: bool


def undecided_groups(
    connection: Connection, *, before: tuple[datetime, UUID] | None, limit: int, up_to: int, most: int
) -> Groups:
    """Return the undecided groups of all organizations, the group with the newest dead letter first. For operators.

    Each organization and each of its errors is found by probes of an index. So the cost does not depend on the number
    of dead letters of an error, and a flood of one organization hides no others. Dead letters of a deleted organization
    are omitted: nobody decides about them.

    Args:
        before: the newest dead letter of the last group of the page before.
        up_to: the dead letters of a group are counted up to this number.
        most: the most groups of one organization.
    """
    before_at, before_id = before or _START
    values = {"undecided": Resolution.PENDING, "deleted": OrganizationStatus.DELETED}
    bounds = {"before_at": before_at, "before_id": before_id, "limit": limit, "up_to": up_to, "most": most}
    rows = connection.execute(_undecided_groups(), values | bounds).all()
    newest = dead_letters_of(connection, [(row.organization_id, row.newest) for row in rows])
    page = [Group(row.size, row.first_at, newest[row.organization_id, row.newest]) for row in rows]
    return Groups(page, rows[0].groups if rows else 0, is_capped=bool(rows) and rows[0].longest >= most)


def dead_letters_of(connection: Connection, keys: Sequence[tuple[str, UUID]]) -> dict[tuple[str, UUID], AnyRow]:
    """Return the dead letters of these keys: an organization and a job each."""
    key = tuple_(dead_letters.c.organization_id, dead_letters.c.job_id)
    found: dict[tuple[str, UUID], AnyRow] = {}
    for start in range(0, len(keys), _KEYS):
        rows = connection.execute(select(dead_letters).where(key.in_(keys[start : start + _KEYS])))
        found |= {(row.organization_id, row.job_id): row for row in rows}
    return found


_GROUPS: Final = """
WITH RECURSIVE organization AS (
  SELECT min(organization_id) AS id FROM fairlane_dead_letters
  UNION ALL
  SELECT (SELECT min(organization_id) FROM fairlane_dead_letters WHERE organization_id > organization.id)
  FROM organization WHERE organization.id IS NOT NULL
), error AS (
  SELECT organization.id AS organization_id, 1 AS place, (
    SELECT min(fingerprint) FROM fairlane_dead_letters
    WHERE organization_id = organization.id AND resolution = :undecided) AS fingerprint
  FROM organization
  WHERE coalesce((SELECT status FROM fairlane_organizations WHERE id = organization.id), '') <> :deleted
  UNION ALL
  SELECT error.organization_id, error.place + 1, (
    SELECT min(letter.fingerprint) FROM fairlane_dead_letters AS letter
    WHERE letter.organization_id = error.organization_id AND letter.resolution = :undecided
      AND letter.fingerprint > error.fingerprint)
  FROM error WHERE error.fingerprint IS NOT NULL AND error.place < :most
), letter_group AS (
  SELECT error.*, (SELECT letter.entered_at {its_letters} {newest_first} LIMIT 1) AS last_at,
    (SELECT letter.job_id {its_letters} {newest_first} LIMIT 1) AS newest
  FROM error WHERE error.fingerprint IS NOT NULL
), page AS (
  SELECT * FROM letter_group WHERE (last_at, newest) < (:before_at, :before_id)
  ORDER BY last_at DESC, newest DESC LIMIT :limit
)
SELECT error.organization_id, error.newest,
  (SELECT count(*) FROM (SELECT 1 {its_letters} {newest_first} LIMIT :up_to) AS counted) AS size,
  (SELECT min(letter.entered_at) {its_letters}) AS first_at,
  (SELECT count(*) FROM letter_group) AS groups, (SELECT max(place) FROM letter_group) AS longest
FROM page AS error ORDER BY error.last_at DESC, error.newest DESC
"""
# In the order of an index, which ends the count early: otherwise the planner may scan the table.
_NEWEST_FIRST: Final = "ORDER BY letter.entered_at DESC, letter.job_id DESC"
_ITS_LETTERS: Final = """FROM fairlane_dead_letters AS letter
    WHERE letter.organization_id = error.organization_id AND letter.resolution = :undecided
      AND letter.fingerprint = error.fingerprint"""


@cache
def _undecided_groups() -> TextualSelect:
    letter = dead_letters.c
    moment, its_id = letter.entered_at.type, letter.job_id.type
    made = text(_GROUPS.format(its_letters=_ITS_LETTERS, newest_first=_NEWEST_FIRST))
    typed = made.bindparams(bindparam("before_at", type_=moment), bindparam("before_id", type_=its_id)).columns(
        letter.organization_id,
        column("newest", its_id),
        column("size", Integer),
        column("first_at", moment),
        column("groups", Integer),
        column("longest", Integer),
    )
    return typed.execution_options(fairlane_across="operator reads")
