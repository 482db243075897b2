"""Members, tokens, the audit and what operators do; and that nobody gives away more than they have."""

import json
from typing import Any

import pytest
from sqlalchemy import update

from fairlane.domain.accounts import Member, Token
from fairlane.store.tables import members
from tests.api.served import OPERATOR, PASSWORD, Api

BASE = "/organizations/acme"


def test_an_admin_adds_changes_and_removes_members(api: Api):
    admin = api.as_("admin")
    made = admin.put(f"{BASE}/members/bea", json={"role": "viewer", "permissions": ["reports"]})
    assert (made.json()["role"], made.json()["permissions"]) == ("viewer", ["reports"])
    assert admin.put(f"{BASE}/members/bea", json={"role": "admin"}).json()["role"] == "admin"
    users, cursor = [], None
    while True:
        page = admin.get(f"{BASE}/members", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        users += [one["user"] for one in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert users == ["admin", "bea", "colleague", "member", "viewer"]
    assert admin.delete(f"{BASE}/members/bea").status_code == 204
    assert admin.delete(f"{BASE}/members/bea").status_code == 404
    for user in ("%00", "x" * 201, "a%0ab"):
        assert admin.put(f"{BASE}/members/{user}", json={}).status_code == 422
    actions = [(one["action"], one["subject"]) for one in admin.get(f"{BASE}/audit").json()["items"]]
    assert actions[:3] == [("members.remove", "bea"), ("members.add", "bea"), ("members.add", "bea")]


def test_a_page_of_members_reads_no_more_than_it_shows(api: Api, monkeypatch: pytest.MonkeyPatch):
    read, real = list[int](), api.fl.members.list

    def counted(*asked: Any, **more: Any) -> tuple[Member, ...]:
        found = real(*asked, **more)
        read.append(len(found))
        return found

    monkeypatch.setattr(api.fl.members, "list", counted)
    plant = update(members).where(members.c.user_id == "colleague").values(permissions="planted")
    api.fl.database.write(lambda connection: connection.execute(plant), of="acme")
    viewer = api.as_("viewer")
    first = viewer.get(f"{BASE}/members", params={"limit": 1}).json()
    second = viewer.get(f"{BASE}/members", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [one["user"] for one in first["items"] + second["items"]] == ["admin", "member"]
    assert read == [2, 2]


def test_a_token_is_shown_once_and_opens_no_more_than_who_made_it(api: Api):
    member = api.as_("member")
    made = member.post(f"{BASE}/tokens", json={"name": "robot", "scopes": ["jobs:read"]}).json()
    robot = api.client(made["secret"])
    assert robot.get(f"{BASE}/jobs").status_code == 200
    assert robot.post(f"{BASE}/jobs", json={"job_type": "report"}).status_code == 403
    assert made["secret"] not in member.get(f"{BASE}/tokens").text
    narrow = api.as_("admin", scopes=["tokens:change"])
    for scopes in (["jobs:read"], ["tokens:change", "payload:read"]):
        assert narrow.post(f"{BASE}/tokens", json={"name": "x", "scopes": scopes}).status_code == 403
    inherited = narrow.post(f"{BASE}/tokens", json={"name": "x"}).json()
    assert inherited["token"]["scopes"] == ["tokens:change"]


def test_tokens_for_others_are_for_admins_and_not_for_operators(api: Api):
    body = {"name": "x", "user": "admin"}
    assert api.as_("member").post(f"{BASE}/tokens", json=body).status_code == 403
    # It would let an operator see payload.
    assert api.operator().post(f"{BASE}/tokens", json=body).status_code == 403
    made = api.as_("admin").post(f"{BASE}/tokens", json={"name": "x", "user": "member"})
    assert made.json()["token"]["user"] == "member"
    assert api.as_("admin").post(f"{BASE}/tokens", json={"name": "x", "user": "stranger"}).status_code == 422


@pytest.mark.slow
@pytest.mark.parametrize("path", [f"{BASE}/tokens", "/operator/tokens"])
def test_tokens_come_newest_first_in_pages(api: Api, path: str, monkeypatch: pytest.MonkeyPatch):
    read, real = list[int](), api.fl.tokens.list

    def counted(**asked: Any) -> tuple[Token, ...]:
        found = real(**asked)
        read.append(len(found))
        return found

    monkeypatch.setattr(api.fl.tokens, "list", counted)
    client = api.operator() if path.startswith("/operator") else api.as_("admin")
    for name in "abc":
        assert client.post(path, json={"name": name}).status_code == 201
    first = client.get(path, params={"limit": 2}).json()
    assert [one["name"] for one in first["items"]] == ["c", "b"]
    rest = client.get(path, params={"cursor": first["next_cursor"]}).json()
    assert (rest["items"][0]["name"], len(rest["items"]), rest["next_cursor"]) == ("a", 2, None)
    assert read == [3, 2]
    assert client.get(path, params={"cursor": "bm9uZQ=="}).status_code == 422


def test_members_see_and_revoke_their_own_tokens_and_admins_all(api: Api):
    member, admin = api.as_("member"), api.as_("admin")
    (own,) = member.get(f"{BASE}/tokens").json()["items"]
    listed = admin.get(f"{BASE}/tokens").json()["items"]
    assert {one["user"] for one in listed} == {"member", "admin"}
    theirs = next(one["id"] for one in listed if one["user"] == "admin")
    assert member.delete(f"{BASE}/tokens/{theirs}").status_code == 404
    assert admin.delete(f"{BASE}/tokens/{own['id']}").status_code == 204
    assert member.get(f"{BASE}/tokens").status_code == 401


def test_the_audit_is_exported_whole_and_of_one_organization_only(api: Api):
    for number in range(3):
        api.fl.members.add("acme", f"user-{number}", user="admin")
        api.fl.members.add("other", f"user-{number}", user="canary")
    admin = api.as_("admin")
    answer = admin.get(f"{BASE}/audit/export")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    entries = [json.loads(line) for line in answer.text.splitlines()]
    assert len(entries) == len(api.fl.audit.list(organization="acme"))
    assert "canary" not in answer.text
    first = admin.get(f"{BASE}/audit", params={"limit": 2}).json()
    second = admin.get(f"{BASE}/audit", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [one["id"] for one in first["items"] + second["items"]] == [one["id"] for one in entries[:4]]
    for cursor in ("x", "-1", "9" * 30):
        assert admin.get(f"{BASE}/audit", params={"cursor": cursor}).status_code == 422


def test_the_audit_is_asked_what_was_done_to_one_subject(api: Api):
    for organization in ("acme", "other"):
        api.fl.members.add(organization, "dora", user="admin")
        api.fl.members.add(organization, "dorothea", user="admin")
        api.fl.members.remove(organization, "dora", user="admin")
    admin = api.as_("admin")
    told = admin.get(f"{BASE}/audit", params={"subject": "dora", "limit": 1}).json()
    older = admin.get(f"{BASE}/audit", params={"subject": "dora", "cursor": told["next_cursor"]}).json()
    assert [one["action"] for one in told["items"] + older["items"]] == ["members.remove", "members.add"]
    assert {one["organization"] for one in told["items"] + older["items"]} == {"acme"}
    assert admin.get(f"{BASE}/audit", params={"subject": "nobody"}).json()["items"] == []
    assert admin.get(f"{BASE}/audit", params={"subject": "a\0b"}).status_code == 422
    asked = {"organization": "other", "subject": "dora"}
    assert len(api.operator().get("/operator/audit", params=asked).json()["items"]) == 2


def test_an_operator_runs_organizations(api: Api):
    operator = api.operator()
    path = "/operator/organizations"
    assert operator.post(path, json={"id": "new", "weight": 3, "max_running": 5}).json()["max_running"] == 5
    assert operator.post(path, json={"id": "new"}).status_code == 409
    assert operator.post(path, json={"id": "a/b"}).status_code == 422
    assert operator.patch(f"{path}/new", json={"max_running": None}).json()["max_running"] is None
    assert operator.post(f"{path}/new/suspension").json()["status"] == "suspended"
    assert operator.post(f"{path}/new/activation").json()["status"] == "active"
    assert operator.post(f"{path}/new/pause", json={"reason": "maintenance"}).json()["paused"] is True
    assert operator.post(f"{path}/new/resumption").json()["paused"] is False
    assert [one["id"] for one in operator.get(path, params={"text": "NE"}).json()["items"]] == ["new"]
    assert operator.delete(f"{path}/new").status_code == 204
    assert operator.get(f"{path}/new").status_code == 404
    entries = operator.get("/operator/audit", params={"organization": "new"}).json()["items"]
    assert {one["actor"] for one in entries} == {OPERATOR}


def test_an_operator_turns_maintenance_mode_on_and_everybody_sees_it(api: Api):
    operator, path = api.operator(), "/operator/maintenance"
    off = {"is_on": False, "since": None, "by": None, "reason": None}
    clients = [operator, api.as_("viewer"), api.as_("other-member", "other")]
    assert [one.get("/maintenance").json() for one in clients] == [off] * 3
    on = operator.put(path, json={"reason": "a new release"}).json()
    assert (on["is_on"], on["by"], on["reason"]) == (True, OPERATOR, "a new release")
    assert [one.get("/maintenance").json() for one in clients] == [on] * 3
    job = api.as_("member").post(f"{BASE}/jobs", json={"job_type": "report"}).json()
    api.run()
    (listed,) = api.as_("member").get(f"{BASE}/jobs").json()["items"]
    assert (listed["id"], listed["status"], listed["held_by"]) == (job["id"], "queued", "maintenance")
    (queue,) = api.as_("member").get(f"{BASE}/queues").json()["items"]
    assert queue["holds"] == [{"code": "maintenance", "job_types": ["report"], "jobs": 1}]
    assert operator.put(path, json={"why": "?"}).status_code == 422
    assert operator.put(path, json={"reason": "\x00"}).status_code == 422
    assert operator.put(path).json() == operator.put(path, json={"reason": ""}).json() == on
    assert operator.put(path, json={"reason": "it takes longer"}).json() == {**on, "reason": "it takes longer"}
    assert [operator.delete(path).json() for _ in range(2)] == [off] * 2
    api.run()
    assert api.fl.get(job["id"], organization="acme").status == "completed"
    told = [one["action"] for one in operator.get("/operator/audit").json()["items"]][:3]
    assert told == ["maintenance.off", "maintenance.on", "maintenance.on"]


def test_an_operator_runs_queues_and_job_types(api: Api):
    operator, member = api.operator(), api.as_("member")
    operator.post("/operator/queues/default/pause", json={"reason": "maintenance"})
    job = member.post(f"{BASE}/jobs", json={"job_type": "report"}).json()["id"]
    told = member.get(f"{BASE}/jobs/{job}/explanation").json()["summary"]
    assert "maintenance" in told
    (queue,) = member.get(f"{BASE}/queues").json()["items"]
    assert (queue["queue"], queue["ready"], queue["paused"]) == ("default", 1, True)
    others = api.as_("other-member", "other").get("/organizations/other/queues").json()["items"]
    assert others == []  # queues are named by whom they are for, perhaps
    operator.post("/operator/queues/default/resumption")
    operator.patch("/operator/job-types/report", json={"enabled": False})
    assert member.post(f"{BASE}/jobs", json={"job_type": "report"}).status_code == 409
    limit = operator.patch(
        "/operator/job-types/report/limits", json={"max_running": 2}, params={"organization": "acme"}
    )
    assert (limit.json()["max_running"], limit.json()["changed"]) == (2, ["max_running"])
    assert operator.delete("/operator/job-types/report").status_code == 422
    api.run()
    assert operator.get("/operator/metrics").json()["jobs_by_status"]["completed"] == 1
    assert member.get(f"{BASE}/metrics").json()["jobs_by_status"]["completed"] == 1
    types = {one["name"]: one["enabled"] for one in member.get(f"{BASE}/job-types").json()["items"]}
    assert types["report"] is False
    for path, client, whose in ((BASE, member, [None, "acme"]), ("/operator", operator, [None])):
        listed = {one["name"]: one["limits"] for one in client.get(f"{path}/job-types").json()["items"]}
        assert [one["organization"] for one in listed["report"]] == whose


@pytest.mark.parametrize(("kind", "taken"), [("user", OPERATOR), ("organization", "acme")])
def test_who_is_there_already_is_a_conflict(api: Api, kind: str, taken: str):
    again = api.operator().post(f"/operator/{kind}s", json={"id": taken})
    assert (again.status_code, again.json()["type"]) == (409, f"urn:fairlane:problem:{kind}-exists")


def test_an_operator_gives_nobody_rights_that_they_lack(api: Api):
    operator = api.operator()
    body = {"id": "pat", "operator": True, "rights": ["payload:read"]}
    assert operator.post("/operator/users", json=body).status_code == 403
    api.fl.users.create("boss", operator=True, rights=["payload:read"])
    # Nor do they come in as somebody who has them.
    assert operator.patch("/operator/users/boss", json={"password": PASSWORD}).status_code == 403
    assert operator.patch(f"/operator/users/{OPERATOR}", json={"rights": ["payload:read"]}).status_code == 403
    assert operator.post("/operator/users", json={"id": "pat", "operator": True}).status_code == 201
    assert operator.patch("/operator/users/pat", json={"disabled": True}).json()["disabled_at"] is not None
    assert "password_hash" not in operator.get("/operator/users").text
    narrow = api.operator(scopes=["members:change", "members:read"])
    assert narrow.get("/operator/users").status_code == 200
    assert narrow.post("/operator/users", json={"id": "mal", "operator": True}).status_code == 403


def test_an_operator_comes_in_as_no_member_unless_they_may_read_payload_and_its_organizations_are_told(api: Api):
    operator, body = api.operator(), {"id": "admin", "password": PASSWORD}
    assert operator.post("/operator/users", json=body).status_code == 403
    assert operator.post("/operator/users", json={"id": "admin"}).status_code == 201  # no login yet
    assert operator.patch("/operator/users/admin", json={"password": PASSWORD}).status_code == 403
    assert api.client().post("/sessions", json={"user": "admin", "password": PASSWORD}).status_code != 201
    assert operator.post("/operator/users", json={"id": "nobody-s", "password": PASSWORD}).status_code == 201
    api.fl.users.update(OPERATOR, rights=["payload:read"])
    assert operator.patch("/operator/users/admin", json={"password": PASSWORD}).status_code == 200
    told = api.as_("admin").get(f"{BASE}/audit").json()["items"]
    entry = next(one for one in told if one["action"] == "users.password")
    assert (entry["actor"], entry["subject"]) == (OPERATOR, "admin")
    other = api.as_("other-admin", "other").get("/organizations/other/audit").json()["items"]
    assert "users.password" not in {one["action"] for one in other}


def test_a_token_of_one_organization_makes_no_operator_of_its_user(api: Api):
    api.fl.members.add("acme", OPERATOR, role="viewer")
    within = api.as_(OPERATOR, "acme")
    assert within.get("/operator/organizations").status_code == 403
    assert within.get("/organizations/other/jobs").status_code == 404
    assert within.get(f"{BASE}/jobs").status_code == 200
    assert within.put(f"{BASE}/members/x", json={}).status_code == 403


@pytest.mark.parametrize("path", ["/operator/audit/export", "/operator/audit"])
def test_operators_see_what_concerns_all(api: Api, path: str):
    api.fl.queues.pause("default", user="canary")
    assert "canary" in api.operator().get(path).text
    assert "canary" not in api.as_("admin").get(f"{BASE}/audit").text
    assert api.operator().get(path, params={"organization": "\x00"}).status_code == 422


def test_nothing_is_limited_of_an_organization_that_is_unknown(api: Api):
    operator, limits = api.operator(), "/operator/job-types/report/limits"
    refused = operator.patch(limits, json={"max_running": 2}, params={"organization": "nix"})
    assert (refused.status_code, refused.json()["type"]) == (404, "urn:fairlane:problem:organization-not-found")
    assert [one["organization"] for one in operator.get(limits).json()["items"]] == [None]
