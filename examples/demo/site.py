"""The dashboard and the REST API, served while the demo runs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from fairlane import ConfigurationError, Fairlane

_HOST: Final = "127.0.0.1"
_OPERATOR: Final = "operator"
# It takes ten seconds.
_JOB: Final = """-H "Content-Type: application/json" -d '{"job_type": "archive.scan", "parameters": {"blocks": 100}}'"""


@dataclass(frozen=True, slots=True)
class Site:
    """The addresses at which the demo is served.

    Args:
        address: of the REST API.
        has_dashboard: whether the dashboard is built.
    """

    fl: Fairlane
    address: str
    has_dashboard: bool

    def invitation(self) -> str:
        """Say where to watch, or why there is nothing to be seen in a browser."""
        from fairlane.api.dashboard import ABSENT

        if not self.has_dashboard:
            return ABSENT
        return f"Watch them in a browser; this link logs you in, once: {self.new_link()}"

    def new_link(self) -> str:
        """Make a link to the dashboard, which logs an operator in, once."""
        from fairlane.cli.serve import link_to

        return link_to(self.fl, _OPERATOR, self.address)

    def commands(self, organization: str, user: str) -> tuple[str, str]:
        """Return what submits a job as a member, and what watches the jobs of the organization, ready to be typed."""
        _, secret = self.fl.tokens.create(organization=organization, as_user=user, name="demo")
        proof, place = f'-H "Authorization: Bearer {secret}"', f"{self.address}/organizations/{organization}"
        return (
            rf'curl -w "\n" {proof} {_JOB} {place}/jobs',
            f"curl -N {proof} {place}/events",
        )


@contextmanager
def site_of(fl: Fairlane, *, wanted: bool, port: int = 0) -> Iterator[Site | None]:
    """Serve it on this machine, on a free port unless one is named.

    None where it can't be served: the extra `web` is not installed; or, unless it is `wanted`, the dashboard is not
    built.

    Raises:
        ConfigurationError: the extra is not installed, and it is `wanted`.
    """
    try:
        import uvicorn

        from fairlane.api import create_app
        from fairlane.api.dashboard import is_built
        from fairlane.cli.serve import listen
    except ModuleNotFoundError as error:
        if wanted:
            raise ConfigurationError(
                f"The dashboard needs {error.name}; run `make demo ARGS=--serve`, which installs it."
            ) from None
        yield None
        return
    if not wanted and not is_built():
        yield None
        return
    # Nobody else can come in, and it is their own data: they may see what is in the jobs, too.
    fl.users.create(_OPERATOR, operator=True, rights=["payload:read"])
    listening = listen(_HOST, port)
    config = uvicorn.Config(
        create_app(fl, dashboard=True), lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), name="fairlane-dashboard")
    thread.start()
    try:
        yield Site(fl, f"http://{_HOST}:{listening.getsockname()[1]}/api/v1", is_built())
    finally:
        server.should_exit = True
        thread.join()
