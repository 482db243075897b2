"""Organizations and their members."""

from sqlalchemy import (
    Column,
    Float,
    Index,
    Integer,
    String,
    Table,
    Text,
    text,
)

from fairlane.domain.statuses import OrganizationStatus
from fairlane.store.tables.base import NAME, ORGANIZATION, Instant, metadata, organization_key

organizations = Table(
    "fairlane_organizations",
    metadata,
    Column("id", ORGANIZATION, primary_key=True),
    Column("name", NAME, nullable=False),
    Column("status", String(20), nullable=False),
    Column("weight", Integer, nullable=False, server_default=text("1")),
    Column("max_running", Integer),
    Column("max_live_jobs", Integer),
    Column("retention_seconds", Float(53)),  # null = that of the job type
    Column("created_at", Instant, nullable=False),
)

# Claims ask for these once a round.
_suspended = organizations.c.status == OrganizationStatus.SUSPENDED
Index("fairlane_organizations_suspended", organizations.c.id, postgresql_where=_suspended, sqlite_where=_suspended)

members = Table(
    "fairlane_members",
    metadata,
    organization_key(),
    Column("user_id", NAME, primary_key=True),
    Column("role", String(20), nullable=False),
    Column("permissions", Text, nullable=False),  # JSON list of names
    Column("created_at", Instant, nullable=False),
)
