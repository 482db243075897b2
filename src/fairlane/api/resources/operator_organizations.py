"""For operators: all organizations, their limits, suspensions and pauses."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from fairlane.api.authentication import ROOT
from fairlane.api.pages import Cursor, Items, Limit, page_of
from fairlane.api.rates import Rate
from fairlane.api.scope import ByOperator, Operation, OrganizationPath
from fairlane.api.values import NewOrganizationId, Number, Text, Whole
from fairlane.domain.accounts import Organization
from fairlane.domain.arguments import LARGEST_COUNT
from fairlane.domain.permissions import Right
from fairlane.domain.texts import storable
from fairlane.domain.timing import CENTURY

router = APIRouter(prefix=ROOT + "/operator/organizations", tags=["operator"])

_Listing = Annotated[Operation, Depends(ByOperator(Rate.LIST, Right.JOBS_READ))]
_Changing = Annotated[Operation, Depends(ByOperator(Rate.CANCEL, Right.ORGANIZATION_CHANGE))]


class OrganizationLimits(BaseModel):
    """The limits of an organization; null: unlimited, 0: none. `retention` in seconds; null: as the job type says."""

    model_config = ConfigDict(extra="forbid")

    name: Text | None = Field(default=None, min_length=1, max_length=200, examples=["Acme"])
    weight: Whole = Field(
        default=1, ge=1, le=LARGEST_COUNT, description="Its share of running jobs, relative to others."
    )
    max_running: Whole | None = Field(default=None, ge=0, le=LARGEST_COUNT)
    max_live_jobs: Whole | None = Field(default=None, ge=0, le=LARGEST_COUNT)
    retention: Number | None = Field(default=None, gt=0, le=CENTURY)

    def given(self) -> dict[str, Any]:
        """Return the fields that were given."""
        return self.model_dump(exclude_unset=True)


class NewOrganization(OrganizationLimits):
    """An organization to create."""

    id: NewOrganizationId = Field(examples=["acme"])


class Pause(BaseModel):
    """The reason for a pause. Users of every organization may see it as the reason why a job waits: name no tenant."""

    model_config = ConfigDict(extra="forbid")

    reason: Text = Field(default="", max_length=1000, examples=["maintenance"])


@router.get("", operation_id="listOrganizations")
def list_organizations(
    operation: _Listing,
    limit: Limit = 100,
    cursor: Cursor = None,
    text: Annotated[str | None, Query(max_length=200, description="A part of the id or the name.")] = None,
) -> Items[Organization]:
    """List organizations by id."""
    found = operation.fl.organizations.list()
    wanted = (text or "").casefold()
    chosen = [one for one in found if wanted in one.id.casefold() or wanted in one.name.casefold()]
    return page_of(sorted(chosen, key=lambda one: one.id), lambda one: one.id, cursor, limit)


@router.post("", status_code=201, operation_id="createOrganization")
def create_organization(operation: _Changing, body: NewOrganization) -> Organization:
    """Create an organization."""
    given = {name: value for name, value in body.given().items() if name != "id"}
    return operation.fl.organizations.create(body.id, **given, user=operation.user)


@router.get("/{organization}", operation_id="getOrganizationAsOperator")
def get_organization(operation: _Listing, organization: OrganizationPath) -> Organization:
    """Get an organization."""
    storable(organization=organization)
    return operation.fl.organizations.get(organization)


@router.patch("/{organization}", operation_id="updateOrganizationAsOperator")
def update_organization(operation: _Changing, organization: OrganizationPath, body: OrganizationLimits) -> Organization:
    """Change the given fields of an organization; the others stay as they are."""
    return operation.fl.organizations.update(organization, **body.given(), user=operation.user)


@router.delete("/{organization}", status_code=204, operation_id="deleteOrganization")
def delete_organization(operation: _Changing, organization: OrganizationPath) -> None:
    """Delete an organization: its waiting jobs go to dead letter, running ones finish, its id stays taken."""
    operation.fl.organizations.delete(organization, user=operation.user)


@router.post("/{organization}/suspension", operation_id="suspendOrganization")
def suspend(operation: _Changing, organization: OrganizationPath) -> Organization:
    """Suspend an organization: submissions are refused, no job starts, results are locked; running jobs finish."""
    operation.fl.organizations.suspend(organization, user=operation.user)
    return operation.fl.organizations.get(organization)


@router.post("/{organization}/activation", operation_id="activateOrganization")
def activate(operation: _Changing, organization: OrganizationPath) -> Organization:
    """End a suspension."""
    operation.fl.organizations.activate(organization, user=operation.user)
    return operation.fl.organizations.get(organization)


@router.post("/{organization}/pause", operation_id="pauseOrganization")
def pause(operation: _Changing, organization: OrganizationPath, body: Pause | None = None) -> Organization:
    """Pause an organization: none of its jobs start; submissions go on."""
    found = get_organization(operation, organization)
    reason = body.reason if body else ""
    operation.fl.organizations.pause(found.id, user=operation.user, reason=reason)
    return operation.fl.organizations.get(found.id)


@router.post("/{organization}/resumption", operation_id="resumeOrganization")
def resume(operation: _Changing, organization: OrganizationPath) -> Organization:
    """End a pause."""
    found = get_organization(operation, organization)
    operation.fl.organizations.resume(found.id, user=operation.user)
    return operation.fl.organizations.get(found.id)
