"""Jobs, and what a submission writes beside them."""

from typing import Final

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    and_,
    true,
)

from fairlane.domain.statuses import EdgeState, JobStatus
from fairlane.store.tables.base import NAME, Instant, is_busy, job_key, metadata, of_job, organization_key

# Written by transitions only: progress, checkpoints and cancel requests have tables of their own, so that a finish
# never races them and a host that holds one of them conflicts with nobody.
jobs = Table(
    "fairlane_jobs",
    metadata,
    organization_key(),
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
    Column("deferrals", Integer, nullable=False, server_default="0"),
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
)
# Room for a job's next version on its own page, so that fewer pages are written. It saves no index entries (HOT): each
# change of a job changes what is indexed, its status.
is_busy(jobs, "fillfactor = 80")

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
# Lists go by `created_at`. An id has a moment in it, too, but it may be by a wrong clock, or drawn days before.
Index("fairlane_jobs_created", jobs.c.organization_id, jobs.c.created_at, jobs.c.id)
Index("fairlane_jobs_scheduled", jobs.c.run_at, postgresql_where=_waiting, sqlite_where=_waiting)
Index("fairlane_jobs_retrying", jobs.c.next_retry_at, postgresql_where=_retrying, sqlite_where=_retrying)
# To let organizations take turns where many have something due. The two above tell each look what is due first.
Index(
    "fairlane_jobs_scheduled_turns",
    jobs.c.organization_id,
    jobs.c.run_at,
    postgresql_where=_waiting,
    sqlite_where=_waiting,
)
Index(
    "fairlane_jobs_retrying_turns",
    jobs.c.organization_id,
    jobs.c.next_retry_at,
    postgresql_where=_retrying,
    sqlite_where=_retrying,
)
# For lists: an organization may have a million queued jobs, of which few wait for a retry. Status and `ready` stand in
# it for SQLite, which else takes the index of all statuses.
Index(
    "fairlane_jobs_retrying_of",
    jobs.c.organization_id,
    jobs.c.status,
    jobs.c.ready,
    jobs.c.created_at,
    jobs.c.id,
    postgresql_where=_retrying,
    sqlite_where=_retrying,
)
Index(
    "fairlane_jobs_running",
    jobs.c.worker_id,
    jobs.c.job_type,
    jobs.c.organization_id,
    postgresql_where=_running,
    sqlite_where=_running,
)
# What lists are filtered by stands in it, so that a filter that few jobs of a status fit reads the index alone.
Index(
    "fairlane_jobs_status",
    jobs.c.organization_id,
    jobs.c.status,
    jobs.c.created_at,
    jobs.c.id,
    postgresql_include=["job_type", "submitted_by", "queue", "ready"],
)
# Lists by user and by queue. Jobs of the system and those in the usual queue, of which there are most, don't enter. The
# type stands in it so that a list by both reads no job of another type.
DEFAULT_QUEUE: Final = "default"
_of_user = jobs.c.submitted_by.is_not(None)
_unusual = jobs.c.queue != DEFAULT_QUEUE
Index(
    "fairlane_jobs_user",
    jobs.c.organization_id,
    jobs.c.submitted_by,
    jobs.c.created_at,
    jobs.c.id,
    jobs.c.job_type,
    postgresql_where=_of_user,
    sqlite_where=_of_user,
)
Index(
    "fairlane_jobs_queue",
    jobs.c.organization_id,
    jobs.c.queue,
    jobs.c.created_at,
    jobs.c.id,
    postgresql_where=_unusual,
    sqlite_where=_unusual,
)
Index("fairlane_jobs_type", jobs.c.organization_id, jobs.c.job_type, jobs.c.created_at, jobs.c.id)
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
    organization_key(),
    of_job(),
    Column("parent_id", Uuid, primary_key=True),
    Column("state", String(20), nullable=False),
    job_key("fairlane_job_parents"),
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

# `created_at` is the job's, so that a label finds its jobs in the order of lists.
labels = Table(
    "fairlane_labels",
    metadata,
    organization_key(),
    Column("name", NAME, primary_key=True),
    Column("value", NAME, primary_key=True),
    Column("created_at", Instant, primary_key=True),
    of_job(),
    job_key("fairlane_labels"),
)
Index("fairlane_labels_job", labels.c.organization_id, labels.c.job_id)

# Taken over when expired or its job is terminal. No foreign key: the key is taken before its job is inserted.
dedup_keys = Table(
    "fairlane_dedup_keys",
    metadata,
    organization_key(),
    Column("key", String(64), primary_key=True),
    of_job(primary_key=False),
    Column("expires_at", Instant, nullable=False),
)
is_busy(dedup_keys)
Index("fairlane_dedup_keys_job", dedup_keys.c.organization_id, dedup_keys.c.job_id)
