"""Bulk actions over HTTP: who is told what of them, and who stops them."""

from typing import Any

import pytest

from fairlane.api.resources.bulk_actions import BulkFilter
from tests.api.served import Api

pytestmark = pytest.mark.usefixtures("one_by_one")

BASE = "/organizations/acme/bulk-actions"


def begin(api: Api, user: str, **filters: Any) -> dict[str, Any]:
    """Begin to cancel three jobs of the member in bulk; the first of them is canceled at once."""
    for _ in range(3):
        api.fl.submit("report", organization="acme", user="member")
    found: dict[str, Any] = api.as_(user).post(BASE, json={"action": "cancel", "filter": filters}).json()
    return found


def test_everybody_there_sees_how_far_one_is_and_what_it_is_about(api: Api):
    begun = begin(api, "member", job_type="report")
    assert (begun["state"], begun["changed"], begun["filter"]) == (
        "working",
        1,
        {"job_type": "report", "user": "member"},
    )
    assert api.as_("viewer").get(BASE).json()["items"] == [begun]
    assert api.as_("viewer").get(f"{BASE}/{begun['id']}").json() == begun


def test_what_was_searched_for_is_payload(api: Api):
    begun = begin(api, "admin", text="report")
    assert begun["filter"] == {"text": "report"}
    assert api.as_("viewer").get(f"{BASE}/{begun['id']}").json()["filter"] == {"text": None}


def test_members_stop_their_own_and_admins_all(api: Api):
    of_admin = begin(api, "admin")
    assert api.as_("member").post(f"{BASE}/{of_admin['id']}/stop").status_code == 403
    own = begin(api, "member")
    stopped = api.as_("member").post(f"{BASE}/{own['id']}/stop").json()
    assert (stopped["state"], stopped["stopped_by"]) == ("stopped", "member")
    assert api.as_("admin").post(f"{BASE}/{of_admin['id']}/stop").json()["state"] == "stopped"


def test_dead_letters_are_deleted_by_users_who_may_delete_one(api: Api):
    job = api.fl.submit("failing", organization="acme", user="member")
    api.run()
    _, changer = api.fl.tokens.create(organization="acme", as_user="admin", name="cut", scopes=["jobs:change"])
    for client in (api.as_("member"), api.client(changer)):
        answer = client.post(BASE, json={"action": "delete"})
        assert (answer.status_code, answer.json()["detail"]) == (
            403,
            "This needs the right jobs:delete, which you don't have here.",
        )
        assert client.post("/organizations/acme/dead-letters/deletion", json={"ids": [str(job.id)]}).status_code == 403
    assert api.as_("admin").post(BASE, json={"action": "delete"}).json()["changed"] == 1


def test_one_ends_with_the_token_that_began_it(api: Api):
    token, secret = api.fl.tokens.create(organization="acme", as_user="member", name="leaked")
    for _ in range(3):
        api.fl.submit("report", organization="acme", user="member")
    begun = api.client(secret).post(BASE, json={"action": "cancel"}).json()
    api.fl.tokens.revoke(token.id, organization="acme")
    api.run()
    ended = api.as_("admin").get(f"{BASE}/{begun['id']}").json()
    assert (ended["state"], ended["changed"]) == ("stopped", 1)
    assert "revoked" in ended["problem"]


def test_workers_do_what_is_left_as_the_user_who_began_it(api: Api):
    api.fl.queues.pause("default")  # so that jobs stay where they are
    begun = begin(api, "member")
    api.run()
    ended = api.as_("member").get(f"{BASE}/{begun['id']}").json()
    assert (ended["state"], ended["changed"]) == ("done", 3)
    told = [one for one in api.fl.audit.list(organization="acme") if one.action == "jobs.cancel"]
    assert [(one.actor, one.origin[:5]) for one in told] == [("member", "token")] * 3


def test_too_many_at_once_are_a_conflict(api: Api):
    for _ in range(10):
        begin(api, "admin")
    answer = api.as_("admin").post(BASE, json={"action": "cancel"})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:fairlane:problem:too-many-bulk-actions")


def test_a_retry_counts_and_passes_over_nothing_that_somebody_has_decided_about(api: Api):
    for _ in range(3):
        api.fl.submit("failing", organization="acme", user="member")
    api.run()
    ignored, resolved, _ = api.fl.dead_letters.list(organization="acme").items
    api.fl.dead_letters.ignore(ignored.job_id, organization="acme")
    api.fl.dead_letters.resolve(resolved.job_id, organization="acme")
    admin, body = api.as_("admin"), {"filter": {"job_type": "failing"}}
    counted = {
        action: admin.post(f"{BASE}/count", json={"action": action, **body}).json()["matching"]
        for action in ("retry", "delete")
    }
    assert counted == {"retry": 1, "delete": 3}
    done = admin.post(BASE, json={"action": "retry", **body}).json()
    assert (done["changed"], done["passed_over"]) == (1, 0)


def test_a_retry_counts_of_one_error_what_it_will_do(api: Api):
    for _ in range(2):
        api.fl.submit("failing", organization="acme", user="member")
    parent = api.fl.submit("failing", organization="acme", user="admin")
    api.fl.submit("report", organization="acme", user="member", depends_on=[parent.id])
    api.run()
    (failed, ended) = (group.fingerprint for group in api.fl.dead_letters.groups(organization="acme"))

    def counted(user: str, **filters: str) -> int:
        body = {"action": "retry", "filter": filters}
        return int(api.as_(user).post(f"{BASE}/count", json=body).json()["matching"])

    assert (counted("admin", fingerprint=failed), counted("member", fingerprint=failed)) == (3, 2)
    assert counted("admin", fingerprint=ended) == 0, "it follows its parent"
    assert counted("admin") == 3
    done = api.as_("admin").post(BASE, json={"action": "retry", "filter": {"fingerprint": ended}}).json()
    assert (done["changed"], done["passed_over"]) == (0, 1)


def test_a_filter_that_nothing_is_stored_under_is_refused(api: Api):
    body = {"action": "retry", "filter": {"fingerprint": "a\0b"}}
    assert api.as_("admin").post(f"{BASE}/count", json=body).status_code == 422


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        {"status": []},
        {"label": []},
        {"queue": ""},
        {"status": ["completed"]},
        *({name: None} for name in BulkFilter.model_fields),
    ],
    ids=repr,
)
def test_a_filter_that_is_empty_or_fits_nothing_is_neither_begun_nor_counted(api: Api, given: dict[str, Any]):
    job = api.fl.submit("report", organization="acme", user="member")
    body = {"action": "cancel", "filter": given}
    for path in (BASE, f"{BASE}/count"):
        for user in ("member", "admin"):
            assert api.as_(user).post(path, json=body).status_code == 422
    assert api.fl.get(job, organization="acme").status == "queued"
    assert api.as_("viewer").get(BASE).json()["items"] == []


def test_an_empty_filter_is_refused_in_one_sentence_which_the_document_foretells(api: Api):
    for given in ("", None):
        refused = api.as_("admin").post(BASE, json={"action": "cancel", "filter": {"user": given}})
        assert refused.json()["detail"].startswith("The filter user is empty; ")
    told = api.as_("admin").get("/openapi.json").json()["components"]["schemas"]["BulkFilter"]["properties"]
    assert [
        name for name, field in told.items() if "default" in field or {"type": "null"} in field.get("anyOf", ())
    ] == []


def test_a_job_type_that_is_not_registered_is_wrong_in_the_body(api: Api):
    refused = api.as_("admin").post(BASE, json={"action": "retry", "filter": {"job_type": "reprot"}})
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:fairlane:problem:job-type-not-found")
