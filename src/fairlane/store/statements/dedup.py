"""Deduplication by a unique key. A key can be taken over after it has expired or its job has ended.

It can't be one INSERT … ON CONFLICT DO UPDATE WHERE …. After waiting for another submitter's commit, its WHERE sees the
new key row, but looks for the job in the old snapshot. It does not find the job and takes the key over, which makes two
jobs. So the insert is one statement, and the read of the key's holder is another, with a younger snapshot.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Uuid, bindparam, delete, select, text, update

from fairlane.domain.statuses import JobStatus
from fairlane.store.sql import is_row
from fairlane.store.tables import Instant, dedup_keys, live


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """The live job that holds a key."""

    job_id: UUID
    status: JobStatus


class KeyToTake(NamedTuple):
    """A key to take for a job that this transaction will insert."""

    organization: str
    key: str
    job_id: UUID
    expires_at: datetime


_TAKE: Final = text("""
INSERT INTO fairlane_dedup_keys (organization_id, key, job_id, expires_at)
VALUES (:organization, :key, :job_id, :expires_at)
ON CONFLICT DO NOTHING RETURNING job_id
""").bindparams(bindparam("job_id", type_=Uuid), bindparam("expires_at", type_=Instant))


def take(
    connection: Connection, now: datetime, organization: str, key: str, job_id: UUID, expires_at: datetime
) -> KeyHolder | None:
    """Take `key` for a job that this transaction will insert.

    This waits for the transaction of another submitter who is taking the same key. The caller bounds the wait.

    Returns:
        None if the job has the key now, else the key's holder.
    """
    values = {"organization": organization, "key": key, "job_id": job_id, "expires_at": expires_at}
    if connection.execute(_TAKE, values).one_or_none() is not None:
        return None
    mine = is_row(dedup_keys, organization, key)
    held = connection.execute(select(dedup_keys).where(mine).with_for_update()).one_or_none()
    if held is None:  # its holder was deleted just now; the next statement sees that
        return take(connection, now, organization, key, job_id, expires_at)
    status = connection.scalars(select(live.c.status).where(is_row(live, organization, held.job_id))).one_or_none()
    if held.expires_at > now and status is not None:
        return KeyHolder(held.job_id, JobStatus(status))
    give(connection, organization, key, job_id, expires_at)
    return None


def holder(connection: Connection, now: datetime, organization: str, key: str) -> KeyHolder | None:
    """Return the live job that holds the key in this connection's snapshot, without a lock."""
    found = connection.execute(
        select(live.c.id, live.c.status)
        .select_from(dedup_keys)
        .join(live, is_row(live, dedup_keys.c.organization_id, dedup_keys.c.job_id))
        .where(is_row(dedup_keys, organization, key), dedup_keys.c.expires_at > now)
    ).one_or_none()
    return KeyHolder(found.id, JobStatus(found.status)) if found is not None else None


def exchange(
    connection: Connection, now: datetime, organization: str, job_id: UUID, old: Collection[str], new: str
) -> None:
    """Exchange the keys of a job with edited parameters: drop the old ones, and take the new one if it is free.

    A key that the caller gave stays, as it was not made from parameters. A key locked by a submitter is being taken
    over.

    Args:
        old: the possible forms of the key of its old parameters.
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
    """Give a key, whose row is locked, to another job."""
    connection.execute(
        update(dedup_keys).where(is_row(dedup_keys, organization, key)).values(job_id=job_id, expires_at=expires_at)
    )
