"""What becomes of jobs: their log, and what attempts leave."""

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

from fairlane.store.tables.base import (
    NAME,
    ORGANIZATION,
    SEQUENCE,
    Instant,
    is_busy,
    job_key,
    metadata,
    of_job,
    organization_key,
)

# Append-only, in the transaction of its transition; `id` orders the feed, `sequence` orders one job.
execution_log = Table(
    "fairlane_execution_log",
    metadata,
    Column("id", SEQUENCE, Identity(always=True), primary_key=True),
    Column("organization_id", ORGANIZATION, nullable=False),
    of_job(primary_key=False),
    Column("sequence", Integer, nullable=False),
    Column("from_status", String(20)),
    Column("to_status", String(20), nullable=False),
    Column("at", Instant, nullable=False),
    Column("actor", NAME, nullable=False),
    Column("message", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    # Else SQLite gives the number of a deleted newest row out again, to one that no reader of the feed then sees.
    sqlite_autoincrement=True,
)
is_busy(execution_log)
# Not unique: who submits may insert entries, and one with the next `sequence` of a job would stop the claim of it.
Index(
    "fairlane_execution_log_job",
    execution_log.c.organization_id,
    execution_log.c.job_id,
    execution_log.c.sequence,
)

# One row per attempt that ended badly; good ones need none.
attempt_errors = Table(
    "fairlane_attempt_errors",
    metadata,
    organization_key(),
    of_job(),
    Column("attempt", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("error_type", NAME, nullable=False),
    Column("message", Text, nullable=False),
    Column("traceback", Text, nullable=False),
    Column("fingerprint", NAME, nullable=False),
    job_key("fairlane_attempt_errors"),
)

dead_letters = Table(
    "fairlane_dead_letters",
    metadata,
    organization_key(),
    of_job(),
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
    Column("parent_deleted_at", Instant),
    job_key("fairlane_dead_letters"),
)
# Pages are read newest first, of all errors and of one.
_newest = (dead_letters.c.entered_at, dead_letters.c.job_id)
_decided = (dead_letters.c.organization_id, dead_letters.c.resolution)
Index("fairlane_dead_letters_newest", *_decided, *_newest)
Index("fairlane_dead_letters_group", *_decided, dead_letters.c.fingerprint, *_newest)
Index("fairlane_dead_letters_cause", dead_letters.c.organization_id, dead_letters.c.caused_by)

# Retried jobs that took down more than was revived with them; `actor` retried them.
revivals = Table(
    "fairlane_revivals",
    metadata,
    organization_key(),
    of_job(),
    Column("actor", NAME, nullable=False),
    job_key("fairlane_revivals"),
)

progress = Table(
    "fairlane_progress",
    metadata,
    organization_key(),
    of_job(),
    Column("attempt", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("percent", Float(53)),
    Column("message", Text),
    Column("at", Instant, nullable=False),
    job_key("fairlane_progress"),
)

checkpoints = Table(
    "fairlane_checkpoints",
    metadata,
    organization_key(),
    of_job(),
    Column("attempt", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("at", Instant, nullable=False),
    job_key("fairlane_checkpoints"),
)

log_lines = Table(
    "fairlane_log_lines",
    metadata,
    Column("id", SEQUENCE, Identity(always=True), primary_key=True),
    Column("organization_id", ORGANIZATION, nullable=False),
    of_job(primary_key=False),
    Column("attempt", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    Column("level", String(20), nullable=False),
    Column("message", Text, nullable=False),
    job_key("fairlane_log_lines"),
)
Index("fairlane_log_lines_job", log_lines.c.organization_id, log_lines.c.job_id, log_lines.c.id)

results = Table(
    "fairlane_results",
    metadata,
    organization_key(),
    of_job(),
    Column("value", Text, nullable=False),
    Column("at", Instant, nullable=False),
    job_key("fairlane_results"),
)

artifacts = Table(
    "fairlane_artifacts",
    metadata,
    organization_key(),
    of_job(),
    Column("name", NAME, primary_key=True),
    Column("path", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("content_type", NAME, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("at", Instant, nullable=False),
    job_key("fairlane_artifacts"),
)

# Files to delete, from `due_at`. `job_id` and `lease_token`: of the attempt that is storing it, if one is. No foreign
# key: the row outlives the job.
doomed_files = Table(
    "fairlane_doomed_files",
    metadata,
    organization_key(),
    Column("id", Uuid, primary_key=True),
    Column("path", Text, nullable=False),
    Column("job_id", Uuid),
    Column("lease_token", Uuid),
    Column("since", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
)
Index("fairlane_doomed_files_due", doomed_files.c.due_at)
