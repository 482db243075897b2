"""What the checks at a job's start say: whether its organization is there and its user may still submit it (R5)."""

from collections.abc import Mapping
from typing import Final

from fairlane.domain.outcomes import Outcome, Refused, Released
from fairlane.domain.statuses import OrganizationStatus
from fairlane.domain.transitions import ORGANIZATION_GONE
from fairlane.registry.directory import Membership, Standing
from fairlane.store.statements.claim import Claimed

# Seconds a job waits when the directory could not be asked about its user, or its key is not here.
DEFERRED: Final = 10.0
PERMISSION_LOST: Final = "Permission denied"  # R5 names the reason


def is_gone(standing: Standing | None) -> bool:
    """Whether there is no such organization."""
    return standing is None or standing.status is OrganizationStatus.DELETED


def verdict(
    claimed: Claimed,
    standings: Mapping[str, Standing] | None,
    members: Mapping[tuple[str, str], Membership] | None,
) -> Outcome | None:
    """What the checks at start say; None = go. Only a definite no ends a job."""
    if standings is None:
        return Released("the directory could not be asked about its organization", DEFERRED)
    if is_gone(standings.get(claimed.organization)):
        return Refused(ORGANIZATION_GONE)
    if claimed.user is None:
        return None
    if members is None:
        return Released("the directory could not be asked about its user", DEFERRED)
    membership = members.get((claimed.organization, claimed.user))
    if membership is None:
        return Refused(
            PERMISSION_LOST,
            f"{claimed.user} is no longer a member of {claimed.organization}; add them and retry it, or submit it as "
            "another user",
        )
    if not membership.may_submit(claimed.required_permission):
        right = f", which needs {claimed.required_permission}" if claimed.required_permission is not None else ""
        return Refused(
            PERMISSION_LOST,
            f"{claimed.user} may no longer submit {claimed.job_type} in {claimed.organization}{right}; give them the "
            "right and retry it, or submit it as another user",
        )
    return None
