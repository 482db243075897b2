"""Foreign ids within a body, a query or a key get the same answer, to the byte, as ids that nobody has."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api import alike
from tests.api.served import Api
from tests.security.swaps import SWAPS, Others, Swap


def told(answer: httpx.Response, value: str) -> tuple[int, dict[str, str], str]:
    """Return the answer without what was sent: the whole of a label, or its value."""
    return alike.told(answer, value, value.rpartition("=")[2])


@pytest.mark.slow
@pytest.mark.parametrize("user", ["member", "admin"])
def test_an_id_of_others_within_a_request_is_as_one_of_nobody(api: Api, user: str):
    others, client = Others(api), api.as_(user)
    before = [api.fl.get(job, organization="other") for job in others.jobs]
    for name, swap in SWAPS.items():
        theirs, nobodys = others.pair(swap.kind)
        answer = swap.answer(client, theirs)
        assert told(answer, theirs) == told(swap.answer(client, nobodys), nobodys), name
        assert [one for one in others.marks if one not in theirs and one in answer.text.replace(theirs, "")] == [], name
    assert [api.fl.get(job, organization="other") for job in others.jobs] == before


def properties(schema: Any, schemas: dict[str, Any]) -> Iterator[str]:
    """The names of all properties in a schema, and in those that it refers to."""
    if isinstance(schema, list):
        for one in schema:
            yield from properties(one, schemas)
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        yield from properties(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    yield from schema.get("properties", {})
    for name, part in schema.items():
        if name not in {"$ref", "examples", "example"}:
            yield from properties(part, schemas)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the operations within an organization, each with its path and method."""
    for path, methods in document["paths"].items():
        if path.startswith("/api/v1/organizations/{organization}"):
            for method, operation in methods.items():
                yield path, method.upper(), operation


def fields(document: dict[str, Any]) -> set[tuple[str, str]]:
    """Return all fields of bodies and queries: operation and field."""
    found = set[tuple[str, str]]()
    for _, _, operation in operations(document):
        names = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
        names |= set(properties(operation.get("requestBody"), document["components"]["schemas"]))
        found |= {(operation["operationId"], name) for name in names}
    return found


def holding(value: Any, body: Any) -> Iterator[str]:
    """The names under which the value stands somewhere in a body."""
    parts = body.items() if isinstance(body, dict) else ((None, one) for one in body) if isinstance(body, list) else ()
    for name, part in parts:
        if name is not None and (part == value or (isinstance(part, list) and value in part)):
            yield name
        yield from holding(value, part)


def swapped(document: dict[str, Any], swap: Swap) -> set[tuple[str, str]]:
    """Return what a swap swaps: operation and field, as the request sends them."""
    requests: list[httpx.Request] = []

    def note(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json={})

    with httpx.Client(base_url="http://test/api/v1", transport=httpx.MockTransport(note)) as client:
        swap.answer(client, "the-value")
    (request,) = requests
    hits = [
        operation["operationId"]
        for path, method, operation in operations(document)
        if method == request.method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), request.url.path)
    ]
    assert len(hits) == 1, f"{request.method} {request.url.path} leads to {hits}"
    names = [name for name, value in request.url.params.items() if value == "the-value"]
    names += holding("the-value", json.loads(request.content or "null"))
    return {(hits[0], name) for name in names}


# What is no id of anything, whichever request holds it.
NO_IDS = {
    *("job_type", "parameters", "priority", "on_parent_failure", "delay", "run_at", "on_duplicate"),
    *("dedup_window", "max_retries", "timeout", "labels", "depends_on_members", "jobs", "reason", "per_second"),
    *("resolution", "note", "name", "scopes", "expires_in", "role", "permissions"),
    *("cron", "every", "time_zone", "start", "missed"),
    *("action", "filter", "status", "waiting_for", "created_after", "created_before"),
    *("limit", "after", "minutes", "step"),
    "order",
    "cursor",  # a place in an order; where it is looked up it is swapped, too
}
# Where jobs are to go: queues are all organizations'.
NO_IDS_THERE = {("submitJob", "queue"), ("submitJobs", "queue"), ("putSchedule", "queue")}


@pytest.mark.slow
def test_every_field_of_a_body_or_a_query_that_can_name_something_is_swapped(api: Api):
    document = api.client().get("/openapi.json").json()
    found = fields(document)
    excluded = {one for one in found if one[1] in NO_IDS} | NO_IDS_THERE
    done = set[tuple[str, str]]().union(*(swapped(document, swap) for swap in SWAPS.values()))
    assert found - excluded - done == set(), "swap it, or say that it names nothing"
    assert done - found == set(), "nobody takes it"
    assert NO_IDS - {name for _, name in found} == set(), "no longer there"
