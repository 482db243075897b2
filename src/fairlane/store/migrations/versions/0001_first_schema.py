"""The first schema.

Revision ID: 0001
Revises:
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Frozen copies: this file does not follow later changes of `fairlane.store.tables`.
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
# On PostgreSQL, and on SQLite.
RETRYING = "status = 'queued' AND NOT ready", "status = 'queued' AND ready = 0"
SCHEDULED = "status = 'pending' AND unmet_parents = 0"
FILTERED = ["job_type", "submitted_by", "queue"]


def upgrade() -> None:  # noqa: PLR0915 - a list
    """Create all tables and indexes."""
    _table(
        "fairlane_organizations",
        sa.Column("id", ORGANIZATION, primary_key=True),
        sa.Column("name", NAME, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("weight", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("max_running", sa.Integer()),
        sa.Column("max_live_jobs", sa.Integer()),
        sa.Column("retention_seconds", sa.Float(53)),
        sa.Column("created_at", INSTANT, nullable=False),
    )
    _index("fairlane_organizations", "suspended", "id", "status = 'suspended'")
    _of_organization(
        "fairlane_members",
        sa.Column("user_id", NAME, primary_key=True),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
    )
    _index("fairlane_members", "user", "user_id")
    _table(
        "fairlane_job_types",
        sa.Column("name", NAME, primary_key=True),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("registered_at", INSTANT, nullable=False),
    )
    _table(
        "fairlane_pauses",
        sa.Column("subject", sa.String(20), primary_key=True),
        sa.Column("name", NAME, primary_key=True),
        sa.Column("paused_at", INSTANT, nullable=False),
        sa.Column("paused_by", NAME, nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
    )
    _table(
        "fairlane_workers",
        sa.Column("id", sa.Uuid(), primary_key=True),
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
    )
    _of_organization(
        "fairlane_locked_organizations",
        sa.Column("worker_id", sa.Uuid(), primary_key=True),
    )
    _index("fairlane_locked_organizations", "worker", "worker_id")
    _of_organization(
        "fairlane_jobs",
        sa.Column("id", sa.Uuid(), primary_key=True),
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
        sa.Column("headers", sa.Text()),
    )
    _index("fairlane_jobs", "created", "organization_id created_at id")
    _index("fairlane_jobs", "user", "organization_id submitted_by created_at id job_type", "submitted_by IS NOT NULL")
    _index("fairlane_jobs", "queue", "organization_id queue created_at id job_type", "queue != 'default'")
    _index("fairlane_jobs", "type", "organization_id job_type created_at id")
    _make_key_last("fairlane_jobs")
    _of_organization(
        "fairlane_live",
        sa.Column("id", sa.Uuid(), primary_key=True),
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
        _key_of_job("fairlane_live", "id"),
    )
    _index("fairlane_live", "ready", "queue organization_id job_type priority run_at id", "ready", "ready = 1")
    _index("fairlane_live", "retrying", "next_retry_at", *RETRYING)
    _index("fairlane_live", "retrying_of", "organization_id status ready created_at id", *RETRYING)
    _index("fairlane_live", "running", "worker_id job_type organization_id", "status = 'running'")
    _index("fairlane_live", "retrying_turns", "organization_id next_retry_at", *RETRYING)
    _index("fairlane_live", "scheduled_turns", "organization_id run_at", SCHEDULED)
    _index("fairlane_live", "scheduled", "run_at", SCHEDULED)
    _index("fairlane_live", "status", "organization_id status created_at id", postgresql_include=FILTERED)
    _of_organization(
        "fairlane_ended",
        sa.Column("id", sa.Uuid(), primary_key=True),
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
    )
    _index("fairlane_ended", "status", "organization_id status created_at id", postgresql_include=FILTERED)
    _index("fairlane_ended", "finished", "organization_id job_type finished_at id")
    _make_key_last("fairlane_live", "fairlane_ended")
    _of_job(
        "fairlane_job_parents",
        sa.Column("parent_id", sa.Uuid(), primary_key=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "parent_id"],
            ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
            name="fairlane_job_parents_parent_fk",
        ),
    )
    _index("fairlane_job_parents", "new", "organization_id job_id parent_id", "state = 'new'")
    _index("fairlane_job_parents", "watched", "organization_id job_id parent_id", "state = 'watched'")
    _index("fairlane_job_parents", "parent", "organization_id parent_id state job_id")
    _of_organization(
        "fairlane_labels",
        sa.Column("name", NAME, primary_key=True),
        sa.Column("value", NAME, primary_key=True),
        sa.Column("created_at", INSTANT, primary_key=True),
        sa.Column("job_id", sa.Uuid(), primary_key=True),
        _key_of_job("fairlane_labels"),
    )
    _index("fairlane_labels", "job", "organization_id job_id")
    _of_organization(
        "fairlane_dedup_keys",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
    )
    _index("fairlane_dedup_keys", "job", "organization_id job_id")
    _of_organization(
        "fairlane_quotas",
        sa.Column("subject", sa.String(500), primary_key=True),
        sa.Column("used_at", INSTANT, nullable=False),
    )
    _of_organization(
        "fairlane_limits",
        sa.Column("job_type", NAME, primary_key=True),
        sa.Column("document", sa.Text(), nullable=False),
    )
    _table(
        "fairlane_submissions",
        sa.Column("id", SEQUENCE, sa.Identity(always=True), primary_key=True),
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_type", NAME, nullable=False),
        sa.Column("submitted_by", NAME, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
    )
    _index("fairlane_submissions", "by", "organization_id job_type submitted_by at")
    _index("fairlane_submissions", "at", "at")
    _table(
        "fairlane_starts",
        sa.Column("id", SEQUENCE, sa.Identity(always=True), primary_key=True),
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_type", NAME, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
    )
    _index("fairlane_starts", "at", "organization_id job_type at")
    _of_organization(
        "fairlane_outcomes",
        sa.Column("job_type", NAME, primary_key=True),
        sa.Column("minute", INSTANT, primary_key=True),
        sa.Column("worker_id", sa.Uuid(), primary_key=True),
        sa.Column("completions", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(53), nullable=False),
    )
    _index("fairlane_outcomes", "minute", "minute")
    _of_organization(
        "fairlane_breakers",
        sa.Column("job_type", NAME, primary_key=True),
        sa.Column("opened_at", INSTANT, nullable=False),
        sa.Column("until", INSTANT, nullable=False),
        sa.Column("trial_job_id", sa.Uuid()),
        sa.Column("trial_attempt", sa.Integer()),
        sa.Column("trial_lease_token", sa.Uuid()),
        sa.Column("closed_at", INSTANT),
    )
    _index("fairlane_breakers", "open", "until", "closed_at IS NULL")
    _table(
        "fairlane_execution_log",
        sa.Column("id", SEQUENCE, sa.Identity(always=True), primary_key=True),
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("from_status", sa.String(20)),
        sa.Column("to_status", sa.String(20), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("actor", NAME, nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sqlite_autoincrement=True,
    )
    _index("fairlane_execution_log", "job", "organization_id job_id sequence")
    _of_job(
        "fairlane_attempt_errors",
        sa.Column("attempt", sa.Integer(), primary_key=True),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("error_type", NAME, nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("traceback", sa.Text(), nullable=False),
        sa.Column("fingerprint", NAME, nullable=False),
    )
    _of_job(
        "fairlane_dead_letters",
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
    )
    _index("fairlane_dead_letters", "cause", "organization_id caused_by")
    _index("fairlane_dead_letters", "newest", "organization_id resolution entered_at job_id")
    _index("fairlane_dead_letters", "group", "organization_id resolution fingerprint entered_at job_id")
    _of_job(
        "fairlane_revivals",
        sa.Column("actor", NAME, nullable=False),
    )
    _of_job(
        "fairlane_progress",
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("percent", sa.Float(53)),
        sa.Column("message", sa.Text()),
        sa.Column("at", INSTANT, nullable=False),
    )
    _of_job(
        "fairlane_checkpoints",
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
    )
    _table(
        "fairlane_log_lines",
        sa.Column("id", SEQUENCE, sa.Identity(always=True), primary_key=True),
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("level", sa.String(20), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        _key_of_job("fairlane_log_lines"),
    )
    _index("fairlane_log_lines", "job", "organization_id job_id id")
    _of_job(
        "fairlane_results",
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
    )
    _of_job(
        "fairlane_artifacts",
        sa.Column("name", NAME, primary_key=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("content_type", NAME, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
    )
    _of_organization(
        "fairlane_doomed_files",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Uuid()),
        sa.Column("lease_token", sa.Uuid()),
        sa.Column("since", INSTANT, nullable=False),
        sa.Column("due_at", INSTANT, nullable=False),
    )
    _index("fairlane_doomed_files", "due", "due_at")
    _table(
        "fairlane_users",
        sa.Column("id", NAME, primary_key=True),
        sa.Column("password_hash", sa.Text()),
        sa.Column("is_operator", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("rights", sa.Text(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("disabled_at", INSTANT),
        sa.Column("created_at", INSTANT, nullable=False),
    )
    _table(
        "fairlane_sessions",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("user_id", NAME, nullable=False),
        sa.Column("is_link", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["fairlane_users.id"], name="fairlane_sessions_user_fk", ondelete="CASCADE"
        ),
    )
    _index("fairlane_sessions", "user", "user_id")
    _of_organization(
        "fairlane_tokens",
        sa.Column("id", sa.Uuid(), primary_key=True),
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
    )
    _index("fairlane_tokens", "hash", "hash", unique=True)
    _index("fairlane_tokens", "made_with", "made_with", "made_with IS NOT NULL")
    _index("fairlane_tokens", "user", "organization_id user_id id")
    _of_organization(
        "fairlane_idempotency_keys",
        sa.Column("user_id", NAME, primary_key=True),
        sa.Column("key", NAME, primary_key=True),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("job_ids", sa.Text(), nullable=False),
        sa.Column("is_answered", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("created_at", INSTANT, nullable=False),
    )
    _index("fairlane_idempotency_keys", "created", "created_at")
    _of_organization(
        "fairlane_organization_keys",
        sa.Column("version", sa.Integer(), autoincrement=False, primary_key=True),
        sa.Column("wrapped_key", sa.Text(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("destroyed_at", INSTANT),
    )
    _of_organization(
        "fairlane_audit",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("actor", NAME, nullable=False),
        sa.Column("origin", NAME, nullable=False),
        sa.Column("action", NAME, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("before", sa.Text()),
        sa.Column("after", sa.Text()),
    )
    _index("fairlane_audit", "organization", "organization_id at id")
    _index("fairlane_audit", "subject", "organization_id subject at id")
    _of_organization(
        "fairlane_feed_floors",
        sa.Column("log_id", SEQUENCE, nullable=False),
    )
    _table(
        "fairlane_alerts",
        sa.Column("id", SEQUENCE, sa.Identity(always=True), primary_key=True),
        sa.Column("organization_id", ORGANIZATION, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("bound", sa.Integer(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
    )
    _table(
        "fairlane_feed_keys",
        sa.Column("id", sa.Integer(), autoincrement=False, primary_key=True),
        sa.Column("key", sa.String(64), nullable=False),
    )
    _table(
        "fairlane_socket_tickets",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("until", INSTANT),
        sa.Column("expires_at", INSTANT, nullable=False),
    )
    _of_organization(
        "fairlane_schedules",
        sa.Column("id", sa.Uuid(), primary_key=True),
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
    )
    _index("fairlane_schedules", "name", "organization_id name", unique=True)
    _index("fairlane_schedules", "look_at", "look_at organization_id id", "look_at IS NOT NULL")
    _index("fairlane_schedules", "job_type", "job_type")
    _of_organization(
        "fairlane_bulk_actions",
        sa.Column("id", sa.Uuid(), primary_key=True),
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
    )
    _index("fairlane_bulk_actions", "live", "organization_id look_at", "look_at IS NOT NULL")
    _index("fairlane_bulk_actions", "ended", "ended_at", "ended_at IS NOT NULL")
    if op.get_context().dialect.name == "postgresql":
        for table, parameters in STORAGE.items():
            op.execute(f"ALTER TABLE {table} SET ({parameters})")


def _table(name: str, *parts: sa.Column[Any] | sa.Constraint, **options: Any) -> None:
    keys = [part.name for part in parts if isinstance(part, sa.Column) and part.primary_key]
    op.create_table(name, *parts, sa.PrimaryKeyConstraint(*keys, name=f"{name}_pk"), **options)


def _of_organization(name: str, *parts: sa.Column[Any] | sa.Constraint) -> None:
    _table(name, sa.Column("organization_id", ORGANIZATION, primary_key=True), *parts)


def _of_job(name: str, *parts: sa.Column[Any] | sa.Constraint) -> None:
    """Create a table whose rows are deleted with their job."""
    _of_organization(name, sa.Column("job_id", sa.Uuid(), primary_key=True), *parts, _key_of_job(name))


def _key_of_job(table: str, column: str = "job_id") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organization_id", column],
        ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
        name=f"{table}_job_fk",
        ondelete="CASCADE",
    )


def _index(
    table: str, name: str, columns: str, where: str | None = None, on_sqlite: str | None = None, **options: Any
) -> None:
    """Create an index of all rows or of some. `on_sqlite`: the same condition in SQLite's words."""
    if where is not None:
        options = {"postgresql_where": sa.text(where), "sqlite_where": sa.text(on_sqlite or where)}
    op.create_index(f"{table}_{name}", table, columns.split(), **options)


def _make_key_last(*tables: str) -> None:
    """Create the primary keys again, after the other indexes.

    Of equally good indexes PostgreSQL takes the newest. Without statistics it would look up a job's key in the index of
    statuses, and read all jobs of the organization.
    """
    if op.get_context().dialect.name == "postgresql":
        for table in tables:
            op.drop_constraint(f"{table}_pk", table)
            op.create_primary_key(f"{table}_pk", table, ["organization_id", "id"])
