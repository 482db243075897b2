"""Deduplication by a unique key that is taken over when it has expired or its job is terminal.

Why not one INSERT … ON CONFLICT DO UPDATE WHERE …: after waiting for another submitter's commit, its WHERE sees the
new key row but looks for the job in the old snapshot, does not find it, and takes the key over: two jobs. So the insert
is one statement, and the look at who holds the key is another, with a younger snapshot.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Uuid, bindparam, delete, select, text, update

from fairlane.domain.statuses import JobStatus
from fairlane.store.engine import engine_of
from fairlane.store.inserts import texts_of, unnest_texts
from fairlane.store.tables import Instant, dedup_keys, live


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """The live job that holds a key."""

    job_id: UUID
    status: JobStatus


class KeyToTake(NamedTuple):
    """A key to be taken for a job about to be inserted in this transaction."""

    organization: str
    key: str
    job_id: UUID
    expires_at: datetime


_TAKE: Final = text("""
INSERT INTO fairlane_dedup_keys (organization_id, key, job_id, expires_at)
VALUES (:organization, :key, :job_id, :expires_at)
ON CONFLICT DO NOTHING RETURNING job_id
""").bindparams(bindparam("job_id", type_=Uuid), bindparam("expires_at", type_=Instant))


_KEYS: Final = {"organization_id": "text", "key": "text", "job_id": "uuid", "expires_at": "timestamptz"}
# It tells which were not free, as mostly all are.
_TAKE_FREE: Final = text(f"""
WITH given AS MATERIALIZED (
  SELECT * FROM {unnest_texts(_KEYS, "keys")}
), taken AS MATERIALIZED (
  INSERT INTO fairlane_dedup_keys (organization_id, key, job_id, expires_at)
  SELECT organization_id, key, job_id, expires_at FROM given
  ON CONFLICT DO NOTHING RETURNING organization_id, key
)
SELECT organization_id, key FROM given
WHERE (SELECT count(*) FROM taken) < (SELECT count(*) FROM given)
  AND (organization_id, key) NOT IN (SELECT organization_id, key FROM taken)
""")  # noqa: S608 - names of ours
_SQLITE_TAKE_FREE: Final = text("""
INSERT INTO fairlane_dedup_keys (organization_id, key, job_id, expires_at)
SELECT value ->> 'organization_id', value ->> 'key', value ->> 'job_id', value ->> 'expires_at'
FROM json_each(:keys) WHERE true
ON CONFLICT DO NOTHING RETURNING organization_id, key
""")


def take_free(connection: Connection, keys: Sequence[KeyToTake]) -> set[tuple[str, str]]:
    """Take those of the distinct `keys`, sorted, that have no row yet. Waits as `take` does.

    Returns:
        Those that were not taken.
    """
    columns = {
        "organization_id": [one.organization for one in keys],
        "key": [one.key for one in keys],
        "job_id": [one.job_id.hex for one in keys],
        "expires_at": [Instant.as_text(one.expires_at) for one in keys],
    }
    if not engine_of(connection).writers_are_serial:
        return {
            (organization, key) for organization, key in connection.execute(_TAKE_FREE, {"keys": texts_of(columns)})
        }
    named = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    given = {"keys": json.dumps(named, ensure_ascii=False)}
    taken = {(organization, key) for organization, key in connection.execute(_SQLITE_TAKE_FREE, given)}
    return {(one.organization, one.key) for one in keys} - taken


def take(
    connection: Connection, now: datetime, organization: str, key: str, job_id: UUID, expires_at: datetime
) -> KeyHolder | None:
    """Take `key` for a job about to be inserted in this transaction.

    Waits for the transaction of another submitter who is taking the same key; the caller bounds that wait.

    Returns:
        None if the key is now the job's, else who holds it.
    """
    values = {"organization": organization, "key": key, "job_id": job_id, "expires_at": expires_at}
    if connection.execute(_TAKE, values).one_or_none() is not None:
        return None
    mine = (dedup_keys.c.organization_id == organization) & (dedup_keys.c.key == key)
    held = connection.execute(select(dedup_keys).where(mine).with_for_update()).one_or_none()
    if held is None:  # its holder was just cleaned up; the next statement sees that
        return take(connection, now, organization, key, job_id, expires_at)
    status = connection.scalars(
        select(live.c.status).where(live.c.organization_id == organization, live.c.id == held.job_id)
    ).one_or_none()
    if held.expires_at > now and status is not None:
        return KeyHolder(held.job_id, JobStatus(status))
    give(connection, organization, key, job_id, expires_at)
    return None


def holder(connection: Connection, now: datetime, organization: str, key: str) -> KeyHolder | None:
    """The live job that holds the key, as far as this connection sees; nothing is locked."""
    found = connection.execute(
        select(live.c.id, live.c.status)
        .select_from(dedup_keys)
        .join(live, (live.c.organization_id == dedup_keys.c.organization_id) & (live.c.id == dedup_keys.c.job_id))
        .where(
            dedup_keys.c.organization_id == organization,
            dedup_keys.c.key == key,
            dedup_keys.c.expires_at > now,
        )
    ).one_or_none()
    return KeyHolder(found.id, JobStatus(found.status)) if found is not None else None


def exchange(
    connection: Connection, now: datetime, organization: str, job_id: UUID, old: Collection[str], new: str
) -> None:
    """Let a job whose parameters were edited hold their key, if no live job does, and none that was made of the old.

    A key of the caller's own is none of those made of parameters, and stays. One that a submitter holds locked is being
    taken over.

    Args:
        old: the forms that the key of its old parameters can have.
    """
    theirs = (dedup_keys.c.organization_id == organization) & (dedup_keys.c.job_id == job_id)
    mine = theirs & dedup_keys.c.key.in_(sorted(old))
    expires_at = connection.scalars(
        select(dedup_keys.c.expires_at).where(mine).with_for_update(skip_locked=True)
    ).first()
    if expires_at is None:
        return
    connection.execute(delete(dedup_keys).where(mine))
    if expires_at > now:
        take(connection, now, organization, new, job_id, expires_at)


def give(connection: Connection, organization: str, key: str, job_id: UUID, expires_at: datetime) -> None:
    """Hand the key, whose row is locked, to another job."""
    connection.execute(
        update(dedup_keys)
        .where(dedup_keys.c.organization_id == organization, dedup_keys.c.key == key)
        .values(job_id=job_id, expires_at=expires_at)
    )
