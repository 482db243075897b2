"""Every route that changes something leaves an entry in the audit: who did it, and from where."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from fairlane.domain.breaker import Breaker
from fairlane.engine.system.bulk_steps import BulkSteps
from fairlane.store.statements import breakers
from fairlane.store.tables import AnyRow, audit
from tests.api import matrix as m
from tests.api.matrix import MATRIX, Across, Within
from tests.api.routes import Route, body_of, for_operator, routes
from tests.api.served import OPERATOR, PASSWORD, Api
from tests.api.test_matrix import World

UNAUDITED = {
    "submitJob": "the execution log has who submitted it, and when",
    "submitJobs": "as submitJob",
    "countForBulkAction": "changes nothing",
    "createSocketTicket": "opens what its credential opens, for a minute",
    "logOut": "ends one's own session",
}
# Changes beside those by another method than GET.
CHANGES = {"openLink"}
NOW = datetime.now(UTC)
BY = {m.MEMBER: "member", m.ADMIN: "admin", m.OPERATOR: OPERATOR}


# What the database is makes no difference to it.
@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_whatever_a_request_changes_stands_in_the_audit(api: Api, monkeypatch: pytest.MonkeyPatch):
    world = World(api.with_password(), dead=10)
    # A bulk action that goes on, so that it can be stopped.
    monkeypatch.setattr(BulkSteps, "step", lambda *_: None)
    silent: set[str] = set()
    # One of them leaves no dead letters.
    for route in sorted(routes(api), key=lambda one: one.name == "retryDeadLetterGroup"):
        if route.method == "GET" and route.name not in CHANGES:
            continue
        actor, send = request(world, route)
        before = entries(api)
        answer = send()
        assert answer.is_success, f"{route.name}: {answer.text}"
        new = [one for one in entries(api) if one not in before]
        if not new:
            silent.add(route.name)
        assert {one.actor for one in new} <= {actor}, route.name
        assert all(one.origin.endswith(" from 127.0.0.1") for one in new), route.name
    assert silent == UNAUDITED.keys()


def entries(api: Api) -> list[AnyRow]:
    with api.fl.database.engine.connect() as connection:
        return list(connection.execute(select(audit)))


def request(world: World, route: Route) -> tuple[str, Callable[[], httpx.Response]]:
    """A request that changes something, and who sends it; what it needs is made at once."""
    row = MATRIX[route.name]
    if not isinstance(row, Within | Across):
        return request_of_login(world, route)
    if isinstance(row, Across):
        principal, values = m.OPERATOR, {one: for_operator(world.api, route, one) for one in route.parameters}
    else:
        principal = next(one for one in (m.MEMBER, m.ADMIN) if getattr(row, one) < 300)
        values = {one: world.fresh(one, "acme", row) for one in route.parameters if one != "organization"}
        values["organization"] = "acme"
    body = prepare(world, route, values, body_of(row, route))
    return BY[principal], lambda: world.send(principal, route, values, body)


def prepare(world: World, route: Route, values: dict[str, str], body: Any) -> Any:
    """Make what the request changes; returns its body."""
    fl, names = world.api.fl, values.values()
    match route.name:
        case "retryDeadLetters" | "resolveDeadLetters" | "deleteDeadLetters":
            return {**body, "ids": [world.dead["acme"].pop()]}
        case "retryDeadLetterGroup":
            values["fingerprint"] = fl.dead_letters.list(organization="acme").items[0].fingerprint
        case "resumeSchedule":
            fl.schedules.pause(values["schedule"], organization="acme")
        case "resumeOrganization":
            fl.organizations.pause(*names)
        case "resumeQueue":
            fl.queues.pause(*names)
        case "resumeJobType":
            fl.job_types.pause(*names)
        case "turnMaintenanceOff":
            fl.maintenance.on()
        case "resetLimit":
            fl.job_types.limit(*names, max_running=1)
        case "closeBreaker":
            breaker = Breaker(values["organization"], values["job_type"], NOW, NOW + timedelta(days=1))
            fl.database.write(partial(breakers.open_one, breaker=breaker), of=breaker.organization)
    return body


def request_of_login(world: World, route: Route) -> tuple[str, Callable[[], httpx.Response]]:
    """The same of a route that is no organization's and no operator's."""
    client, path, link = world.clients[m.ANONYMOUS], route.path.removeprefix("/api/v1"), world.api.fl.users.link
    body: Any = None
    match route.name:
        case "logIn":
            body = {"user": OPERATOR, "password": PASSWORD}
        case "redeemLink":
            body = {"secret": link(OPERATOR)}
        case "openLink":
            path = f"{path}?link={link(OPERATOR)}"
        case "changeMyPassword":
            client = world.api.client()
            client.headers["Origin"] = world.api.url
            client.post("/sessions", json={"user": OPERATOR, "password": PASSWORD})
            body = {"current": PASSWORD, "new": PASSWORD}
        case _:
            client = world.clients[m.OPERATOR]
    return OPERATOR, lambda: client.request(route.method, path, json=body)
