"""What limits go by: quotas, starts, outcomes and circuit breakers."""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Identity,
    Index,
    Integer,
    String,
    Table,
    Text,
    Uuid,
)

from fairlane.store.tables.base import NAME, ORGANIZATION, SEQUENCE, Instant, is_busy, metadata, organization_key

# Rows exist only for what is limited; a submission locks its rows in sorted order and holds them to its commit.
# `used_at`: when a submission last needed it, for clean-up; of claims' rows when they were made.
quotas = Table(
    "fairlane_quotas",
    metadata,
    organization_key(),
    Column("subject", String(500), primary_key=True),
    Column("uses", BigInteger, nullable=False),
    Column("used_at", Instant, nullable=False),
)
# A row is changed by each submission that it limits, in place (HOT) where its page has room.
is_busy(quotas, "fillfactor = 50")

# Limits that an operator set for a job type beyond its own, for one organization or, with an empty id, for all.
limits = Table(
    "fairlane_limits",
    metadata,
    organization_key(),
    Column("job_type", NAME, primary_key=True),
    Column("document", Text, nullable=False),  # JSON: the fields of `domain.limits.Limit` that are set
)

# What was submitted of the job types that have a submission rate: an index of all jobs by user and time would make each
# of their transitions dearer, rate or no rate. `submitted_by` is empty for the system.
submissions = Table(
    "fairlane_submissions",
    metadata,
    Column("id", SEQUENCE, Identity(always=True), primary_key=True),
    Column("organization_id", ORGANIZATION, nullable=False),
    Column("job_type", NAME, nullable=False),
    Column("submitted_by", NAME, nullable=False),
    Column("at", Instant, nullable=False),
)
Index(
    "fairlane_submissions_by",
    submissions.c.organization_id,
    submissions.c.job_type,
    submissions.c.submitted_by,
    submissions.c.at,
)
Index("fairlane_submissions_at", submissions.c.at)

# How many jobs of an execution-limited type started in each claim; the organization is empty for all together.
starts = Table(
    "fairlane_starts",
    metadata,
    Column("id", SEQUENCE, Identity(always=True), primary_key=True),
    Column("organization_id", ORGANIZATION, nullable=False),
    Column("job_type", NAME, nullable=False),
    Column("at", Instant, nullable=False),
    Column("number", Integer, nullable=False),
)
Index("fairlane_starts_at", starts.c.organization_id, starts.c.job_type, starts.c.at)

# How attempts ended, by the minute in which it was written down. Each worker has rows of its own, so none is hot.
outcomes = Table(
    "fairlane_outcomes",
    metadata,
    organization_key(),
    Column("job_type", NAME, primary_key=True),
    Column("minute", Instant, primary_key=True),
    Column("worker_id", Uuid, primary_key=True),
    Column("completions", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("seconds", Float(53), nullable=False),
)
Index("fairlane_outcomes_minute", outcomes.c.minute)

# See `domain.breaker`. The trial's columns are set together, while its attempt is not known to have ended.
breakers = Table(
    "fairlane_breakers",
    metadata,
    organization_key(),
    Column("job_type", NAME, primary_key=True),
    Column("opened_at", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("trial_job_id", Uuid),
    Column("trial_attempt", Integer),
    Column("trial_lease_token", Uuid),
    Column("closed_at", Instant),
)
_open = breakers.c.closed_at.is_(None)
Index("fairlane_breakers_open", breakers.c.until, postgresql_where=_open, sqlite_where=_open)
