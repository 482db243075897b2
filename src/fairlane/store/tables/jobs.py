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
    false,
    true,
)

from fairlane.domain.statuses import EdgeState, JobStatus
from fairlane.store.tables.base import NAME, Instant, is_busy, job_key, metadata, of_job, organization_key

# The facts of a submission, written once. Whatever hangs on a job refers to this table, also tables of hosts.
jobs = Table(
    "fairlane_jobs",
    metadata,
    organization_key(),
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
)
is_busy(jobs)

# A job that waits or runs has one row here, and a job that has ended one in `ended`: never both. The lock of the live
# row is the job's lock. Its foreign key costs submissions alone, and refuses a row without facts, which could not end.
# One of `ended` would cost each end.
live = Table(
    "fairlane_live",
    metadata,
    organization_key(),
    Column("id", Uuid, primary_key=True),
    Column("queue", NAME, nullable=False),
    Column("job_type", NAME, nullable=False),
    Column("submitted_by", NAME),
    Column("created_at", Instant, nullable=False),
    Column("status", String(20), nullable=False),
    Column("ready", Boolean, nullable=False),  # queued and due: what a claim sees
    Column("priority", SmallInteger, nullable=False),
    Column("run_at", Instant, nullable=False),
    Column("next_retry_at", Instant),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("retry_count", Integer, nullable=False, server_default="0"),
    Column("rescue_count", Integer, nullable=False, server_default="0"),
    Column("deferrals", Integer, nullable=False, server_default="0"),
    Column("unmet_parents", Integer, nullable=False, server_default="0"),
    Column("log_sequence", Integer, nullable=False, server_default="1"),
    # Whether an edge of a child is watched: then the end has to tell it. `stage` alone sets it, and a submission of
    # parent and child together.
    Column("has_children", Boolean, nullable=False, server_default=false()),
    Column("cancel_requested_at", Instant),
    Column("cancel_requested_by", NAME),
    Column("cancel_reason", Text),
    Column("worker_id", Uuid),
    Column("lease_token", Uuid),
    Column("error_type", NAME),
    Column("error_message", Text),
    Column("started_at", Instant),
    ForeignKeyConstraint(
        ["organization_id", "id"],
        ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
        name="fairlane_live_job_fk",
        ondelete="CASCADE",
    ),
)
# Room for a job's next version on its own page, so that fewer pages are written.
is_busy(live, "fillfactor = 80")

ended = Table(
    "fairlane_ended",
    metadata,
    organization_key(),
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
is_busy(ended)

# A lane is (queue, organization, job type); within it the claim goes by priority, run_at, id.
Index(
    "fairlane_live_ready",
    live.c.queue,
    live.c.organization_id,
    live.c.job_type,
    live.c.priority,
    live.c.run_at,
    live.c.id,
    postgresql_where=live.c.ready,
    # SQLite takes the index only for the very words of its predicate, and queries say `ready = 1` there.
    sqlite_where=live.c.ready == true(),
)
_waiting = and_(live.c.status == JobStatus.PENDING, live.c.unmet_parents == 0)
_retrying = and_(live.c.status == JobStatus.QUEUED, ~live.c.ready)
_running = live.c.status == JobStatus.RUNNING
Index("fairlane_live_scheduled", live.c.run_at, postgresql_where=_waiting, sqlite_where=_waiting)
Index("fairlane_live_retrying", live.c.next_retry_at, postgresql_where=_retrying, sqlite_where=_retrying)
# To let organizations take turns where many have something due. The two above tell each look what is due first.
Index(
    "fairlane_live_scheduled_turns",
    live.c.organization_id,
    live.c.run_at,
    postgresql_where=_waiting,
    sqlite_where=_waiting,
)
Index(
    "fairlane_live_retrying_turns",
    live.c.organization_id,
    live.c.next_retry_at,
    postgresql_where=_retrying,
    sqlite_where=_retrying,
)
# For lists: an organization may have a million queued jobs, of which few wait for a retry. Status and `ready` stand in
# it for SQLite, which else takes the index of all statuses.
Index(
    "fairlane_live_retrying_of",
    live.c.organization_id,
    live.c.status,
    live.c.ready,
    live.c.created_at,
    live.c.id,
    postgresql_where=_retrying,
    sqlite_where=_retrying,
)
Index(
    "fairlane_live_running",
    live.c.worker_id,
    live.c.job_type,
    live.c.organization_id,
    postgresql_where=_running,
    sqlite_where=_running,
)
# What lists are filtered by stands in these two, so that a filter that few jobs of a status fit reads the index alone.
_FILTERED: Final = ["job_type", "submitted_by", "queue"]
for _table in (live, ended):
    Index(
        f"{_table.name}_status",
        _table.c.organization_id,
        _table.c.status,
        _table.c.created_at,
        _table.c.id,
        postgresql_include=_FILTERED,
    )
# What is kept for the same time stands together.
Index("fairlane_ended_finished", ended.c.organization_id, ended.c.job_type, ended.c.finished_at, ended.c.id)

# Lists go by `created_at`. An id has a moment in it, too, but it may be by a wrong clock, or drawn days before.
Index("fairlane_jobs_created", jobs.c.organization_id, jobs.c.created_at, jobs.c.id)
# Lists by user and by queue. Jobs of the system and those in the usual queue, of which there are most, don't enter. The
# type stands in both so that a list by it, too, reads no job of another type.
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
    jobs.c.job_type,
    postgresql_where=_unusual,
    sqlite_where=_unusual,
)
Index("fairlane_jobs_type", jobs.c.organization_id, jobs.c.job_type, jobs.c.created_at, jobs.c.id)

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
