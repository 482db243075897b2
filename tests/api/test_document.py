"""The limits that the OpenAPI document gives are those that the server keeps: each is tried, and one step beyond it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import httpx
import pytest

from tests.api.served import Api

Schema = Mapping[str, Any]
LONG = 1_000  # characters, or items, of what the document does not bound


class Body(NamedTuple):
    """A request, the schema of its body, and a body that is taken."""

    send: Callable[[Any], httpx.Response]
    schema: str
    base: Mapping[str, Any]


def bodies(api: Api) -> list[Body]:
    member, admin, operator = api.as_("member"), api.as_("admin"), api.operator()
    report = {"job_type": "report", "on_duplicate": "return"}  # of which one is live already
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


def good(schema: Schema) -> Iterator[Any]:
    """Yield the extremes that the document allows."""
    match schema.get("type"):
        case "string":
            yield "a" * schema.get("maxLength", LONG)
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
    if "maximum" in schema:
        yield schema["maximum"] + 1
    if "minimum" in schema:
        yield schema["minimum"] - 1
    if "exclusiveMinimum" in schema:
        yield schema["exclusiveMinimum"]
    if "maxProperties" in schema:
        yield {f"name{one}": "x" for one in range(schema["maxProperties"] + 1)}


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


@pytest.mark.parametrize("status", ["408", "413", "429"])
def test_every_operation_names_what_layers_around_it_answer(api: Api, status: str):
    document = api.client().get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert status in operation["responses"], path
