"""Every route of the OpenAPI document, by every kind of principal, with what is theirs, another's and nobody's."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from fairlane.store.statements.transition import SYSTEM
from tests.api import alike
from tests.api import matrix as m
from tests.api.matrix import MATRIX, Across, Open, Proved, Within
from tests.api.routes import NUMBER, Route, a_group, body_of, for_operator, nobodys, routes
from tests.api.served import Api

OWN, FOREIGN, UNKNOWN = "own", "foreign", "unknown"
# So many of each organization's dead letters are used up.
DEAD = 50


class World:
    """The principals and the objects of the matrix: fresh for each request, as the one before may have changed them."""

    def __init__(self, api: Api, dead: int = DEAD) -> None:
        self.api = api
        fl = api.fl
        fl.organizations.create("frozen")
        fl.members.add("frozen", "frozen-member")
        self.dead: dict[str, list[str]] = {}
        self.done: dict[str, str] = {}
        for organization in ("acme", "other", "frozen"):
            self.dead[organization] = [self.submit(organization, "failing") for _ in range(dead)]
            self.done[organization] = self.submit(organization, "report")
        api.run()
        self.foreign_job = {"queued": self.submit("other", "report"), "dead": self.dead["other"][0]}
        self.foreign_job["done"] = self.done["other"]
        self.foreign_token = self.token("other")
        self.foreign_group = a_group(api, "other", self.dead["other"][1])
        self.frozen_schedule = self.schedule("frozen")
        # Waits for ever, so that the suspended organization has something to cancel.
        self.queued = [self.submit("frozen", "report") for _ in range(9)]
        revoked, secret = fl.tokens.create(organization="acme", as_user="member", name="revoked")
        frozen = api.as_("frozen-member", "frozen")
        fl.tokens.revoke(revoked.id, organization="acme")
        fl.organizations.suspend("frozen")
        self.clients = {
            m.ANONYMOUS: api.client(),
            m.REVOKED: api.client(secret),
            m.STRANGER: api.as_("other-member", "other"),
            m.VIEWER: api.as_("viewer"),
            m.MEMBER: api.as_("member"),
            m.ADMIN: api.as_("admin"),
            m.SUSPENDED: frozen,
            m.OPERATOR: api.operator(),
        }

    def submit(self, organization: str, job_type: str) -> str:
        return str(self.api.fl.submit(job_type, organization=organization, user=self.member(organization)).id)

    def member(self, organization: str) -> str:
        return "member" if organization == "acme" else f"{organization}-member"

    def token(self, organization: str) -> str:
        return str(
            self.api.fl.tokens.create(organization=organization, as_user=self.member(organization), name="test")[0].id
        )

    def schedule(self, organization: str) -> str:
        """Create a schedule that has no tick during the test."""
        name = f"schedule-{next(NUMBER)}"
        self.api.fl.schedules.put(
            name, "report", organization=organization, every=86_400, as_user=self.member(organization)
        )
        return name

    def bulk_action(self, organization: str) -> str:
        """Start a bulk action that changes nothing."""
        filters = {"queue": "nothing"}
        return str(
            self.api.fl.bulk.start("retry", filters, organization=organization, user=self.member(organization)).id
        )

    def job(self, organization: str, state: str) -> str:
        if state == "done":
            return self.done[organization]
        if state == "dead":
            return self.dead[organization].pop()
        return self.queued.pop() if organization == "frozen" else self.submit(organization, "report")

    def fresh(self, parameter: str, organization: str, row: Within) -> str:
        """Something of the organization's own."""
        if parameter == "user":
            user = f"user-{next(NUMBER)}"
            self.api.fl.members.add(organization, user)
            return user
        make: dict[str, Callable[[], str]] = {
            "job": lambda: self.job(organization, row.job),
            "token": lambda: self.token(organization),
            "name": lambda: "report.txt",
            "schedule": lambda: self.frozen_schedule if organization == "frozen" else self.schedule(organization),
            "fingerprint": lambda: a_group(self.api, organization, self.dead[organization].pop()),
            "bulk_action": lambda: self.bulk_action(organization),
        }
        return make[parameter]()

    def others(self, parameter: str, row: Within) -> str:
        """The same of the other organization."""
        if parameter in {"user", "schedule", "bulk_action"}:  # who may puts one of the same name beside it
            return self.fresh(parameter, "other", row)
        found = {"job": self.foreign_job[row.job], "token": self.foreign_token, "fingerprint": self.foreign_group}
        return found.get(parameter, "report.txt")

    def send(self, principal: str, route: Route, values: dict[str, str], body: Any) -> httpx.Response:
        path = route.path.removeprefix("/api/v1").format(**values)
        client = self.clients[principal]
        if not route.name.startswith("watch"):
            return client.request(route.method, path, json=body)
        with client.stream(route.method, path) as answer:
            if answer.is_success:  # goes on for ever
                return httpx.Response(answer.status_code)
            answer.read()
            return answer


def wrong_within(world: World, route: Route, row: Within) -> Iterator[str]:
    """Yield each answer of a route within an organization that differs from its row."""
    objects = [one for one in route.parameters if one not in {"organization", "name"}]
    body = body_of(row, route)
    for principal in m.PRINCIPALS:
        own = "frozen" if principal == m.SUSPENDED else "acme"
        status = {m.ANONYMOUS: 401, m.REVOKED: 401, m.STRANGER: 404}.get(principal) or getattr(row, principal)

        def send(organization: str, chosen: Callable[[str], str], by: str = principal) -> httpx.Response:
            return world.send(by, route, {**values_of(route, chosen), "organization": organization}, body)

        def told(what: str, answer: httpx.Response, expected: int, by: str = principal) -> Iterator[str]:
            if answer.status_code != expected:
                yield f"{route.name} by {by}, {what}: {answer.status_code}, not {expected}: {answer.text[:200]}"

        yield from told(OWN, send(own, partial(world.fresh, organization=own, row=row)), status)
        # Another organization: nobody sees it but its members and operators; the stranger is one of its members.
        foreign = send("acme" if principal == m.STRANGER else "other", lambda one: world.others(one, row))
        nowhere = send("nowhere", lambda one: world.others(one, row))
        missing = 401 if status == 401 else 404
        yield from told("nobody's organization", nowhere, missing)
        if principal != m.OPERATOR:
            yield from told("another's organization", foreign, missing)
            if alike.told(foreign) != alike.told(nowhere):
                yield f"{route.name} by {principal}: an organization of others differs from one of nobody"
        if objects and principal not in {m.ANONYMOUS, m.REVOKED, m.STRANGER}:
            expected = missing_object(principal, route, row)
            chosen = {FOREIGN: values_of(route, lambda one: world.others(one, row)), UNKNOWN: values_of(route, nobodys)}
            answers = {what: send(own, values.__getitem__) for what, values in chosen.items()}
            for what, answer in answers.items():
                yield from told(what, answer, expected)
            # Only what was made, such as a schedule of that name, repeats what was asked for.
            theirs, none = (
                alike.told(one, *chosen[what].values() if one.is_success else ()) for what, one in answers.items()
            )
            if theirs != none:
                yield f"{route.name} by {principal}: an id of others differs from one of nobody: {theirs}, {none}"


def values_of(route: Route, chosen: Callable[[str], str]) -> dict[str, str]:
    """Return a value for each parameter of the path."""
    return {one: chosen(one) for one in route.parameters if one != "organization"}


def missing_object(principal: str, route: Route, row: Within) -> int:
    """The status for an object that the organization does not have."""
    # That a file is payload is known when its job is found.
    if route.name == "getArtifact":
        return row.unknown
    # Whoever lacks the right, or whose results are locked, is told so before anything is looked for.
    status: int = getattr(row, principal)
    return status if status in {403, 409} else row.unknown


def wrong_across(world: World, route: Route, row: Across) -> Iterator[str]:
    for principal in m.PRINCIPALS:
        closed = {m.ANONYMOUS: 401, m.REVOKED: 401}.get(principal, 403)
        found = set[str]()
        for which, open_status in ((OWN, row.status), (UNKNOWN, row.unknown)):
            if which == UNKNOWN and not route.parameters:
                continue
            values = {
                one: for_operator(world.api, route, one) if which == OWN else nobodys(one) for one in route.parameters
            }
            answer = world.send(principal, route, values, body_of(row, route))
            found.add(repr(alike.told(answer)))
            expected = open_status if principal == m.OPERATOR else closed
            if answer.status_code != expected:
                yield f"{route.name} by {principal}, {which}: {answer.status_code}, not {expected}: {answer.text[:200]}"
        if principal != m.OPERATOR and len(found) > 1:
            yield f"{route.name} by {principal}: what is there differs from what is not: {found}"


def wrong_anywhere(world: World, route: Route, row: Open | Proved) -> Iterator[str]:
    for principal in m.PRINCIPALS:
        is_closed = isinstance(row, Proved) and principal in {m.ANONYMOUS, m.REVOKED}
        expected = 401 if is_closed else row.status
        answer = world.send(principal, route, {}, body_of(row, route))
        if answer.status_code != expected:
            yield f"{route.name} by {principal}: {answer.status_code}, not {expected}: {answer.text[:200]}"


@pytest.mark.slow
def test_every_route_gives_each_principal_what_the_matrix_says(api: Api):
    found = routes(api)
    assert {one.name for one in found} == MATRIX.keys(), "each route needs a row, and each row a route"
    world, wrong = World(api), list[str]()
    for route in found:
        row = MATRIX[route.name]
        if isinstance(row, Within):
            wrong += wrong_within(world, route, row)
        elif isinstance(row, Across):
            wrong += wrong_across(world, route, row)
        else:
            wrong += wrong_anywhere(world, route, row)
    assert not wrong, "\n".join(wrong)
    told = [one for whose in ("acme", "other", "frozen", None) for one in api.fl.audit.export(organization=whose)]
    by_token = [one for one in told if one.origin.startswith("token ")]
    assert by_token
    assert {one.action for one in by_token if one.actor == SYSTEM} == set(), "who is not named is asked for no right"
