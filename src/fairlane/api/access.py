"""What is open to a principal in an organization, asked of the directory."""

from fairlane.app import Fairlane
from fairlane.domain.permissions import Access, Principal, access
from fairlane.domain.statuses import OrganizationStatus
from fairlane.domain.texts import ORGANIZATION_IDS, USER_IDS, is_storable


def access_of(fl: Fairlane, principal: Principal, organization: str) -> Access | None:
    """Return what is open to the principal in the organization now; None: nothing, as if it were not there."""
    # What no organization can be called is not asked for: a database may not even store it.
    if not ORGANIZATION_IDS.fits(organization) or not is_storable(organization) or not USER_IDS.fits(principal.user):
        return None
    standing = fl.directory.organizations([organization]).get(organization)
    pair = (organization, principal.user)
    membership = fl.directory.members([pair]).get(pair)
    if standing is None or standing.status is OrganizationStatus.DELETED:
        return None
    if membership is None:
        return access(principal, organization, None)
    return access(principal, organization, membership.role, membership.permissions)
