"""Organizations, their members and their keys, as people see them."""

from dataclasses import dataclass
from datetime import datetime

from fairlane.domain.statuses import KeyState, OrganizationStatus, Role


@dataclass(frozen=True, slots=True)
class Organization:
    """A tenant. `weight` is its share beside others'; None means unlimited for its limits.

    `retention` is how long its ended jobs are kept, in seconds; None = as their job type says. `created_at` None: the
    application's own directory keeps it, and Fairlane nothing of its own.
    """

    id: str
    name: str
    status: OrganizationStatus
    weight: int
    max_running: int | None
    max_live_jobs: int | None
    retention: float | None
    paused: bool
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class Member:
    """A user in an organization. `permissions` are names that job types may require; an admin has them all."""

    organization: str
    user: str
    role: Role
    permissions: tuple[str, ...]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Mine:
    """An organization, as one of its members finds it."""

    id: str
    name: str
    status: OrganizationStatus
    role: Role


@dataclass(frozen=True, slots=True)
class OrganizationKey:
    """One version of an organization's encryption key, never the key itself.

    `master_key` is the name of the master key that it is wrapped under, None once it is destroyed; `usable`: whether
    this process has that.
    """

    organization: str
    version: int
    state: KeyState
    master_key: str | None
    usable: bool
    created_at: datetime
    destroyed_at: datetime | None
