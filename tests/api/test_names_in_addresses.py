"""Every allowed name can be reached by address: names with slashes, and names that end as an address does."""

from urllib.parse import quote

import httpx
import pytest

from fairlane import ConfigurationError, JobContext
from tests.api.served import Api

NAMES = ("repo:org/app:ref", "https://id.example/ana", "a/pause", "limits", "a/", "../a", "a?b#c%2Fd")


def told(ctx: JobContext) -> None:
    """Do nothing."""


def address(name: str) -> str:
    """Quote a name like the dashboard's client and `encodeURIComponent`."""
    return quote(name, safe="!'()*")


@pytest.mark.slow
def test_users_of_any_name_are_added_changed_and_removed(api: Api):
    admin, operator = api.as_("admin"), api.operator()
    for name in NAMES:
        add_change_and_remove(name, admin, operator)


def add_change_and_remove(name: str, admin: httpx.Client, operator: httpx.Client) -> None:
    member, user = f"/organizations/acme/members/{address(name)}", f"/operator/users/{address(name)}"
    assert admin.put(member, json={"role": "viewer"}).json()["user"] == name
    assert admin.put(member, json={"role": "member"}).json()["role"] == "member"
    assert admin.delete(member).status_code == 204
    assert operator.post("/operator/users", json={"id": name}).status_code == 201
    assert operator.get(user).json()["id"] == name
    assert operator.patch(user, json={"disabled": True}).json()["id"] == name
    assert operator.delete(user).status_code == 204


@pytest.mark.slow
def test_queues_and_job_types_of_any_name_are_paused_resumed_limited_and_deleted(api: Api):
    for name in NAMES:
        api.fl.job_type(name)(told)
    api.fl.migrate()
    member, operator = api.as_("member"), api.operator()
    for name in NAMES:
        job = member.post("/organizations/acme/jobs", json={"job_type": name, "queue": name})
        assert job.status_code == 201
        pause_resume_limit_and_delete(name, operator)


def pause_resume_limit_and_delete(name: str, operator: httpx.Client) -> None:
    queue, job_type = f"/operator/queues/{address(name)}", f"/operator/job-types/{address(name)}"
    for path, listed, field in ((queue, "queues", "queue"), (job_type, "job-types", "name")):
        for verb, is_paused in (("pause", True), ("resumption", False)):
            assert operator.post(f"{path}/{verb}").status_code == 204
            shown = {one[field]: one["paused"] for one in operator.get(f"/operator/{listed}").json()["items"]}
            assert shown[name] is is_paused
    assert operator.patch(f"{job_type}/limits", json={"max_running": 1}).json()["max_running"] == 1
    assert operator.get(f"{job_type}/limits").json()["items"][0]["max_running"] == 1
    assert operator.delete(f"{job_type}/limits").status_code == 204
    assert operator.delete(f"/operator/breakers/acme/{address(name)}").json()["type"].endswith("breaker-not-found")
    assert operator.patch(job_type, json={"enabled": False}).status_code == 204
    assert operator.delete(job_type).json()["detail"].startswith(f"Jobs of type {name} are there;")


def test_what_no_address_reaches_is_refused_where_it_is_made(api: Api):
    fl = api.fl
    submit = api.as_("member").post
    for name in (".", ".."):
        with pytest.raises(ConfigurationError, match="neither"):
            fl.members.add("acme", name)
        with pytest.raises(ConfigurationError, match="neither"):
            fl.schedules.put("monthly", "report", organization="acme", every=3600, as_user="member", queue=name)
        with pytest.raises(ConfigurationError, match="neither"):
            fl.job_type("any", queue=name)(told)
        with pytest.raises(ConfigurationError, match="neither"):
            fl.job_type(name)(told)
        user = api.operator().post("/operator/users", json={"id": name})
        assert (user.status_code, "neither '.' nor '..'" in user.json()["detail"]) == (422, True)
        job = submit("/organizations/acme/jobs", json={"job_type": "report", "queue": name})
        assert (job.status_code, "choose another" in job.json()["detail"]) == (422, True)
    with pytest.raises(ConfigurationError, match="does not end in /limits"):
        fl.job_type("a/limits")(told)
