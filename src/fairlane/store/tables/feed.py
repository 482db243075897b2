"""What realtime keeps: how far logs were deleted, what was alerted, what seals cursors, and tickets for sockets."""

from sqlalchemy import Column, Identity, Integer, String, Table

from fairlane.store.tables.base import NAME, ORGANIZATION, SEQUENCE, Instant, metadata, organization_key

# The highest number in the execution log that was deleted of an organization: whoever stood below has missed something.
feed_floors = Table(
    "fairlane_feed_floors",
    metadata,
    organization_key(),
    Column("log_id", SEQUENCE, nullable=False),
)

# Dead letters or live jobs of an organization passed `bound`.
alerts = Table(
    "fairlane_alerts",
    metadata,
    Column("id", SEQUENCE, Identity(always=True), primary_key=True),
    Column("organization_id", ORGANIZATION, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("size", Integer, nullable=False),
    Column("bound", Integer, nullable=False),
    Column("at", Instant, nullable=False),
)

# One row: the key under which cursors are sealed, the same on all nodes. A cursor says how far the log is, which all
# organizations share; sealed, it tells nobody how much others do.
feed_keys = Table(
    "fairlane_feed_keys",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("key", String(64), nullable=False),
)

# `id` is the SHA-256 of the ticket. `credential` is whose it is good for: see `domain.permissions.Credential`.
socket_tickets = Table(
    "fairlane_socket_tickets",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("key", NAME, nullable=False),
    Column("until", Instant),  # when the credential ends by itself, where no row says so
    Column("expires_at", Instant, nullable=False),
)
