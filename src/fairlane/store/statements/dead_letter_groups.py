"""Dead letters of all organizations by error. For operators.

Each organization and each of its errors is found by probes of an index, so it costs the same however many dead letters
an error has: what floods one organization hides nothing of the others.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Integer, TextualSelect, bindparam, column, select, text, tuple_

from fairlane.domain.statuses import OrganizationStatus, Resolution
from fairlane.store.tables import AnyRow, dead_letters

_START: Final = (datetime(9999, 12, 31, tzinfo=UTC), UUID(int=2**128 - 1))


class Group(NamedTuple):
    """An organization's dead letters with one error: how many, when the first came, and all of the newest."""

    size: int
    first_at: datetime
    newest: AnyRow


class Groups(NamedTuple):
    """A page of them, and how many there are; `is_capped`: of an organization no more were looked for."""

    page: Sequence[Group]
    total: int
    is_capped: bool


def undecided(
    connection: Connection, *, before: tuple[datetime, UUID] | None, limit: int, up_to: int, most: int
) -> Groups:
    """Return those about which nobody has decided, the one with the newest letter first.

    Those of a deleted organization are nobody's to decide about.

    Args:
        before: from just after the group with this newest letter on.
        up_to: the letters of each are counted no further.
        most: of one organization.
    """
    before_at, before_id = before or _START
    values = {"undecided": Resolution.PENDING, "deleted": OrganizationStatus.DELETED}
    bounds = {"before_at": before_at, "before_id": before_id, "limit": limit, "up_to": up_to, "most": most}
    rows = connection.execute(_statement(), values | bounds).all()
    newest = _letters(connection, [(row.organization_id, row.newest) for row in rows])
    page = [Group(row.size, row.first_at, newest[row.organization_id, row.newest]) for row in rows]
    return Groups(page, rows[0].groups if rows else 0, is_capped=bool(rows) and rows[0].longest >= most)


def _letters(connection: Connection, keys: Sequence[tuple[str, UUID]]) -> dict[tuple[str, UUID], AnyRow]:
    key = tuple_(dead_letters.c.organization_id, dead_letters.c.job_id)
    found = connection.execute(select(dead_letters).where(key.in_(keys)))
    return {(row.organization_id, row.job_id): row for row in found}


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
# In the order of an index: the first that it finds end the count; else the planner may read the table for them.
_NEWEST_FIRST: Final = "ORDER BY letter.entered_at DESC, letter.job_id DESC"
_ITS_LETTERS: Final = """FROM fairlane_dead_letters AS letter
    WHERE letter.organization_id = error.organization_id AND letter.resolution = :undecided
      AND letter.fingerprint = error.fingerprint"""


@cache
def _statement() -> TextualSelect:
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
