"""API tokens of an organization: the user's own, and for admins all. A secret is shown once, when it is created."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from fairlane.api.authentication import ROOT
from fairlane.api.pages import Cursor, Items, Limit, before_of, page_from
from fairlane.api.problems import Problem
from fairlane.api.rates import Rate
from fairlane.api.scope import InOrganization, Scope
from fairlane.api.values import ListOf, Name, Number, PathName, TokenPath
from fairlane.app import Fairlane
from fairlane.domain.accounts import Token
from fairlane.domain.permissions import Principal, Right
from fairlane.domain.timing import CENTURY

router = APIRouter(prefix=ROOT + "/organizations/{organization}/tokens", tags=["tokens"])

_Listing = Annotated[Scope, Depends(InOrganization(Rate.LIST, Right.TOKENS_CHANGE))]
_Changing = Annotated[Scope, Depends(InOrganization(Rate.CANCEL, Right.TOKENS_CHANGE))]


class NewToken(BaseModel):
    """A token to create."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(description="What it is for.", examples=["nightly import"])
    scopes: ListOf[Right] | None = Field(
        default=None,
        description="The rights that the token is cut to; null: all rights of its user.",
        examples=[["jobs:submit"]],
    )
    expires_in: Number | None = Field(default=None, gt=0, le=CENTURY, description="In seconds; null: never.")


class NewTokenOfMember(NewToken):
    """A token to create, perhaps for another member."""

    user: PathName | None = Field(
        default=None, description="The user as whom it acts; null: yourself. Admins may name others."
    )


class CreatedToken(BaseModel):
    """A token and its secret, of which Fairlane keeps only a hash."""

    token: Token
    secret: str = Field(examples=["fl_…"])


@router.get("", operation_id="listTokens")
def list_tokens(scope: _Listing, limit: Limit = 100, cursor: Cursor = None) -> Items[Token]:
    """List your tokens, or as an admin all tokens, newest first."""
    user = None if scope.access.is_full else scope.user
    return newest(scope.fl, scope.organization, user, cursor, limit)


@router.post("", status_code=201, operation_id="createToken")
def create_token(scope: _Changing, body: NewTokenOfMember) -> CreatedToken:
    """Create a token. It never has more rights than its user, and expires no later than a token that creates it."""
    user = body.user if body.user is not None else scope.user
    # Operators are no admins here: a token for another user would show them what they may not see.
    if user != scope.user and (scope.access.is_operator or not scope.access.is_full):
        raise Problem(403, "permission-denied", "Tokens for others are for admins of the organization to create.")
    made, secret = scope.fl.tokens.create(
        organization=scope.organization,
        as_user=user,
        name=body.name,
        scopes=cut(scope.principal, body.scopes),
        expires_in=body.expires_in,
        made_with=scope.principal,
        user=scope.user,
    )
    return CreatedToken(token=made, secret=secret)


@router.delete("/{token}", status_code=204, operation_id="revokeToken")
def revoke_token(scope: _Changing, token: TokenPath) -> None:
    """Revoke a token at once."""
    found = scope.fl.tokens.get(token, organization=scope.organization)
    is_theirs = found is not None and (scope.access.is_full or found.user == scope.user)
    if not is_theirs or not scope.fl.tokens.revoke(token, organization=scope.organization, user=scope.user):
        raise Problem(404, "token-not-found", "The organization has no such token of yours that is not revoked.")


def newest(fl: Fairlane, organization: str | None, user: str | None, cursor: str | None, limit: int) -> Items[Token]:
    """Return a page of tokens, as `fl.tokens.list` lists them.

    Raises:
        InvalidParameters: the cursor is not valid.
    """
    found = fl.tokens.list(organization=organization, user=user, before=before_of(cursor), limit=limit + 1)
    return page_from(found, lambda one: str(one.id), limit)


def cut(principal: Principal, wanted: list[Right] | None) -> list[Right] | None:
    """Return the scopes of a new token: it gets no right that the credential lacks.

    Raises:
        Problem
    """
    if principal.scopes is None:
        return wanted
    if wanted is None:
        return sorted(principal.scopes)
    if not principal.scopes.issuperset(wanted):
        raise Problem(403, "permission-denied", "A token has no more rights than the credential that creates it.")
    return wanted
