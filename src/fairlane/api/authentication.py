"""Authentication: find the principal that a request's credential proves. Without a credential only `OPEN` is open.

This is middleware around all routes. So a route that forgets about authentication is closed, not open.
"""

import re
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from fairlane.accounts.tokens import PREFIX
from fairlane.api import problems
from fairlane.api.bodies import may_be_large
from fairlane.api.identity_provider import IdentityProvider
from fairlane.api.problems import Problem, no_longer_good, unauthenticated
from fairlane.api.rates import Rates
from fairlane.api.tenant_queue import LOGIN_ATTEMPT, TENANT, TenantQueue
from fairlane.app import Fairlane
from fairlane.config import WebSettings
from fairlane.domain.errors import FairlaneError
from fairlane.domain.origin import acting_from
from fairlane.domain.permissions import Principal
from fairlane.store.transaction import reading_within
from fairlane.tenancy.directory import access_of

ROOT: Final = "/api/v1"
HEALTH: Final = f"{ROOT}/health"
DOCUMENT: Final = f"{ROOT}/openapi.json"
COOKIE: Final = "fairlane_session"
CREDENTIAL: Final = "credential"  # in a request's state: the hash by which `KnownTenants` knows the credential
# Routes for clients that have no credential yet. The secret of a one-time link is a credential itself.
OPEN: Final = frozenset(
    {
        ("GET", DOCUMENT),
        ("GET", HEALTH),
        ("POST", f"{ROOT}/sessions"),
        ("POST", f"{ROOT}/sessions/redemption"),
        ("GET", f"{ROOT}/login"),
    }
)
_WITH_PASSWORD: Final = frozenset({("POST", f"{ROOT}/sessions"), ("PUT", f"{ROOT}/sessions/current/password")})
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]+")
_POLICY_VIOLATION: Final = 1008  # of WebSocket
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN: Final = frozenset({"same-origin", "none"})  # none: typed, or from a bookmark


@dataclass(frozen=True, slots=True)
class Authenticator:
    """A check of credentials: of tokens, sessions and the identity provider's JWTs."""

    fl: Fairlane
    identity_provider: IdentityProvider | None
    rates: Rates
    has_jwt_operators: bool = False

    def count(self, headers: Headers, address: str) -> str | None:
        """Count the request under its credential, without the database and without a thread.

        Returns:
            The hash by which `KnownTenants` knows the credential; None: there is none.

        Raises:
            Problem: there were too many.
        """
        secret = _bearer_of(headers) if "authorization" in headers else session_of(headers)
        return self.rates.count_all(secret, address) if secret else None

    def principal(self, headers: Headers, counted: str | None = None) -> Principal:
        """Return the principal that the request's credential proves. If there is a header, the cookie is ignored.

        Args:
            counted: the value that `count` returned.

        Raises:
            Problem: there is none, or it proves nothing.
        """
        found = self._proved(headers)
        if counted is not None:
            self.rates.tenants.prove(counted, found)
        if found is not None:
            return found
        if "authorization" in headers:
            raise no_longer_good()
        if session_of(headers):
            raise unauthenticated("The session has ended; log in again.", given=True)
        raise unauthenticated("Say who you are: send Authorization: Bearer with an API token, or log in.")

    def open(self, principal: Principal, counted: str | None, organization: str) -> None:
        """Look up whether the organization is open to the principal, before a large body is read.

        Without this the first body of a credential would count among those of all users without an organization.
        """
        assert counted is not None, "the credential has proved a principal"
        found = access_of(self.fl.directory, principal, organization)
        self.rates.tenants.open(counted, organization, is_member=found is not None and not found.is_operator)

    def _proved(self, headers: Headers) -> Principal | None:
        if "authorization" in headers:
            secret = _bearer_of(headers)
            return self._bearer(secret) if secret else None
        session = session_of(headers)
        return self.fl.users.principal(session) if session else None

    def _bearer(self, secret: str) -> Principal | None:
        if secret.startswith(PREFIX):
            return self.fl.tokens.principal(secret)
        proof = self.identity_provider.proof_of(secret) if self.identity_provider is not None else None
        if proof is None:
            return None
        return self.fl.users.identified(proof.user, until=proof.until, as_operator=self.has_jwt_operators)


class Authentication:
    """ASGI middleware that puts the principal into the request's state, and notes for the audit how they came in.

    Args:
        queue: the queue in which requests wait for their turn.
        settings: the origins whose pages may act with a session's cookie, and the timeout of reads.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator, queue: TenantQueue, settings: WebSettings) -> None:
        self._app = app
        self._authenticator = authenticator
        self._queue = queue
        self._origins = settings.web_origins
        self._read_timeout = settings.read_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer with a problem."""
        if scope["type"] == "websocket":
            # Sockets of Socket.IO never come here: `SocketDoor` takes them.
            await refuse_socket(receive, send, "unauthenticated")
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = {**scope, "headers": _with_session_alone(scope)}
        headers = Headers(scope=scope)
        try:
            if (scope["method"], path_of(scope)) in OPEN:
                if comes_from_elsewhere(headers, self._origins, scheme=scope["scheme"], must_say=False):
                    raise _cross_site()
                if path_of(scope) == DOCUMENT:
                    self._authenticator.rates.count_document(network_of(scope))
                if path_of(scope) != HEALTH:
                    # One request of an address at a time.
                    tenant = self._authenticator.rates.tenants.of(None, None, network_of(scope))
                    scope.setdefault("state", {})[TENANT] = tenant
                via, as_operator = "login", False
            else:
                principal = await self._prove(scope, headers)
                self._refuse_cross_site(scope, headers)
                via, as_operator = principal.via, principal.operator_rights is not None
        except (FairlaneError, Problem) as error:
            await problems.problem_of(error).response()(scope, receive, send)
            return
        scope.setdefault("state", {})[LOGIN_ATTEMPT] = (scope["method"], path_of(scope)) in _WITH_PASSWORD
        acting = acting_from(f"{via} from {address_of(scope)}", as_operator=as_operator)
        with acting, reading_within(self._read_timeout):
            await self._app(scope, receive, send)

    async def _prove(self, scope: Scope, headers: Headers) -> Principal:
        """Prove the principal, in the request's turn, and put what inner middleware needs into the request's state.

        Raises:
            Problem: there is no principal, or too many requests were sent.
        """
        address, tenants = network_of(scope), self._authenticator.rates.tenants
        credential = self._authenticator.count(headers, address)
        organization = _organization_in(path_of(scope))
        # The user is not known yet. All credentials that were never proved count as one user.
        user = credential if credential is not None and tenants.is_proved(credential) else ""
        async with self._queue.at(tenants.of(credential, organization, address), user):
            asked_at = time.monotonic()
            principal = await run_in_threadpool(self._authenticator.principal, headers, credential)
            if organization is not None and may_be_large(scope):
                await run_in_threadpool(self._authenticator.open, principal, credential, organization)
            tenant = tenants.of(credential, organization, address)  # more is known by now
        proof = {"principal": principal, "proved_at": asked_at, CREDENTIAL: credential}
        scope.setdefault("state", {}).update({**proof, TENANT: tenant})
        return principal

    def _refuse_cross_site(self, scope: Scope, headers: Headers) -> None:
        """Refuse another site's page that uses a cookie: browsers send cookies without the page asking for it."""
        by_cookie = "authorization" not in headers
        if not by_cookie or scope["method"] in _SAFE_METHODS:
            return
        if comes_from_elsewhere(headers, self._origins, scheme=scope["scheme"], must_say=True):
            raise _cross_site()


async def refuse_socket(receive: Receive, send: Send, reason: str) -> None:
    """Refuse a WebSocket: its handshake fails with status 403."""
    await receive()
    await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": reason})


def path_of(scope: Scope) -> str:
    """Return the path relative to the mounted application, without the line break that routes allow at its end."""
    path, root = str(scope["path"]).removesuffix("\n"), str(scope.get("root_path", ""))
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


def _organization_in(path: str) -> str | None:
    named = path.removeprefix(f"{ROOT}/organizations/")
    return named.partition("/")[0] if named != path else None


def address_of(scope: Mapping[str, Any]) -> str:
    """Return the address from which a request came."""
    client = scope.get("client")
    return str(client[0]) if client else "an unknown address"


def network_of(scope: Mapping[str, Any]) -> str:
    """Return the network under which a client without a proved credential is counted.

    It is the address, or the first 64 bits of an IPv6 address: a client of IPv6 may use any of the other bits.
    """
    address = address_of(scope)
    with suppress(ValueError):
        parsed = ip_address(address)
        if isinstance(parsed, IPv6Address):
            return str(parsed.ipv4_mapped or IPv6Network((int(parsed), 64), strict=False))
    return address


def session_of(headers: Headers) -> str | None:
    """Return the secret of a session from its cookie; None also for a value that Fairlane never sets."""
    pairs = (one.partition("=") for one in headers.get("cookie", "").split(";"))
    secrets = [value.strip() for name, _, value in pairs if name.strip() == COOKIE]
    return secrets[-1] if secrets and _SECRET.fullmatch(secrets[-1]) else None


def _with_session_alone(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Return the headers with no cookie but that of the session.

    FastAPI parses the cookies of every request. Python 3.11 and 3.12 may take quadratic time to unquote a cookie.
    """
    session = session_of(Headers(scope=scope))
    others = [(name, value) for name, value in scope["headers"] if name != b"cookie"]
    return [*others, (b"cookie", f"{COOKIE}={session}".encode())] if session else others


def _bearer_of(headers: Headers) -> str | None:
    """Return the credential of the header; None if the header has another scheme than Bearer, in any case."""
    scheme, _, secret = headers["authorization"].strip().partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def _cross_site() -> Problem:
    return Problem(403, "cross-site", "A page of another site sent this; only pages of this site may use a session.")


def comes_from_elsewhere(headers: Headers, allowed: Collection[str], *, scheme: str, must_say: bool) -> bool:
    """Return True if another site's page sent the request, with the cookies of that page's reader (CSRF).

    Browsers say so: by `Origin` on everything but plain GET, and by `Sec-Fetch-Site` on all requests. So forms need
    no token.

    Args:
        allowed: origins that are allowed.
        scheme: the scheme of the request.
        must_say: True if a request without these headers counts as another site's; every current browser sends one.
    """
    origin = headers.get("origin")
    if origin is not None:
        return origin not in allowed and not _is_at(origin, headers.get("host"), scheme)
    site = headers.get("sec-fetch-site")
    return must_say if site is None else site not in _OWN


def _is_at(origin: str, host: str | None, scheme: str) -> bool:
    try:
        of_page = urlsplit(origin)
    except ValueError:
        return False
    # Anybody on the network may change a page without TLS. The reverse is allowed: a proxy may not say that it has TLS.
    is_downgraded = scheme in {"https", "wss"} and of_page.scheme != "https"
    return bool(host) and of_page.netloc.lower() == (host or "").lower() and not is_downgraded
