"""`fairlane serve`: the dashboard and the REST API over HTTP."""

import shlex
import signal
import socket
from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import quote

import typer

from fairlane import ConfigurationError, Fairlane, WebSettings
from fairlane.cli.output import remark
from fairlane.cli.session import engine
from fairlane.domain.permissions import Right
from fairlane.engine.heap import frozen_heap
from fairlane.store import schema

_OPERATOR: Final = "operator"
_LOCAL: Final = "localhost"


def serve(
    context: typer.Context,
    host: Annotated[
        str, typer.Option(metavar="HOST", envvar="FAIRLANE_HOST", help="The address to listen at.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", envvar="FAIRLANE_PORT", help="0: any free port.")
    ] = 8000,
) -> None:
    """Serve the dashboard and the REST API until SIGTERM or Ctrl-C.

    As long as nobody can log in (no password, no API token, no identity provider) the server listens on this machine
    only, and prints a link that logs an operator in, once.

    \b
    Examples:
        fairlane serve --url sqlite:///jobs.db
        fairlane serve --app myproject.jobs:fl --host 0.0.0.0 --port 80
    """
    try:
        import uvicorn

        from fairlane.api import create_app, dashboard
        from fairlane.cli.server import ApiServer
        from fairlane.realtime.sockets import LARGEST
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"`fairlane serve` needs {error.name}: pip install 'fairlane[web]'.") from None
    fl = engine(context)
    schema.check(fl.database)
    settings = WebSettings()
    app = create_app(fl, settings, dashboard=True)
    is_closed = not _can_log_in(fl, settings)
    if is_closed and not _is_loopback(host):
        raise ConfigurationError(
            f"Nobody could log in from outside, so {host} is not served: create an API token "
            "(`fairlane tokens create`), a user with a password (`fairlane users create USER --password`), or name "
            "an identity provider (FAIRLANE_JWT_ISSUER). Without them leave out --host."
        )
    listening = listen(host, port)
    site = f"http://{_shown(host)}:{listening.getsockname()[1]}"
    if is_closed:
        _print_link(fl, f"{site}/api/v1")
    _say_what_is_served(site, without=None if dashboard.is_built() else dashboard.ABSENT)
    if dashboard.is_built() and not (is_closed or settings.takes_jwt or _has_passwords(fl)):
        remark("Nobody has a password for the dashboard yet: fairlane users create USER --password")
    # Uvicorn's access log would hold every path, with links and ids; the audit says who did what.
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        lifespan="off",
        server_header=False,
        limit_concurrency=settings.connection_limit,
        # Messages are short; a compressor for each of a thousand sockets would be most of their memory.
        ws_per_message_deflate=False,
        # Else 16 MB of a message would be read before Socket.IO sees that it is too long.
        ws_max_size=LARGEST,
    )
    # Uvicorn raises the signal that stopped it again; a stop must not be an error.
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: None)
    with frozen_heap():
        ApiServer(config, app).run([listening])


def _can_log_in(fl: Fairlane, settings: WebSettings) -> bool:
    return settings.takes_jwt or not fl.tokens.is_empty() or _has_passwords(fl)


def _has_passwords(fl: Fairlane) -> bool:
    return any(one.has_password for one in fl.users.list())


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, so that the link works as soon as it is printed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(
            f"Can't listen at {host}, port {port} ({error}); name others by --host and --port."
        ) from None


def link_to(fl: Fairlane, user: str, address: str) -> str:
    """Make a link that logs a user in, once; in a browser it leads to the dashboard."""
    return f"{address}/login?link={quote(fl.users.link(user))}"


def _print_link(fl: Fairlane, address: str) -> None:
    operators = [one.id for one in fl.users.list() if one.is_operator and one.disabled_at is None]
    user = operators[0] if operators else fl.users.create(_OPERATOR, operator=True).id
    remark(
        "Nobody can log in yet, so only this machine is served. This link logs an operator in, once, for 10 minutes:"
    )
    print(link_to(fl, user, address), flush=True)
    if Right.PAYLOAD_READ not in fl.users.get(user).rights:
        remark(
            "It shows no parameters, errors or results, as they are tenants'. To see them: "
            f"fairlane users update {shlex.quote(user)} --right {Right.PAYLOAD_READ}"
        )


def _say_what_is_served(site: str, *, without: str | None) -> None:
    served = f"the dashboard at {site}/ and the REST API" if without is None else "the REST API"
    remark(f"Serving {served}; {site}/api/v1/openapi.json describes it.")
    if without is not None:
        remark(without)


def _is_loopback(host: str) -> bool:
    try:
        return host == _LOCAL or ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
