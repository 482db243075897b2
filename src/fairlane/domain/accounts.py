"""Organizations with their members and keys, users with their credentials, and the record of what was done."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from fairlane.domain.permissions import Right
from fairlane.domain.statuses import KeyState, OrganizationStatus, Role


@dataclass(frozen=True, slots=True)
class Organization:
    """A tenant. `weight` is its share beside others'; None means unlimited for its limits.

    `retention` is how long its ended jobs are kept, in seconds; None = as their job type says. `created_at` is None if
    the application's own directory keeps the organization.
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
    """An organization as one of its members sees it."""

    id: str
    name: str
    status: OrganizationStatus
    role: Role


@dataclass(frozen=True, slots=True)
class OrganizationKey:
    """A version of an organization's encryption key, without the key itself.

    `master_key` is the name of the master key that wraps it, None once it is destroyed; `usable`: whether this process
    has that master key.
    """

    organization: str
    version: int
    state: KeyState
    master_key: str | None
    usable: bool
    created_at: datetime
    destroyed_at: datetime | None


@dataclass(frozen=True, slots=True)
class User:
    """A person with a login of their own, or an operator. `rights`: those that an operator has beyond the usual."""

    id: str
    has_password: bool
    is_operator: bool
    rights: tuple[Right, ...]
    disabled_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """An API token without its secret. `organization` None: an operator's. `scopes` None: all rights of its user."""

    id: UUID
    organization: str | None
    name: str
    user: str
    scopes: tuple[Right, ...] | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry of the audit: who did what to what.

    `organization` None: the entry concerns all organizations. `origin`: the face and address that the change came from.
    """

    id: UUID
    organization: str | None
    at: datetime
    actor: str
    origin: str
    action: str
    subject: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
