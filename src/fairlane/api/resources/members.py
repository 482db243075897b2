"""The members of an organization."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from fairlane.api.authentication import ROOT
from fairlane.api.pages import Cursor, Items, Limit, after_of, page_from
from fairlane.api.problems import Problem
from fairlane.api.rates import Rate
from fairlane.api.scope import InOrganization, Scope
from fairlane.api.values import ListOf, Name, UserPath
from fairlane.domain.accounts import Member
from fairlane.domain.permissions import Right
from fairlane.domain.statuses import Role

router = APIRouter(prefix=ROOT + "/organizations/{organization}/members", tags=["members"])

_Listing = Annotated[Scope, Depends(InOrganization(Rate.LIST, Right.MEMBERS_READ))]
# A user who can add members could add one with all rights.
_Changing = Annotated[Scope, Depends(InOrganization(Rate.CANCEL, Right.MEMBERS_CHANGE, unscoped=True))]


class Membership(BaseModel):
    """A member's role in an organization, and their permissions."""

    model_config = ConfigDict(extra="forbid")

    role: Role = Field(default=Role.MEMBER, examples=["member"])
    permissions: ListOf[Name] = Field(
        default_factory=list,
        max_length=100,
        description="Names that job types may require; payload:read shows them the payload of others' jobs.",
        examples=[["reports"]],
    )


@router.get("", operation_id="listMembers")
def list_members(scope: _Listing, limit: Limit = 100, cursor: Cursor = None) -> Items[Member]:
    """List the members, by user."""
    found = scope.fl.members.list(scope.organization, after=after_of(cursor), limit=limit + 1)
    return page_from(found, lambda one: one.user, limit)


@router.put("/{user:name}", operation_id="putMember")
def put_member(scope: _Changing, user: UserPath, body: Membership) -> Member:
    """Add a member, or change a member's role and permissions."""
    return scope.fl.members.add(scope.organization, user, role=body.role, permissions=body.permissions, user=scope.user)


@router.delete("/{user:name}", status_code=204, operation_id="removeMember")
def remove_member(scope: _Changing, user: UserPath) -> None:
    """Remove a member, at once for all their credentials; their waiting jobs will be refused when they are due."""
    if not scope.fl.members.remove(scope.organization, user, user=scope.user):
        raise Problem(404, "member-not-found", "The organization has no such member.")
