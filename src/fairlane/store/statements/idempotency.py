"""Idempotency keys: which jobs a client's request was given, so that the same request finds them again."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select, tuple_, update

from fairlane.store.engine import engine_of
from fairlane.store.sql import is_row
from fairlane.store.tables import AnyRow, idempotency_keys


def keep(connection: Connection, values: Mapping[str, Any]) -> bool:
    """Keep a key; False if it is there. A twin that is just keeping it is waited for."""
    # What an INSERT counts, PostgreSQL's driver does not tell.
    statement = engine_of(connection).insert(idempotency_keys).on_conflict_do_nothing()
    return connection.execute(statement.returning(idempotency_keys.c.key), dict(values)).one_or_none() is not None


def find(connection: Connection, organization: str, user: str, key: str) -> AnyRow | None:
    """Return what is kept under a key."""
    return connection.execute(
        select(idempotency_keys).where(is_row(idempotency_keys, organization, user, key))
    ).one_or_none()


def hold(connection: Connection, organization: str, user: str, key: str) -> AnyRow | None:
    """Lock what is kept under a key to the end of the transaction, so that nobody gives it up meanwhile."""
    held = select(idempotency_keys).where(is_row(idempotency_keys, organization, user, key)).with_for_update()
    return connection.execute(held).one_or_none()


def answer(connection: Connection, organization: str, user: str, key: str, drawn: str, job_ids: str) -> None:
    """Note that the request was answered, and with which jobs.

    Args:
        drawn: the ids that were kept for it, as they are stored; under a key that has others by now nothing is noted.
        job_ids: of the jobs, as they are to be stored.
    """
    mine = is_row(idempotency_keys, organization, user, key) & (idempotency_keys.c.job_ids == drawn)
    connection.execute(update(idempotency_keys).where(mine).values(job_ids=job_ids, is_answered=True))


def give_up(connection: Connection, organization: str, user: str, key: str) -> None:
    """Forget a key whose request was refused: it may come again."""
    connection.execute(
        delete(idempotency_keys).where(
            is_row(idempotency_keys, organization, user, key), idempotency_keys.c.is_answered.is_(False)
        )
    )


def renew(
    connection: Connection, organization: str, user: str, key: str, *, before: datetime, values: Mapping[str, Any]
) -> bool:
    """Put another request in the place of one from before; False: there is none. A twin that does so is waited for."""
    mine = is_row(idempotency_keys, organization, user, key) & (idempotency_keys.c.created_at < before)
    return connection.execute(update(idempotency_keys).where(mine).values(dict(values))).rowcount == 1


def forget(connection: Connection, before: datetime) -> int:
    """Delete keys from before, but for those that somebody holds; return how many."""
    key = (idempotency_keys.c.organization_id, idempotency_keys.c.user_id, idempotency_keys.c.key)
    free = select(*key).where(idempotency_keys.c.created_at < before).with_for_update(skip_locked=True)
    statement = delete(idempotency_keys).where(tuple_(*key).in_(free.correlate(None)))
    return connection.execute(statement.execution_options(fairlane_across="clean-up")).rowcount
