"""Scopes: what is open to a principal in the organization of the path, now. Routes get an organization only from here.

Each route names the kind of request for its rate limit and the right that it needs, so that no route lacks them:

    Reading = Annotated[Scope, Depends(InOrganization(Rate.STATUS, Right.JOBS_READ))]

An organization that does not exist, one that was deleted and one without the principal as a member look alike: all
three get the same problem, after the same two questions to the directory.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Path, Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute

from fairlane.api.problems import LONGEST_POINTER, MOST_TOLD, ORGANIZATION_UNKNOWN, Problem, no_longer_good
from fairlane.api.pulse import Pulse
from fairlane.api.rates import Rate, Rates, rate_key
from fairlane.api.values import OrganizationId
from fairlane.api.watching import Door
from fairlane.app import Fairlane
from fairlane.config import WebSettings
from fairlane.domain.permissions import Access, Principal, Right
from fairlane.domain.timing import PROOF_KEPT
from fairlane.realtime.live import Live
from fairlane.tenancy.directory import access_of

OrganizationPath = Annotated[OrganizationId, Path(description="The organization's id.", examples=["acme"])]


@dataclass(frozen=True, slots=True)
class Web:
    """The objects that all routes share."""

    fl: Fairlane
    settings: WebSettings
    rates: Rates
    live: Live
    door: Door
    pulse: Pulse
    has_dashboard: bool
    downloads: Counter[tuple[str, str]] = field(default_factory=Counter)  # open downloads, by owner


@dataclass(frozen=True, slots=True)
class Scope:
    """A request within one organization."""

    fl: Fairlane
    principal: Principal
    access: Access

    @property
    def organization(self) -> str:
        """Return the organization whose objects the request may touch."""
        return self.access.organization

    @property
    def user(self) -> str:
        """Return the user who acts."""
        return self.principal.user

    def require(self, right: Right, why: str) -> None:
        """Refuse a user without a right that only some requests of a route need.

        Raises:
            Problem
        """
        if right not in self.access.rights:
            raise Problem(403, "permission-denied", f"{why} needs the right {right}, which you don't have here.")

    def prove_again(self) -> None:
        """Refuse to go on if the credential has ended meanwhile. Routes call this before each of many changes.

        Raises:
            Problem
        """
        _proved_again(self.fl, self.principal)


@dataclass(frozen=True, slots=True)
class Operation:
    """A request of an operator, over all organizations."""

    fl: Fairlane
    principal: Principal
    rights: frozenset[Right]

    @property
    def user(self) -> str:
        """Return the user who acts."""
        return self.principal.user


@dataclass(frozen=True, slots=True)
class InOrganization:
    """A dependency that counts the request, and returns its scope if the principal has the right there.

    Args:
        unscoped: True to refuse tokens that are cut to some rights, because the route could give them more rights.
    """

    rate: Rate
    right: Right
    unscoped: bool = False

    def __call__(self, request: Request, organization: OrganizationPath) -> Scope:
        """Return the scope.

        Raises:
            Problem: too many requests, no such organization, or the right is missing.
        """
        web, principal = web_of(request), principal_of(request)
        web.rates.count(self.rate, rate_key(principal))
        found = _counted_access(web, principal, self.rate, request.state.credential, organization)
        if found is None:
            raise Problem(404, "organization-not-found", ORGANIZATION_UNKNOWN)
        scope = Scope(web.fl, principal, found)
        scope.require(self.right, "This")
        if self.unscoped:
            _refuse_cut(principal)
        _refuse_unknown(request)
        return scope


def _counted_access(web: Web, principal: Principal, rate: Rate, credential: str, organization: str) -> Access | None:
    """Return the access to the organization, and count a member's request for the organization.

    Requests of other users do not count for it. A credential that opened the organization before is counted before the
    database is asked.
    """
    was_open = web.rates.tenants.has_opened(credential, organization)
    if was_open:
        web.rates.count_together(rate, organization)
    found = access_of(web.fl.directory, principal, organization)
    is_member = found is not None and not found.is_operator
    web.rates.tenants.open(credential, organization, is_member=is_member)
    if is_member and not was_open:
        web.rates.count_together(rate, organization)
    return found


@dataclass(frozen=True, slots=True)
class ByOperator:
    """A dependency that counts the request, and returns an operation if the principal is an operator with the right.

    Args:
        unscoped: True to refuse tokens that are cut to some rights, because the route could give them more rights.
    """

    rate: Rate
    right: Right
    unscoped: bool = False

    def __call__(self, request: Request) -> Operation:
        """Return the operation.

        Raises:
            Problem: too many requests, or the principal is no operator with this right.
        """
        web, principal = web_of(request), principal_of(request)
        web.rates.count(self.rate, rate_key(principal))
        rights = principal.operator_rights if principal.is_operator else None
        if rights is None:
            raise Problem(403, "permission-denied", "This is for operators.")
        if principal.scopes is not None:
            rights &= principal.scopes
        if self.right not in rights:
            raise Problem(403, "permission-denied", f"This needs the right {self.right}, which you don't have.")
        if self.unscoped:
            _refuse_cut(principal)
        _refuse_unknown(request)
        return Operation(web.fl, principal, rights)


def _refuse_cut(principal: Principal) -> None:
    if principal.scopes is not None:
        raise Problem(403, "permission-denied", "A token that is cut to some rights may not do this; log in.")


def _refuse_unknown(request: Request) -> None:
    """Refuse an unknown query parameter: a typo in a filter's name must not return unfiltered results.

    Raises:
        Problem
    """
    if not request.query_params:
        return
    known = query_names(request.scope["route"])
    if unknown := sorted(request.query_params.keys() - known):
        takes = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
        told = f"This address has no such query parameter; {takes}."
        wrong = [{"pointer": f"/query/{one}"[:LONGEST_POINTER], "detail": told} for one in unknown[:MOST_TOLD]]
        detail = f"{wrong[0]['pointer']}: {told}"
        raise Problem(422, "invalid-request", detail, errors=wrong)


def query_names(route: APIRoute) -> frozenset[str]:
    """Return the names of the query parameters of a route, from its dependencies.

    The OpenAPI document has them, too, but takes most of a second to make.
    """
    return frozenset(one.alias for one in get_flat_params(route.dependant) if isinstance(one.field_info, params.Query))


def web_of(request: Request) -> Web:
    """Return the objects that all routes share."""
    web = request.app.state.web
    assert isinstance(web, Web)
    return web


def principal_of(request: Request) -> Principal:
    """Return the principal whom `authentication` has proved.

    If that was a while ago, the credential is proved again: a body may take a minute to come, and a credential that
    was revoked meanwhile must not be used.

    Raises:
        Problem: the credential is no longer valid.
    """
    state = request.state
    principal, now = state.principal, time.monotonic()
    assert isinstance(principal, Principal)
    if now - state.proved_at > PROOF_KEPT:
        state.principal = principal = _proved_again(web_of(request).fl, principal)
        state.proved_at = now
    return principal


def _proved_again(fl: Fairlane, principal: Principal) -> Principal:
    """Return the principal whom their credential proves now. Raises `Problem` if it has ended."""
    if principal.credential is None:
        return principal
    found = fl.tickets.principals([principal.credential]).get(principal.credential)
    if found is None:
        raise no_longer_good()
    return found
