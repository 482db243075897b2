"""The tables. Primary, foreign and unique keys of tenant data start with the organization.

Row-level security covers neither foreign nor unique keys, so the organization in front is what keeps one tenant from
probing another through them. `migrations/` must build exactly this; a test compares the two.
"""

from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Row,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    Uuid,
    and_,
    text,
    true,
)

from fairlane.domain.statuses import EdgeState, JobStatus, OrganizationStatus

AnyRow: TypeAlias = Row[*tuple[Any, ...]]

metadata: Final = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "fk": "%(table_name)s_%(referred_table_name)s_fk",
    }
)


class Instant(TypeDecorator[datetime]):
    """A moment: timestamptz on PostgreSQL; on SQLite text of fixed width in UTC, so that it sorts and compares."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Pick the column type."""
        return dialect.type_descriptor(String(32) if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """To the database; a naive value is a bug of ours."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError("Naive datetimes are not stored; attach a time zone.")
        value = value.astimezone(UTC)
        return value.isoformat(timespec="microseconds") if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From the database, always in UTC."""
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.astimezone(UTC) if isinstance(moment, datetime) else None


ORGANIZATION: Final = String(140)
NAME_LIMIT: Final = 200  # characters
NAME: Final = String(NAME_LIMIT)
# SQLite numbers rows only for a column declared exactly INTEGER PRIMARY KEY.
SEQUENCE: Final = BigInteger().with_variant(Integer, "sqlite")
# Tables with a row or more for each job. A dead row in fifty is enough for a vacuum, not one in five: index entries of
# dead rows are read by each claim. It may go ten times as fast, or it would fall behind thousands of jobs a second.
_BUSY: Final = {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_cost_limit": "2000"}


def _organization() -> Column[str]:
    return Column("organization_id", ORGANIZATION, primary_key=True)


def _of_job(name: str = "job_id", *, primary_key: bool = True) -> Column[Any]:
    return Column(name, Uuid, primary_key=primary_key, nullable=False)


def _job_key(table: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["organization_id", "job_id"],
        ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
        name=f"{table}_job_fk",
        ondelete="CASCADE",
    )


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
    _organization(),
    Column("user_id", NAME, primary_key=True),
    Column("role", String(20), nullable=False),
    Column("permissions", Text, nullable=False),  # JSON list of names
    Column("created_at", Instant, nullable=False),
)

job_types = Table(
    "fairlane_job_types",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("schema", Text, nullable=False),  # JSON document of registry.parameters
    Column("options", Text, nullable=False),  # JSON document of registry.job_types
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("registered_at", Instant, nullable=False),
)

# What is paused: a queue, a job type or an organization, by name. Claims read all of it once a round.
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
)

# Written by transitions only: progress, checkpoints and cancel requests have tables of their own, so that a finish
# never races them and a host that holds one of them conflicts with nobody.
jobs = Table(
    "fairlane_jobs",
    metadata,
    _organization(),
    Column("id", Uuid, primary_key=True),
    Column("queue", NAME, nullable=False),
    Column("job_type", NAME, nullable=False),
    Column("status", String(20), nullable=False),
    Column("ready", Boolean, nullable=False),  # queued and due: what a claim sees
    Column("priority", SmallInteger, nullable=False),
    Column("run_at", Instant, nullable=False),
    Column("next_retry_at", Instant),
    Column("parameters", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("submitted_by", NAME),
    Column("required_permission", NAME),
    Column("attempt", Integer, nullable=False),
    Column("retry_count", Integer, nullable=False),
    Column("rescue_count", Integer, nullable=False),
    Column("max_retries", Integer),
    Column("timeout_seconds", Float(53)),
    Column("on_parent_failure", String(20), nullable=False),
    Column("unmet_parents", Integer, nullable=False),
    Column("log_sequence", Integer, nullable=False),
    Column("worker_id", Uuid),
    Column("lease_token", Uuid),
    Column("error_type", NAME),
    Column("error_message", Text),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Column("canceled_at", Instant),
    Column("canceled_by", NAME),
    # Room for a job's next version on its own page, so that fewer pages are written. It saves no index entries (HOT):
    # each change of a job changes what is indexed, its status.
    postgresql_with={"fillfactor": "80", **_BUSY},
)

# A lane is (queue, organization, job type); within it the claim goes by priority, run_at, id.
Index(
    "fairlane_jobs_ready",
    jobs.c.queue,
    jobs.c.organization_id,
    jobs.c.job_type,
    jobs.c.priority,
    jobs.c.run_at,
    jobs.c.id,
    postgresql_where=jobs.c.ready,
    # SQLite takes the index only for the very words of its predicate, and queries say `ready = 1` there.
    sqlite_where=jobs.c.ready == true(),
)
_waiting = and_(jobs.c.status == JobStatus.PENDING, jobs.c.unmet_parents == 0)
_retrying = and_(jobs.c.status == JobStatus.QUEUED, ~jobs.c.ready)
_running = jobs.c.status == JobStatus.RUNNING
_over = jobs.c.finished_at.is_not(None)
Index("fairlane_jobs_id", jobs.c.id)
Index("fairlane_jobs_scheduled", jobs.c.run_at, postgresql_where=_waiting, sqlite_where=_waiting)
Index("fairlane_jobs_retrying", jobs.c.next_retry_at, postgresql_where=_retrying, sqlite_where=_retrying)
Index(
    "fairlane_jobs_running",
    jobs.c.worker_id,
    jobs.c.job_type,
    jobs.c.organization_id,
    postgresql_where=_running,
    sqlite_where=_running,
)
Index("fairlane_jobs_status", jobs.c.organization_id, jobs.c.status, jobs.c.id)
Index("fairlane_jobs_type", jobs.c.organization_id, jobs.c.job_type, jobs.c.id)
# What is kept for the same time stands together.
Index(
    "fairlane_jobs_finished",
    jobs.c.organization_id,
    jobs.c.job_type,
    jobs.c.finished_at,
    jobs.c.id,
    postgresql_where=_over,
    sqlite_where=_over,
)

# `state`: see `EdgeState`.
job_parents = Table(
    "fairlane_job_parents",
    metadata,
    _organization(),
    _of_job(),
    Column("parent_id", Uuid, primary_key=True),
    Column("state", String(20), nullable=False),
    _job_key("fairlane_job_parents"),
    ForeignKeyConstraint(
        ["organization_id", "parent_id"],
        ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
        name="fairlane_job_parents_parent_fk",
    ),
)
# `job_id` makes it all that is needed: else SQLite takes the primary key, and reads all edges of the organization.
Index(
    "fairlane_job_parents_parent",
    job_parents.c.organization_id,
    job_parents.c.parent_id,
    job_parents.c.state,
    job_parents.c.job_id,
)
_new = job_parents.c.state == EdgeState.NEW
_watched = job_parents.c.state == EdgeState.WATCHED
Index(
    "fairlane_job_parents_watched",
    job_parents.c.organization_id,
    job_parents.c.job_id,
    job_parents.c.parent_id,
    postgresql_where=_watched,
    sqlite_where=_watched,
)
Index(
    "fairlane_job_parents_new",
    job_parents.c.organization_id,
    job_parents.c.job_id,
    job_parents.c.parent_id,
    postgresql_where=_new,
    sqlite_where=_new,
)

labels = Table(
    "fairlane_labels",
    metadata,
    _organization(),
    Column("name", NAME, primary_key=True),
    Column("value", NAME, primary_key=True),
    _of_job(),
    _job_key("fairlane_labels"),
)
Index("fairlane_labels_job", labels.c.organization_id, labels.c.job_id)

# Taken over when expired or its job is terminal. No foreign key: the key is taken before its job is inserted.
dedup_keys = Table(
    "fairlane_dedup_keys",
    metadata,
    _organization(),
    Column("key", String(64), primary_key=True),
    _of_job(primary_key=False),
    Column("expires_at", Instant, nullable=False),
    postgresql_with=_BUSY,
)
Index("fairlane_dedup_keys_job", dedup_keys.c.organization_id, dedup_keys.c.job_id)

# Rows exist only for what is limited; a submission locks its rows in sorted order and holds them to its commit.
# `used_at`: when a submission last needed it, for clean-up; of claims' rows when they were made.
quotas = Table(
    "fairlane_quotas",
    metadata,
    _organization(),
    Column("subject", String(500), primary_key=True),
    Column("uses", BigInteger, nullable=False),
    Column("used_at", Instant, nullable=False),
    # A row is changed by each submission that it limits, in place (HOT) where its page has room.
    postgresql_with={"fillfactor": "50", **_BUSY},
)

# Limits that an operator set for a job type beyond its own, for one organization or, with an empty id, for all.
limits = Table(
    "fairlane_limits",
    metadata,
    _organization(),
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
    _organization(),
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
    _organization(),
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

# Append-only, in the transaction of its transition; `id` orders the feed, `sequence` orders one job.
execution_log = Table(
    "fairlane_execution_log",
    metadata,
    Column("id", SEQUENCE, Identity(always=True), primary_key=True),
    Column("organization_id", ORGANIZATION, nullable=False),
    _of_job(primary_key=False),
    Column("sequence", Integer, nullable=False),
    Column("from_status", String(20)),
    Column("to_status", String(20), nullable=False),
    Column("at", Instant, nullable=False),
    Column("actor", NAME, nullable=False),
    Column("message", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    postgresql_with=_BUSY,
)
Index(
    "fairlane_execution_log_job",
    execution_log.c.organization_id,
    execution_log.c.job_id,
    execution_log.c.sequence,
    unique=True,
)

# One row per attempt that ended badly; good ones need none.
attempt_errors = Table(
    "fairlane_attempt_errors",
    metadata,
    _organization(),
    _of_job(),
    Column("attempt", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("error_type", NAME, nullable=False),
    Column("message", Text, nullable=False),
    Column("traceback", Text, nullable=False),
    Column("fingerprint", NAME, nullable=False),
    _job_key("fairlane_attempt_errors"),
)

dead_letters = Table(
    "fairlane_dead_letters",
    metadata,
    _organization(),
    _of_job(),
    Column("job_type", NAME, nullable=False),
    Column("reason", Text, nullable=False),
    Column("error_type", NAME, nullable=False),
    Column("fingerprint", NAME, nullable=False),
    Column("caused_by", Uuid),  # the parent that took it down
    Column("entered_at", Instant, nullable=False),
    Column("resolution", String(20), nullable=False),
    Column("note", Text),
    Column("resolved_by", NAME),
    Column("resolved_at", Instant),
    _job_key("fairlane_dead_letters"),
)
# Pages are read newest first, of all errors and of one.
_newest = (dead_letters.c.entered_at, dead_letters.c.job_id)
_decided = (dead_letters.c.organization_id, dead_letters.c.resolution)
Index("fairlane_dead_letters_newest", *_decided, *_newest)
Index("fairlane_dead_letters_group", *_decided, dead_letters.c.fingerprint, *_newest)
Index("fairlane_dead_letters_cause", dead_letters.c.organization_id, dead_letters.c.caused_by)

cancel_requests = Table(
    "fairlane_cancel_requests",
    metadata,
    _organization(),
    _of_job(),
    Column("requested_at", Instant, nullable=False),
    Column("requested_by", NAME, nullable=False),
    Column("reason", Text, nullable=False),
    _job_key("fairlane_cancel_requests"),
)

progress = Table(
    "fairlane_progress",
    metadata,
    _organization(),
    _of_job(),
    Column("attempt", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("percent", Float(53)),
    Column("message", Text),
    Column("at", Instant, nullable=False),
    _job_key("fairlane_progress"),
)

checkpoints = Table(
    "fairlane_checkpoints",
    metadata,
    _organization(),
    _of_job(),
    Column("attempt", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("at", Instant, nullable=False),
    _job_key("fairlane_checkpoints"),
)

log_lines = Table(
    "fairlane_log_lines",
    metadata,
    Column("id", SEQUENCE, Identity(always=True), primary_key=True),
    Column("organization_id", ORGANIZATION, nullable=False),
    _of_job(primary_key=False),
    Column("attempt", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    Column("level", String(20), nullable=False),
    Column("message", Text, nullable=False),
    _job_key("fairlane_log_lines"),
)
Index("fairlane_log_lines_job", log_lines.c.organization_id, log_lines.c.job_id, log_lines.c.id)

results = Table(
    "fairlane_results",
    metadata,
    _organization(),
    _of_job(),
    Column("value", Text, nullable=False),
    Column("at", Instant, nullable=False),
    _job_key("fairlane_results"),
)

artifacts = Table(
    "fairlane_artifacts",
    metadata,
    _organization(),
    _of_job(),
    Column("name", NAME, primary_key=True),
    Column("path", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("content_type", NAME, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("at", Instant, nullable=False),
    _job_key("fairlane_artifacts"),
)

# Files to delete, from `due_at`. `job_id` and `lease_token`: of the attempt that is storing it, if one is. No foreign
# key: the row outlives the job.
doomed_files = Table(
    "fairlane_doomed_files",
    metadata,
    _organization(),
    Column("id", Uuid, primary_key=True),
    Column("path", Text, nullable=False),
    Column("job_id", Uuid),
    Column("lease_token", Uuid),
    Column("since", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
)
Index("fairlane_doomed_files_due", doomed_files.c.due_at)

TENANT_TABLES: Final = frozenset(table for table in metadata.tables.values() if "organization_id" in table.c)
