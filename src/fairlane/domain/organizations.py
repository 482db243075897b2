"""Organizations and their members."""

from dataclasses import dataclass
from datetime import datetime

from fairlane.domain.errors import ConfigurationError, InvalidParameters
from fairlane.domain.statuses import OrganizationStatus, Role
from fairlane.domain.texts import NEW_ORGANIZATION_IDS, ORGANIZATION_IDS, PATH_NAMES


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


def is_organization_id(text: object) -> bool:
    """Return True for 1 to 140 printable characters, without comma and slash (R1)."""
    return ORGANIZATION_IDS.fits(text)


def is_new_organization_id(text: object) -> bool:
    """Return True if a new organization may be called so: not `.` or `..`, no hyphen first, not spaces alone."""
    return NEW_ORGANIZATION_IDS.fits(text)


def require_organization(organization: object) -> None:
    """Refuse what is not even text, above all None: every job belongs to an organization.

    Raises:
        InvalidParameters
    """
    if not isinstance(organization, str):
        raise InvalidParameters(
            "organization must be the id of the organization that the job belongs to, such as 'acme', "
            f"not {organization!r:.80}."
        )


def is_user_id(text: object) -> bool:
    """Return True for 1 to 200 printable characters that are neither `.` nor `..`."""
    return PATH_NAMES.fits(text)


def require_user_id(user: object) -> None:
    """Refuse what can be no user's id.

    Raises:
        ConfigurationError
    """
    if not is_user_id(user):
        raise ConfigurationError(
            f"A user's id has 1 to 200 printable characters, and is neither '.' nor '..'; {user!r:.220} does not fit."
        )
