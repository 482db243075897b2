"""An application with two organizations, its worker, and its dashboard, served on a free port of this machine."""

import threading
import time
from typing import Final, Self

from starlette.types import ASGIApp, Receive, Scope, Send

from examples.demo.worker import BackgroundWorker
from fairlane import Directory, Fairlane, JobContext, Settings, WebSettings
from fairlane.api import create_app
from tests.api.served import PASSWORD, QUICK, Server
from tests.engine.worker_kit import until

HOSTILE: Final = (
    '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>{{7*7}}\u202ereversed'
)
MEMBERS: Final = {"acme": {"ana": "admin", "ben": "member", "vic": "viewer"}, "globex": {"gil": "admin"}}
OPERATOR: Final = "olga"


class Gate:
    """A gate for running handlers; a test opens it page by page."""

    def __init__(self) -> None:
        self.pages = 0
        self.wrote = threading.Event()


class Site:
    """Acme's admin is ana, its member ben, its viewer vic; Globex's admin is gil; olga is the operator.

    A `directory` of the application itself has to say the same.
    """

    def __init__(self, url: str, directory: Directory | None = None) -> None:
        settings = Settings(url=url, artifacts_url="memory:///", progress_interval=0.05)
        self.fl = Fairlane(settings, directory=directory)
        self.gate = Gate()
        _register(self.fl, self.gate)
        _register_deaf(self.fl, self.gate)
        self.fl.migrate()
        for organization, members in MEMBERS.items():
            if directory is None:
                self.fl.organizations.create(organization, name=organization.title(), max_live_jobs=500)
            for user, role in members.items():
                if directory is None:
                    self.fl.members.add(organization, user, role=role)
                self.fl.users.create(user)
        self.fl.users.create(OPERATOR, operator=True)
        self._server = self._serve()
        self.url = self._server.url
        self._worker = BackgroundWorker(self.fl)

    def __enter__(self) -> Self:
        self._worker.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.pages = 1_000_000
        self._worker.__exit__(RuntimeError, None, None)
        self._server.stop()
        self.fl.close()

    def session(self, user: str) -> str:
        """The cookie of a session of theirs."""
        return self.fl.users.redeem(self.fl.users.link(user))

    def with_password(self, user: str) -> str:
        """Their password."""
        self.fl.users.update(user, password=PASSWORD)
        return PASSWORD

    def submit(
        self, job_type: str = "report.render", organization: str = "acme", user: str = "ana", **more: object
    ) -> str:
        """A job's id."""
        return str(self.fl.submit(job_type, organization=organization, user=user, **more).id)  # type: ignore[arg-type]

    def done(self, job: str, organization: str = "acme") -> str:
        """Wait until it has ended."""
        self.fl.wait(job, organization=organization, timeout=60)
        return job

    def retrying(self) -> str:
        """A job that has failed and waits for its retry."""
        job = self.submit("report.fail", max_retries=5)
        until(lambda: self.fl.get(job, organization="acme").next_retry_at)
        return job

    def stop(self) -> None:
        """Stop serving; the worker goes on."""
        self._server.stop()

    def stop_worker(self) -> None:
        """Stop the worker for good."""
        self._worker.__exit__(RuntimeError, None, None)

    def start_again(self, *, websockets: bool = True, **rates: int) -> None:
        """Serve again at the same address; without websockets, as behind a proxy that does not pass them on."""
        self._server = self._serve(int(self.url.rpartition(":")[2]), websockets=websockets, **rates)

    def _serve(self, port: int = 0, *, websockets: bool = True, **rates: int) -> Server:
        self.app = create_app(self.fl, WebSettings.model_validate({**QUICK, **rates}), dashboard=True)
        if not websockets:
            self.app.add_middleware(_WithoutWebsockets)
        return Server(self.app, port)


class _WithoutWebsockets:
    """ASGI: refuses them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await self._app(scope, receive, send)


def _register(fl: Fairlane, gate: Gate) -> None:
    @fl.job_type("report.render", isolation="async", dedup_window=0)
    async def render(ctx: JobContext, pages: int = 10, title: str = "Monthly report") -> dict[str, object]:
        for page in range(1, pages + 1):
            while page > gate.pages:
                await ctx.sleep(0.02)
            ctx.log(f"page {page} of {title}")
            ctx.progress(100 * page // pages, f"page {page} of {pages}")
        ctx.artifact("report.txt", title.encode())
        return {"pages": pages, "title": title}

    @fl.job_type("report.count", isolation="thread", dedup_window=0)
    def count(ctx: JobContext, rows: int) -> None:
        for row in range(1, rows + 1):
            ctx.progress(100 * row / rows, f"row {row} of {rows}")
        while not gate.pages:
            ctx.sleep(0.02)

    @fl.job_type("report.fail", isolation="thread", dedup_window=0, max_retries=0)
    def fail(ctx: JobContext, text: str = "the archive is broken") -> None:
        ctx.log(text)
        try:
            raise KeyError(text)
        except KeyError as error:
            raise ValueError(text) from error

    @fl.job_type("nobody.runs", dedup_window=0, queue="parked", isolation="async")
    async def parked(ctx: JobContext) -> None:
        """Waits in a queue that is paused."""


def _register_deaf(fl: Fairlane, gate: Gate) -> None:
    @fl.job_type("report.stay", isolation="thread", dedup_window=0)
    def stay(ctx: JobContext) -> None:
        ctx.progress(40)
        while gate.pages < 1_000:  # and does not listen
            time.sleep(0.02)
