"""The AsyncAPI document says what the code does."""

import json
import re
from typing import Any

import jsonschema_rs
import pytest

from docs import asyncapi
from fairlane.realtime.events import EVENTS
from fairlane.realtime.sockets import Sockets
from tests.api.served import Api
from tests.realtime.watching import Watcher


@pytest.fixture
def document() -> Any:
    return json.loads(asyncapi.PAGE.read_text(encoding="utf-8"))


def test_the_document_is_that_of_the_models():
    assert asyncapi.PAGE.read_text(encoding="utf-8") == asyncapi.text(), "write it anew with `make docs`"


def test_each_reference_leads_somewhere(document: Any):
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
        found = document
        for part in reference.split("/"):
            found = found[part]


def test_it_names_each_event_and_each_request(document: Any):
    assert document["channels"]["events"]["messages"].keys() == {event.name for event in EVENTS}
    for request in document["channels"]["requests"]["messages"]:
        assert callable(getattr(Sockets, f"_{request}"))


async def test_what_is_told_is_what_it_describes(api: Api, connect: Any, document: Any):
    def check(name: str, value: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema_rs.validate(schema, value)

    watcher: Watcher = await connect(api)
    answer = await watcher.subscribe(organization="acme")
    check("Subscribed", answer)
    check("Overview", answer["snapshot"])
    job = api.fl.submit("report", organization="acme", user="member")
    await watcher.until_status(job.id, "queued")
    for name, data in watcher.told:
        check(document["components"]["messages"][name]["payload"]["$ref"].rpartition("/")[2], data)
    answer = await watcher.subscribe(organization="acme", job=str(job.id))
    check("JobSnapshot", answer["snapshot"])
