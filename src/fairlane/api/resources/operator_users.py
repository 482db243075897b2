"""For operators: users with a login in Fairlane, and operators' tokens."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from fairlane.api.authentication import ROOT
from fairlane.api.pages import Cursor, Items, Limit, page_of
from fairlane.api.problems import Problem
from fairlane.api.rates import Rate
from fairlane.api.resources.tokens import CreatedToken, NewToken, cut, newest
from fairlane.api.scope import ByOperator, Operation
from fairlane.api.values import Flag, ListOf, PathName, TokenPath, UserPath
from fairlane.domain.accounts import Token, User
from fairlane.domain.permissions import Right

router = APIRouter(prefix=ROOT + "/operator", tags=["operator"])

_Listing = Annotated[Operation, Depends(ByOperator(Rate.LIST, Right.MEMBERS_READ))]
# An operator who can create users could create one with all rights.
_Changing = Annotated[Operation, Depends(ByOperator(Rate.CANCEL, Right.MEMBERS_CHANGE, unscoped=True))]
_ListingTokens = Annotated[Operation, Depends(ByOperator(Rate.LIST, Right.TOKENS_CHANGE))]
_ChangingTokens = Annotated[Operation, Depends(ByOperator(Rate.CANCEL, Right.TOKENS_CHANGE))]


class UserChange(BaseModel):
    """A change of a user; omitted fields stay as they are. A new password and disabling end the user's sessions."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"disabled": True}]})

    password: str | None = Field(default=None, min_length=12, max_length=1024, examples=["correct horse battery"])
    operator: Flag = Field(default=False, description="Whether they look after all organizations.")
    rights: ListOf[Right] = Field(default_factory=list, description="An operator's beyond the usual.")
    disabled: Flag = False

    def given(self) -> dict[str, Any]:
        """Return the fields that were given."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class NewUser(BaseModel):
    """A user to create."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"id": "otto", "password": "correct horse battery"}]}
    )

    id: PathName = Field(examples=["olga"])
    password: str | None = Field(default=None, min_length=12, max_length=1024, examples=["correct horse battery"])
    operator: Flag = Field(default=False, description="Whether they look after all organizations.")
    rights: ListOf[Right] = Field(default_factory=list, description="An operator's beyond the usual.")


@router.get("/users", operation_id="listUsers")
def list_users(operation: _Listing, limit: Limit = 100, cursor: Cursor = None) -> Items[User]:
    """List users by id."""
    found = sorted(operation.fl.users.list(), key=lambda one: one.id)
    return page_of(found, lambda one: one.id, cursor, limit)


@router.post("/users", status_code=201, operation_id="createUser")
def create_user(operation: _Changing, body: NewUser) -> User:
    """Create a user."""
    _refuse_more(operation, body.rights)
    return operation.fl.users.create(
        body.id,
        password=body.password,
        operator=body.operator,
        rights=body.rights,
        user=operation.user,
        of_members=_may_be_member(operation, body.id, body.password),
    )


@router.get("/users/{user:name}", operation_id="getUser")
def get_user(operation: _Listing, user: UserPath) -> User:
    """Get a user."""
    return _found(operation, user)


@router.patch("/users/{user:name}", operation_id="updateUser")
def update_user(operation: _Changing, user: UserPath, body: UserChange) -> User:
    """Change a user."""
    # Nor may operators log in as a user with more rights.
    _refuse_more(operation, [*body.rights, *_found(operation, user).rights])
    of_members = _may_be_member(operation, user, body.password)
    return operation.fl.users.update(user, **body.given(), user=operation.user, of_members=of_members)


@router.delete("/users/{user:name}", status_code=204, operation_id="deleteUser")
def delete_user(operation: _Changing, user: UserPath) -> None:
    """Delete a user and their sessions, and revoke their tokens; memberships of the same id stay."""
    _found(operation, user)
    operation.fl.users.delete(user, user=operation.user)


@router.get("/tokens", operation_id="listOperatorTokens")
def list_tokens(operation: _ListingTokens, limit: Limit = 100, cursor: Cursor = None) -> Items[Token]:
    """List operators' tokens, newest first."""
    return newest(operation.fl, None, None, cursor, limit)


@router.post("/tokens", status_code=201, operation_id="createOperatorToken")
def create_token(operation: _ChangingTokens, body: NewToken) -> CreatedToken:
    """Create a token for yourself, for all organizations."""
    made, secret = operation.fl.tokens.create(
        organization=None,
        as_user=operation.user,
        name=body.name,
        scopes=cut(operation.principal, body.scopes),
        expires_in=body.expires_in,
        made_with=operation.principal,
        user=operation.user,
    )
    return CreatedToken(token=made, secret=secret)


@router.delete("/tokens/{token}", status_code=204, operation_id="revokeOperatorToken")
def revoke_token(operation: _ChangingTokens, token: TokenPath) -> None:
    """Revoke an operator's token at once."""
    if not operation.fl.tokens.revoke(token, organization=None, user=operation.user):
        raise Problem(404, "token-not-found", "There is no such operator's token that is not revoked.")


def _refuse_more(operation: Operation, rights: list[Right]) -> None:
    if not operation.rights.issuperset(rights):
        raise Problem(403, "permission-denied", "You can't give rights that you don't have.")


def _may_be_member(operation: Operation, user: str, password: str | None) -> bool:
    """Return True if this operator may set a member's password, and so could read what the member may."""
    may = Right.PAYLOAD_READ in operation.rights
    if password is not None and not may and operation.fl.members.of(user) is None:
        raise Problem(
            403,
            "permission-denied",
            "The application's own directory can't say whether the user is a member of an organization, so setting "
            f"their password needs the right {Right.PAYLOAD_READ}.",
        )
    return may


def _found(operation: Operation, user: str) -> User:
    found = next((one for one in operation.fl.users.list() if one.id == user), None)
    if found is None:
        raise Problem(404, "user-not-found", "There is no such user.")
    return found
