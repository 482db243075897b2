"""Organizations, as their members see them: where one belongs and what one may there, numbers, queues, job types."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from fairlane.api.authentication import ROOT
from fairlane.api.pages import LARGEST_OF_QUEUES, Cursor, Items, QueueLimit, after_of, page_from
from fairlane.api.rates import Rate, rate_key
from fairlane.api.resources.overviews import Minutes, seen_with
from fairlane.api.scope import InOrganization, Scope, principal_of, web_of
from fairlane.api.values import Text
from fairlane.domain.accounts import Organization
from fairlane.domain.breaker import Breaker
from fairlane.domain.metrics import Metrics, QueueView
from fairlane.domain.permissions import Right
from fairlane.domain.statuses import OrganizationStatus, Role
from fairlane.jobtypes.verbs import JobTypeView

router = APIRouter(prefix=ROOT + "/organizations", tags=["organization"])

_Looking = Annotated[Scope, Depends(InOrganization(Rate.STATUS, Right.JOBS_READ))]
_Listing = Annotated[Scope, Depends(InOrganization(Rate.LIST, Right.JOBS_READ))]
_Measuring = Annotated[Scope, Depends(InOrganization(Rate.METRICS, Right.METRICS_READ))]
_Changing = Annotated[Scope, Depends(InOrganization(Rate.CANCEL, Right.ORGANIZATION_CHANGE))]


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


class OrganizationChange(BaseModel):
    """What its admins may change; what is left out stays. Its limits are the operators' to set."""

    model_config = ConfigDict(extra="forbid")

    name: Text = Field(min_length=1, max_length=200, examples=["Acme Ltd."])


class OpenBreaker(BaseModel):
    """A job type of which nothing starts in the organization until a trial succeeds."""

    job_type: str = Field(examples=["report.pdf"])
    opened_at: datetime
    until: datetime = Field(description="Then one job starts, on trial.")
    trial: UUID | None = Field(description="The job that is on trial now.")

    @classmethod
    def of(cls, breaker: Breaker) -> Self:
        """Return what members are told of it."""
        trial = breaker.trial.job_id if breaker.trial is not None else None
        return cls(job_type=breaker.job_type, opened_at=breaker.opened_at, until=breaker.until, trial=trial)


@router.get("", operation_id="listMyOrganizations")
def list_my_organizations(request: Request) -> MyOrganizations:
    """List the organizations that one belongs to, as far as the credential opens them."""
    web, principal = web_of(request), principal_of(request)
    web.rates.count(Rate.LIST, rate_key(principal))
    found = web.fl.members.of(principal.user)
    items = [MyOrganization.model_validate(one) for one in found or () if principal.organization in {None, one.id}]
    return MyOrganizations(items=items, is_complete=found is not None)


@router.get("/{organization}/access", operation_id="getAccess")
def get_access(scope: _Looking) -> Granted:
    """Say what one may in the organization."""
    access = scope.access
    return Granted(rights=sorted(access.rights), is_full=access.is_full, is_operator=access.is_operator)


@router.get("/{organization}", operation_id="getOrganization")
def get_organization(scope: _Looking) -> Organization:
    """Get the organization, its status and its limits."""
    return scope.fl.organizations.get(scope.organization)


@router.patch("/{organization}", operation_id="updateOrganization")
def update_organization(scope: _Changing, body: OrganizationChange) -> Organization:
    """Give the organization another name."""
    return scope.fl.organizations.update(scope.organization, name=body.name, user=scope.user)


@router.get("/{organization}/metrics", tags=["metrics"], operation_id="getMetrics")
def get_metrics(scope: _Measuring, minutes: Minutes = 60) -> Metrics:
    """Count jobs and dead letters now, and say how jobs went within the last minutes."""
    return seen_with(scope.access.rights, scope.fl.metrics(organization=scope.organization, minutes=minutes))


@router.get("/{organization}/queues", tags=["queues"], operation_id="listQueues")
def list_queues(scope: _Listing, limit: QueueLimit = LARGEST_OF_QUEUES, cursor: Cursor = None) -> Items[QueueView]:
    """List queues in which the organization has live jobs, and say of each what keeps jobs of it from starting."""
    found = scope.fl.reads.queues(scope.organization, after=after_of(cursor), limit=limit + 1)
    return page_from(found, lambda one: one.queue, limit)


@router.get("/{organization}/job-types", tags=["job types"], operation_id="listJobTypes")
def list_job_types(scope: _Listing) -> Items[JobTypeView]:
    """List the job types that can be submitted, with their options and what of each may run."""
    return Items[JobTypeView](items=list(scope.fl.job_types.list(organization=scope.organization)))


@router.get("/{organization}/breakers", tags=["job types"], operation_id="listBreakers")
def list_breakers(scope: _Listing) -> Items[OpenBreaker]:
    """List the job types of which nothing starts in the organization, as too much of them failed."""
    return Items[OpenBreaker](
        items=list(map(OpenBreaker.of, scope.fl.job_types.breakers(organization=scope.organization)))
    )
