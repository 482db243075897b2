"""Organizations as rows, and as the application's own directory, keep them."""

from collections.abc import Mapping
from typing import Any, Final

from fairlane.domain.organizations import Organization
from fairlane.domain.statuses import OrganizationStatus
from fairlane.registry.directory import Standing
from fairlane.store.tables import AnyRow

# What is kept of an organization of which nothing was said.
FIRST: Final[Mapping[str, Any]] = {
    "status": OrganizationStatus.ACTIVE,
    "weight": 1,
    **dict.fromkeys(("max_running", "max_live_jobs", "retention_seconds")),
}


def of_ours(row: AnyRow, paused: frozenset[str]) -> Organization:
    """Return the public value of a row."""
    return Organization(
        id=row.id,
        name=row.name,
        status=OrganizationStatus(row.status),
        weight=row.weight,
        max_running=row.max_running,
        max_live_jobs=row.max_live_jobs,
        retention=row.retention_seconds,
        paused=row.id in paused,
        created_at=row.created_at,
    )


def of_host(organization: str, standing: Standing, kept: AnyRow | None, paused: frozenset[str]) -> Organization:
    """Return the public value of an organization of the application's own directory, with what is kept of it here."""
    return Organization(
        id=organization,
        name=kept.name if kept is not None else organization,
        status=standing.status,
        weight=standing.weight,
        max_running=standing.max_running,
        max_live_jobs=standing.max_live_jobs,
        retention=kept.retention_seconds if kept is not None else None,
        paused=organization in paused,
        created_at=kept.created_at if kept is not None else None,
    )
