"""Jobs over HTTP: submitted, watched, canceled and retried by users who may."""

import json
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event

from fairlane import JobContext, PermanentError, StorageUnavailable, TransientError
from fairlane.api.resources import dead_letters
from fairlane.reads.service import Reads
from tests.api.served import PASSWORD, SECRET, Api

BASE = "/organizations/acme"
JOBS = f"{BASE}/jobs"


def submitted(api: Api, job_type: str = "report", user: str = "member", **more: object) -> str:
    answer = api.as_(user).post(JOBS, json={"job_type": job_type, **more})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_a_job_is_submitted_watched_and_its_result_fetched(api: Api):
    client = api.as_("member")
    answer = client.post(
        JOBS, json={"job_type": "report", "parameters": {"month": "2026-10"}, "labels": {"a": "b"}, "priority": "high"}
    )
    assert answer.status_code == 201
    job = answer.json()
    assert (job["status"], job["user"], job["parameters"]) == ("queued", "member", {"month": "2026-10"})
    path = f"{JOBS}/{job['id']}"
    assert client.get(f"{path}/result").json()["type"] == "urn:fairlane:problem:illegal-transition"
    assert "no" in client.get(f"{path}/explanation").json()["summary"].lower()
    assert [one["held_by"] for one in client.get(JOBS).json()["items"]] == ["no_worker"]
    api.run()
    assert client.get(path).json()["status"] == "completed"
    assert client.get(f"{path}/result").json()["value"] == {"month": "2026-10"}
    assert [one["to_status"] for one in client.get(f"{path}/history").json()["items"]][-1] == "completed"
    assert [one["message"] for one in client.get(f"{path}/logs").json()["items"]] == ["working on 2026-10"]
    assert client.get(f"{path}/logs", params={"after": 1}).json()["items"] == []
    assert [one["name"] for one in client.get(f"{path}/artifacts").json()["artifacts"]] == ["report.txt"]
    listed = client.get(JOBS, params={"label": "a=b", "status": "completed"}).json()
    assert ([one["id"] for one in listed["items"]], listed["total"]) == ([job["id"]], 1)
    assert "parameters" not in listed["items"][0]
    assert listed["items"][0]["held_by"] is None


# What is sent for each request that shows no parameters; a job may have megabytes of them.
@pytest.mark.slow
@pytest.mark.parametrize("path", ["", "/{job}/explanation", "/{job}/history", "/{job}/logs", "/{job}/artifacts"])
def test_what_shows_no_parameters_does_not_read_them(api: Api, path: str):
    job, sent = submitted(api, parameters={"month": "2026-10"}), list[str]()
    event.listen(api.fl.database.engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
    answer = api.as_("member").get(JOBS + path.format(job=job))
    assert answer.status_code == 200
    assert sent
    assert not [one for one in sent if "jobs.parameters" in one]


def test_files_are_listed_and_found_without_reading_the_result(api: Api):
    client, job, sent = api.as_("member"), submitted(api), list[str]()
    api.run()
    event.listen(api.fl.database.engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
    assert client.get(f"{JOBS}/{job}/artifacts").json()["artifacts"]
    assert client.get(f"{JOBS}/{job}/artifacts/report.txt").status_code == 200
    assert not [one for one in sent if "results" in one]


def test_what_was_refused_says_what_is_wrong_and_submits_nothing(api: Api):
    client = api.as_("member")
    for body, status, kind in [
        ({"job_type": "nothing"}, 422, "job-type-not-found"),
        ({"job_type": "report", "parameters": {"page": "x"}}, 422, "invalid-parameters"),
        ({"job_type": "report", "parameters": {"month": "\ud800"}}, 422, "invalid-parameters"),
        ({"job_type": "report", "depends_on": [str(uuid4())]}, 422, "parent-not-found"),
        ({"job_type": "report", "depends_on": ["x"]}, 422, "parent-not-found"),
        ({"job_type": "report", "organization": "other"}, 422, "invalid-request"),
        ({"job_type": "report", "user": "admin"}, 422, "invalid-request"),
        ({"job_type": "report", "run_at": "2026-11-01T00:00:00"}, 422, "invalid-request"),
        ({"job_type": "report", "run_at": 4102444800}, 422, "invalid-request"),
        ({"job_type": "report", "run_at": "4102444800"}, 422, "invalid-request"),
        ({"job_type": "report", "labels": {"": "x"}}, 422, "invalid-request"),
        ({"job_type": "report", "parameters": {"month": "x" * 300_000}}, 413, "payload-too-large"),
        ({}, 422, "invalid-request"),
        ([], 422, "invalid-request"),
    ]:
        answer = client.post(JOBS, content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["type"]) == (status, f"urn:fairlane:problem:{kind}"), answer.text
        assert "index" not in answer.json(), "a place in a batch, and there is none"
    assert client.get(JOBS).json()["total"] == 0


def test_a_body_of_another_form_is_refused_in_words_of_json(api: Api):
    for body, told in [
        ({"job_type": "report", "odd": 1}, "/body/odd: there is no field of this name; leave it out"),
        ({"job_type": "report", "parameters": []}, "/body/parameters: it must be an object, with values by name"),
        ([], "/body: it must be an object, with values by name"),
        ({}, "/body/job_type: it is missing; give it a value"),
        ({"job_type": "report", "run_at": "2026-11-01T00:00:00"}, "/body/run_at: a time is written with its time zone"),
        ({"job_type": "report", "run_at": 5}, "/body/run_at: a time is written with a time zone, such as "),
    ]:
        assert api.as_("member").post(JOBS, json=body).json()["detail"].startswith(told)


AMOUNT = "12345678901234567.89"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path", "body", "shown"),
    [
        ("POST", JOBS, '{"job_type": "pay", "parameters": %s}', lambda told: told),
        ("POST", f"{JOBS}/batch", '{"jobs": [{"job_type": "pay", "parameters": %s}]}', lambda told: told["items"][0]),
        ("PUT", f"{BASE}/schedules/p", '{"job_type": "pay", "every": 3600, "parameters": %s}', lambda told: told),
        ("POST", f"{JOBS}/{{dead}}/retry", '{"parameters": %s}', lambda told: told),
        ("POST", f"{BASE}/dead-letters/{{dead}}/retry", '{"parameters": %s}', lambda told: told),
    ],
)
def test_all_digits_of_a_decimal_arrive(api: Api, method: str, path: str, body: str, shown: Any):
    @api.fl.job_type("pay")
    def pay(ctx: JobContext, amount: Decimal) -> None:
        raise PermanentError("no money")

    dead = submitted(api, "pay", user="admin", parameters={"amount": "1"})
    api.run()
    client, headers = api.as_("admin"), {"Content-Type": "application/json"}
    content = body % f'{{"amount": {AMOUNT}}}'
    answer = client.request(method, path.format(dead=dead), content=content, headers=headers)
    assert answer.is_success, answer.text
    assert shown(answer.json())["parameters"] == {"amount": AMOUNT}


def test_a_duplicate_names_the_job_that_is_there(api: Api):
    first = submitted(api, "unique")
    answer = api.as_("member").post(JOBS, json={"job_type": "unique"})
    assert answer.status_code == 409
    assert (answer.json()["existing_id"], answer.json()["existing_status"]) == (first, "queued")
    again = api.as_("member").post(JOBS, json={"job_type": "unique", "on_duplicate": "return"})
    assert again.json()["id"] == first


def test_a_batch_is_submitted_whole_or_not_at_all(api: Api):
    client = api.as_("member")
    jobs = [{"job_type": "report"}, {"job_type": "report", "depends_on_members": [0]}]
    made = client.post(f"{JOBS}/batch", json={"jobs": jobs}).json()["items"]
    assert made[1]["depends_on"] == [made[0]["id"]]
    refused = client.post(f"{JOBS}/batch", json={"jobs": [*jobs, {"job_type": "nothing"}]})
    assert (refused.status_code, refused.json()["index"]) == (422, 2)
    outside = client.post(f"{JOBS}/batch", json={"jobs": [{"job_type": "report", "depends_on_members": [7]}]})
    assert (outside.status_code, outside.json()["index"]) == (422, 0)
    too_many = client.post(f"{JOBS}/batch", json={"jobs": [{"job_type": "report"}] * 1001})
    assert too_many.status_code == 422
    assert client.post(f"{JOBS}/batch", json={"jobs": []}).status_code == 422
    assert client.get(JOBS).json()["total"] == 2


@pytest.mark.slow
def test_lists_go_on_where_the_page_before_ended_whatever_comes_in_between(api: Api):
    client = api.as_("member")
    ids = [submitted(api) for _ in range(5)]
    seen, cursor = [], None
    while True:
        page = client.get(JOBS, params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        submitted(api)
    assert seen == ids[::-1]
    oldest = client.get(JOBS, params={"order": "oldest", "limit": 2}).json()
    assert [one["id"] for one in oldest["items"]] == ids[:2]
    odd: list[dict[str, str | int]] = [
        {"created_after": "0001-01-01T00:00:00+23:59"},
        {"created_before": "9999-12-31T23:59:59-23:59"},
        {"created_after": "2026-11-01T00:00:00"},
        {"text": "\x00"},
        {"user": "\x00"},
        {"label": "\x00=x"},
        {"queue": "\x00"},
        {"job_type": "\x00"},
        {"cursor": "MDAwMS0wMS0wMVQwMDowMDowMCAwMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAwMDAwMDAwMDA="},
    ]
    for params in odd:
        assert client.get(JOBS, params=params).status_code == 422, params
    for wrong in ({"limit": 0}, {"limit": 101}, {"cursor": "x"}, {"cursor": "ÿ"}, {"status": "x"}, {"label": "x"}):
        assert client.get(JOBS, params=wrong).status_code == 422
    assert client.get(JOBS, params={"order": "x"}).status_code == 422


def test_what_waits_for_a_retry_is_listed_counted_and_canceled_together(api: Api):
    @api.fl.job_type("flaky", dedup_window=0)
    async def flaky(ctx: JobContext) -> None:
        raise TransientError("later")

    member = api.as_("member")
    job = member.post(JOBS, json={"job_type": "flaky"}).json()["id"]
    api.run()
    ready = member.post(JOBS, json={"job_type": "report"}).json()["id"]
    only = {"waiting_for": "retry"}
    (item,) = member.get(JOBS, params=only).json()["items"]
    assert (item["id"], item["status"], item["next_retry_at"] is not None) == (job, "queued", True)
    assert member.get(f"{BASE}/job-counts", params=only).json()["by_status"]["queued"] == 1
    assert member.get(JOBS, params={"waiting_for": "parents"}).status_code == 422
    refused = member.get(JOBS, params=only | {"status": "running"})
    assert (refused.status_code, "never running" in refused.json()["detail"]) == (422, True)
    action = {"action": "cancel", "filter": only}
    assert member.post(f"{BASE}/bulk-actions/count", json=action).json()["matching"] == 1
    done = member.post(f"{BASE}/bulk-actions", json=action).json()
    assert (done["changed"], done["filter"]["waiting_for"]) == (1, "retry")
    assert [member.get(f"{JOBS}/{one}").json()["status"] for one in (job, ready)] == ["canceled", "queued"]


def test_a_job_that_has_not_changed_is_not_sent_again(api: Api):
    client, path = api.as_("member"), f"{JOBS}/{submitted(api)}"
    tag = client.get(path).headers["etag"]
    assert tag.startswith('W/"')
    for header in (tag, f'"x", {tag}', "*", tag.removeprefix("W/")):
        same = client.get(path, headers={"If-None-Match": header})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    client.post(f"{path}/cancellation")
    assert client.get(path, headers={"If-None-Match": tag}).status_code == 200


def test_members_change_their_own_jobs_and_admins_all(api: Api):
    job = submitted(api)
    for user in ("viewer", "colleague"):
        assert api.as_(user).post(f"{JOBS}/{job}/cancellation").status_code == 403
    body = {"reason": "The month was wrong."}
    canceled = api.as_("admin").post(f"{JOBS}/{job}/cancellation", json=body)
    assert (canceled.status_code, canceled.json()["canceled_by"]) == (202, "admin")
    assert api.as_("member").post(f"{JOBS}/{job}/cancellation").status_code == 409
    assert api.as_("member").post(f"{JOBS}/{job}/retry").status_code == 409
    assert api.as_("viewer").post(JOBS, json={"job_type": "report"}).status_code == 403


def test_a_waiting_job_is_rescheduled_given_a_priority_and_run_now(api: Api):
    path = f"{JOBS}/{submitted(api, delay=3600)}"
    member, admin = api.as_("member"), api.as_("admin")
    for _ in range(2):
        moved = member.put(f"{path}/run-at", json={"run_at": "2199-12-31T02:00:00+01:00"})
        assert (moved.status_code, moved.json()["run_at"]) == (200, "2199-12-31T01:00:00Z")
        urgent = admin.put(f"{path}/priority", json={"priority": "critical"})
        assert (urgent.status_code, urgent.json()["priority"]) == (200, "critical")
    for _ in range(2):
        ready = member.post(f"{path}/run-now")
        assert (ready.status_code, ready.json()["status"], ready.json()["priority"]) == (202, "queued", "critical")
    told = [(one["actor"], one["message"]) for one in member.get(f"{path}/history").json()["items"]]
    assert told == [
        ("member", "submitted"),
        ("member", "rescheduled to 2199-12-31 01:00:00 UTC"),
        ("admin", "priority changed from normal to critical"),
        ("member", "run now"),
    ]
    api.run()
    assert member.get(path).json()["status"] == "completed"
    late = (
        member.post(f"{path}/run-now"),
        member.put(f"{path}/run-at", json={"run_at": "2199-12-31T00:00:00Z"}),
        member.put(f"{path}/priority", json={"priority": "low"}),
    )
    for answer in late:
        assert answer.status_code == 409
        assert answer.json()["detail"].endswith("does not wait to start any more; submit it anew.")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("run-at", {}),
        ("run-at", {"run_at": None}),
        ("run-at", {"run_at": 5}),
        ("run-at", {"run_at": "2026-11-01T08:00:00"}),
        ("run-at", {"run_at": "2200-01-01T00:00:00Z"}),
        ("run-at", {"run_at": "2026-11-01T08:00:00Z", "delay": 5}),
        ("priority", {}),
        ("priority", {"priority": "urgent"}),
        ("priority", {"priority": None}),
    ],
)
def test_what_is_no_time_or_no_priority_is_refused(api: Api, what: str, body: dict[str, Any]):
    path = f"{JOBS}/{submitted(api, delay=3600)}"
    client = api.as_("member")
    before = client.get(path).json()
    assert client.put(f"{path}/{what}", json=body).status_code == 422
    assert client.get(path).json() == before


@pytest.mark.slow
def test_payload_is_for_its_submitter_and_for_users_who_have_the_right(api: Api):
    job = submitted(api, "failing", parameters={"text": SECRET})
    done = submitted(api, "report", parameters={"month": SECRET})
    api.run()
    api.fl.members.update("acme", "colleague", role="viewer", permissions=["payload:read"])
    paths = [
        JOBS,
        f"{JOBS}?text={SECRET}",
        "/organizations/acme/dead-letters",
        "/organizations/acme/dead-letter-groups",
    ]
    for one in (job, done):
        paths += [f"{JOBS}/{one}{end}" for end in ("", "/history", "/logs", "/explanation", "/artifacts")]
    paths.append(f"{JOBS}/{done}/result")
    shown = {
        user: [one for one in paths if SECRET in client.get(one).text]
        for user, client in {
            "viewer": api.as_("viewer"),
            "operator": api.operator(),
            "scoped": api.as_("admin", scopes=["jobs:read"]),
            "member": api.as_("member"),
            "colleague": api.as_("colleague"),
            "admin": api.as_("admin"),
        }.items()
    }
    assert shown["viewer"] == shown["operator"] == shown["scoped"] == []
    (letter,) = api.as_("member").get("/organizations/acme/dead-letters").json()["items"]
    assert (letter["user"], letter["status"], SECRET in letter["reason"]) == ("member", "dead_letter", True)
    (group,) = api.operator().get("/operator/dead-letter-groups").json()["items"]
    assert (group["organization"], group["reason"]) == ("acme", "ValueError")
    assert shown["colleague"] == shown["admin"]
    assert set(paths) - set(shown["admin"]) == {
        f"{JOBS}/{job}/logs",
        f"{JOBS}/{job}/artifacts",
        f"{JOBS}/{done}/explanation",
        f"{JOBS}/{done}/history",
        f"{JOBS}/{done}/artifacts",
    }
    assert {f"{JOBS}/{job}", f"{JOBS}/{job}/history", f"{JOBS}/{done}/result"} <= set(shown["member"])
    hidden = api.as_("viewer").get(f"{JOBS}/{job}").json()
    assert (hidden["payload_hidden"], hidden["parameters"], hidden["error_message"]) == (True, None, None)
    assert hidden["error_type"] == "ValueError"
    result = api.as_("viewer").get(f"{JOBS}/{done}/result").json()
    assert result == {"value": None, "artifacts": None, "payload_hidden": True}
    assert api.as_("viewer").get(f"{JOBS}/{done}/artifacts/report.txt").status_code == 403


def test_a_list_without_the_right_to_payload_finds_nothing_by_what_errors_say(api: Api):
    submitted(api, "failing", parameters={"text": SECRET})
    api.run()
    for user, found in {"admin": 1, "viewer": 0, "colleague": 0}.items():
        assert api.as_(user).get(JOBS, params={"text": SECRET[:5]}).json()["total"] == found
    assert api.as_("viewer").get(JOBS, params={"text": "ValueError"}).json()["total"] == 1


def test_a_dead_letter_runs_again_with_other_parameters_by_users_who_may_submit(api: Api):
    job = submitted(api, "failing", parameters={"text": "first"})
    api.run()
    letters = "/organizations/acme/dead-letters"
    assert [one["job_id"] for one in api.as_("viewer").get(letters).json()["items"]] == [job]
    other = {"parameters": {"text": "second"}}
    assert api.operator().post(f"{letters}/{job}/retry", json=other).status_code == 403
    assert api.as_("admin", scopes=["jobs:change"]).post(f"{JOBS}/{job}/retry", json=other).status_code == 403
    assert api.as_("colleague").post(f"{letters}/{job}/retry").status_code == 403
    retried = api.as_("member").post(f"{letters}/{job}/retry", json=other)
    assert (retried.status_code, retried.json()["status"]) == (202, "queued")
    assert retried.json()["parameters"] == {"text": "second"}
    api.run()
    assert api.operator().post(f"{letters}/{job}/retry").json()["status"] == "queued"
    assert [one.actor for one in api.fl.audit.list(organization="acme") if one.action == "jobs.retry"] == [
        "olga",
        "member",
    ]


@pytest.mark.parametrize("verb", ["retry", "resolution", "deletion"])
def test_a_thousand_invented_ids_are_asked_about_once(api: Api, verb: str):
    admin, ids = api.as_("admin"), [str(uuid4()) for _ in range(1000)]
    decision = {"resolution": "ignored"} if verb == "resolution" else {}
    asked: list[str] = []
    event.listen(api.fl.database.engine, "before_cursor_execute", lambda *_: asked.append("a statement"))
    answer = admin.post(f"/organizations/acme/dead-letters/{verb}", json={"ids": ids, **decision})
    assert [one["id"] for one in answer.json()["refused"]] == ids
    assert {one["type"] for one in answer.json()["refused"]} == {"urn:fairlane:problem:job-not-found"}
    assert len(asked) < 20


@pytest.mark.parametrize("user", ["member", "admin"])
def test_a_token_that_may_not_read_is_shown_what_it_changed_without_payload(api: Api, user: str):
    job = submitted(api, parameters={"month": SECRET}, delay=3600)
    cut = api.as_(user, scopes=["jobs:change"])
    verbs = (
        cut.put(f"{JOBS}/{job}/priority", json={"priority": "high"}),
        cut.put(f"{JOBS}/{job}/run-at", json={"run_at": "2100-01-01T00:00:00Z"}),
        cut.post(f"{JOBS}/{job}/cancellation"),
    )
    for answer in verbs:
        assert (answer.json()["id"], answer.json()["parameters"], answer.json()["payload_hidden"]) == (job, None, True)
        assert SECRET not in answer.text
    assert cut.get(f"{JOBS}/{job}").status_code == 403


def test_what_a_request_of_many_ids_has_no_time_for_is_left_and_told(api: Api, monkeypatch: pytest.MonkeyPatch):
    job = submitted(api, "failing")
    api.run()
    monkeypatch.setattr(dead_letters, "_LONGEST", -1.0)
    answer = api.as_("admin").post("/organizations/acme/dead-letters/retry", json={"ids": [job]}).json()
    assert (answer["retried"], [one["id"] for one in answer["refused"]]) == (0, [job])
    assert answer["refused"][0]["detail"] == "There was no time left for it; send it again."
    assert api.fl.get(job, organization="acme").status == "dead_letter"


def test_no_more_groups_are_read_than_are_told(api: Api, monkeypatch: pytest.MonkeyPatch):
    parent, _ = (submitted(api, "failing") for _ in range(2))
    submitted(api, depends_on=[parent])
    api.run()
    sent: list[str] = []
    event.listen(api.fl.database.engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
    client = api.as_("member")
    assert [one["count"] for one in client.get(f"{BASE}/dead-letter-groups").json()["items"]] == [2, 1]
    monkeypatch.setattr(dead_letters, "_MOST_GROUPS", 1)
    assert [one["count"] for one in client.get(f"{BASE}/dead-letter-groups").json()["items"]] == [2]
    grouped = [one for one in sent if "GROUP BY fairlane_dead_letters" in one]
    assert len(grouped) == 2
    assert all("LIMIT" in one for one in grouped)


def test_dead_letters_are_grouped_decided_about_and_retried_together(api: Api):
    ids = [submitted(api, "failing", parameters={"text": "no row"}) for _ in range(3)]
    api.run()
    base, admin = "/organizations/acme", api.as_("admin")
    (group,) = admin.get(f"{base}/dead-letter-groups").json()["items"]
    assert (group["count"], group["reason"]) == (3, "ValueError: no row")
    assert admin.post(f"{base}/dead-letters/{ids[0]}/resolution", json={"resolution": "ignored"}).status_code == 204
    unknown = str(uuid4())
    some = admin.post(f"{base}/dead-letters/retry", json={"ids": [ids[1], unknown]}).json()
    assert some["retried"] == 1
    assert [(one["id"], one["type"]) for one in some["refused"]] == [(unknown, "urn:fairlane:problem:job-not-found")]
    path = f"{base}/dead-letter-groups/{group['fingerprint']}/retry"
    assert admin.post(path, json={"per_second": 0}).status_code == 422
    # The code that the command line shows is a fingerprint's end only; nothing would be done, so that is said.
    code = group["fingerprint"].split()[-1]
    for nobodys, chosen in ((path, {"job_type": "report"}), (f"{base}/dead-letter-groups/{code}/retry", {})):
        answer = admin.post(nobodys, json=chosen)
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:fairlane:problem:dead-letter-group-not-found")
    whole = admin.post(path, json={"job_type": "failing", "per_second": 100}).json()
    assert (whole["action"], whole["state"], whole["changed"], whole["refused"]) == ("retry", "done", 1, 0)
    assert whole["filter"] == {"fingerprint": group["fingerprint"], "job_type": "failing"}
    left = admin.get(f"{base}/dead-letters", params={"resolution": "any", "limit": 1}).json()
    assert left["next_cursor"] is not None
    assert admin.delete(f"{base}/dead-letters/{ids[0]}").status_code == 204
    assert admin.get(f"{JOBS}/{ids[0]}").status_code == 404


def test_a_suspended_organization_submits_nothing_and_its_results_are_locked(api: Api):
    done, waiting = submitted(api), ""
    api.run()
    waiting = submitted(api)
    api.fl.organizations.suspend("acme")
    client = api.as_("member")
    for answer in (
        client.post(JOBS, json={"job_type": "report"}),
        client.get(f"{JOBS}/{done}/result"),
        client.get(f"{JOBS}/{done}/artifacts"),
        client.get(f"{JOBS}/{done}/artifacts/report.txt"),
    ):
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:fairlane:problem:organization-suspended")
    assert client.get(f"{JOBS}/{waiting}").json()["status"] == "queued"
    assert client.get("/organizations/acme").json()["status"] == "suspended"
    assert client.get(f"{JOBS}/{waiting}/explanation").json()["reasons"][0]["code"] == "organization_suspended"
    api.fl.organizations.activate("acme")
    assert client.get(f"{JOBS}/{done}/result").status_code == 200


def test_a_deleted_organization_is_as_if_it_had_never_been(api: Api):
    member, admin = api.as_("member"), api.operator()
    api.fl.organizations.delete("acme")
    gone, unknown = member.get(JOBS), member.get("/organizations/nowhere/jobs")
    assert (gone.status_code, gone.content) == (404, unknown.content)
    assert admin.get(JOBS).content == gone.content


def test_whoever_loses_their_membership_is_out_with_the_next_request(api: Api):
    api.fl.users.create("member", password=PASSWORD)
    by_token, by_session = api.as_("member"), api.client()
    by_session.post("/sessions", json={"user": "member", "password": PASSWORD})
    assert [one.get(JOBS).status_code for one in (by_token, by_session)] == [200, 200]
    api.fl.members.remove("acme", "member")
    assert by_token.get(JOBS).status_code == 401
    assert by_session.get(JOBS).status_code == 404
    assert by_session.get(JOBS).content == by_session.get("/organizations/nowhere/jobs").content


@pytest.mark.parametrize("job", ["x", "00000000-0000-0000-0000-000000000000", "%00", "..%2f", "{}", "٣" * 32])
def test_an_odd_id_is_an_unknown_one(api: Api, job: str):
    client = api.as_("member")
    unknown = client.get(f"{JOBS}/{uuid4()}")
    answer = client.get(f"{JOBS}/{job}")
    assert answer.status_code == 404
    assert answer.content == unknown.content or "nothing at this address" in answer.text


def test_a_mistake_of_ours_says_neither_the_client_nor_the_log_what_the_request_was_about(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(*_: object, **__: object) -> None:
        raise type("Broken\nINFO all is well", (RuntimeError,), {})(SECRET)

    job, client = submitted(api), api.as_("member")
    monkeypatch.setattr(Reads, "get", fail)
    answer = client.get(f"{JOBS}/{job}")
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:fairlane:problem:internal-error")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "A request failed with Broken" in caplog.text
    assert "\nINFO all is well" not in caplog.text
    assert "test_jobs.py" in caplog.text
    assert SECRET not in answer.text + caplog.text


def test_a_database_that_is_away_is_worth_another_try_and_the_log_says_which(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(*_: object, **__: object) -> None:
        raise StorageUnavailable("postgresql://secret-host is away")

    client = api.as_("member")
    monkeypatch.setattr(Reads, "list", fail)
    answer = client.get(JOBS)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:fairlane:problem:storage-unavailable")
    assert answer.headers["retry-after"] == "1"
    assert "secret-host" not in answer.text
    assert caplog.messages == ["A request could not be answered: postgresql://secret-host is away"]


def test_what_was_done_over_the_api_says_from_where(api: Api):
    job = submitted(api)
    api.as_("admin").post(f"{JOBS}/{job}/cancellation")
    entry = api.fl.audit.list(organization="acme")[0]
    assert (entry.action, entry.actor) == ("jobs.cancel", "admin")
    assert entry.origin.startswith("token ")
    assert entry.origin.endswith(" from 127.0.0.1")
