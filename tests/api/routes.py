"""The routes of the OpenAPI document, and what to put into their paths and bodies."""

import re
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import update

from fairlane.store.statements import workers
from fairlane.store.statements.workers import WorkerCard
from fairlane.store.tables import dead_letters
from tests.api.served import OPERATOR, Api

NUMBER = count()


class Route(NamedTuple):
    """A route of the document."""

    name: str
    method: str
    path: str

    @property
    def parameters(self) -> list[str]:
        """Return the names of the path's parameters."""
        return re.findall(r"{(\w+)}", self.path)


def routes(api: Api) -> list[Route]:
    document = api.client().get("/openapi.json").json()
    return [
        Route(operation["operationId"], method.upper(), path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def nobodys(parameter: str) -> str:
    """Return the id of an object that does not exist; for a file's name, its job does not exist."""
    if parameter == "name":
        return "report.txt"
    return str(uuid4()) if parameter in {"job", "token", "worker", "bulk_action"} else f"nobody-{next(NUMBER)}"


def body_of(row: Any, route: Route) -> Any:
    if route.name in {"createOrganization", "createUser"}:
        return {"id": f"x-{next(NUMBER)}"}
    return row.body if hasattr(row, "body") else None


def for_operator(api: Api, route: Route, parameter: str) -> str:
    """Something of which an operator may dispose: of each request its own, as the one before may have changed it."""
    fl, name = api.fl, f"x-{next(NUMBER)}"
    make: dict[str, Callable[[], str]] = {
        "organization": lambda: fl.organizations.create(name).id,
        "user": lambda: fl.users.create(name).id,
        "token": lambda: str(fl.tokens.create(organization=None, as_user=OPERATOR, name=name)[0].id),
        "worker": lambda: str(worker(api)),
        "job_type": lambda: job_type(api, name) if route.name == "deleteJobType" else "report",
        "queue": lambda: "default",
    }
    return make[parameter]()


def worker(api: Api) -> UUID:
    """A worker that does nothing but live."""
    card = WorkerCard(uuid4(), "test", None, ("report",), 1)
    database = api.fl.database
    database.write(lambda connection: workers.register(connection, database.clock, card, 60.0))
    return card.id


def job_type(api: Api, name: str) -> str:
    """A type that no job is of."""
    api.fl.job_type(name)(lambda ctx: None)
    api.fl.migrate()
    return name


def a_group(api: Api, organization: str, job: str) -> str:
    """The fingerprint of an error that this dead letter alone has."""
    fingerprint = f"OddError {next(NUMBER)}"
    mine = (dead_letters.c.organization_id == organization) & (dead_letters.c.job_id == UUID(job))
    with api.fl.database.engine.begin() as connection:
        connection.execute(update(dead_letters).where(mine).values(fingerprint=fingerprint))
    return fingerprint
