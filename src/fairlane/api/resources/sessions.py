"""Logins: a password or a one-time link gets a session, which is kept in a cookie."""

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field

from fairlane.accounts.users import SESSION
from fairlane.api.authentication import COOKIE, ROOT, network_of, session_of
from fairlane.api.headers import headers_told
from fairlane.api.problems import Problem
from fairlane.api.rates import Rate, rate_key
from fairlane.api.scope import principal_of, web_of
from fairlane.domain.errors import PermissionDenied
from fairlane.domain.permissions import CredentialKind, Principal, Right

router = APIRouter(prefix=ROOT, tags=["sessions"])

_ADDRESSES: Final = 10  # addresses that together use up a user's logins
_SECRET = Field(min_length=1, max_length=200, description="The link's secret.", examples=["Jx0…"])


class Login(BaseModel):
    """A user and their password."""

    model_config = ConfigDict(extra="forbid")

    user: str = Field(min_length=1, max_length=200, examples=["olga"])
    password: str = Field(min_length=1, max_length=1024, examples=["correct horse battery"])


class PasswordChange(BaseModel):
    """The current password and the new one."""

    model_config = ConfigDict(extra="forbid")

    current: str = Field(min_length=1, max_length=1024, examples=["correct horse battery"])
    new: str = Field(min_length=12, max_length=1024, examples=["staple battery horse"])


class Redemption(BaseModel):
    """The secret of a one-time link."""

    model_config = ConfigDict(extra="forbid")

    secret: str = _SECRET


class Me(BaseModel):
    """The user whom a credential proves.

    `organization` null: it opens all organizations of the user. `scopes` null: all rights of the user.
    """

    user: str = Field(examples=["olga"])
    via: str = Field(examples=["session"])
    is_operator: bool
    organization: str | None
    scopes: list[Right] | None


@router.post("/sessions", status_code=201, operation_id="logIn")
def log_in(login: Login, request: Request, response: Response) -> Me:
    """Log in with a password; the answer sets the cookie of a session, which lasts for twelve hours."""
    web = web_of(request)
    _count_guess(request, login.user)
    try:
        secret = web.fl.users.log_in(login.user, login.password)
    except PermissionDenied as error:
        raise Problem(401, "login-failed", str(error)) from None
    return _open(request, response, secret)


@router.post("/sessions/redemption", status_code=201, operation_id="redeemLink")
def redeem(redemption: Redemption, request: Request, response: Response) -> Me:
    """Exchange the secret of a one-time link for a session."""
    return _redeemed(request, response, redemption.secret)


@router.get(
    "/login",
    operation_id="openLink",
    response_model=Me,
    responses={303: {"description": "To the dashboard, for a browser.", **headers_told("Location")}},
)
def open_link(
    request: Request,
    response: Response,
    link: Annotated[str, Query(min_length=1, max_length=200, description="Its secret.")],
) -> Me | Response:
    """Open a one-time link, as `fairlane serve` prints it, in a browser: it logs in and redirects to the dashboard."""
    if not (web_of(request).has_dashboard and "text/html" in request.headers.get("accept", "")):
        return _redeemed(request, response, link)
    start = _path(request).removesuffix("/") + "/"
    try:
        me = _redeemed(request, response, link)
    except Problem as problem:
        why = "used" if problem.status == HTTPStatus.UNAUTHORIZED else "later"
        return RedirectResponse(f"{start}login?link={why}", HTTPStatus.SEE_OTHER)
    response.status_code = HTTPStatus.SEE_OTHER
    response.headers["Location"] = start
    return me


@router.get("/sessions/current", operation_id="whoAmI")
def who_am_i(request: Request) -> Me:
    """Get the user whom the request's credential proves."""
    web_of(request).rates.count(Rate.STATUS, rate_key(principal_of(request)))
    return _me(principal_of(request))


@router.put("/sessions/current/password", operation_id="changeMyPassword")
def change_my_password(change: PasswordChange, request: Request, response: Response) -> Me:
    """Change your own password and end your other sessions. This needs a session that a login has opened."""
    web, principal = web_of(request), principal_of(request)
    if principal.credential is None or principal.credential.kind is not CredentialKind.SESSION:
        raise Problem(403, "permission-denied", "Only a session of a login can change the password; log in first.")
    _count_guess(request, principal.user)
    try:
        secret = web.fl.users.change_password(principal.user, change.current, change.new)
    except PermissionDenied:
        raise Problem(403, "wrong-password", "That is not your current password; nothing was changed.") from None
    return _open(request, response, secret)


@router.delete("/sessions/current", status_code=204, operation_id="logOut")
def log_out(request: Request, response: Response) -> None:
    """End the session of the request's cookie."""
    web = web_of(request)
    secret = session_of(request.headers)
    if secret is not None:
        web.fl.users.log_out(secret)
    response.delete_cookie(COOKIE, path=_path(request))


def _count_guess(request: Request, user: str) -> None:
    """Count a login, which may guess a password, for its address and for the user."""
    rates = web_of(request).rates
    rates.count(Rate.LOGIN, f"address {network_of(request.scope)}")
    # Guesses from all addresses together. The bound is higher, so that no single address can lock a user out.
    rates.count(Rate.LOGIN, f"user {user}", times=_ADDRESSES)


def _redeemed(request: Request, response: Response, link: str) -> Me:
    web = web_of(request)
    web.rates.count(Rate.LOGIN, f"address {network_of(request.scope)}")
    try:
        secret = web.fl.users.redeem(link)
    except PermissionDenied as error:
        raise Problem(401, "login-failed", str(error)) from None
    return _open(request, response, secret)


def _open(request: Request, response: Response, secret: str) -> Me:
    principal = web_of(request).fl.users.principal(secret)
    if principal is None:
        raise Problem(401, "login-failed", "The session has ended already; log in again.")
    response.set_cookie(
        COOKIE,
        secret,
        max_age=int(SESSION.total_seconds()),
        path=_path(request),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return _me(principal)


def _path(request: Request) -> str:
    return str(request.scope.get("root_path", "")) or "/"


def _me(principal: Principal) -> Me:
    scopes = sorted(principal.scopes) if principal.scopes is not None else None
    return Me(
        user=principal.user,
        via=principal.via,
        is_operator=principal.is_operator,
        organization=principal.organization,
        scopes=scopes,
    )
