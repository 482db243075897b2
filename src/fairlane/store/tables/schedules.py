"""Schedules, and how far each has come."""

from sqlalchemy import Column, Float, Index, String, Table, Text, Uuid

from fairlane.store.tables.base import NAME, Instant, metadata, organization_key

# `parameters` are sealed, under `id`, where the organization has a key. `next_tick`: null = there is none any more;
# `look_at`: when to see to it, null = never, as while it is paused. It is later than the tick where that was refused.
schedules = Table(
    "fairlane_schedules",
    metadata,
    organization_key(),
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
Index("fairlane_schedules_name", schedules.c.organization_id, schedules.c.name, unique=True)
_live = schedules.c.look_at.is_not(None)
# Organization and id stand in it, so that whose turn it is among all that are due is read from the index alone.
Index(
    "fairlane_schedules_look_at",
    schedules.c.look_at,
    schedules.c.organization_id,
    schedules.c.id,
    postgresql_where=_live,
    sqlite_where=_live,
)
Index("fairlane_schedules_job_type", schedules.c.job_type)
