"""The tenant of a request, known without the database: an organization, a user or an address.

It is the organization of the path only if the request's credential has opened it before. Else anybody could use up the
turns and the allowance of an organization by naming it.
"""

from collections import OrderedDict
from threading import Lock
from typing import Final

from fairlane.domain.permissions import Access, Principal

_MOST: Final = 20_000  # entries; the least recently used are forgotten first
_ORGANIZATION: Final = "organization "


class KnownTenants:
    """The tenants of credentials: whom each has proved, and which organizations it has opened to a member.

    Args:
        most: largest number of entries.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        # By the credential's hash and the organization that it opened; None: the tenant of the credential itself.
        self._kept: OrderedDict[tuple[str, str | None], str] = OrderedDict()
        self._lock = Lock()

    def of(self, credential: str | None, organization: str | None, address: str) -> str:
        """Return the tenant of a request: an organization, else the user, else the address.

        Args:
            credential: its hash; None: there is none.
            organization: the organization in the request's path; None: there is none.
        """
        with self._lock:
            owner = self._kept.get((credential, None)) if credential is not None else None
            if credential is None or owner is None:
                return f"address {address}"
            return self._kept.get((credential, organization), owner)

    def is_proved(self, credential: str) -> bool:
        """Return True if the credential was valid when it was used last."""
        with self._lock:
            return (credential, None) in self._kept

    def prove(self, credential: str, principal: Principal | None) -> None:
        """Note the principal that the credential proves now; None: nobody."""
        if principal is None:
            self._keep(credential, None, None)
        else:
            self._keep(credential, None, tenant_of(principal))

    def has_opened(self, credential: str, organization: str) -> bool:
        """Return True if the credential opened the organization to a member when it was used there last."""
        with self._lock:
            return (credential, organization) in self._kept

    def open(self, credential: str, organization: str, *, is_member: bool) -> None:
        """Note whether the credential opens the organization to a member now."""
        self._keep(credential, organization, _tenant(organization) if is_member else None)

    def _keep(self, credential: str, organization: str | None, tenant: str | None) -> None:
        key = (credential, organization)
        with self._lock:
            self._kept.pop(key, None)
            if tenant is not None:
                self._kept[key] = tenant
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)


def tenant_of(principal: Principal) -> str:
    """Return the tenant of a principal in any request: the organization of their token, or the user."""
    return _tenant(principal.organization) if principal.organization is not None else f"user {principal.user}"


def tenant_in(access: Access) -> str:
    """Return the tenant of a principal in an organization: the organization for a member, the user for an operator."""
    return f"user {access.user}" if access.is_operator else _tenant(access.organization)


def is_organization(tenant: str) -> bool:
    """Return True if a tenant is an organization, and not a user or an address."""
    return tenant.startswith(_ORGANIZATION)


def _tenant(organization: str) -> str:
    return f"{_ORGANIZATION}{organization}"
