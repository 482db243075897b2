"""Over REST the organizations of a host application are like others, but for what their own directory keeps."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import httpx
import pytest

from fairlane import Membership, OrganizationStatus, Role, Standing
from fairlane.engine.system.bulk import Bulk
from tests.api.matrix import MATRIX, Across, Open, Within
from tests.api.routes import NUMBER, Route, a_group, body_of, for_operator, routes
from tests.api.served import Api
from tests.api.test_jwt import SETTINGS, Issuer, signed

ACME = "/organizations/acme"
JOBS, SCHEDULES = f"{ACME}/jobs", f"{ACME}/schedules"
REPORT, HOURLY = {"job_type": "report"}, {"job_type": "report", "every": 3600}
KEPT_BY_HOST = "urn:fairlane:problem:kept-by-host"


class Host:
    """A host application's organizations and people. It may be away, or forget somebody while a request is served."""

    def __init__(self) -> None:
        self.acme = Standing(OrganizationStatus.ACTIVE, max_live_jobs=1000, weight=3)
        self.roles = {"viewer": Role.VIEWER, "member": Role.MEMBER, "colleague": Role.MEMBER, "admin": Role.ADMIN}
        self.is_away = False
        self.forgets: str | None = None

    def organizations(self, ids: Collection[str]) -> Mapping[str, Standing]:
        if self.is_away:
            raise OSError("no route to the directory")
        return {"acme": self.acme} if "acme" in ids else {}

    def members(self, pairs: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Membership]:
        if self.is_away:
            raise OSError("no route to the directory")
        known = {("acme", user): Membership(role) for user, role in self.roles.items()}
        said = {pair: known[pair] for pair in pairs if pair in known}
        if ("acme", self.forgets) in said:
            del self.roles[str(self.forgets)]
        return said


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def hosted(serve: Callable[..., Api], host: Host) -> Api:
    """The API of an application that keeps its organizations itself."""
    return serve(SETTINGS, directory=host, fetch=Issuer())


class Things:
    """The objects that routes of a hosted organization ask for: fresh for each request."""

    def __init__(self, api: Api) -> None:
        self._fl, self._api = api.fl, api
        self._dead = [self._submit("failing") for _ in range(6)]
        self._done = self._submit("report")
        api.run()

    def of(self, route: Route, row: Any, parameter: str) -> str:
        if parameter == "organization":
            return "acme"
        return self._own(row, parameter) if isinstance(row, Within) else for_operator(self._api, route, parameter)

    def _own(self, row: Within, parameter: str) -> str:
        schedule = f"schedule-{next(NUMBER)}"
        make: dict[str, Callable[[], Any]] = {
            "job": lambda: self._job(row.job),
            "token": lambda: self._fl.tokens.create(organization="acme", as_user="member", name="test")[0].id,
            "schedule": lambda: (
                self._fl.schedules.put(schedule, "report", organization="acme", every=3600, as_user="member").name
            ),
            "bulk_action": lambda: (
                self._fl.bulk.start("retry", {"queue": "nothing"}, organization="acme", user="admin").id
            ),
            "user": lambda: "member",
            "name": lambda: "report.txt",
            "fingerprint": lambda: a_group(self._api, "acme", self._dead.pop()),
        }
        return str(make[parameter]())

    def _job(self, state: str) -> str:
        if state == "queued":
            return self._submit("report")
        return self._dead.pop() if state == "dead" else self._done

    def _submit(self, job_type: str) -> str:
        return str(self._fl.submit(job_type, organization="acme", user="member").id)


# What the host's directory keeps: who belongs to an organization, how it stands, and its limits.
OTHERWISE: Mapping[str, int] = dict.fromkeys(
    (
        *("listMembers", "putMember", "removeMember", "deleteOrganization", "suspendOrganization"),
        *("activateOrganization", "createOrganization", "updateOrganizationAsOperator"),
    ),
    409,
)


def answers(api: Api) -> Iterator[tuple[str, int, httpx.Response]]:
    """Yield each route's name, the status that it has to answer with, and its answer to an admin, or to an operator."""
    things, admin, operator = Things(api), api.as_("admin"), api.operator()
    for route in routes(api):
        row = MATRIX[route.name]
        if isinstance(row, Open) or route.name.startswith("watch"):
            continue  # the same for all applications, or without an end
        client = operator if isinstance(row, Across) else admin
        path = route.path.removeprefix("/api/v1").format(
            **{one: things.of(route, row, one) for one in route.parameters}
        )
        status = row.admin if isinstance(row, Within) else row.status
        yield (
            route.name,
            OTHERWISE.get(route.name, status),
            client.request(route.method, path, json=body_of(row, route)),
        )


@pytest.mark.slow
def test_every_route_answers_as_for_any_organization_but_for_what_the_host_keeps(hosted: Api):
    wrong = [
        f"{name}: {answer.status_code}, not {status}: {answer.text[:200]}"
        for name, status, answer in answers(hosted)
        if answer.status_code != status or (name in OTHERWISE and answer.json()["type"] != KEPT_BY_HOST)
    ]
    assert not wrong, "\n".join(wrong)


def test_an_admin_cares_for_schedules(hosted: Api):
    admin = hosted.as_("admin")
    assert admin.put(f"{SCHEDULES}/hourly", json=HOURLY).status_code == 200
    assert admin.post(f"{SCHEDULES}/hourly/pause").json()["paused_by"] == "admin"
    assert admin.post(f"{SCHEDULES}/hourly/resumption").json()["paused_by"] is None
    assert admin.post(f"{SCHEDULES}/hourly/submission").json()["user"] == "admin"
    assert admin.delete(f"{SCHEDULES}/hourly").status_code == 204
    assert hosted.as_("member").put(f"{SCHEDULES}/hourly", json=HOURLY).status_code == 403


def test_whom_the_host_removed_is_out_with_the_next_request_for_as_long_as_they_are(hosted: Api, host: Host):
    by_token, by_jwt = hosted.as_("member"), hosted.client(signed())
    assert [one.get(JOBS).status_code for one in (by_token, by_jwt)] == [200, 200]
    role = host.roles.pop("member")
    assert [one.get(JOBS).status_code for one in (by_token, by_jwt)] == [404, 404]
    host.roles["member"] = role
    assert [one.get(JOBS).status_code for one in (by_token, by_jwt)] == [200, 200]


CHANGES: dict[str, tuple[int, Callable[[httpx.Client, str], httpx.Response]]] = {
    "a schedule": (403, lambda client, _: client.put(f"{SCHEDULES}/x", json=HOURLY)),
    "a pause": (403, lambda client, _: client.post(f"{SCHEDULES}/there/pause")),
    "a scheduled job": (403, lambda client, _: client.post(f"{SCHEDULES}/there/submission")),
    "a deletion": (403, lambda client, _: client.delete(f"{SCHEDULES}/there")),
    "a name": (403, lambda client, _: client.patch(ACME, json={"name": "Mine"})),
    "a token": (403, lambda client, _: client.post(f"{ACME}/tokens", json={"name": "x"})),
    "a cancel": (404, lambda client, job: client.post(f"{JOBS}/{job}/cancellation")),
    "a submission": (403, lambda client, _: client.post(JOBS, json=REPORT)),
}


def test_whom_the_host_removes_while_a_request_is_served_changes_nothing(hosted: Api, host: Host):
    fl, admin, job = hosted.fl, hosted.as_("admin"), hosted.fl.submit("report", organization="acme")
    there = fl.schedules.put("there", "report", organization="acme", every=3600)
    host.forgets = "admin"
    for name, (status, change) in CHANGES.items():
        host.roles["admin"] = Role.ADMIN
        assert change(admin, str(job.id)).status_code == status, name
    assert fl.schedules.list(organization="acme") == (there,)
    assert fl.list(organization="acme").items == (job,)
    assert len(fl.tokens.list(organization="acme")) == 1


def test_a_bulk_action_ends_when_the_host_removes_the_user_who_began_it(
    hosted: Api, host: Host, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fairlane.engine.system.bulk_steps.BULK_STEP", 0.0)  # a job
    monkeypatch.setattr("fairlane.engine.system.bulk_work._PAGE", 1)
    hosted.fl.queues.pause("default")
    for _ in range(3):
        hosted.fl.submit("report", organization="acme")
    monkeypatch.setitem(Bulk.start.__kwdefaults__ or {}, "seconds", 0.0)
    begun = hosted.as_("admin").post(f"{ACME}/bulk-actions", json={"action": "cancel"}).json()
    del host.roles["admin"]
    hosted.run()
    ended = hosted.as_("member").get(f"{ACME}/bulk-actions/{begun['id']}").json()
    assert (ended["state"], ended["changed"], ended["passed_over"]) == ("stopped", 1, 0)
    assert "jobs:change" in ended["problem"]


def test_while_the_directory_is_away_requests_may_be_sent_again(hosted: Api, host: Host):
    admin, sent = hosted.as_("admin"), (("GET", JOBS, None), ("POST", JOBS, REPORT), ("PUT", f"{SCHEDULES}/x", HOURLY))
    host.is_away = True
    for method, path, body in sent:
        answer = admin.request(method, path, json=body)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "directory" in answer.json()["detail"]
        assert "no route" not in answer.text, "what the host's code raised is for its author"
    host.is_away = False
    assert [admin.request(method, path, json=body).status_code for method, path, body in sent] == [200, 201, 200]


def test_an_answer_of_another_form_is_the_host_s_mistake_and_not_the_client_s(hosted: Api, host: Host):
    admin = hosted.as_("admin")
    host.roles["admin"] = "boss"  # type: ignore[assignment] # what a host may get wrong
    assert admin.get(JOBS).status_code == 500


def test_an_organization_stands_as_its_host_says(hosted: Api, host: Host):
    member, operator = hosted.as_("member"), hosted.operator()
    found = member.get(ACME).json()
    told = {"id": "acme", "name": "acme", "status": "active", "weight": 3, "max_live_jobs": 1000, "created_at": None}
    assert found == found | told
    assert operator.get("/operator/organizations/nowhere").status_code == 404
    host.acme = Standing(OrganizationStatus.SUSPENDED)
    assert member.get(ACME).json()["status"] == "suspended"
    refused = member.post(JOBS, json=REPORT)
    sentence = "Organization acme is suspended; submit again once the application activates it again."
    assert (refused.status_code, refused.json()["detail"]) == (409, sentence)
    host.acme = Standing(OrganizationStatus.DELETED)
    assert [member.get(ACME).status_code, operator.get("/operator/organizations/acme").status_code] == [404, 404]


def test_operators_pause_it_and_set_how_long_its_jobs_are_kept(hosted: Api, host: Host):
    operator, base = hosted.operator(), "/operator/organizations"
    assert operator.get(base).json()["items"] == []
    assert operator.post(f"{base}/nowhere/pause").status_code == 404
    assert operator.post(f"{base}/acme/pause", json={"reason": "a move"}).json()["paused"]
    (listed,) = operator.get(base).json()["items"]
    assert (listed["id"], listed["paused"], listed["weight"]) == ("acme", True, 3)
    assert not operator.post(f"{base}/acme/resumption").json()["paused"]
    assert operator.patch(f"{base}/acme", json={"retention": 3600}).json()["retention"] == 3600
    assert operator.patch(f"{base}/nowhere", json={"retention": 3600}).status_code == 404
    assert hosted.as_("admin").patch(ACME, json={"name": "Acme Ltd."}).json()["name"] == "Acme Ltd."
    host.acme = Standing(OrganizationStatus.SUSPENDED, weight=2)
    (listed,) = operator.get(base).json()["items"]
    told = {"name": "Acme Ltd.", "status": "suspended", "weight": 2, "retention": 3600, "paused": False}
    assert listed == listed | told
    host.acme = Standing(OrganizationStatus.DELETED)
    assert operator.get(base).json()["items"] == []
