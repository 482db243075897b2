"""The first schema.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Frozen copies: this file stays as it is, whatever becomes of `fairlane.store.tables`.
INSTANT = sa.DateTime(timezone=True).with_variant(sa.String(32), "sqlite")
ORGANIZATION = sa.String(140)
NAME = sa.String(200)
SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
VACUUMED = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 2000"
STORAGE = {
    "fairlane_jobs": VACUUMED,
    "fairlane_live": f"fillfactor = 80, {VACUUMED}",
    "fairlane_ended": VACUUMED,
    "fairlane_quotas": f"fillfactor = 50, {VACUUMED}",
    "fairlane_dedup_keys": VACUUMED,
    "fairlane_execution_log": VACUUMED,
}


def upgrade() -> None:  # noqa: PLR0915 - a list
    """Create all tables and indexes."""
    op.create_table(
        "fairlane_organizations",
        sa.Column("id", ORGANIZATION, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("weight", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("max_running", sa.Integer()),
        sa.Column("max_live_jobs", sa.Integer()),
        sa.Column("retention_seconds", sa.Float(53)),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="fairlane_organizations_pk"),
    )
    op.create_index(
        "fairlane_organizations_suspended",
        "fairlane_organizations",
        ["id"],
        postgresql_where=sa.text("status = 'suspended'"),
        sqlite_where=sa.text("status = 'suspended'"),
    )
    op.create_table(
        "fairlane_members",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("user_id", NAME, nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "user_id", name="fairlane_members_pk"),
    )
    op.create_index("fairlane_members_user", "fairlane_members", ["user_id"])
    op.create_table(
        "fairlane_job_types",
        sa.Column("name", NAME, nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("registered_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="fairlane_job_types_pk"),
    )
    op.create_table(
        "fairlane_pauses",
        sa.Column("subject", sa.String(20), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("paused_at", INSTANT, nullable=False),
        sa.Column("paused_by", NAME, nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("subject", "name", name="fairlane_pauses_pk"),
    )
    op.create_table(
        "fairlane_workers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("queues", sa.Text(), nullable=False),
        sa.Column("job_types", sa.Text(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("boot_id", sa.String(64), nullable=False),
        sa.Column("lease_expires", sa.Float(53), nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("heartbeat_at", INSTANT, nullable=False),
        sa.Column("stopping", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("version", sa.String(40)),
        sa.Column("left_behind", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("drain_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="fairlane_workers_pk"),
    )
    op.create_table(
        "fairlane_locked_organizations",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("worker_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "worker_id", name="fairlane_locked_organizations_pk"),
    )
    op.create_index("fairlane_locked_organizations_worker", "fairlane_locked_organizations", ["worker_id"])
    op.create_table(
        "fairlane_jobs",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("queue", NAME, nullable=False),
        sa.Column("job_type", NAME, nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("submitted_by", NAME),
        sa.Column("required_permission", NAME),
        sa.Column("max_retries", sa.Integer()),
        sa.Column("timeout_seconds", sa.Float(53)),
        sa.Column("on_parent_failure", sa.String(20), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name="fairlane_jobs_pk"),
    )
    op.create_index("fairlane_jobs_created", "fairlane_jobs", ["organization_id", "created_at", "id"])
    op.create_index(
        "fairlane_jobs_user",
        "fairlane_jobs",
        ["organization_id", "submitted_by", "created_at", "id", "job_type"],
        postgresql_where=sa.text("submitted_by IS NOT NULL"),
        sqlite_where=sa.text("submitted_by IS NOT NULL"),
    )
    op.create_index(
        "fairlane_jobs_queue",
        "fairlane_jobs",
        ["organization_id", "queue", "created_at", "id", "job_type"],
        postgresql_where=sa.text("queue != 'default'"),
        sqlite_where=sa.text("queue != 'default'"),
    )
    op.create_index("fairlane_jobs_type", "fairlane_jobs", ["organization_id", "job_type", "created_at", "id"])
    _make_key_last("fairlane_jobs")
    op.create_table(
        "fairlane_live",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("queue", NAME, nullable=False),
        sa.Column("job_type", NAME, nullable=False),
        sa.Column("submitted_by", NAME),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("run_at", INSTANT, nullable=False),
        sa.Column("next_retry_at", INSTANT),
        sa.Column("attempt", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("retry_count", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("rescue_count", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("deferrals", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("unmet_parents", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("log_sequence", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("has_children", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("cancel_requested_at", INSTANT),
        sa.Column("cancel_requested_by", NAME),
        sa.Column("cancel_reason", sa.Text()),
        sa.Column("worker_id", sa.Uuid()),
        sa.Column("lease_token", sa.Uuid()),
        sa.Column("error_type", NAME),
        sa.Column("error_message", sa.Text()),
        sa.Column("started_at", INSTANT),
        sa.PrimaryKeyConstraint("organization_id", "id", name="fairlane_live_pk"),
        sa.ForeignKeyConstraint(
            ["organization_id", "id"],
            ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
            name="fairlane_live_job_fk",
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "fairlane_live_ready",
        "fairlane_live",
        ["queue", "organization_id", "job_type", "priority", "run_at", "id"],
        postgresql_where=sa.text("ready"),
        sqlite_where=sa.text("ready = 1"),
    )
    op.create_index(
        "fairlane_live_retrying",
        "fairlane_live",
        ["next_retry_at"],
        postgresql_where=sa.text("status = 'queued' AND NOT ready"),
        sqlite_where=sa.text("status = 'queued' AND ready = 0"),
    )
    op.create_index(
        "fairlane_live_retrying_of",
        "fairlane_live",
        ["organization_id", "status", "ready", "created_at", "id"],
        postgresql_where=sa.text("status = 'queued' AND NOT ready"),
        sqlite_where=sa.text("status = 'queued' AND ready = 0"),
    )
    op.create_index(
        "fairlane_live_running",
        "fairlane_live",
        ["worker_id", "job_type", "organization_id"],
        postgresql_where=sa.text("status = 'running'"),
        sqlite_where=sa.text("status = 'running'"),
    )
    for turns, moment, waits in (
        ("retrying", "next_retry_at", "status = 'queued' AND {not_ready}"),
        ("scheduled", "run_at", "status = 'pending' AND unmet_parents = 0"),
    ):
        op.create_index(
            f"fairlane_live_{turns}_turns",
            "fairlane_live",
            ["organization_id", moment],
            postgresql_where=sa.text(waits.format(not_ready="NOT ready")),
            sqlite_where=sa.text(waits.format(not_ready="ready = 0")),
        )
    op.create_index(
        "fairlane_live_scheduled",
        "fairlane_live",
        ["run_at"],
        postgresql_where=sa.text("status = 'pending' AND unmet_parents = 0"),
        sqlite_where=sa.text("status = 'pending' AND unmet_parents = 0"),
    )
    op.create_index(
        "fairlane_live_status",
        "fairlane_live",
        ["organization_id", "status", "created_at", "id"],
        postgresql_include=["job_type", "submitted_by", "queue"],
    )
    op.create_table(
        "fairlane_ended",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("queue", NAME, nullable=False),
        sa.Column("job_type", NAME, nullable=False),
        sa.Column("submitted_by", NAME),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("run_at", INSTANT, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("retry_count", sa.Integer(), nullable=False),
        sa.Column("rescue_count", sa.Integer(), nullable=False),
        sa.Column("log_sequence", sa.Integer(), nullable=False),
        sa.Column("cancel_requested_at", INSTANT),
        sa.Column("error_type", NAME),
        sa.Column("error_message", sa.Text()),
        sa.Column("started_at", INSTANT),
        sa.Column("finished_at", INSTANT, nullable=False),
        sa.Column("canceled_at", INSTANT),
        sa.Column("canceled_by", NAME),
        sa.PrimaryKeyConstraint("organization_id", "id", name="fairlane_ended_pk"),
    )
    op.create_index(
        "fairlane_ended_status",
        "fairlane_ended",
        ["organization_id", "status", "created_at", "id"],
        postgresql_include=["job_type", "submitted_by", "queue"],
    )
    op.create_index("fairlane_ended_finished", "fairlane_ended", ["organization_id", "job_type", "finished_at", "id"])
    _make_key_last("fairlane_live", "fairlane_ended")
    op.create_table(
        "fairlane_job_parents",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "job_id", "parent_id", name="fairlane_job_parents_pk"),
        sa.ForeignKeyConstraint(
            ["organization_id", "job_id"],
            ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
            name="fairlane_job_parents_job_fk",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "parent_id"],
            ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
            name="fairlane_job_parents_parent_fk",
        ),
    )
    op.create_index(
        "fairlane_job_parents_new",
        "fairlane_job_parents",
        ["organization_id", "job_id", "parent_id"],
        postgresql_where=sa.text("state = 'new'"),
        sqlite_where=sa.text("state = 'new'"),
    )
    op.create_index(
        "fairlane_job_parents_watched",
        "fairlane_job_parents",
        ["organization_id", "job_id", "parent_id"],
        postgresql_where=sa.text("state = 'watched'"),
        sqlite_where=sa.text("state = 'watched'"),
    )
    op.create_index(
        "fairlane_job_parents_parent", "fairlane_job_parents", ["organization_id", "parent_id", "state", "job_id"]
    )
    op.create_table(
        "fairlane_labels",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("value", NAME, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "name", "value", "created_at", "job_id", name="fairlane_labels_pk"),
        sa.ForeignKeyConstraint(
            ["organization_id", "job_id"],
            ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
            name="fairlane_labels_job_fk",
            ondelete="CASCADE",
        ),
    )
    op.create_index("fairlane_labels_job", "fairlane_labels", ["organization_id", "job_id"])
    op.create_table(
        "fairlane_dedup_keys",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "key", name="fairlane_dedup_keys_pk"),
    )
    op.create_index("fairlane_dedup_keys_job", "fairlane_dedup_keys", ["organization_id", "job_id"])
    op.create_table(
        "fairlane_quotas",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("subject", sa.String(500), nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.Column("used_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "subject", name="fairlane_quotas_pk"),
    )
    op.create_table(
        "fairlane_limits",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_type", NAME, nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "job_type", name="fairlane_limits_pk"),
    )
    op.create_table(
        "fairlane_submissions",
        sa.Column("id", SEQUENCE, sa.Identity(always=True), nullable=False),
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_type", NAME, nullable=False),
        sa.Column("submitted_by", NAME, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="fairlane_submissions_pk"),
    )
    op.create_index(
        "fairlane_submissions_by", "fairlane_submissions", ["organization_id", "job_type", "submitted_by", "at"]
    )
    op.create_index("fairlane_submissions_at", "fairlane_submissions", ["at"])
    op.create_table(
        "fairlane_starts",
        sa.Column("id", SEQUENCE, sa.Identity(always=True), nullable=False),
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_type", NAME, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="fairlane_starts_pk"),
    )
    op.create_index("fairlane_starts_at", "fairlane_starts", ["organization_id", "job_type", "at"])
    op.create_table(
        "fairlane_outcomes",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_type", NAME, nullable=False),
        sa.Column("minute", INSTANT, nullable=False),
        sa.Column("worker_id", sa.Uuid(), nullable=False),
        sa.Column("completions", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "job_type", "minute", "worker_id", name="fairlane_outcomes_pk"),
    )
    op.create_index("fairlane_outcomes_minute", "fairlane_outcomes", ["minute"])
    op.create_table(
        "fairlane_breakers",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_type", NAME, nullable=False),
        sa.Column("opened_at", INSTANT, nullable=False),
        sa.Column("until", INSTANT, nullable=False),
        sa.Column("trial_job_id", sa.Uuid()),
        sa.Column("trial_attempt", sa.Integer()),
        sa.Column("trial_lease_token", sa.Uuid()),
        sa.Column("closed_at", INSTANT),
        sa.PrimaryKeyConstraint("organization_id", "job_type", name="fairlane_breakers_pk"),
    )
    op.create_index(
        "fairlane_breakers_open",
        "fairlane_breakers",
        ["until"],
        postgresql_where=sa.text("closed_at IS NULL"),
        sqlite_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "fairlane_execution_log",
        sa.Column("id", SEQUENCE, sa.Identity(always=True), nullable=False),
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("from_status", sa.String(20)),
        sa.Column("to_status", sa.String(20), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("actor", NAME, nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="fairlane_execution_log_pk"),
        sqlite_autoincrement=True,
    )
    op.create_index("fairlane_execution_log_job", "fairlane_execution_log", ["organization_id", "job_id", "sequence"])
    op.create_table(
        "fairlane_attempt_errors",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("error_type", NAME, nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("traceback", sa.Text(), nullable=False),
        sa.Column("fingerprint", NAME, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "job_id", "attempt", name="fairlane_attempt_errors_pk"),
        sa.ForeignKeyConstraint(
            ["organization_id", "job_id"],
            ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
            name="fairlane_attempt_errors_job_fk",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "fairlane_dead_letters",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("job_type", NAME, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("error_type", NAME, nullable=False),
        sa.Column("fingerprint", NAME, nullable=False),
        sa.Column("caused_by", sa.Uuid()),
        sa.Column("entered_at", INSTANT, nullable=False),
        sa.Column("resolution", sa.String(20), nullable=False),
        sa.Column("note", sa.Text()),
        sa.Column("resolved_by", NAME),
        sa.Column("resolved_at", INSTANT),
        sa.Column("parent_deleted_at", INSTANT),
        sa.PrimaryKeyConstraint("organization_id", "job_id", name="fairlane_dead_letters_pk"),
        sa.ForeignKeyConstraint(
            ["organization_id", "job_id"],
            ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
            name="fairlane_dead_letters_job_fk",
            ondelete="CASCADE",
        ),
    )
    op.create_index("fairlane_dead_letters_cause", "fairlane_dead_letters", ["organization_id", "caused_by"])
    op.create_index(
        "fairlane_dead_letters_newest",
        "fairlane_dead_letters",
        ["organization_id", "resolution", "entered_at", "job_id"],
    )
    op.create_index(
        "fairlane_dead_letters_group",
        "fairlane_dead_letters",
        ["organization_id", "resolution", "fingerprint", "entered_at", "job_id"],
    )
    op.create_table(
        "fairlane_revivals",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("actor", NAME, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "job_id", name="fairlane_revivals_pk"),
        sa.ForeignKeyConstraint(
            ["organization_id", "job_id"],
            ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
            name="fairlane_revivals_job_fk",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "fairlane_progress",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("percent", sa.Float(53)),
        sa.Column("message", sa.Text()),
        sa.Column("at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "job_id", name="fairlane_progress_pk"),
        sa.ForeignKeyConstraint(
            ["organization_id", "job_id"],
            ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
            name="fairlane_progress_job_fk",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "fairlane_checkpoints",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "job_id", name="fairlane_checkpoints_pk"),
        sa.ForeignKeyConstraint(
            ["organization_id", "job_id"],
            ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
            name="fairlane_checkpoints_job_fk",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "fairlane_log_lines",
        sa.Column("id", SEQUENCE, sa.Identity(always=True), nullable=False),
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("level", sa.String(20), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="fairlane_log_lines_pk"),
        sa.ForeignKeyConstraint(
            ["organization_id", "job_id"],
            ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
            name="fairlane_log_lines_job_fk",
            ondelete="CASCADE",
        ),
    )
    op.create_index("fairlane_log_lines_job", "fairlane_log_lines", ["organization_id", "job_id", "id"])
    op.create_table(
        "fairlane_results",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "job_id", name="fairlane_results_pk"),
        sa.ForeignKeyConstraint(
            ["organization_id", "job_id"],
            ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
            name="fairlane_results_job_fk",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "fairlane_artifacts",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("content_type", NAME, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "job_id", "name", name="fairlane_artifacts_pk"),
        sa.ForeignKeyConstraint(
            ["organization_id", "job_id"],
            ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
            name="fairlane_artifacts_job_fk",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "fairlane_doomed_files",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Uuid()),
        sa.Column("lease_token", sa.Uuid()),
        sa.Column("since", INSTANT, nullable=False),
        sa.Column("due_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name="fairlane_doomed_files_pk"),
    )
    op.create_index("fairlane_doomed_files_due", "fairlane_doomed_files", ["due_at"])
    op.create_table(
        "fairlane_users",
        sa.Column("id", NAME, nullable=False),
        sa.Column("password_hash", sa.Text()),
        sa.Column("is_operator", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("rights", sa.Text(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("disabled_at", INSTANT),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="fairlane_users_pk"),
    )
    op.create_table(
        "fairlane_sessions",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("user_id", NAME, nullable=False),
        sa.Column("is_link", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="fairlane_sessions_pk"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["fairlane_users.id"], name="fairlane_sessions_user_fk", ondelete="CASCADE"
        ),
    )
    op.create_index("fairlane_sessions_user", "fairlane_sessions", ["user_id"])
    op.create_table(
        "fairlane_tokens",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("user_id", NAME, nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("created_by", NAME, nullable=False),
        sa.Column("made_with", sa.String(64)),
        sa.Column("expires_at", INSTANT),
        sa.Column("last_used_at", INSTANT),
        sa.Column("revoked_at", INSTANT),
        sa.PrimaryKeyConstraint("organization_id", "id", name="fairlane_tokens_pk"),
    )
    op.create_index("fairlane_tokens_hash", "fairlane_tokens", ["hash"], unique=True)
    op.create_index(
        "fairlane_tokens_made_with",
        "fairlane_tokens",
        ["made_with"],
        postgresql_where=sa.text("made_with IS NOT NULL"),
        sqlite_where=sa.text("made_with IS NOT NULL"),
    )
    op.create_table(
        "fairlane_idempotency_keys",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("user_id", NAME, nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("job_ids", sa.Text(), nullable=False),
        sa.Column("is_answered", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "user_id", "key", name="fairlane_idempotency_keys_pk"),
    )
    op.create_index("fairlane_idempotency_keys_created", "fairlane_idempotency_keys", ["created_at"])
    op.create_table(
        "fairlane_organization_keys",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("wrapped_key", sa.Text(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("destroyed_at", INSTANT),
        sa.PrimaryKeyConstraint("organization_id", "version", name="fairlane_organization_keys_pk"),
    )
    op.create_table(
        "fairlane_audit",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("actor", NAME, nullable=False),
        sa.Column("origin", NAME, nullable=False),
        sa.Column("action", NAME, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("before", sa.Text()),
        sa.Column("after", sa.Text()),
        sa.PrimaryKeyConstraint("organization_id", "id", name="fairlane_audit_pk"),
    )
    op.create_index("fairlane_audit_organization", "fairlane_audit", ["organization_id", "at", "id"])
    op.create_index("fairlane_audit_subject", "fairlane_audit", ["organization_id", "subject", "at", "id"])
    op.create_table(
        "fairlane_feed_floors",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("log_id", SEQUENCE, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", name="fairlane_feed_floors_pk"),
    )
    op.create_table(
        "fairlane_alerts",
        sa.Column("id", SEQUENCE, sa.Identity(always=True), nullable=False),
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("bound", sa.Integer(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="fairlane_alerts_pk"),
    )
    op.create_table(
        "fairlane_feed_keys",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="fairlane_feed_keys_pk"),
    )
    op.create_table(
        "fairlane_socket_tickets",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("until", INSTANT),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="fairlane_socket_tickets_pk"),
    )
    op.create_table(
        "fairlane_schedules",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("job_type", NAME, nullable=False),
        sa.Column("user_id", NAME),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("cron", NAME),
        sa.Column("every_seconds", sa.Float(53)),
        sa.Column("time_zone", NAME, nullable=False),
        sa.Column("start", INSTANT, nullable=False),
        sa.Column("missed", sa.String(20), nullable=False),
        sa.Column("next_tick", INSTANT),
        sa.Column("look_at", INSTANT),
        sa.Column("paused_at", INSTANT),
        sa.Column("paused_by", NAME),
        sa.Column("last_tick", INSTANT),
        sa.Column("last_job_id", sa.Uuid()),
        sa.Column("problem", sa.Text()),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name="fairlane_schedules_pk"),
    )
    op.create_index("fairlane_schedules_name", "fairlane_schedules", ["organization_id", "name"], unique=True)
    op.create_index(
        "fairlane_schedules_look_at",
        "fairlane_schedules",
        ["look_at", "organization_id", "id"],
        postgresql_where=sa.text("look_at IS NOT NULL"),
        sqlite_where=sa.text("look_at IS NOT NULL"),
    )
    op.create_index("fairlane_schedules_job_type", "fairlane_schedules", ["job_type"])
    op.create_table(
        "fairlane_bulk_actions",
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("verb", sa.String(20), nullable=False),
        sa.Column("user_id", NAME),
        sa.Column("needs", NAME),
        sa.Column("token", sa.String(64)),
        sa.Column("origin", NAME, nullable=False),
        sa.Column("as_operator", sa.Boolean(), nullable=False),
        sa.Column("wanted", sa.Text(), nullable=False),
        sa.Column("filters", sa.Text(), nullable=False),
        sa.Column("per_second", sa.Float(53)),
        sa.Column("cursor", sa.String(100)),
        sa.Column("next_due", INSTANT),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("passed_over", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("refusals", sa.Text(), nullable=False),
        sa.Column("look_at", INSTANT),
        sa.Column("taken", sa.Uuid()),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT),
        sa.Column("stopped_by", NAME),
        sa.Column("problem", sa.Text()),
        sa.PrimaryKeyConstraint("organization_id", "id", name="fairlane_bulk_actions_pk"),
    )
    for name, columns, where in (
        ("live", ["organization_id", "look_at"], "look_at"),
        ("ended", ["ended_at"], "ended_at"),
    ):
        op.create_index(
            f"fairlane_bulk_actions_{name}",
            "fairlane_bulk_actions",
            columns,
            postgresql_where=sa.text(f"{where} IS NOT NULL"),
            sqlite_where=sa.text(f"{where} IS NOT NULL"),
        )
    if op.get_context().dialect.name == "postgresql":
        for table, parameters in STORAGE.items():
            op.execute(f"ALTER TABLE {table} SET ({parameters})")


def _make_key_last(*tables: str) -> None:
    """Make the primary keys anew, after the other indexes.

    PostgreSQL takes the index made last of those that look alike to it. Without statistics it would look for a job by
    its key in the index of statuses, and read all of its organization's.
    """
    if op.get_context().dialect.name == "postgresql":
        for table in tables:
            op.drop_constraint(f"{table}_pk", table)
            op.create_primary_key(f"{table}_pk", table, ["organization_id", "id"])


def downgrade() -> None:
    """Drop all tables, and with them every job."""
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION IF EXISTS fairlane_end_waiting")  # row security's, of a table's rows
    for table in (
        "fairlane_bulk_actions",
        "fairlane_schedules",
        "fairlane_socket_tickets",
        "fairlane_feed_keys",
        "fairlane_alerts",
        "fairlane_feed_floors",
        "fairlane_audit",
        "fairlane_idempotency_keys",
        "fairlane_organization_keys",
        "fairlane_tokens",
        "fairlane_sessions",
        "fairlane_users",
        "fairlane_doomed_files",
        "fairlane_artifacts",
        "fairlane_results",
        "fairlane_log_lines",
        "fairlane_checkpoints",
        "fairlane_progress",
        "fairlane_revivals",
        "fairlane_dead_letters",
        "fairlane_attempt_errors",
        "fairlane_execution_log",
        "fairlane_breakers",
        "fairlane_outcomes",
        "fairlane_starts",
        "fairlane_submissions",
        "fairlane_limits",
        "fairlane_quotas",
        "fairlane_dedup_keys",
        "fairlane_labels",
        "fairlane_job_parents",
        "fairlane_ended",
        "fairlane_live",
        "fairlane_jobs",
        "fairlane_locked_organizations",
        "fairlane_workers",
        "fairlane_pauses",
        "fairlane_job_types",
        "fairlane_members",
        "fairlane_organizations",
    ):
        op.drop_table(table)
