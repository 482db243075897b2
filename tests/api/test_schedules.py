"""Schedules over the API: who sees what of them, and who changes them."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.api.served import OPERATOR, SECRET, Api

BASE = "/organizations/acme/schedules"
HOURLY = {"job_type": "report", "every": 3600}


def test_an_admin_puts_pauses_resumes_runs_and_deletes_a_schedule(api: Api):
    admin = api.as_("admin")
    body = {
        "job_type": "report",
        "cron": "30  6 * * MON-FRI",
        "time_zone": "Europe/Zurich",
        "user": "member",
        "missed": "skip",
        "parameters": {"month": "2026-11"},
        "labels": {"kind": "monthly"},
    }
    made = admin.put(f"{BASE}/monthly", json=body).json()
    assert made == {**made, **body, "cron": "30 6 * * MON-FRI", "every": None, "problem": None, "payload_hidden": False}
    assert len(made["next_ticks"]) == 5
    assert admin.get(f"{BASE}/monthly").json() == made
    assert admin.get(BASE).json()["items"] == [made]
    # Parameters that are omitted stay; the rest is what is said.
    changed = admin.put(f"{BASE}/monthly", json=HOURLY).json()
    assert (changed["parameters"], changed["every"], changed["user"]) == ({"month": "2026-11"}, 3600, "admin")
    assert admin.post(f"{BASE}/monthly/pause").json()["next_ticks"] == []
    assert len(admin.post(f"{BASE}/monthly/resumption").json()["next_ticks"]) == 5
    job = admin.post(f"{BASE}/monthly/submission")
    assert (job.status_code, job.json()["labels"], job.json()["user"]) == (201, {"schedule": "monthly"}, "admin")
    assert admin.delete(f"{BASE}/monthly").status_code == 204
    assert admin.get(f"{BASE}/monthly").status_code == 404


def test_what_its_jobs_are_given_is_payload(api: Api):
    api.as_("admin").put(f"{BASE}/monthly", json={**HOURLY, "user": "member", "parameters": {"month": SECRET}})
    for reader, sees in (("viewer", False), ("colleague", False), ("member", True), ("admin", True)):
        (seen,) = api.as_(reader).get(BASE).json()["items"]
        assert (seen["payload_hidden"], SECRET in str(seen)) == (not sees, sees)
    assert SECRET not in api.operator().get(BASE).text


def test_a_schedule_takes_a_right_of_its_own_and_the_one_to_submit(api: Api):
    for scopes in (["jobs:submit"], ["schedules:change"]):
        assert api.as_("admin", scopes=scopes).put(f"{BASE}/x", json=HOURLY).status_code == 403
    assert api.as_("admin", scopes=["jobs:submit", "schedules:change"]).put(f"{BASE}/x", json=HOURLY).status_code == 200
    operator = api.operator()
    assert operator.put(f"{BASE}/x", json=HOURLY).status_code == 403
    assert operator.post(f"{BASE}/x/pause").status_code == 200


def test_an_operator_who_is_a_member_too_has_jobs_submitted_as_nobody_else(api: Api):
    api.fl.members.add("acme", OPERATOR)
    operator = api.operator()
    assert operator.put(f"{BASE}/x", json={**HOURLY, "user": "admin"}).status_code == 403
    assert operator.put(f"{BASE}/x", json=HOURLY).json()["user"] == OPERATOR
    assert operator.post(f"{BASE}/x/submission").json()["user"] == OPERATOR
    api.as_("admin").put(f"{BASE}/y", json=HOURLY)
    assert operator.post(f"{BASE}/y/submission").status_code == 403


def test_a_refusal_says_what_to_do_and_not_in_python(api: Api):
    refused = api.as_("admin").put(f"{BASE}/x", json={**HOURLY, "user": "nobody"}).json()
    assert refused["detail"] == "nobody is not a member of organization acme; add them."


@pytest.mark.parametrize(
    "wrong",
    [
        {"cron": "0 0 * * *"},
        {"every": None},
        {"every": 0.5},
        {"every": True},
        {"every": None, "cron": "0 0 30 2 *"},
        {"every": None, "cron": "* * * * * *"},
        {"time_zone": "../../etc/passwd"},
        {"missed": "twice"},
        {"start": "2026-11-01T00:00:00"},
        {"start": "9999-12-31T00:00:00Z"},
        {"user": "nobody"},
        {"user": "other-member"},
        {"parameters": {"page": "many"}},
        {"labels": {"": "x"}},
        {"job_type": "nothing"},
        {"odd": 1},
    ],
    ids=str,
)
def test_what_is_wrong_is_said_and_nothing_is_kept(api: Api, wrong: dict[str, Any]):
    admin = api.as_("admin")
    answer = admin.put(f"{BASE}/x", json={**HOURLY, **wrong})
    assert answer.status_code in {403, 422}, answer.text
    assert answer.json()["detail"]
    assert "index" not in answer.json()
    assert admin.get(BASE).json()["items"] == []


def test_who_may_not_see_the_parameters_does_not_take_them_over(api: Api):
    body = {**HOURLY, "user": "member", "parameters": {"month": SECRET}}
    api.as_("admin").put(f"{BASE}/x", json=body)
    narrow = api.as_("admin", scopes=["jobs:read", "jobs:submit", "schedules:change"])
    for user in ({}, {"user": "colleague"}):
        refused = narrow.put(f"{BASE}/x", json={**HOURLY, **user})
        assert refused.status_code == 403
        assert SECRET not in refused.text
    kept = narrow.put(f"{BASE}/x", json={**HOURLY, "user": "member", "every": 60})
    assert (kept.status_code, kept.json()["payload_hidden"]) == (200, True)
    assert narrow.put(f"{BASE}/x", json={**HOURLY, "parameters": {}}).json()["parameters"] == {}


def test_the_list_comes_in_pages(api: Api):
    admin = api.as_("admin")
    for name in "cab":
        admin.put(f"{BASE}/{name}", json=HOURLY)
    first = admin.get(BASE, params={"limit": 2}).json()
    assert [one["name"] for one in first["items"]] == ["a", "b"]
    last = admin.get(BASE, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert ([one["name"] for one in last["items"]], last["next_cursor"]) == (["c"], None)
    assert admin.get(BASE, params={"cursor": "AA=="}).status_code == 422


@pytest.mark.parametrize("name", ["%00", "a%0ab", "x" * 201, "a%2Fb", "%2E%2E"])
def test_a_name_that_is_none_is_refused(api: Api, name: str):
    assert api.as_("admin").put(f"{BASE}/{name}", json=HOURLY).status_code in {404, 405, 422}


def test_a_name_may_be_in_any_script(api: Api):
    admin = api.as_("admin")
    for name in ("每月", "<script>alert(1)</script>".replace("/", "|"), "a b?c#d"):
        assert admin.put(f"{BASE}/{quote(name, safe='')}", json=HOURLY).json()["name"] == name
    assert len(admin.get(BASE).json()["items"]) == 3
