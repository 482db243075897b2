"""Organizations, as their members see them: memberships, rights, metrics, queues and job types."""

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
    """An organization of the user."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=["acme"])
    name: str = Field(examples=["Acme Ltd."])
    status: OrganizationStatus
    role: Role


class MyOrganizations(BaseModel):
    """The user's organizations. `is_complete` false: the application's directory keeps them, and does not list them."""

    items: list[MyOrganization]
    is_complete: bool


class Granted(BaseModel):
    """The user's rights in an organization. `is_full`: for others' jobs, too; `is_operator`: not as an admin."""

    rights: list[Right]
    is_full: bool
    is_operator: bool


class OrganizationChange(BaseModel):
    """A change of an organization by its admin; omitted fields stay as they are. Operators set its limits."""

    model_config = ConfigDict(extra="forbid")

    name: Text = Field(min_length=1, max_length=200, examples=["Acme Ltd."])


class OpenBreaker(BaseModel):
    """A circuit breaker: no job of the type starts in the organization until a trial job succeeds."""

    job_type: str = Field(examples=["report.pdf"])
    opened_at: datetime
    until: datetime = Field(description="After this time one job starts, on trial.")
    trial: UUID | None = Field(description="The job that is on trial now.")

    @classmethod
    def of(cls, breaker: Breaker) -> Self:
        """Return what members may see of the organization."""
        trial = breaker.trial.job_id if breaker.trial is not None else None
        return cls(job_type=breaker.job_type, opened_at=breaker.opened_at, until=breaker.until, trial=trial)


@router.get("", operation_id="listMyOrganizations")
def list_my_organizations(request: Request) -> MyOrganizations:
    """List the user's organizations that the credential opens."""
    web, principal = web_of(request), principal_of(request)
    web.rates.count(Rate.LIST, rate_key(principal))
    found = web.fl.members.of(principal.user)
    items = [MyOrganization.model_validate(one) for one in found or () if principal.organization in {None, one.id}]
    return MyOrganizations(items=items, is_complete=found is not None)


@router.get("/{organization}/access", operation_id="getAccess")
def get_access(scope: _Looking) -> Granted:
    """Get the user's rights in the organization."""
    access = scope.access
    return Granted(rights=sorted(access.rights), is_full=access.is_full, is_operator=access.is_operator)


@router.get("/{organization}", operation_id="getOrganization")
def get_organization(scope: _Looking) -> Organization:
    """Get the organization, its status and its limits."""
    return scope.fl.organizations.get(scope.organization)


@router.patch("/{organization}", operation_id="updateOrganization")
def update_organization(scope: _Changing, body: OrganizationChange) -> Organization:
    """Change the organization's name."""
    return scope.fl.organizations.update(scope.organization, name=body.name, user=scope.user)


@router.get("/{organization}/metrics", tags=["metrics"], operation_id="getMetrics")
def get_metrics(scope: _Measuring, minutes: Minutes = 60) -> Metrics:
    """Count the current jobs and dead letters, and say how jobs went within the last minutes."""
    return seen_with(scope.access.rights, scope.fl.metrics(organization=scope.organization, minutes=minutes))


@router.get("/{organization}/queues", tags=["queues"], operation_id="listQueues")
def list_queues(scope: _Listing, limit: QueueLimit = LARGEST_OF_QUEUES, cursor: Cursor = None) -> Items[QueueView]:
    """List queues in which the organization has live jobs, each with what keeps its jobs from starting."""
    found = scope.fl.reads.queues(scope.organization, after=after_of(cursor), limit=limit + 1)
    return page_from(found, lambda one: one.queue, limit)


@router.get("/{organization}/job-types", tags=["job types"], operation_id="listJobTypes")
def list_job_types(scope: _Listing) -> Items[JobTypeView]:
    """List the job types that can be submitted, with their options and limits."""
    return Items[JobTypeView](items=list(scope.fl.job_types.list(organization=scope.organization)))


@router.get("/{organization}/breakers", tags=["job types"], operation_id="listBreakers")
def list_breakers(scope: _Listing) -> Items[OpenBreaker]:
    """List the job types that do not start in the organization, because too many of their jobs failed."""
    return Items[OpenBreaker](
        items=list(map(OpenBreaker.of, scope.fl.job_types.breakers(organization=scope.organization)))
    )
