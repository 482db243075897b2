"""Idempotency keys: the jobs of a client's request, so that a repeated request finds them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select, tuple_, update

from fairlane.store.engine import engine_of
from fairlane.store.sql import is_row
from fairlane.store.tables import AnyRow, idempotency_keys


def keep(connection: Connection, values: Mapping[str, Any]) -> bool:
    """Store a key; False if it exists. Wait for a concurrent request with the same key."""
    # PostgreSQL's driver has no row count for an INSERT.
    statement = engine_of(connection).insert(idempotency_keys).on_conflict_do_nothing()
    return connection.execute(statement.returning(idempotency_keys.c.key), dict(values)).one_or_none() is not None


def find(connection: Connection, organization: str, user: str, key: str) -> AnyRow | None:
    """Return the request that is stored under a key."""
    return connection.execute(
        select(idempotency_keys).where(is_row(idempotency_keys, organization, user, key))
    ).one_or_none()


def hold(connection: Connection, organization: str, user: str, key: str) -> AnyRow | None:
    """Lock the request under a key until the transaction ends, so that nobody deletes it meanwhile."""
    held = select(idempotency_keys).where(is_row(idempotency_keys, organization, user, key)).with_for_update()
    return connection.execute(held).one_or_none()


def answer(connection: Connection, organization: str, user: str, key: str, drawn: str, job_ids: str) -> None:
    """Store that the request was answered, and its jobs.

    Args:
        drawn: the stored ids for this request. If the key has other ids by now, nothing is stored.
        job_ids: of the jobs, in stored form.
    """
    mine = is_row(idempotency_keys, organization, user, key) & (idempotency_keys.c.job_ids == drawn)
    connection.execute(update(idempotency_keys).where(mine).values(job_ids=job_ids, is_answered=True))


def give_up(connection: Connection, organization: str, user: str, key: str) -> None:
    """Delete a key whose request was refused, so that a client may retry the request."""
    connection.execute(
        delete(idempotency_keys).where(
            is_row(idempotency_keys, organization, user, key), idempotency_keys.c.is_answered.is_(False)
        )
    )


def renew(
    connection: Connection, organization: str, user: str, key: str, *, before: datetime, values: Mapping[str, Any]
) -> bool:
    """Replace an expired request by a new one; False if there is none. Wait for a concurrent replacement."""
    mine = is_row(idempotency_keys, organization, user, key) & (idempotency_keys.c.created_at < before)
    return connection.execute(update(idempotency_keys).where(mine).values(dict(values))).rowcount == 1


def forget(connection: Connection, before: datetime, limit: int) -> int:
    """Delete up to `limit` of the oldest keys from before this time, except locked ones; return their number."""
    key = (idempotency_keys.c.organization_id, idempotency_keys.c.user_id, idempotency_keys.c.key)
    free = select(*key).where(idempotency_keys.c.created_at < before).order_by(idempotency_keys.c.created_at)
    # Read once: if PostgreSQL read it again after its own changes, it would delete more.
    oldest = free.limit(limit).with_for_update(skip_locked=True).cte("oldest", nesting=True)
    mine = tuple_(*key).in_(select(oldest.prefix_with("MATERIALIZED")).correlate(None))
    return connection.execute(
        delete(idempotency_keys).where(mine).execution_options(fairlane_across="clean-up")
    ).rowcount
