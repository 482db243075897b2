"""Hashes of what an organization's jobs were submitted with: for deduplication, and of requests under keys.

Where the organization has an encryption key they are hidden by it, as a plain hash lets whoever has the database try
out parameters. Those from before it are hidden by `fairlane keys reencrypt`.
"""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, delete, not_, select, text, update

from fairlane.domain.sealing import HIDDEN
from fairlane.store.tables import dedup_keys, idempotency_keys

Hide = Callable[[str], str]

# A job from after the key may hold the hidden one already; then that stays.
_MOVE: Final = text("""
INSERT INTO fairlane_dedup_keys (organization_id, key, job_id, expires_at)
SELECT organization_id, :hidden, job_id, expires_at FROM fairlane_dedup_keys
WHERE organization_id = :organization AND key = :plain
ON CONFLICT DO NOTHING
""")


def hide_dedup_keys(connection: Connection, organization: str, hide: Hide, limit: int) -> int:
    """Hide so many plain keys of the organization, those that nobody holds; returns how many."""
    mine = (dedup_keys.c.organization_id == organization) & not_(dedup_keys.c.key.startswith(HIDDEN))
    plain = select(dedup_keys.c.key).where(mine).order_by(dedup_keys.c.key).limit(limit)
    found = connection.scalars(plain.with_for_update(skip_locked=True)).all()
    for key in found:
        connection.execute(_MOVE, {"organization": organization, "plain": key, "hidden": hide(key)})
        this = (dedup_keys.c.organization_id == organization) & (dedup_keys.c.key == key)
        connection.execute(delete(dedup_keys).where(this))
    return len(found)


def hide_requests(connection: Connection, organization: str, hide: Hide, limit: int) -> int:
    """Hide so many plain hashes of the organization's requests, those that nobody holds; returns how many."""
    table = idempotency_keys
    mine = (table.c.organization_id == organization) & not_(table.c.request_hash.startswith(HIDDEN))
    plain = select(table.c.user_id, table.c.key, table.c.request_hash).where(mine)
    ordered = plain.order_by(table.c.user_id, table.c.key).limit(limit)
    found = connection.execute(ordered.with_for_update(skip_locked=True)).all()
    for user, key, request_hash in found:
        this = (table.c.organization_id == organization) & (table.c.user_id == user) & (table.c.key == key)
        connection.execute(update(table).where(this).values(request_hash=hide(request_hash)))
    return len(found)


def forget(connection: Connection, organization: str) -> None:
    """Delete all hashes of the organization."""
    for table in (dedup_keys, idempotency_keys):
        connection.execute(delete(table).where(table.c.organization_id == organization))
