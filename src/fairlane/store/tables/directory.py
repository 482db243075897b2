"""Organizations and their members, users, credentials, and who did what."""

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    Text,
    Uuid,
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
Index("fairlane_members_user", members.c.user_id)

# People with a login of their own, and operators. A member need not be one: hosts and identity providers have theirs.
users = Table(
    "fairlane_users",
    metadata,
    Column("id", NAME, primary_key=True),
    Column("password_hash", Text),  # argon2id; null = no login by password
    Column("is_operator", Boolean, nullable=False, server_default=text("false")),
    Column("rights", Text, nullable=False, server_default=text("'[]'")),  # JSON list: an operator's beyond the usual
    Column("disabled_at", Instant),
    Column("created_at", Instant, nullable=False),
)

# Logins of the dashboard. `id` is the SHA-256 of the cookie's value.
sessions = Table(
    "fairlane_sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("user_id", NAME, nullable=False),
    Column("is_link", Boolean, nullable=False, server_default=text("false")),  # to be exchanged for a session, once
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    ForeignKeyConstraint(["user_id"], ["fairlane_users.id"], name="fairlane_sessions_user_fk", ondelete="CASCADE"),
)
Index("fairlane_sessions_user", sessions.c.user_id)

_made = text("made_with IS NOT NULL")
# Only the SHA-256 of a token is kept: with 256 random bits it needs nothing slower. The organization is empty for
# an operator's token.
tokens = Table(
    "fairlane_tokens",
    metadata,
    organization_key(),
    Column("id", Uuid, primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("name", NAME, nullable=False),
    Column("user_id", NAME, nullable=False),
    Column("scopes", Text, nullable=False),  # JSON list of rights; null = all that the user may
    Column("created_at", Instant, nullable=False),
    Column("created_by", NAME, nullable=False),
    Column("made_with", String(64)),  # the hash of the token by which it was asked for, and with which it is revoked
    Column("expires_at", Instant),
    Column("last_used_at", Instant),
    Column("revoked_at", Instant),
)
Index("fairlane_tokens_hash", tokens.c.hash, unique=True)
Index("fairlane_tokens_made_with", tokens.c.made_with, postgresql_where=_made, sqlite_where=_made)

# What a client has sent under a key of its own, so that sending it again does nothing twice. Ids are drawn and kept
# here before the jobs are submitted with them.
idempotency_keys = Table(
    "fairlane_idempotency_keys",
    metadata,
    organization_key(),
    Column("user_id", NAME, primary_key=True),
    Column("key", NAME, primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("job_ids", Text, nullable=False),  # JSON list
    Column("is_answered", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", Instant, nullable=False),
)
Index("fairlane_idempotency_keys_created", idempotency_keys.c.created_at)

# The keys under which an organization's payloads are sealed, each wrapped under a master key that is not in the
# database. Version 0 is the secret of its deduplication hashes, which all versions share. See `KeyState`.
organization_keys = Table(
    "fairlane_organization_keys",
    metadata,
    organization_key(),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("wrapped_key", Text, nullable=False),  # empty once it is destroyed
    Column("state", String(20), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("destroyed_at", Instant),
)

# Who did what, in the transaction that did it. Append-only; the organization is empty for what concerns all of them.
audit = Table(
    "fairlane_audit",
    metadata,
    Column("organization_id", ORGANIZATION, primary_key=True),
    Column("id", Uuid, primary_key=True),  # no number: one of all organizations would tell how much others change
    Column("at", Instant, nullable=False),
    Column("actor", NAME, nullable=False),
    Column("origin", NAME, nullable=False),  # the face and the address that it came from
    Column("action", NAME, nullable=False),
    Column("subject", Text, nullable=False),
    Column("before", Text),  # JSON of what was changed
    Column("after", Text),
)
Index("fairlane_audit_organization", audit.c.organization_id, audit.c.at, audit.c.id)
Index("fairlane_audit_subject", audit.c.organization_id, audit.c.subject, audit.c.at, audit.c.id)
