"""The limits that the OpenAPI document gives are those that the server keeps: each is tried, and one step beyond it."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest

from tests.api.served import Api, notes

Schema = Mapping[str, Any]
LONG = 1_000  # characters, or items, of what the document does not bound
# Names that some patterns allow and some refuse.
NAMES = (
    "ok",
    ".",
    "..",
    "...",
    "-x",
    "a,b",
    "a/b",
    "a/limits",
    "a b",
    "a\xa0b",
    "a\u200bb",
    "a\u2028b",
    "ä",
    "\ufeffa",
)


class Body(NamedTuple):
    """A request, the schema of its body, and a body that is taken."""

    send: Callable[[Any], httpx.Response]
    schema: str
    base: Mapping[str, Any]


def bodies(api: Api) -> list[Body]:
    member, admin, operator = api.as_("member"), api.as_("admin"), api.operator()
    api.fl.job_type("endless", timeout=None)(notes)  # of another, its own timeout is the longest
    report = {"job_type": "endless", "on_duplicate": "return"}  # of which one is live already
    acme, numbers = "/organizations/acme", iter(range(10_000))
    return [
        Body(
            lambda body: member.post(f"{acme}/jobs", json=body),
            "NewJob",
            report,
        ),
        Body(
            lambda body: member.post(f"{acme}/jobs/batch", json={"jobs": [body]}),
            "BatchMember",
            report,
        ),
        Body(
            lambda body: admin.put(f"{acme}/schedules/daily", json=body),
            "NewSchedule",
            {"job_type": "report", "every": 60},
        ),
        Body(lambda body: admin.post(f"{acme}/tokens", json=body), "NewTokenOfMember", {"name": "x"}),
        Body(
            lambda body: operator.post("/operator/organizations", json={"id": f"new{next(numbers)}", **body}),
            "NewOrganization",
            {},
        ),
        Body(lambda body: admin.post(f"{acme}/bulk-actions/count", json=body), "NewBulkAction", {"action": "retry"}),
        Body(
            lambda body: admin.post(f"{acme}/bulk-actions/count", json={"action": "retry", "filter": body}),
            "BulkFilter",
            {},
        ),
    ]


# What is refused for what no document says: that it is registered, a member, there, a right, or goes with another.
ELSEWHERE = {
    *("job_type", "user", "cron", "time_zone", "start", "scopes", "permissions"),
    *("depends_on", "depends_on_members", "id"),
}


def resolved(schema: Schema, schemas: Schema) -> Iterator[Schema]:
    """Yield what a field may be, but for null."""
    if "$ref" in schema:
        yield from resolved(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    elif "anyOf" in schema:
        for one in schema["anyOf"]:
            yield from resolved(one, schemas)
    elif schema.get("type") != "null" and not schema.keys() & {"enum", "const", "format"}:
        yield schema


def names(schema: Schema, *, fit: bool) -> Iterator[str]:
    """Yield those of `NAMES` that the schema's pattern allows, or those that it refuses."""
    yield from (name for name in NAMES if (re.search(schema.get("pattern", ""), name) is not None) is fit)


def good(schema: Schema) -> Iterator[Any]:
    """Yield the extremes that the document allows."""
    match schema.get("type"):
        case "string":
            yield "a" * schema.get("maxLength", LONG)
            yield from names(schema, fit=True)
            if "pattern" not in schema:
                yield "a\0b"
            if schema.get("minLength", 0) == 0:
                yield ""
        case "integer" | "number":
            kind = int if schema["type"] == "integer" else float
            yield kind(schema.get("maximum", 10**12))
            yield kind(schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1))
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            for value in good(schema["additionalProperties"]):
                yield {"a" * schema.get("propertyNames", {}).get("maxLength", LONG): value}
            yield {f"name{one}": "x" for one in range(schema.get("maxProperties", LONG))}


def bad(schema: Schema) -> Iterator[Any]:
    """Yield what is one step beyond them."""
    if "maxLength" in schema:
        yield "a" * (schema["maxLength"] + 1)
    if schema.get("minLength"):
        yield ""
    if "pattern" in schema:
        yield "a\0b"
        yield from names(schema, fit=False)
    if "maximum" in schema:
        yield schema["maximum"] + 1
    if "minimum" in schema:
        yield schema["minimum"] - 1
    if "exclusiveMinimum" in schema:
        yield schema["exclusiveMinimum"]
    if "maxProperties" in schema:
        yield {f"name{one}": "x" for one in range(schema["maxProperties"] + 1)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "schema"), [("/operator/organizations", "NewOrganization"), ("/operator/users", "NewUser")]
)
def test_a_new_id_may_be_what_the_document_allows_and_nothing_beyond(api: Api, path: str, schema: str):
    operator = api.operator()
    told = operator.get("/openapi.json").json()["components"]["schemas"][schema]["properties"]["id"]
    taken = [name for name in NAMES if operator.post(path, json={"id": name}).status_code == 201]
    assert taken == list(names(told, fit=True))


@pytest.mark.slow
def test_a_schedule_may_be_called_what_the_document_allows_and_nothing_beyond(api: Api):
    admin = api.as_("admin")
    put = admin.get("/openapi.json").json()["paths"]["/api/v1/organizations/{organization}/schedules/{schedule}"]["put"]
    (told,) = (one["schema"] for one in put["parameters"] if one["name"] == "schedule")
    # httpx takes "." and ".." out of a path, and no address has a slash within a name.
    reached = [name for name in NAMES if name not in {".", ".."} and "/" not in name]
    body = {"job_type": "report", "every": 60}
    addresses = {name: f"/organizations/acme/schedules/{quote(name, safe='')}" for name in reached}
    taken = [name for name in reached if admin.put(addresses[name], json=body).status_code < 300]
    assert taken == [name for name in names(told, fit=True) if name in reached]


@pytest.mark.slow
def test_a_body_may_be_what_the_document_allows_and_nothing_beyond(api: Api):
    schemas = api.client().get("/openapi.json").json()["components"]["schemas"]
    found, tried = set[str](), 0
    for body in bodies(api):
        assert body.send(body.base).status_code < 300
        for name, field in schemas[body.schema]["properties"].items():
            for schema in resolved(field, schemas) if name not in ELSEWHERE else ():
                for value in good(schema):
                    answer, tried = body.send({**body.base, name: value}), tried + 1
                    if answer.status_code >= 300:
                        found.add(f"{body.schema}.{name} refuses {value!r:.50}: {answer.json()['detail']:.120}")
                for value in bad(schema):
                    answer, tried = body.send({**body.base, name: value}), tried + 1
                    if answer.status_code != 422:
                        found.add(f"{body.schema}.{name} takes {value!r:.50}")
    assert tried > 80
    assert found == set()


class Operation(NamedTuple):
    """An operation of the document."""

    path: str
    method: str
    told: Schema

    def queries(self, schemas: Schema) -> Iterator[tuple[str, Schema]]:
        for one in self.told.get("parameters", ()):
            if one["in"] == "query" and one["name"] not in UNTRIED:
                yield from ((one["name"], schema) for schema in resolved(one["schema"], schemas))


# Queries that have to be what an answer gave before, or a pair, which other tests try.
UNTRIED = {"cursor", "label", "link"}
NOWHERE = "nowhere"  # stands in paths that are passed over
# Headers that a client acts on.
ACTED_ON = frozenset(
    {
        *("etag", "retry-after", "location", "idempotent-replayed", "content-disposition", "content-range"),
        *("accept-ranges", "allow", "www-authenticate"),
    }
)


def document_of(api: Api) -> Schema:
    told: Schema = api.client().get("/openapi.json").json()
    return told


def operations(document: Schema) -> list[Operation]:
    return [
        Operation(path, method, told) for path, methods in document["paths"].items() for method, told in methods.items()
    ]


def response_of(document: Schema, operation: str, status: int) -> Schema:
    told = next(one.told for one in operations(document) if one.told["operationId"] == operation)["responses"]
    found: Schema = told[str(status)]
    return document["components"]["responses"][found["$ref"].rpartition("/")[2]] if "$ref" in found else found


@pytest.mark.slow
@pytest.mark.parametrize("status", ["408", "413", "429", "500", "503"])
def test_every_operation_names_what_layers_around_it_answer(api: Api, status: str):
    for one in operations(document_of(api)):
        assert status in one.told["responses"], one.path


@pytest.mark.slow
def test_an_operation_without_credential_query_or_body_names_no_refusal_of_them(api: Api):
    health = next(one.told for one in operations(document_of(api)) if one.told["operationId"] == "getHealth")
    assert health["responses"].keys().isdisjoint({"401", "404", "409", "415", "422"})


def test_no_parameter_may_be_null_which_neither_an_address_nor_a_header_can_say(api: Api):
    parameters = [(one.path, each) for one in operations(document_of(api)) for each in one.told.get("parameters", ())]
    assert len(parameters) > 100
    assert [path for path, one in parameters if {"type": "null"} in one["schema"].get("anyOf", ())] == []


@pytest.mark.slow
def test_what_a_change_leaves_out_has_no_default(api: Api):
    document = document_of(api)
    bodies = [one.told["requestBody"] for one in operations(document) if one.method == "patch"]
    names = [one["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2] for one in bodies]
    schemas = document["components"]["schemas"]
    assert {"OrganizationLimits", "LimitChange", "UserChange"} <= set(names)
    fields = [
        (name, field) for name in names for field, told in schemas[name]["properties"].items() if "default" in told
    ]
    assert fields == []
    assert schemas["NewOrganization"]["properties"]["weight"]["default"] == 1


@pytest.mark.slow
def test_what_answers_with_json_says_which(api: Api):
    for one in operations(document_of(api)):
        for status, answer in one.told["responses"].items():
            for media, content in answer.get("content", {}).items():
                assert media != "application/json" or content["schema"], f"{one.path} {status}"


def answers(api: Api) -> Iterator[tuple[str, int, httpx.Response]]:
    """Yield answers of all kinds that differ in their type or headers: of which operation, the status, the answer."""
    member, operator, acme = api.as_("member"), api.operator(), "/organizations/acme"
    body = {"job_type": "report"}
    key = {"Idempotency-Key": "a-key"}
    yield "submitJob", 201, member.post(f"{acme}/jobs", json=body, headers=key)
    again = member.post(f"{acme}/jobs", json=body, headers=key)
    yield "submitJob", 200, again
    for status in (201, 200):
        batch = member.post(f"{acme}/jobs/batch", json={"jobs": [body]}, headers={"Idempotency-Key": "another"})
        yield "submitJobs", status, batch
    api.run()
    job = f"{acme}/jobs/{again.json()['id']}"
    got = member.get(job)
    yield "getJob", 200, got
    yield "getJob", 304, member.get(job, headers={"If-None-Match": got.headers["etag"]})
    file = f"{job}/artifacts/report.txt"
    whole = member.get(file)
    yield "getArtifact", 200, whole
    yield "getArtifact", 206, member.get(file, headers={"Range": "bytes=0-1"})
    yield "getArtifact", 304, member.get(file, headers={"If-None-Match": whole.headers["etag"]})
    yield "getArtifact", 416, member.get(file, headers={"Range": "bytes=999-"})
    yield "getArtifact", 404, member.get(f"{job}/artifacts/none.txt")
    yield "exportAudit", 200, api.as_("admin").get(f"{acme}/audit/export")
    yield "exportAuditAsOperator", 200, operator.get("/operator/audit/export")
    yield "getMetricsForPrometheus", 200, operator.get("/operator/metrics/prometheus")
    yield "getMaintenance", 401, api.client().get("/maintenance")
    yield "getMaintenance", 405, operator.post("/maintenance")
    for name, client, path in (
        ("watchOrganization", member, f"{acme}/events"),
        ("watchAll", operator, "/operator/events"),
    ):
        with client.stream("GET", path) as stream:
            yield name, 200, stream
    api.fl.organizations.update("acme", max_live_jobs=0)
    yield "submitJob", 429, member.post(f"{acme}/jobs", json=body)  # which waiting does not help: no Retry-After


@pytest.mark.slow
def test_an_answer_has_a_type_and_headers_that_the_document_tells(api: Api):
    document = document_of(api)
    for name, status, answer in answers(api):
        assert answer.status_code == status, name
        told = response_of(document, name, status)
        kind = answer.headers.get("content-type", "").partition(";")[0]
        # Of a file any type, of all others the one that is told and no second.
        assert list(told.get("content", ())) in ([kind] if kind else [], ["*/*"]), f"{name} {status} is {kind}"
        sent = ACTED_ON & {one.lower() for one in answer.headers}
        assert sent <= {one.lower() for one in told.get("headers", ())}, f"{name} {status} has {sent}"


@pytest.mark.slow
def test_a_drained_worker_answers_with_nothing_as_the_document_says(api: Api):
    assert "content" not in response_of(document_of(api), "drainWorker", 202)


@pytest.mark.slow
def test_a_query_may_be_what_the_document_allows_by_itself_and_nothing_beyond(api: Api):
    document = document_of(api)
    schemas = document["components"]["schemas"]
    admin, operator = api.as_("admin"), api.operator()
    job = str(api.fl.submit("report", organization="acme", user="member").id)
    api.run()
    there = defaultdict(lambda: NOWHERE, organization="acme", job=job)
    found, tried = set[str](), 0
    for one in operations(document):
        path = one.path.removeprefix("/api/v1").format_map(there)
        client = operator if path.startswith("/operator") else admin
        if one.method != "get" or NOWHERE in path or "text/event-stream" in str(one.told["responses"]["200"]):
            continue
        for name, schema in one.queries(schemas):
            for value in good(schema):
                answer, tried = client.get(path, params={name: value}), tried + 1
                if answer.status_code >= 300 and answer.status_code != 404:
                    found.add(f"{path} refuses {name} {value!r:.50}: {answer.json()['detail']:.120}")
            for value in bad(schema):
                answer, tried = client.get(path, params={name: value}), tried + 1
                if answer.status_code != 422:
                    found.add(f"{path} takes {name} {value!r:.50}")
    assert tried > 80
    assert found == set()
