"""Over REST the organizations of a host application are like others, but for what their own directory keeps."""

from collections.abc import Callable, Collection, Mapping

import httpx
import pytest

from fairlane import Membership, OrganizationStatus, Role, Standing
from fairlane.control.bulk import Bulk
from tests.api.served import Api
from tests.api.test_jwt import SETTINGS, Issuer, signed

ACME = "/organizations/acme"
JOBS, SCHEDULES = f"{ACME}/jobs", f"{ACME}/schedules"
REPORT, HOURLY = {"job_type": "report"}, {"job_type": "report", "every": 3600}


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
    # The directory is asked for the member whose token it is to be, too, and knows none any more.
    "a token": (422, lambda client, _: client.post(f"{ACME}/tokens", json={"name": "x"})),
    "a cancel": (404, lambda client, job: client.post(f"{JOBS}/{job}/cancellation")),
    "a submission": (403, lambda client, _: client.post(JOBS, json=REPORT)),
}


def test_whom_the_host_removes_while_a_request_is_served_changes_nothing(hosted: Api, host: Host):
    fl, admin, job = hosted.fl, hosted.as_("admin"), hosted.fl.submit("report", organization="acme")
    there = fl.schedules.put("acme", "there", "report", every=3600)
    host.forgets = "admin"
    for name, (status, change) in CHANGES.items():
        host.roles["admin"] = Role.ADMIN
        assert change(admin, str(job.id)).status_code == status, name
    assert fl.schedules.list("acme") == (there,)
    assert fl.list(organization="acme").items == (job,)
    assert len(fl.tokens.list("acme")) == 1


def test_a_bulk_action_ends_when_the_host_removes_whoever_began_it(
    hosted: Api, host: Host, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fairlane.control.bulk_steps._STEP", 0.0)  # a job
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
