"""Each id within a body, a query or a key, swapped for another organization's: as one that nobody has, to the byte."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest

from tests.api.served import Api

BASE = "/organizations/acme"
_NEW = re.compile(rb'"(id|created_at|ended_at)":"[^"]*"|"filter":.*,(?="per_second")')


class Swap(NamedTuple):
    """A request with an id in it: whose it is, decides `send`'s second argument."""

    kind: str
    send: Callable[[httpx.Client, str], httpx.Response]


def post(path: str, body: Callable[[str], Any]) -> Callable[[httpx.Client, str], httpx.Response]:
    return lambda client, value: client.post(f"{BASE}/{path}", json=body(value))


def get(path: str, name: str) -> Callable[[httpx.Client, str], httpx.Response]:
    return lambda client, value: client.get(f"{BASE}/{path}", params={name: value})


def bulk(name: str, of: Callable[[str], Any], path: str = "") -> Callable[[httpx.Client, str], httpx.Response]:
    """A bulk action, and a filter that is made of the value."""
    return post(f"bulk-actions{path}", lambda value: {"action": "retry", "filter": {name: of(value)}})


REPORT = {"job_type": "report"}
SWAPS = {
    "a parent": Swap("job", post("jobs", lambda job: {**REPORT, "depends_on": [job]})),
    "a parent that failed": Swap("dead", post("jobs", lambda job: {**REPORT, "depends_on": [job]})),
    "a parent in a batch": Swap(
        "job", post("jobs/batch", lambda job: {"jobs": [REPORT, {**REPORT, "depends_on": [job]}]})
    ),
    "a dead letter in bulk": Swap("dead", post("dead-letters/retry", lambda job: {"ids": [job]})),
    "a live job in bulk": Swap("job", post("dead-letters/retry", lambda job: {"ids": [job, job]})),
    "a user of a token": Swap("user", post("tokens", lambda user: {"name": "x", "user": user})),
    "a filter by user": Swap("user", get("jobs", "user")),
    "a filter by text": Swap("text", get("jobs", "text")),
    "a filter by label": Swap("label", get("jobs", "label")),
    "a filter by queue": Swap("queue", get("jobs", "queue")),
    "a group of dead letters": Swap("fingerprint", get("dead-letters", "fingerprint")),
    "dead letters to decide about": Swap(
        "dead", post("dead-letters/resolution", lambda job: {"ids": [job], "resolution": "ignored"})
    ),
    "dead letters to delete": Swap("dead", post("dead-letters/deletion", lambda job: {"ids": [job]})),
    "a job to count": Swap("job", get("job-counts", "text")),
    "a user whose jobs are counted": Swap("user", get("job-counts", "user")),
    "a user whose jobs are retried": Swap("user", bulk("user", str)),
    "a label of what is retried": Swap("label", bulk("label", lambda label: [label])),
    "a text of what is retried": Swap("text", bulk("text", str)),
    "a queue of what is retried": Swap("queue", bulk("queue", str)),
    "a user whose jobs would be retried": Swap("user", bulk("user", str, "/count")),
    "a bulk action": Swap("bulk action", lambda client, one: client.get(f"{BASE}/bulk-actions/{one}")),
    "a bulk action to stop": Swap(
        "bulk action", lambda client, one: client.post(f"{BASE}/bulk-actions/{one}/cancellation")
    ),
    "a group to retry": Swap("fingerprint", lambda client, one: client.post(f"{BASE}/dead-letter-groups/{one}/retry")),
}


class Others:
    """What the other organization has, and the like of it that nobody has."""

    def __init__(self, api: Api) -> None:
        fl = api.fl
        dead = fl.submit("failing", organization="other", user="other-member")
        api.run()
        live = fl.submit("report", organization="other", user="other-member", queue="theirs", labels={"case": "theirs"})
        (letter,) = fl.dead_letters.list("other").items
        run = fl.bulk.start("retry", "other", {"job_type": "report"}, user="other-member")
        self.jobs = [dead.id, live.id]
        self.pairs = {
            "job": (str(live.id), str(uuid4())),
            "dead": (str(dead.id), str(uuid4())),
            "user": ("other-member", "nobody"),
            "bulk action": (str(run.id), str(uuid4())),
            "text": ("canary-4711", "nothing"),
            "label": ("case=theirs", "case=nobodys"),
            "queue": ("theirs", "nobodys"),
            "fingerprint": (letter.fingerprint, "0" * len(letter.fingerprint)),
        }


def told(answer: httpx.Response, value: str) -> tuple[int, bytes]:
    """Without the id that was sent; of a bulk action that was begun, without its own, its times and what was asked."""
    content = answer.content.replace(value.encode(), b"ID")
    if answer.status_code == 201 and "refusals" in answer.json():
        content = _NEW.sub(b"", content)
    return answer.status_code, content


@pytest.mark.parametrize("user", ["member", "admin"])
def test_an_id_of_others_within_a_request_is_as_one_of_nobody(api: Api, user: str):
    others, client = Others(api), api.as_(user)
    before = [api.fl.get(job, organization="other") for job in others.jobs]
    for name, swap in SWAPS.items():
        theirs, nobodys = others.pairs[swap.kind]
        assert told(swap.send(client, theirs), theirs) == told(swap.send(client, nobodys), nobodys), name
    assert [api.fl.get(job, organization="other") for job in others.jobs] == before


def test_a_live_job_of_others_under_a_key_is_no_duplicate(api: Api):
    body = {"job_type": "unique", "dedup_key": "k", "labels": {"k": "v"}}
    theirs = api.as_("other-member", "other").post("/organizations/other/jobs", json=body)
    client = api.as_("member")
    for key in ("k", "a key of nobody"):
        for choice in ("reject", "return", "replace"):
            mine = client.post(f"{BASE}/jobs", json={**body, "dedup_key": key, "on_duplicate": choice})
            if choice == "reject":
                assert mine.status_code == 201
            assert theirs.json()["id"] not in mine.text
    assert api.fl.get(theirs.json()["id"], organization="other").status == "queued"


def test_an_idempotency_key_of_others_answers_as_one_of_nobody(api: Api):
    headers = {"Idempotency-Key": "k"}
    api.as_("other-member", "other").post("/organizations/other/jobs", json=REPORT, headers=headers)
    # Another body under a key that was used would be a conflict, if the key were not each organization's own.
    mine = api.as_("member").post(f"{BASE}/jobs", json={**REPORT, "priority": "high"}, headers=headers)
    assert mine.status_code == 201
    assert "idempotent-replayed" not in mine.headers


def fields(schema: Any, schemas: dict[str, Any]) -> Iterator[str]:
    """The names of all properties in a schema, and in those that it refers to."""
    if isinstance(schema, list):
        for one in schema:
            yield from fields(one, schemas)
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        yield from fields(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    yield from schema.get("properties", {})
    for name, part in schema.items():
        if name not in {"$ref", "examples", "example"}:
            yield from fields(part, schemas)


def bodies_with_ids(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields of request bodies that can name something of an organization: (operation, field)."""
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for operation in methods.values():
            if "{organization}" in path and "/operator/" not in path and "requestBody" in operation:
                for name in fields(operation["requestBody"], schemas):
                    yield operation["operationId"], name


# What a body holds that is no id of anything; a new field is either here or swapped above.
NO_IDS = {
    *("job_type", "parameters", "priority", "queue", "on_parent_failure", "delay", "run_at", "on_duplicate"),
    *("dedup_window", "max_retries", "timeout", "labels", "depends_on_members", "jobs", "reason", "per_second"),
    *("resolution", "note", "name", "scopes", "expires_in", "role", "permissions"),
    *("cron", "every", "time_zone", "start", "missed"),
    *("action", "filter", "dry_run", "status", "created_after", "created_before"),
}
SWAPPED = {"depends_on", "ids", "user", "dedup_key", "label", "text"}


def test_every_field_of_a_body_that_can_name_something_is_swapped(api: Api):
    found = {name for _, name in bodies_with_ids(api.client().get("/openapi.json").json())}
    assert found >= SWAPPED
    assert {name for name in found if name not in SWAPPED | NO_IDS | SETTINGS} == set()


# Of an organization itself.
SETTINGS = {"max_live_jobs", "retention", "dead_letter_alert"}
