"""The ASGI application: its middleware, from the outside in, and its routes."""

from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.middleware import Middleware
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from fairlane.accounts.passwords import AT_ONCE
from fairlane.api import openapi, problems
from fairlane.api.authentication import DOCUMENT, Authentication, Authenticator
from fairlane.api.bodies import BodyGuard
from fairlane.api.dashboard import Dashboard
from fairlane.api.headers import Outermost
from fairlane.api.identity_provider import Fetch, IdentityProvider, fetch
from fairlane.api.json_text import MOST_VALUES
from fairlane.api.pulse import Pulse
from fairlane.api.rates import Rates
from fairlane.api.resources import (
    audit,
    bulk_actions,
    dead_letters,
    events,
    health,
    jobs,
    maintenance,
    members,
    operator_engine,
    operator_organizations,
    operator_users,
    organizations,
    outcomes,
    overviews,
    schedules,
    sessions,
    tokens,
)
from fairlane.api.scope import Web
from fairlane.api.sockets import SocketDoor
from fairlane.api.tenant_queue import QueuedRequests, TenantQueue
from fairlane.api.watching import Door, live_of
from fairlane.app import Fairlane
from fairlane.config import WebSettings
from fairlane.realtime.sockets import Sockets

# All applications share one router. If each included the resources itself, each would inspect more than a hundred
# signatures at its first request.
_RESOURCES: Final = APIRouter()
_ROUTES: Final[list[BaseRoute]] = []
for _resource in (
    *(health, sessions, jobs, outcomes, overviews, bulk_actions, dead_letters),
    *(organizations, members, schedules, tokens, audit, events),
    *(maintenance, operator_organizations, operator_engine, operator_users),
):
    _RESOURCES.include_router(_resource.router)
    _ROUTES.extend(_resource.router.routes)
_HEADERS: Final = ("Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Last-Event-ID", "Range")
_EXPOSED: Final = ("ETag", "Retry-After", "Location", "Idempotent-Replayed", "Content-Disposition", "Content-Range")


def create_app(
    fl: Fairlane, settings: WebSettings | None = None, *, dashboard: bool = False, fetch: Fetch = fetch
) -> FastAPI:
    """Make the REST API of `fl`, an ASGI application: serve it, or mount it in another application.

    This starts nothing and closes nothing: `fl` stays the caller's.

    Args:
        settings: None = from FAIRLANE_… in the environment.
        dashboard: serve the dashboard at all paths outside of /api, too.
        fetch: fetches the identity provider's keys; tests replace it.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    settings = settings or WebSettings()
    rates, live = Rates(settings), live_of(fl, settings.read_timeout)
    web = Web(fl, settings, rates, live, Door(fl, rates), Pulse(fl), has_dashboard=dashboard)
    app = FastAPI(
        title="Fairlane",
        version=version("fairlane"),
        description="Background jobs of many organizations: submit, watch, cancel and retry them.",
        openapi_url=None,  # FastAPI's own route would write 250 kB of JSON anew for each request
        # These pages load scripts from other sites. They show only the document.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        routes=_RESOURCES.routes,
        middleware=_layers(web, fetch),
    )
    app.add_route(DOCUMENT, openapi.route_of(app), include_in_schema=False)
    app.state.web, app.state.routes = web, [*_ROUTES, *app.routes]
    problems.add_problem_handlers(app)
    app.add_exception_handler(RequestValidationError, problems.on_invalid)
    app.add_exception_handler(HTTPException, problems.on_http)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    return app


def _layers(web: Web, fetch: Fetch) -> list[Middleware]:
    """Return the middleware, from the outside in."""
    settings = web.settings
    provider = IdentityProvider(settings, fetch) if settings.takes_jwt else None
    sockets = Sockets(web.live, web.door)
    layers = [Middleware(Outermost)]
    if web.has_dashboard:
        layers.append(Middleware(Dashboard))
    layers.append(Middleware(SocketDoor, sockets, web.door, settings.web_origins))
    if settings.web_origins:
        layers.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.web_origins,
                allow_credentials=True,
                allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
                allow_headers=_HEADERS,
                expose_headers=_EXPOSED,
            )
        )
    queue = TenantQueue(settings.requests_at_once)
    passwords = TenantQueue(AT_ONCE)
    authenticator = Authenticator(web.fl, provider, web.rates, settings.jwt_operators)
    return [
        *layers,
        Middleware(Authentication, authenticator, queue, settings),
        Middleware(BodyGuard, settings.body_limit, max(MOST_VALUES, web.fl.settings.payload_limit)),
        Middleware(QueuedRequests, queue, passwords),
    ]
