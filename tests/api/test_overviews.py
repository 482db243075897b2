"""The dashboard's overviews: counts, timelines, graphs, shares, and changes of many jobs at once."""

from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import TypeAdapter

from fairlane.api.openapi import document
from fairlane.domain.breaker import Breaker, Trial
from fairlane.domain.metrics import Metrics
from fairlane.store.statements import breakers
from tests.api.served import SECRET, Api

ACME = "/organizations/acme"


def submitted(api: Api, job_type: str = "report", user: str = "member", **more: Any) -> str:
    return str(api.fl.submit(job_type, organization="acme", user=user, **more).id)


def bulk(client: httpx.Client, action: str, *, path: str = "", **more: Any) -> dict[str, Any]:
    answer = client.post(f"{ACME}/bulk-actions{path}", json={"action": action, **more})
    assert answer.status_code == (200 if path else 201), answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_counts_follow_the_filters_of_the_list(api: Api):
    submitted(api, labels={"batch": "7"})
    submitted(api)
    api.run()
    submitted(api, labels={"batch": "7"})
    counts = api.as_("viewer").get(f"{ACME}/job-counts", params={"label": "batch=7"}).json()
    assert (counts["by_status"]["completed"], counts["by_status"]["queued"], counts["capped"]) == (1, 1, [])


def test_counts_tell_nothing_of_errors_to_readers_who_may_not_read_them(api: Api):
    submitted(api, "failing")
    api.run()
    for user, expected in (("admin", 1), ("viewer", 0)):
        counts = api.as_(user).get(f"{ACME}/job-counts", params={"text": SECRET}).json()
        assert counts["by_status"]["dead_letter"] == expected


def test_a_timeline_has_what_was_submitted_and_ran(api: Api):
    submitted(api)
    api.run()
    timeline = api.as_("viewer").get(f"{ACME}/timeline", params={"minutes": 5}).json()
    totals = {name: sum(one[name] for one in timeline["steps"]) for name in ("submitted", "started", "completed")}
    assert totals == {"submitted": 1, "started": 1, "completed": 1}
    assert timeline["step_seconds"] == 60


def test_numbers_say_how_jobs_went_of_late(api: Api):
    done = submitted(api)
    api.fl.submit("failing", organization="other")
    api.run()
    metrics = api.as_("viewer").get(f"{ACME}/metrics", params={"minutes": 5}).json()
    assert (metrics["minutes"], metrics["attempts_by_type"]) == (5, {"report": 1})
    assert (metrics["failure_rate_by_type"], metrics["workers"]) == ({"report": 0.0}, None)
    assert metrics["processing_seconds_by_type"] == {"report": metrics["processing_seconds"]}
    for name in ("wait_seconds", "processing_seconds"):
        assert metrics[name]["average"] >= 0
        assert metrics[name]["p95"] >= 0
    assert [one["id"] for one in metrics["slowest"]] == [done]
    of_all = api.operator().get("/operator/metrics", params={"minutes": 5}).json()
    assert (of_all["failure_rate_by_type"], of_all["workers"]) == ({"report": 0.0, "failing": 1.0}, 0)
    assert {one["organization"] for one in of_all["slowest"]} == {"acme", "other"}


def test_with_the_right_to_numbers_alone_nobody_sees_a_single_job(api: Api):
    submitted(api)
    api.run()
    cut = ["metrics:read"]
    operator = api.operator(scopes=cut)
    for client, path in ((api.as_("member", scopes=cut), ACME), (operator, ACME), (operator, "/operator")):
        metrics = client.get(f"{path}/metrics").json()
        assert (metrics["attempts_by_type"], metrics["slowest"]) == ({"report": 1}, [])


def test_the_document_shows_numbers_by_examples_with_something_in_them(api: Api):
    told = document(api.app)["paths"]
    for path, workers in (("organizations/{organization}", None), ("operator", 4)):
        answer = told[f"/api/v1/{path}/metrics"]["get"]["responses"]["200"]["content"]["application/json"]
        example = TypeAdapter(Metrics).validate_python(answer["example"])
        assert example.failure_rate_by_type.keys() == example.processing_seconds_by_type.keys() != set()
        assert (example.workers, len(example.slowest)) == (workers, 1)


@pytest.mark.parametrize("minutes", [0, 1441, "all"])
def test_numbers_of_no_such_time_are_refused(api: Api, minutes: int | str):
    for client, path in ((api.as_("viewer"), f"{ACME}/metrics"), (api.operator(), "/operator/metrics")):
        assert client.get(path, params={"minutes": minutes}).status_code == 422


def test_more_steps_than_there_may_be_are_refused(api: Api):
    answer = api.as_("viewer").get(f"{ACME}/timeline", params={"minutes": 1440, "step": 1})
    assert (answer.status_code, "steps" in answer.json()["detail"]) == (422, True)


def test_a_graph_marks_where_it_began_to_go_wrong(api: Api):
    parent = submitted(api, "failing")
    child = submitted(api, depends_on=[parent])
    api.run()
    graph = api.as_("viewer").get(f"{ACME}/jobs/{child}/graph").json()
    assert {one["id"] for one in graph["nodes"]} == {parent, child}
    assert graph["first_failed"] == parent
    assert SECRET not in str(graph)


def test_shares_are_told_to_operators(api: Api):
    submitted(api)
    api.run()
    submitted(api)
    shares = api.operator().get("/operator/shares", params={"minutes": 5}).json()
    assert [(one["organization"], sum(one["ended"]), one["now"]["ready"]) for one in shares["shares"]] == [
        ("acme", 1, 1)
    ]


def test_before_a_bulk_action_it_is_told_how_many_fit(api: Api):
    jobs = [submitted(api) for _ in range(2)]
    assert bulk(api.as_("admin"), "cancel", path="/count") == {"matching": 2, "matching_is_capped": False}
    assert {api.fl.get(job, organization="acme").status for job in jobs} == {"queued"}


def test_a_member_changes_their_own_and_an_admin_all(api: Api):
    submitted(api)
    submitted(api, user="colleague")
    assert bulk(api.as_("member"), "cancel", path="/count")["matching"] == 1
    assert bulk(api.as_("member"), "cancel")["changed"] == 1
    body = {"action": "cancel", "filter": {"user": "colleague"}}
    refused = api.as_("member").post(f"{ACME}/bulk-actions", json=body)
    assert (refused.status_code, "ask an admin" in refused.json()["detail"]) == (403, True)
    assert bulk(api.as_("admin"), "cancel")["changed"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "explode"},
        {"action": "cancel", "filter": {"status": ["lost"]}},
        {"action": "cancel", "filter": {"label": ["x"]}},
        {"action": "cancel", "per_second": 1},
        {"action": "cancel", "dry_run": True},
        {"action": "cancel", "filter": {"organization": "other"}},
    ],
    ids=str,
)
def test_what_makes_no_sense_changes_nothing(api: Api, body: dict[str, Any]):
    job = submitted(api)
    answer = api.as_("admin").post(f"{ACME}/bulk-actions", json=body)
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert api.fl.get(job, organization="acme").status == "queued"


def test_dead_letters_are_decided_about_and_deleted_together(api: Api):
    letters = [submitted(api, "failing") for _ in range(3)]
    live = submitted(api)
    api.run()
    client, path = api.as_("admin"), f"{ACME}/dead-letters"
    decided = client.post(f"{path}/resolution", json={"ids": letters, "resolution": "resolved", "note": "by hand"})
    assert decided.json() == {"changed": 3, "refused": []}
    assert {one["note"] for one in client.get(path, params={"resolution": "resolved"}).json()["items"]} == {"by hand"}
    gone = client.post(f"{path}/deletion", json={"ids": [letters[0], live]}).json()
    assert (gone["changed"], [one["id"] for one in gone["refused"]]) == (1, [live])
    assert client.get(path, params={"resolution": "any"}).json()["total"] == 2
    slip = client.post(f"{path}/resolution", json={"ids": letters, "resolution": "done"})
    assert slip.json()["detail"] == "/body/resolution: Input should be 'resolved' or 'ignored'"
    foreign = api.as_("other-admin", "other").post("/organizations/other/dead-letters/deletion", json={"ids": letters})
    assert foreign.json()["changed"] == 0


@pytest.mark.parametrize("body", [{"action": "retry", "per_second": 0}, {"action": "cancel", "per_second": 5}])
def test_a_pace_of_a_bulk_action_is_above_0_and_of_retries(api: Api, body: dict[str, Any]):
    assert api.as_("admin").post(f"{ACME}/bulk-actions", json=body).status_code == 422
    letters = [submitted(api, "failing") for _ in range(2)]
    api.run()
    assert bulk(api.as_("admin"), "retry", per_second=0.001)["changed"] == 2
    assert [api.fl.get(one, organization="acme").next_retry_at is None for one in letters] == [False, True]


def test_members_are_told_which_of_their_job_types_rest(api: Api):
    trial = Trial(uuid4(), 1, uuid4())
    since, until = datetime(2026, 11, 27, 12, tzinfo=UTC), datetime(2026, 11, 27, 12, 15, tzinfo=UTC)
    for organization in ("acme", "other"):
        breaker = Breaker(organization, "report", since, until, trial)
        api.fl.database.write(partial(breakers.open_one, breaker=breaker), of=organization)
    api.fl.database.write(partial(breakers.open_one, breaker=Breaker("other", "failing", since, until)), of="other")
    told = api.as_("viewer").get(f"{ACME}/breakers")
    (one,) = told.json()["items"]
    assert (one["job_type"], one["trial"]) == ("report", str(trial.job_id))
    assert str(trial.lease_token) not in told.text
