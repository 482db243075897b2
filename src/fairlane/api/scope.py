"""From a principal and the path to a scope: what is open to them there, now. The only way to get an organization.

Each route names the kind of request that it counts as and the right that it needs, so that none is without:

    Reading = Annotated[Scope, Depends(InOrganization(Rate.STATUS, Right.JOBS_READ))]

An organization that is not there, one that was deleted and one of which the principal is no member look alike: the same
problem, after the same two questions to the directory.
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
    """What all routes share."""

    fl: Fairlane
    settings: WebSettings
    rates: Rates
    live: Live
    door: Door
    pulse: Pulse
    has_dashboard: bool
    downloads: Counter[tuple[str, str]] = field(default_factory=Counter)  # open ones, by whose they are


@dataclass(frozen=True, slots=True)
class Scope:
    """One request within one organization."""

    fl: Fairlane
    principal: Principal
    access: Access

    @property
    def organization(self) -> str:
        """Return whose objects the request may touch."""
        return self.access.organization

    @property
    def user(self) -> str:
        """Return who acts."""
        return self.principal.user

    def require(self, right: Right, why: str) -> None:
        """Refuse whoever lacks a right that only some requests of a route need.

        Raises:
            Problem
        """
        if right not in self.access.rights:
            raise Problem(403, "permission-denied", f"{why} needs the right {right}, which you don't have here.")

    def prove_again(self) -> None:
        """Refuse to go on with a credential that has ended since: before each change of a request that makes many.

        Raises:
            Problem
        """
        _proved_again(self.fl, self.principal)


@dataclass(frozen=True, slots=True)
class Operation:
    """One request of an operator, over all organizations."""

    fl: Fairlane
    principal: Principal
    rights: frozenset[Right]

    @property
    def user(self) -> str:
        """Return who acts."""
        return self.principal.user


@dataclass(frozen=True, slots=True)
class InOrganization:
    """A dependency: counts the request, and gives its scope if the principal has the right there.

    Args:
        unscoped: whether a token that is cut to some rights is not enough, as with what it does more could be opened.
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
    """Return what is open there, counted for the organization if it is open to a member.

    Others take nothing of its allowance.

    Whoever was let in before is counted before the database is asked.
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
    """A dependency: counts the request, and lets operators pass who have the right.

    Args:
        unscoped: whether a token that is cut to some rights is not enough, as with what it does more could be opened.
    """

    rate: Rate
    right: Right
    unscoped: bool = False

    def __call__(self, request: Request) -> Operation:
        """Return the operation.

        Raises:
            Problem: too many requests, or they are no operator with this right.
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
    """Refuse an unknown query parameter: a slip in a filter's name must not look like an answer to the filter.

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
    """Return which query parameters a route takes, as it says itself.

    The OpenAPI document takes most of a second to make.
    """
    return frozenset(one.alias for one in get_flat_params(route.dependant) if isinstance(one.field_info, params.Query))


def web_of(request: Request) -> Web:
    """Return what all routes share."""
    web = request.app.state.web
    assert isinstance(web, Web)
    return web


def principal_of(request: Request) -> Principal:
    """Return who acts, as `authentication` has proved.

    If that was a while ago it is proved again, as far as the credential and its user go: a body may take a minute to
    come, and what was revoked meanwhile is not to be used.

    Raises:
        Problem: the credential is no longer good.
    """
    state = request.state
    principal, now = state.principal, time.monotonic()
    assert isinstance(principal, Principal)
    if now - state.proved_at > PROOF_KEPT:
        state.principal = principal = _proved_again(web_of(request).fl, principal)
        state.proved_at = now
    return principal


def _proved_again(fl: Fairlane, principal: Principal) -> Principal:
    """Return the principal, as their credential proves them now. Raises `Problem`: it has ended."""
    if principal.credential is None:
        return principal
    found = fl.tickets.principals([principal.credential]).get(principal.credential)
    if found is None:
        raise no_longer_good()
    return found
