"""The tables. Primary, foreign and unique keys of tenant data start with the organization.

Row-level security covers neither foreign nor unique keys. The organization in front keeps one tenant from probing
another through them. `migrations/` must build exactly these tables; a test compares the two.
"""

from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
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
    event,
    false,
    text,
    true,
)

from fairlane.domain.statuses import EdgeState, JobStatus, OrganizationStatus
from fairlane.domain.texts import organization_of

AnyRow: TypeAlias = Row[*tuple[Any, ...]]

metadata: Final = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "fk": "%(table_name)s_%(referred_table_name)s_fk",
    }
)


class Instant(TypeDecorator[datetime]):
    """A point in time: timestamptz on PostgreSQL; on SQLite text of fixed width in UTC, which sorts and compares."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Pick the column type."""
        return dialect.type_descriptor(String(32) if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Convert it for the database. A naive value is a bug of Fairlane."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError("Naive datetimes are not stored; attach a time zone.")
        return self.as_text(value) if dialect.name == "sqlite" else value.astimezone(UTC)

    @staticmethod
    def as_text(moment: datetime) -> str:
        """Return the time as the text that SQLite stores and PostgreSQL reads."""
        return moment.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Convert it from the database, always to UTC."""
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.astimezone(UTC) if isinstance(moment, datetime) else None


class OrganizationId(TypeDecorator[str]):
    """An organization's id, or the platform's name, which is read as `PLATFORM`."""

    impl = String(140)
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Convert it from the database."""
        del dialect
        return organization_of(value) if value is not None else None


ORGANIZATION: Final = OrganizationId()
NAME_LIMIT: Final = 200  # characters
NAME: Final = String(NAME_LIMIT)
# SQLite numbers rows only if the column is declared exactly INTEGER PRIMARY KEY.
SEQUENCE: Final = BigInteger().with_variant(Integer, "sqlite")
# For tables with at least a row for each job. One dead row in fifty starts a vacuum, instead of one in five: each claim
# reads the index entries of dead rows. The vacuum may work ten times as fast as by default, to keep up with thousands
# of jobs a second.
_BUSY: Final = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 2000"


def _is_busy(table: Table, *more: str) -> None:
    """Give a table on PostgreSQL storage parameters for many changes, and further ones.

    This takes a separate statement: SQLAlchemy has a table option for it only from 2.1 on.
    """
    parameters = ", ".join((*more, _BUSY))
    setting = DDL(f"ALTER TABLE {table.name} SET ({parameters})")  # type: ignore[no-untyped-call]
    event.listen(table, "after_create", setting.execute_if(dialect="postgresql"))


def _table(name: str, *parts: Column[Any] | ForeignKeyConstraint, **options: Any) -> Table:
    return Table(name, metadata, *parts, **options)


def _of_organization(name: str, *parts: Column[Any] | ForeignKeyConstraint) -> Table:
    return _table(name, Column("organization_id", ORGANIZATION, primary_key=True), *parts)


def _numbered(name: str, *parts: Column[Any] | ForeignKeyConstraint, **options: Any) -> Table:
    """Return a table of organizations' rows, with numbers from the database."""
    number = Column("id", SEQUENCE, Identity(always=True), primary_key=True)
    return _table(name, number, Column("organization_id", ORGANIZATION, nullable=False), *parts, **options)


def _of_job(name: str, *parts: Column[Any] | ForeignKeyConstraint) -> Table:
    """Return a table whose rows are deleted with their job."""
    return _of_organization(name, Column("job_id", Uuid, primary_key=True), *parts, _job_key(name))


def _job_key(table: str, column: str = "job_id") -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["organization_id", column],
        ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
        name=f"{table}_job_fk",
        ondelete="CASCADE",
    )


def _index(table: Table, name: str, columns: str, only: ColumnElement[bool] | None = None, **options: Any) -> None:
    """Give a table an index of these columns.

    Args:
        only: the rows that the index has; None = all.
        options: of SQLAlchemy's `Index`.
    """
    where = {"postgresql_where": only, "sqlite_where": only} if only is not None else {}
    Index(name, *(table.c[one] for one in columns.split()), **{**where, **options})


# The facts of a submission, written once. All tables about jobs, even tables of hosts, refer to this table.
jobs = _of_organization(
    "fairlane_jobs",
    Column("id", Uuid, primary_key=True),
    Column("queue", NAME, nullable=False),
    Column("job_type", NAME, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("submitted_by", NAME),
    Column("required_permission", NAME),
    Column("max_retries", Integer),
    Column("timeout_seconds", Float(53)),
    Column("on_parent_failure", String(20), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("headers", Text),
)
_is_busy(jobs)

# A waiting or running job has one row here, and an ended job has one in `ended`: never both. The lock of the live row
# is the job's lock. The foreign key costs time only at submission, and refuses a row without facts, which could not
# end. A foreign key of `ended` would cost time at each end.
live = _of_organization(
    "fairlane_live",
    Column("id", Uuid, primary_key=True),
    Column("queue", NAME, nullable=False),
    Column("job_type", NAME, nullable=False),
    Column("submitted_by", NAME),
    Column("created_at", Instant, nullable=False),
    Column("status", String(20), nullable=False),
    Column("ready", Boolean, nullable=False),  # queued and due: claims see only these
    Column("priority", SmallInteger, nullable=False),
    Column("run_at", Instant, nullable=False),
    Column("next_retry_at", Instant),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("retry_count", Integer, nullable=False, server_default="0"),
    Column("rescue_count", Integer, nullable=False, server_default="0"),
    Column("deferrals", Integer, nullable=False, server_default="0"),
    Column("unmet_parents", Integer, nullable=False, server_default="0"),
    Column("log_sequence", Integer, nullable=False, server_default="1"),
    # True if an edge of a child is watched: then the end of this job has to tell the child. Only `stage` sets it, and a
    # submission of parent and child together.
    Column("has_children", Boolean, nullable=False, server_default=false()),
    Column("cancel_requested_at", Instant),
    Column("cancel_requested_by", NAME),
    Column("cancel_reason", Text),
    Column("worker_id", Uuid),
    Column("lease_token", Uuid),
    Column("error_type", NAME),
    Column("error_message", Text),
    Column("started_at", Instant),
    _job_key("fairlane_live", "id"),
)
# Free space for a job's next version on the same page, so that fewer pages are written.
_is_busy(live, "fillfactor = 80")

ended = _of_organization(
    "fairlane_ended",
    Column("id", Uuid, primary_key=True),
    Column("queue", NAME, nullable=False),
    Column("job_type", NAME, nullable=False),
    Column("submitted_by", NAME),
    Column("created_at", Instant, nullable=False),
    Column("status", String(20), nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("run_at", Instant, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("retry_count", Integer, nullable=False),
    Column("rescue_count", Integer, nullable=False),
    Column("log_sequence", Integer, nullable=False),
    Column("cancel_requested_at", Instant),
    Column("error_type", NAME),
    Column("error_message", Text),
    Column("started_at", Instant),
    Column("finished_at", Instant, nullable=False),
    Column("canceled_at", Instant),
    Column("canceled_by", NAME),
)
_is_busy(ended)

# A lane is (queue, organization, job type). Within a lane, claims go by priority, run_at, id. SQLite uses the index
# only for the exact words of its predicate, so queries say `ready = 1` there.
_ready_on_sqlite = live.c.ready == true()
_index(
    live,
    "fairlane_live_ready",
    "queue organization_id job_type priority run_at id",
    live.c.ready,
    sqlite_where=_ready_on_sqlite,
)
_waiting = and_(live.c.status == JobStatus.PENDING, live.c.unmet_parents == 0)
_retrying = and_(live.c.status == JobStatus.QUEUED, ~live.c.ready)
_index(live, "fairlane_live_scheduled", "run_at", _waiting)
_index(live, "fairlane_live_retrying", "next_retry_at", _retrying)
# For turns of organizations, if many have something due. The two indexes above give what is due first.
_index(live, "fairlane_live_scheduled_turns", "organization_id run_at", _waiting)
_index(live, "fairlane_live_retrying_turns", "organization_id next_retry_at", _retrying)
# For lists: of an organization's million queued jobs, few may wait for a retry. It has status and `ready` for SQLite,
# which otherwise takes the index of all statuses.
_index(live, "fairlane_live_retrying_of", "organization_id status ready created_at id", _retrying)
_index(live, "fairlane_live_running", "worker_id job_type organization_id", live.c.status == JobStatus.RUNNING)
# These two have the columns of list filters: if few jobs of a status match, a list reads only the index.
for _state in (live, ended):
    _filtered = ["job_type", "submitted_by", "queue"]
    _index(_state, f"{_state.name}_status", "organization_id status created_at id", postgresql_include=_filtered)
# Jobs with the same retention are neighbors.
_index(ended, "fairlane_ended_finished", "organization_id job_type finished_at id")

# Lists go by `created_at`. An id has a time in it, too, but the time may be from a wrong clock, or days old.
_index(jobs, "fairlane_jobs_created", "organization_id created_at id")
# Lists by user and by queue, without the many jobs of the system and of the default queue. Both have the type, so that
# a list by type as well reads no job of another type.
DEFAULT_QUEUE: Final = "default"
_index(
    jobs, "fairlane_jobs_user", "organization_id submitted_by created_at id job_type", jobs.c.submitted_by.is_not(None)
)
_index(jobs, "fairlane_jobs_queue", "organization_id queue created_at id job_type", jobs.c.queue != DEFAULT_QUEUE)
_index(jobs, "fairlane_jobs_type", "organization_id job_type created_at id")

# `state`: see `EdgeState`.
job_parents = _of_job(
    "fairlane_job_parents",
    Column("parent_id", Uuid, primary_key=True),
    Column("state", String(20), nullable=False),
    ForeignKeyConstraint(
        ["organization_id", "parent_id"],
        ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
        name="fairlane_job_parents_parent_fk",
    ),
)
# With `job_id` the index covers the query: otherwise SQLite takes the primary key, and reads all edges of the
# organization.
_index(job_parents, "fairlane_job_parents_parent", "organization_id parent_id state job_id")
_index(
    job_parents,
    "fairlane_job_parents_watched",
    "organization_id job_id parent_id",
    job_parents.c.state == EdgeState.WATCHED,
)
_index(
    job_parents, "fairlane_job_parents_new", "organization_id job_id parent_id", job_parents.c.state == EdgeState.NEW
)

# `created_at` is the job's, so that a label gives its jobs in the order of lists.
labels = _of_organization(
    "fairlane_labels",
    Column("name", NAME, primary_key=True),
    Column("value", NAME, primary_key=True),
    Column("created_at", Instant, primary_key=True),
    Column("job_id", Uuid, primary_key=True),
    _job_key("fairlane_labels"),
)
_index(labels, "fairlane_labels_job", "organization_id job_id")

# A key can be taken over if it has expired or its job has ended. No foreign key: the key is taken before its job is
# inserted.
dedup_keys = _of_organization(
    "fairlane_dedup_keys",
    Column("key", String(64), primary_key=True),
    Column("job_id", Uuid, nullable=False),
    Column("expires_at", Instant, nullable=False),
)
_is_busy(dedup_keys)
_index(dedup_keys, "fairlane_dedup_keys_job", "organization_id job_id")

# Append-only, written in the transaction of the transition. `id` orders the feed, `sequence` orders one job.
execution_log = _numbered(
    "fairlane_execution_log",
    Column("job_id", Uuid, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("from_status", String(20)),
    Column("to_status", String(20), nullable=False),
    Column("at", Instant, nullable=False),
    Column("actor", NAME, nullable=False),
    Column("message", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    # Otherwise SQLite reuses the number of a deleted newest row, and readers of the feed would miss the new row.
    sqlite_autoincrement=True,
)
_is_busy(execution_log)
# Not unique: a submitter may insert entries, and an entry with a job's next `sequence` would block its claim.
_index(execution_log, "fairlane_execution_log_job", "organization_id job_id sequence")

# One row per failed attempt; successful attempts need none.
attempt_errors = _of_job(
    "fairlane_attempt_errors",
    Column("attempt", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("error_type", NAME, nullable=False),
    Column("message", Text, nullable=False),
    Column("traceback", Text, nullable=False),
    Column("fingerprint", NAME, nullable=False),
)

dead_letters = _of_job(
    "fairlane_dead_letters",
    Column("job_type", NAME, nullable=False),
    Column("reason", Text, nullable=False),
    Column("error_type", NAME, nullable=False),
    Column("fingerprint", NAME, nullable=False),
    Column("caused_by", Uuid),  # the parent whose failure caused it
    Column("entered_at", Instant, nullable=False),
    Column("resolution", String(20), nullable=False),
    Column("note", Text),
    Column("resolved_by", NAME),
    Column("resolved_at", Instant),
    Column("parent_deleted_at", Instant),
)
# Pages are read newest first, for all errors and for one error.
_index(dead_letters, "fairlane_dead_letters_newest", "organization_id resolution entered_at job_id")
_index(dead_letters, "fairlane_dead_letters_group", "organization_id resolution fingerprint entered_at job_id")
_index(dead_letters, "fairlane_dead_letters_cause", "organization_id caused_by")

# Retried jobs with children that are still to be revived. `actor` retried them.
revivals = _of_job(
    "fairlane_revivals",
    Column("actor", NAME, nullable=False),
)

progress = _of_job(
    "fairlane_progress",
    Column("attempt", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("percent", Float(53)),
    Column("message", Text),
    Column("at", Instant, nullable=False),
)

checkpoints = _of_job(
    "fairlane_checkpoints",
    Column("attempt", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("at", Instant, nullable=False),
)

log_lines = _numbered(
    "fairlane_log_lines",
    Column("job_id", Uuid, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    Column("level", String(20), nullable=False),
    Column("message", Text, nullable=False),
    _job_key("fairlane_log_lines"),
)
_index(log_lines, "fairlane_log_lines_job", "organization_id job_id id")

results = _of_job(
    "fairlane_results",
    Column("value", Text, nullable=False),
    Column("at", Instant, nullable=False),
)

artifacts = _of_job(
    "fairlane_artifacts",
    Column("name", NAME, primary_key=True),
    Column("path", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("content_type", NAME, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("at", Instant, nullable=False),
)

# Files to delete from `due_at` on. `job_id` and `lease_token`: of the attempt that is storing the file, if any. No
# foreign key: the row outlives the job.
doomed_files = _of_organization(
    "fairlane_doomed_files",
    Column("id", Uuid, primary_key=True),
    Column("path", Text, nullable=False),
    Column("job_id", Uuid),
    Column("lease_token", Uuid),
    Column("since", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
)
_index(doomed_files, "fairlane_doomed_files_due", "due_at")

organizations = _table(
    "fairlane_organizations",
    Column("id", ORGANIZATION, primary_key=True),
    Column("name", NAME, nullable=False),
    Column("status", String(20), nullable=False),
    Column("weight", Integer, nullable=False, server_default=text("1")),
    Column("max_running", Integer),
    Column("max_live_jobs", Integer),
    Column("retention_seconds", Float(53)),  # null = the job type's
    Column("created_at", Instant, nullable=False),
)

# Claims ask for these once a round.
_index(organizations, "fairlane_organizations_suspended", "id", organizations.c.status == OrganizationStatus.SUSPENDED)

members = _of_organization(
    "fairlane_members",
    Column("user_id", NAME, primary_key=True),
    Column("role", String(20), nullable=False),
    Column("permissions", Text, nullable=False),  # JSON list of names
    Column("created_at", Instant, nullable=False),
)
_index(members, "fairlane_members_user", "user_id")

# Users who log in to Fairlane, and operators. A member need not have a row: hosts and identity providers have their own
# users.
users = _table(
    "fairlane_users",
    Column("id", NAME, primary_key=True),
    Column("password_hash", Text),  # argon2id; null = no login by password
    Column("is_operator", Boolean, nullable=False, server_default=text("false")),
    Column("rights", Text, nullable=False, server_default=text("'[]'")),  # JSON list: an operator's further rights
    Column("disabled_at", Instant),
    Column("created_at", Instant, nullable=False),
)

# Logins of the dashboard. `id` is the SHA-256 of the cookie's value.
sessions = _table(
    "fairlane_sessions",
    Column("id", String(64), primary_key=True),
    Column("user_id", NAME, nullable=False),
    Column("is_link", Boolean, nullable=False, server_default=text("false")),  # can be exchanged for a session, once
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    ForeignKeyConstraint(["user_id"], ["fairlane_users.id"], name="fairlane_sessions_user_fk", ondelete="CASCADE"),
)
_index(sessions, "fairlane_sessions_user", "user_id")

# Only the SHA-256 of a token is stored: a token of 256 random bits needs no slower hash. The organization is empty for
# an operator's token.
tokens = _of_organization(
    "fairlane_tokens",
    Column("id", Uuid, primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("name", NAME, nullable=False),
    Column("user_id", NAME, nullable=False),
    Column("scopes", Text, nullable=False),  # JSON list of rights; null = all rights of the user
    Column("created_at", Instant, nullable=False),
    Column("created_by", NAME, nullable=False),
    Column("made_with", String(64)),  # the hash of the token that made it, and with which it is revoked
    Column("expires_at", Instant),
    Column("last_used_at", Instant),
    Column("revoked_at", Instant),
)
_index(tokens, "fairlane_tokens_hash", "hash", unique=True)
_index(tokens, "fairlane_tokens_user", "organization_id user_id id")
_index(tokens, "fairlane_tokens_made_with", "made_with", tokens.c.made_with.is_not(None))

# Requests that a client sent with an idempotency key, so that a repeated request has no second effect. Job ids are
# drawn and stored here before the jobs are submitted.
idempotency_keys = _of_organization(
    "fairlane_idempotency_keys",
    Column("user_id", NAME, primary_key=True),
    Column("key", NAME, primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("job_ids", Text, nullable=False),  # JSON list
    Column("is_answered", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", Instant, nullable=False),
)
_index(idempotency_keys, "fairlane_idempotency_keys_created", "created_at")

# The keys that encrypt an organization's payloads, each wrapped by a master key that is not in the database. Version 0
# is the secret of its deduplication hashes, for all versions. See `KeyState`.
organization_keys = _of_organization(
    "fairlane_organization_keys",
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("wrapped_key", Text, nullable=False),  # empty once it is destroyed
    Column("state", String(20), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("destroyed_at", Instant),
)

# The audit, written in the transaction of the change. Append-only. The organization is empty if the change concerns
# all.
audit = _of_organization(
    "fairlane_audit",
    Column("id", Uuid, primary_key=True),  # no number: it would reveal how much other organizations change
    Column("at", Instant, nullable=False),
    Column("actor", NAME, nullable=False),
    Column("origin", NAME, nullable=False),  # the interface and the address of the request
    Column("action", NAME, nullable=False),
    Column("subject", Text, nullable=False),
    Column("before", Text),  # JSON of the changed values
    Column("after", Text),
)
_index(audit, "fairlane_audit_organization", "organization_id at id")
_index(audit, "fairlane_audit_subject", "organization_id subject at id")

job_types = _table(
    "fairlane_job_types",
    Column("name", NAME, primary_key=True),
    Column("schema", Text, nullable=False),  # JSON document of jobtypes.parameters
    Column("options", Text, nullable=False),  # JSON document of jobtypes.options
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("registered_at", Instant, nullable=False),
)

# Pauses of a queue, a job type or an organization, by name, or of everything (maintenance mode). Claims read all rows
# once a round.
pauses = _table(
    "fairlane_pauses",
    Column("subject", String(20), primary_key=True),
    Column("name", NAME, primary_key=True),
    Column("paused_at", Instant, nullable=False),
    Column("paused_by", NAME, nullable=False),
    Column("reason", Text, nullable=False, server_default=text("''")),
)

# One lease per worker. Its seconds are the database's (SQLite: the machine's monotonic clock, valid within `boot_id`).
workers = _table(
    "fairlane_workers",
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
    Column("version", String(40)),  # of Fairlane; null = unknown
    Column("left_behind", Integer, nullable=False, server_default=text("0")),  # handlers that did not stop
    Column("drain_requested", Boolean, nullable=False, server_default=text("false")),
)

# Organizations whose jobs a worker can't claim, because it lacks the master key. Not in the worker's row, which every
# organization may read.
locked_organizations = _of_organization(
    "fairlane_locked_organizations",
    Column("worker_id", Uuid, primary_key=True),
)
_index(locked_organizations, "fairlane_locked_organizations_worker", "worker_id")

# Only limited subjects have rows. A submission locks its rows in sorted order until its commit. The clean-up reads
# `used_at`: the time of the last submission that needed the row, or the time at which a claim created the row.
quotas = _of_organization(
    "fairlane_quotas",
    Column("subject", String(500), primary_key=True),
    Column("used_at", Instant, nullable=False),
)
# Each limited submission changes a row, in place (HOT) if its page has free space.
_is_busy(quotas, "fillfactor = 50")

# Limits that an operator set for a job type beside its own limits: for one organization or, with an empty id, for all.
limits = _of_organization(
    "fairlane_limits",
    Column("job_type", NAME, primary_key=True),
    Column("document", Text, nullable=False),  # JSON: the fields of `domain.limits.Limit` that are set
)

# Submissions of job types with a submission rate. An index of all jobs by user and time would make every transition
# slower, even without a rate. `submitted_by` is empty for the system.
submissions = _numbered(
    "fairlane_submissions",
    Column("job_type", NAME, nullable=False),
    Column("submitted_by", NAME, nullable=False),
    Column("at", Instant, nullable=False),
)
_index(submissions, "fairlane_submissions_by", "organization_id job_type submitted_by at")
_index(submissions, "fairlane_submissions_at", "at")

# The number of starts of an execution-limited job type in a claim, or in a slice of its window. The organization is
# empty for the sum over all.
starts = _numbered(
    "fairlane_starts",
    Column("job_type", NAME, nullable=False),
    Column("at", Instant, nullable=False),
    Column("number", Integer, nullable=False),
)
_index(starts, "fairlane_starts_at", "organization_id job_type at")

# The numbers of attempts by outcome and by the minute in which they were written. Each worker has its own rows, so no
# row is contended.
outcomes = _of_organization(
    "fairlane_outcomes",
    Column("job_type", NAME, primary_key=True),
    Column("minute", Instant, primary_key=True),
    Column("worker_id", Uuid, primary_key=True),
    Column("completions", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("seconds", Float(53), nullable=False),
)
_index(outcomes, "fairlane_outcomes_minute", "minute")

# See `domain.breaker`. The trial's columns are set together, until its attempt is known to have ended.
breakers = _of_organization(
    "fairlane_breakers",
    Column("job_type", NAME, primary_key=True),
    Column("opened_at", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("trial_job_id", Uuid),
    Column("trial_attempt", Integer),
    Column("trial_lease_token", Uuid),
    Column("closed_at", Instant),
)
_index(breakers, "fairlane_breakers_open", "until", breakers.c.closed_at.is_(None))

# `parameters` are encrypted, bound to `id`, if the organization has a key. `next_tick`: null = no more ticks.
# `look_at`: when the scheduler handles the schedule next; null = never, for example during a pause. It is later than
# the tick if that tick was refused.
schedules = _of_organization(
    "fairlane_schedules",
    Column("id", Uuid, primary_key=True),
    Column("name", NAME, nullable=False),
    Column("job_type", NAME, nullable=False),
    Column("user_id", NAME),
    Column("parameters", Text, nullable=False),
    Column("options", Text, nullable=False),  # JSON: priority, queue and labels of its jobs
    Column("cron", NAME),
    Column("every_seconds", Float(53)),
    Column("time_zone", NAME, nullable=False),
    Column("start", Instant, nullable=False),
    Column("missed", String(20), nullable=False),
    Column("next_tick", Instant),
    Column("look_at", Instant),
    Column("paused_at", Instant),
    Column("paused_by", NAME),
    Column("last_tick", Instant),
    Column("last_job_id", Uuid),
    Column("problem", Text),
    Column("created_at", Instant, nullable=False),
)
_index(schedules, "fairlane_schedules_name", "organization_id name", unique=True)
# With organization and id, the next turn among all due schedules is read from the index alone.
_index(schedules, "fairlane_schedules_look_at", "look_at organization_id id", schedules.c.look_at.is_not(None))
_index(schedules, "fairlane_schedules_job_type", "job_type")

# `needs`: the right that its user must still have; null = started by trusted code. `token`: the hash of the token that
# started it, if any. `as_operator`: whether its user acts as an operator. `wanted`: the filter of jobs, as JSON.
# `refusals`: the first refused jobs and the reasons, as JSON. `next_due`: before this time the next job of a paced
# retry does not become ready. `look_at`: when a free worker goes on with it; null = never. During a step it is slightly
# in the future, and `taken` is the lease token of the worker. `failures`: consecutive steps without progress;
# below zero: consecutive searches that took too long.
bulk_actions = _of_organization(
    "fairlane_bulk_actions",
    Column("id", Uuid, primary_key=True),
    Column("verb", String(20), nullable=False),
    Column("user_id", NAME),
    Column("needs", NAME),
    Column("token", String(64)),
    Column("origin", NAME, nullable=False),
    Column("as_operator", Boolean, nullable=False),
    Column("wanted", Text, nullable=False),
    Column("filters", Text, nullable=False),  # JSON, for display
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
_index(bulk_actions, "fairlane_bulk_actions_live", "organization_id look_at", bulk_actions.c.look_at.is_not(None))
_index(bulk_actions, "fairlane_bulk_actions_ended", "ended_at", bulk_actions.c.ended_at.is_not(None))

# The highest number of an organization's deleted log entries. A reader whose cursor is lower has missed entries.
feed_floors = _of_organization(
    "fairlane_feed_floors",
    Column("log_id", SEQUENCE, nullable=False),
)

# Alerts: the number of an organization's dead letters or live jobs has passed `bound`.
alerts = _numbered(
    "fairlane_alerts",
    Column("kind", String(20), nullable=False),
    Column("size", Integer, nullable=False),
    Column("bound", Integer, nullable=False),
    Column("at", Instant, nullable=False),
)

# One row: the key that encrypts cursors, the same on all nodes. A cursor holds a number of the log that all
# organizations share. Encryption keeps it from revealing how much others do.
feed_keys = _table(
    "fairlane_feed_keys",
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("key", String(64), nullable=False),
)

# `id` is the SHA-256 of the ticket. `credential`: see `domain.permissions.Credential`.
socket_tickets = _table(
    "fairlane_socket_tickets",
    Column("id", String(64), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("key", NAME, nullable=False),
    Column("until", Instant),  # when the credential expires, if no row says so
    Column("expires_at", Instant, nullable=False),
)
