"""The tables. Primary, foreign and unique keys of tenant data start with the organization.

Row-level security covers neither foreign nor unique keys, so the organization in front is what keeps one tenant from
probing another through them. `migrations/` must build exactly this; a test compares the two.
"""

from typing import Final

from fairlane.store.tables.attempts import (
    artifacts,
    attempt_errors,
    checkpoints,
    dead_letters,
    doomed_files,
    execution_log,
    log_lines,
    progress,
    results,
    revivals,
)
from fairlane.store.tables.base import NAME, NAME_LIMIT, ORGANIZATION, SEQUENCE, AnyRow, Instant, metadata
from fairlane.store.tables.bulk import bulk_actions
from fairlane.store.tables.control import job_types, locked_organizations, pauses, workers
from fairlane.store.tables.directory import (
    audit,
    idempotency_keys,
    members,
    organization_keys,
    organizations,
    sessions,
    tokens,
    users,
)
from fairlane.store.tables.feed import alerts, feed_floors, feed_keys, socket_tickets
from fairlane.store.tables.jobs import DEFAULT_QUEUE, dedup_keys, ended, job_parents, jobs, labels, live
from fairlane.store.tables.limits import breakers, limits, outcomes, quotas, starts, submissions
from fairlane.store.tables.schedules import schedules

__all__ = [
    "DEFAULT_QUEUE",
    "NAME",
    "NAME_LIMIT",
    "ORGANIZATION",
    "SEQUENCE",
    "TENANT_TABLES",
    "AnyRow",
    "Instant",
    "alerts",
    "artifacts",
    "attempt_errors",
    "audit",
    "breakers",
    "bulk_actions",
    "checkpoints",
    "dead_letters",
    "dedup_keys",
    "doomed_files",
    "ended",
    "execution_log",
    "feed_floors",
    "feed_keys",
    "idempotency_keys",
    "job_parents",
    "job_types",
    "jobs",
    "labels",
    "limits",
    "live",
    "locked_organizations",
    "log_lines",
    "members",
    "metadata",
    "organization_keys",
    "organizations",
    "outcomes",
    "pauses",
    "progress",
    "quotas",
    "results",
    "revivals",
    "schedules",
    "sessions",
    "socket_tickets",
    "starts",
    "submissions",
    "tokens",
    "users",
    "workers",
]

TENANT_TABLES: Final = frozenset(table for table in metadata.tables.values() if "organization_id" in table.c)
