"""Bulk actions that were begun."""

from sqlalchemy import Boolean, Column, Float, Index, Integer, String, Table, Text, Uuid

from fairlane.store.tables.base import NAME, Instant, metadata, organization_key

# `needs` is the right that its user has to have still, null = it is trusted code's; `token` the hash of the token that
# began it, if one did; `as_operator` whether its user acts as one there who is. `wanted` is JSON: which jobs.
# `refusals`, too: the first jobs that were refused, and why. `next_due`: before this moment the next job of a retry
# with a pace does not become ready. `look_at`: when whoever is free goes on with it; null = never any more. It is a
# little ahead while somebody is at it, under `taken` as their lease token. `failures`: steps, one after the other, that
# came nowhere.
bulk_actions = Table(
    "fairlane_bulk_actions",
    metadata,
    organization_key(),
    Column("id", Uuid, primary_key=True),
    Column("verb", String(20), nullable=False),
    Column("user_id", NAME),
    Column("needs", NAME),
    Column("token", String(64)),
    Column("origin", NAME, nullable=False),
    Column("as_operator", Boolean, nullable=False),
    Column("wanted", Text, nullable=False),
    Column("filters", Text, nullable=False),  # JSON, to be told
    Column("per_second", Float(53)),
    Column("cursor", String(100)),
    Column("next_due", Instant),
    Column("changed", Integer, nullable=False),
    Column("passed_over", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    Column("refusals", Text, nullable=False),
    Column("look_at", Instant),
    Column("taken", Uuid),
    Column("failures", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("stopped_by", NAME),
    Column("problem", Text),
)
_live = bulk_actions.c.look_at.is_not(None)
_when = (bulk_actions.c.organization_id, bulk_actions.c.look_at)
Index("fairlane_bulk_actions_live", *_when, postgresql_where=_live, sqlite_where=_live)
_ended = bulk_actions.c.ended_at.is_not(None)
Index("fairlane_bulk_actions_ended", bulk_actions.c.ended_at, postgresql_where=_ended, sqlite_where=_ended)
