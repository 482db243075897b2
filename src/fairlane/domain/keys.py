"""The keys of an organization as people see them."""

from dataclasses import dataclass
from datetime import datetime

from fairlane.domain.statuses import KeyState


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
