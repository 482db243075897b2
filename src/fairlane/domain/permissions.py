"""Rights as data, and the function that computes the access of a principal to an organization.

A credential (token, JWT, session) proves a `Principal`. Their rights in an organization are never in the credential
alone: they are the rights of their present role there, cut to the scopes of the credential. So a user who loses a
membership loses it for all credentials at once.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from fairlane.domain.errors import ConfigurationError
from fairlane.domain.statuses import WAITING, JobStatus, Role
from fairlane.domain.texts import PLATFORM


class Right(StrEnum):
    """A right, which roles give and scopes of tokens name; equal to its plain string."""

    JOBS_READ = "jobs:read"
    METRICS_READ = "metrics:read"
    JOBS_SUBMIT = "jobs:submit"
    JOBS_CHANGE = "jobs:change"
    JOBS_DELETE = "jobs:delete"
    PAYLOAD_READ = "payload:read"
    SCHEDULES_CHANGE = "schedules:change"
    MEMBERS_READ = "members:read"
    MEMBERS_CHANGE = "members:change"
    ORGANIZATION_CHANGE = "organization:change"
    TOKENS_CHANGE = "tokens:change"
    AUDIT_READ = "audit:read"


# The meaning of each right, for the documentation.
MEANINGS: Final[Mapping[Right, str]] = {
    Right.JOBS_READ: "see jobs, dead letters, schedules, queues, job types; payloads of one's own jobs only",
    Right.METRICS_READ: "see numbers, with names of queues and job types, and nothing of a single job or user",
    Right.JOBS_SUBMIT: "submit jobs; with `jobs:read`, be given an identical one that is there already",
    Right.JOBS_CHANGE: "change and cancel jobs; retry and resolve dead letters: one's own, an admin all",
    Right.JOBS_DELETE: "delete any job that has ended, dead letters among them",
    Right.PAYLOAD_READ: "see parameters, error texts, log lines, files and results of others' jobs, too",
    Right.SCHEDULES_CHANGE: "pause, resume and delete schedules; with `jobs:submit`, put them and submit their jobs",
    Right.MEMBERS_READ: "see who belongs to the organization",
    Right.MEMBERS_CHANGE: "add members, change their roles and permissions, remove them",
    Right.ORGANIZATION_CHANGE: "change the organization's name",
    Right.TOKENS_CHANGE: "see, make and revoke tokens: one's own, an admin all",
    Right.AUDIT_READ: "read and export the audit",
}

_VIEWER: Final = frozenset({Right.JOBS_READ, Right.METRICS_READ, Right.MEMBERS_READ, Right.TOKENS_CHANGE})
_MEMBER: Final = _VIEWER | {Right.JOBS_SUBMIT, Right.JOBS_CHANGE}
ROLE_RIGHTS: Final = {Role.VIEWER: _VIEWER, Role.MEMBER: _MEMBER, Role.ADMIN: frozenset(Right)}
# In every organization. Operators look after jobs: they submit none, and read payloads only if a right allows it.
OPERATOR_RIGHTS: Final = frozenset(Right) - {Right.JOBS_SUBMIT, Right.PAYLOAD_READ}
# Of operators in the platform, whose jobs are nobody else's. It has no members, tokens or settings.
PLATFORM_RIGHTS: Final = _MEMBER - {Right.MEMBERS_READ, Right.TOKENS_CHANGE} | {
    Right.JOBS_DELETE,
    Right.PAYLOAD_READ,
    Right.SCHEDULES_CHANGE,
}


class CredentialKind(StrEnum):
    """The kind of a credential."""

    TOKEN = "token"  # noqa: S105 - a kind of credential, not a credential
    SESSION = "session"
    JWT = "jwt"
    OPERATOR_JWT = "operator-jwt"  # if the identity provider may name operators, too


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential without its secret, to check later whether it is still valid.

    Args:
        key: the hash of a token or of a session's secret; for a JWT its user.
        until: the end of a JWT; the rows of the other kinds have theirs.
    """

    kind: CredentialKind
    key: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """The acting user, as a credential has proved.

    Args:
        user: their id.
        via: the credential, for the audit: "token 01928f3a", "session", "jwt".
        scopes: the rights that the credential is limited to; None = all rights of the user.
        organization: the only organization that the credential opens; None = any that its user belongs to.
        operator_rights: their rights in every organization; None = they are not an operator.
        credential: the credential without its secret.
    """

    user: str
    via: str
    scopes: frozenset[Right] | None = None
    organization: str | None = None
    operator_rights: frozenset[Right] | None = None
    credential: Credential | None = field(default=None, repr=False, compare=False)

    @property
    def is_operator(self) -> bool:
        """Return True if they may look across organizations."""
        return self.operator_rights is not None and self.organization is None


@dataclass(frozen=True, slots=True)
class Access:
    """The access of a principal to an organization.

    `is_full`: others' jobs and tokens, too. `is_operator`: as an operator, and not as an admin there.
    """

    organization: str
    user: str
    rights: frozenset[Right]
    is_full: bool
    is_operator: bool

    def sees_payload(self, submitted_by: str | None) -> bool:
        """Return True if they may see parameters, error texts and results of a job that `submitted_by` submitted."""
        return Right.PAYLOAD_READ in self.rights or (submitted_by == self.user and Right.JOBS_READ in self.rights)


def access(
    principal: Principal, organization: str, role: Role | None, permissions: Collection[str] = ()
) -> Access | None:
    """Return the principal's access to the organization; None: no access, as if the organization did not exist.

    Args:
        role: their role there now; None = they are not a member.
        permissions: the member's; "payload:read" among them is the right of that name.
    """
    if organization == PLATFORM:
        rights = PLATFORM_RIGHTS if principal.scopes is None else PLATFORM_RIGHTS & principal.scopes
        return Access(PLATFORM, principal.user, rights, True, True) if principal.is_operator else None
    if principal.organization not in (None, organization):
        return None
    rights = (ROLE_RIGHTS[role] if role is not None else frozenset()) | (principal.operator_rights or frozenset())
    if role is not None and Right.PAYLOAD_READ in permissions:
        rights |= {Right.PAYLOAD_READ}
    if principal.scopes is not None:
        rights &= principal.scopes
    if role is None and principal.operator_rights is None:
        return None
    # A membership takes nothing from an operator, and does not make them an admin: they act for nobody there.
    is_admin = role is Role.ADMIN
    is_operator = principal.operator_rights is not None and not is_admin
    return Access(organization, principal.user, rights, is_operator or is_admin, is_operator)


def permission_name(name: str) -> str:
    """Return a name that members may have as a permission, and that job types may require.

    Raises:
        ConfigurationError: it is the name of a right that only roles give, so the permission would not give the right.
    """
    if name in list(Right) and name != Right.PAYLOAD_READ:
        roles = " or ".join(role for role in Role if name in ROLE_RIGHTS[role])
        raise ConfigurationError(
            f"{name} is a right that a role gives ({roles}), so it is no permission. Of the rights only "
            f"{Right.PAYLOAD_READ} is one; give the member such a role, or take another name of your own."
        )
    return name


def rights_of(names: Iterable[str]) -> frozenset[Right]:
    """Return the rights of these names.

    Raises:
        ConfigurationError: a name is not that of a right.
    """
    wanted = [names] if isinstance(names, str) else list(names)
    for name in wanted:
        if name not in list(Right):
            raise ConfigurationError(f"{name!r:.80} is no right; there are {', '.join(Right)}.")
    return frozenset(map(Right, wanted))


def may_replace(status: JobStatus, submitted_by: str | None, *, user: str | None, may_replace_all: bool) -> bool:
    """Return True if the user may cancel an identical job for a new one: it has not started, and they may cancel it.

    Args:
        status: the status of the earlier job, whose user is `submitted_by`.
        user: the user who submits the new job.
        may_replace_all: whether they may cancel others' jobs, too.
    """
    return status in WAITING and (may_replace_all or submitted_by == user)
