"""Where one belongs, and what one may there."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from fairlane.api.authentication import ROOT
from fairlane.api.rates import Rate, whose
from fairlane.api.scope import InOrganization, Scope, principal_of, web_of
from fairlane.domain.permissions import Right
from fairlane.domain.statuses import OrganizationStatus, Role

router = APIRouter(prefix=ROOT + "/organizations", tags=["organization"])

_Looking = Annotated[Scope, Depends(InOrganization(Rate.STATUS, Right.JOBS_READ))]


class MyOrganization(BaseModel):
    """An organization that one belongs to."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=["acme"])
    name: str = Field(examples=["Acme Ltd."])
    status: OrganizationStatus
    role: Role


class MyOrganizations(BaseModel):
    """Where one belongs. `is_complete` false: the application keeps its organizations, and does not list them."""

    items: list[MyOrganization]
    is_complete: bool


class Granted(BaseModel):
    """What one may in an organization. `is_full`: with others' jobs, too; `is_operator`: not as its admin."""

    rights: list[Right]
    is_full: bool
    is_operator: bool


@router.get("", operation_id="listMyOrganizations")
def list_my_organizations(request: Request) -> MyOrganizations:
    """List the organizations that one belongs to, as far as the credential opens them."""
    web, principal = web_of(request), principal_of(request)
    web.rates.count(Rate.LIST, whose(principal))
    found = web.fl.members.of(principal.user)
    items = [MyOrganization.model_validate(one) for one in found or () if principal.organization in {None, one.id}]
    return MyOrganizations(items=items, is_complete=found is not None)


@router.get("/{organization}/access", operation_id="getAccess")
def get_access(scope: _Looking) -> Granted:
    """Say what one may in the organization."""
    access = scope.access
    return Granted(rights=sorted(access.rights), is_full=access.is_full, is_operator=access.is_operator)
