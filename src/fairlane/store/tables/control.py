"""What applications register, what is paused, and the workers that are there."""

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    String,
    Table,
    Text,
    Uuid,
    text,
)

from fairlane.store.tables.base import NAME, Instant, metadata, organization_key

job_types = Table(
    "fairlane_job_types",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("schema", Text, nullable=False),  # JSON document of registry.parameters
    Column("options", Text, nullable=False),  # JSON document of registry.job_types
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("registered_at", Instant, nullable=False),
)

# What is paused: a queue, a job type or an organization, by name, or all (maintenance mode). Claims read all rows once
# a round.
pauses = Table(
    "fairlane_pauses",
    metadata,
    Column("subject", String(20), primary_key=True),
    Column("name", NAME, primary_key=True),
    Column("paused_at", Instant, nullable=False),
    Column("paused_by", NAME, nullable=False),
    Column("reason", Text, nullable=False, server_default=text("''")),
)

# One lease per worker. Its seconds are the database's (SQLite: the machine's monotonic clock, valid within `boot_id`).
workers = Table(
    "fairlane_workers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", NAME, nullable=False),
    Column("queues", Text, nullable=False),  # JSON list, null = all queues
    Column("job_types", Text, nullable=False),  # JSON list of the handlers that it has
    Column("slots", Integer, nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("lease_expires", Float(53), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("heartbeat_at", Instant, nullable=False),
    Column("stopping", Boolean, nullable=False, server_default=text("false")),
    Column("version", String(40)),  # of Fairlane; null = one that did not say
    Column("left_behind", Integer, nullable=False, server_default=text("0")),  # handlers that ignored their stop
    Column("drain_requested", Boolean, nullable=False, server_default=text("false")),
)

# The organizations that a worker claims nothing of, since it lacks the master key. Not in the worker's row, which every
# organization may read.
locked_organizations = Table(
    "fairlane_locked_organizations",
    metadata,
    organization_key(),
    Column("worker_id", Uuid, primary_key=True),
)
Index("fairlane_locked_organizations_worker", locked_organizations.c.worker_id)
