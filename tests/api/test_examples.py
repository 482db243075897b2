"""The OpenAPI document shows each body and each answer by an example, and a copied example is understood."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jsonschema_rs
import pytest

from fairlane import Fairlane
from fairlane.api import create_app
from fairlane.api.representations import EXAMPLE_ID
from tests.api.served import OPERATOR, PASSWORD, Api, report


class Shown(NamedTuple):
    """A JSON body, or the answer where all went well, of an operation."""

    operation: str
    what: str
    media: dict[str, Any]


@pytest.fixture(scope="module")
def document() -> Any:
    with Fairlane("sqlite:///:memory:") as fl:
        return create_app(fl).openapi()


def shown(document: Any) -> Iterator[Shown]:
    for methods in document["paths"].values():
        for operation in methods.values():
            answers = {code: one for code, one in operation["responses"].items() if code.startswith("2")}
            for what, part in {"body": operation.get("requestBody", {}), **answers}.items():
                media = part.get("content", {}).get("application/json")
                if media is not None:
                    yield Shown(operation["operationId"], what, media)


@pytest.mark.slow
def test_each_body_and_each_answer_has_an_example_that_fits(document: Any):
    found = list(shown(document))
    assert len(found) > 100
    for operation, what, media in found:
        assert "example" in media, f"{operation} has no example of its {what}"
        schema = {**media["schema"], "components": document["components"]}
        wrong = list(jsonschema_rs.Draft202012Validator(schema, validate_formats=True).iter_errors(media["example"]))
        assert not wrong, f"{operation}, {what}: {wrong[0]}"


def test_the_examples_of_each_field_fit_it(document: Any):
    for name, schema in document["components"]["schemas"].items():
        for field, part in {name: schema, **schema.get("properties", {})}.items():
            for example in part.get("examples", ()):
                whole = {**part, "components": document["components"]}
                assert jsonschema_rs.Draft202012Validator(whole, validate_formats=True).is_valid(example), (name, field)


@pytest.mark.slow
def test_a_body_that_is_sent_as_its_example_has_it_is_taken(api: Api):
    api.fl.job_type("report.pdf", dedup_window=0)(report)
    api.fl.migrate()
    api.fl.users.create("ana")
    operator, admin, session = api.operator(), api.as_("admin"), api.with_password().client()
    session.headers["Origin"] = api.url
    session.post("/sessions", json={"user": OPERATOR, "password": PASSWORD})
    # Of what isn't there a body is read all the same.
    missing = dict.fromkeys(("job", "fingerprint", "queue"), EXAMPLE_ID)
    there = {"organization": "acme", "schedule": "monthly", "job_type": "report.pdf", "user": "ana"}
    refused = []
    for path, methods in api.client().get("/openapi.json").json()["paths"].items():
        client = admin if "/organizations/{organization}" in path and "/operator/" not in path else operator
        client = session if "/sessions/current" in path else client
        for method, operation in methods.items():
            if "requestBody" in operation:
                example = operation["requestBody"]["content"]["application/json"]["example"]
                address = path.removeprefix("/api/v1").format(**missing, **there)
                answer = client.request(method, address, json=example)
                # What one would create may be there, too.
                if not answer.is_success and answer.status_code not in {401, 404, 409}:
                    refused.append((operation["operationId"], answer.text))
    assert refused == []
