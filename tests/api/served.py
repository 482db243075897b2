"""The API of one database, served over real HTTP by uvicorn on a thread of this process."""

import socket
import ssl
from collections.abc import Mapping
from functools import partial
from threading import Thread
from typing import Any, Self

import httpx
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Connection
from starlette.applications import Starlette

from fairlane import Directory, Fairlane, JobContext, Settings, WebSettings
from fairlane.api import create_app
from fairlane.cli.server import ApiServer
from fairlane.domain.statuses import Role
from fairlane.store.statements.organizations import set_member
from tests.patience import PATIENCE

PASSWORD = "correct horse battery"
SECRET = "canary-4711"
OPERATOR = "olga"
# Nothing here is encrypted; a context of its own would have each client read all certificates of the machine.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Server:
    """Uvicorn on a port of this machine, a free one unless it is named; `url` is where."""

    def __init__(self, app: Starlette, port: int = 0) -> None:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        # Without a log of its own, as `fairlane serve` has it.
        config = uvicorn.Config(app, access_log=False, lifespan="off", log_config=None, timeout_graceful_shutdown=2)
        self._server = ApiServer(config, app) if isinstance(app, FastAPI) else uvicorn.Server(config)
        self._thread = Thread(target=self._server.run, args=([listening],), daemon=True)
        # The kernel takes connections from here on, so nobody has to wait until the server has come up.
        listening.listen()
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


class Api:
    """An application with two organizations, acme and other, and its API.

    In each there are a viewer, a member, a colleague (a member, too) and an admin, by these names; olga is an operator.
    With a `directory` it says who there is, and nobody else but olga.
    """

    def __init__(
        self, url: str, settings: Mapping[str, Any] | None = None, directory: Directory | None = None, **options: Any
    ) -> None:
        self.fl = Fairlane(Settings(url=url, artifacts_url="memory:///"), directory=directory)
        self.settings = WebSettings(**{**QUICK, **(settings or {})})
        self.fl.job_type("report", max_retries=0, dedup_window=0)(report)
        self.fl.job_type("failing", max_retries=0, dedup_window=0)(failing)
        self.fl.job_type("unique", max_retries=0)(report)
        self.fl.job_type("notes", max_retries=0, dedup_window=0)(notes)
        self.fl._submitter.register_types()  # as `migrate` does, which would look at a schema that is there
        if directory is None:
            self._settle()
        self.fl.users.create(OPERATOR, operator=True)
        self.app = create_app(self.fl, self.settings, **options)
        self.server = Server(self.app)
        self.url = self.server.url
        self._clients: list[httpx.Client] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()
        self.server.stop()
        self.fl.close()

    def _settle(self) -> None:
        for organization in ("acme", "other"):
            self.fl.organizations.create(organization)
            self.fl.database.write(partial(self._add_members, organization), of=organization)

    def _add_members(self, organization: str, connection: Connection) -> None:
        """Add all members in one transaction: eight transactions were a tenth of what most tests take."""
        now = self.fl.database.clock.now(connection)
        for user, role in ROLES.items():
            set_member(connection, now, organization, self.name(user, organization), Role(role), [])

    @staticmethod
    def name(user: str, organization: str) -> str:
        """Users of acme are called as what they are."""
        return user if organization == "acme" else f"{organization}-{user}"

    def client(self, secret: str | None = None, **options: Any) -> httpx.Client:
        """A client with a bearer credential, or without any."""
        headers = {"Authorization": f"Bearer {secret}"} if secret is not None else {}
        made = httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=PATIENCE, verify=NO_TLS, **options)
        self._clients.append(made)
        return made

    def connect(self) -> socket.socket:
        """Open a connection of one's own, to say what no client says."""
        url = httpx.URL(self.url)
        return socket.create_connection((url.host, url.port or 0), timeout=20)

    def token(self, user: str, organization: str | None = "acme", **options: Any) -> str:
        """The secret of a new token."""
        return self.fl.tokens.create(organization=organization, as_user=user, name="test", **options)[1]

    def with_password(self, user: str = OPERATOR) -> Self:
        """The same, where a user may log in with `PASSWORD`; hashing it takes a while, so not all tests have it."""
        self.fl.users.update(user, password=PASSWORD)
        return self

    def as_(self, user: str, organization: str | None = "acme", **options: Any) -> httpx.Client:
        """A client with a token of theirs."""
        return self.client(self.token(user, organization, **options))

    def operator(self, **options: Any) -> httpx.Client:
        """A client with a token of the operator, who has no right to payloads."""
        return self.as_(OPERATOR, None, **options)

    def run(self) -> None:
        """Let a worker run all that is ready."""
        self.fl.worker().drain()


# So many requests a minute that no test meets a limit that it isn't about.
QUICK = {f"rate_{name}": 1_000_000 for name in ("submit", "status", "list", "cancel", "metrics", "login", "unproved")}
ROLES = {"viewer": "viewer", "member": "member", "colleague": "member", "admin": "admin"}


def report(ctx: JobContext, month: str = "2026-11", page: int = 1) -> dict[str, str]:
    line = f"working on {month}"
    ctx.log.info(line)
    ctx.artifact("report.txt", f"report of {month}".encode())
    return {"month": month}


def failing(ctx: JobContext, text: str = SECRET) -> None:
    raise ValueError(text)


def notes(ctx: JobContext, month: Any = None) -> None: ...
