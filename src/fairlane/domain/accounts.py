"""Users, their credentials, and the record of what they did."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from fairlane.domain.permissions import Right


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a login of their own, or an operator. `rights`: an operator's beyond the usual."""

    id: str
    has_password: bool
    is_operator: bool
    rights: tuple[Right, ...]
    disabled_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """An API token, without its secret. `organization` None: an operator's. `scopes` None: all that its user may."""

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
    """Who did what to what. `organization` None: it concerns all of them. `origin`: from which face and address."""

    id: UUID
    organization: str | None
    at: datetime
    actor: str
    origin: str
    action: str
    subject: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
