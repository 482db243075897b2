"""The AsyncAPI document says what the code does."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest

from docs import asyncapi
from fairlane import JobContext, Submission
from fairlane.domain.events import DeadLetterAlert, QueueLimitWarning
from fairlane.realtime.events import EVENTS, Heartbeat, Reset, Revoked
from fairlane.realtime.sockets import REQUESTS
from tests.api.served import Api
from tests.realtime.watching import PATIENCE, Watcher

DASHBOARD: Final = Path(__file__).parents[2] / "frontend" / "src" / "live" / "events.ts"


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
    assert document["channels"]["requests"]["messages"].keys() == set(REQUESTS)


def test_the_dashboard_knows_the_same_events_with_the_same_fields(document: Any):
    text = DASHBOARD.read_text(encoding="utf-8")
    bodies = dict(re.findall(r"interface (\w+) (?:extends Told )?\{\n(.*?)\n\}", text, re.DOTALL))
    told, *known = [
        dict(re.findall(r"^  (\w+): (.+);$", bodies[name], re.MULTILINE))
        for name in ("Told", *re.findall(r"interface (\w+) extends Told", text))
    ]
    # What a reset and a revoked are about, it takes from the event where it hears it.
    expected = {
        f'"{event.name}"': {name: in_typescript(one) for name, one in properties_of(document, event.name).items()}
        for event in EVENTS
        if event not in {Reset, Revoked, Heartbeat}
    }
    assert {fields.pop("name"): {**told, **fields} for fields in known} == expected
    (listened_to,) = re.findall(r"EVENTS = \[(.+)\]", text)
    assert set(listened_to.split(", ")) == expected.keys()


def properties_of(document: Any, event: str) -> dict[str, Any]:
    """The fields of an event, all of which it has."""
    schema = document["components"]["schemas"][payload_of(document, event)]
    assert set(schema.get("required", ())) == schema["properties"].keys()
    properties: dict[str, Any] = schema["properties"]
    return properties


def payload_of(document: Any, event: str) -> str:
    """The name of an event's schema."""
    reference: str = document["components"]["messages"][event]["payload"]["$ref"]
    return reference.rpartition("/")[2]


def in_typescript(schema: dict[str, Any]) -> str:
    """A type; a status is a string there."""
    if "anyOf" in schema:
        return " | ".join(in_typescript(one) for one in schema["anyOf"])
    kind: str = schema.get("type", "string")
    return "number" if kind == "integer" else kind


@pytest.mark.slow
async def test_all_that_is_told_is_what_it_describes(
    api: Api, connect: Any, document: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fairlane.realtime.live._BEAT", 0.1)

    def check(name: str, value: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema_rs.validate(schema, value)

    @api.fl.job_type("counting", dedup_window=0)
    def count(ctx: JobContext) -> None:
        ctx.progress(50, "row 5")

    api.fl.migrate()
    watcher: Watcher = await connect(api)
    for unwanted in ({"organization": "other"}, {"operator": True}, {"organization": 5}):
        check("Refused", await watcher.subscribe(**unwanted))
    answer = await watcher.subscribe(organization="acme")
    check("Subscribed", answer)
    check("Overview", answer["snapshot"])
    job = api.fl.submit("counting", organization="acme", user="member")
    answer = await watcher.subscribe(organization="acme", job=str(job.id))
    check("JobSnapshot", answer["snapshot"])
    await asyncio.to_thread(api.run)
    for alert in (DeadLetterAlert("acme", 51), QueueLimitWarning("acme", 8, 10)):
        api.fl.emit(alert)
    await watcher.until(lambda told: len({name for name, _ in told}) == len(EVENTS) - 3)
    await watcher.until(lambda _: watcher.heartbeats)
    # More than are told one by one.
    await asyncio.to_thread(api.fl.submit_many, [Submission("report", organization="acme") for _ in range(501)])
    await watcher.until(lambda told: "reset" in dict(told))
    await asyncio.to_thread(api.fl.members.remove, "acme", "member")
    async with asyncio.timeout(PATIENCE):
        await watcher.is_gone.wait()
    assert {*watcher.names(), Heartbeat.name} == {event.name for event in EVENTS}
    for name, data in (*watcher.told, (Heartbeat.name, watcher.heartbeats[0])):
        check(payload_of(document, name), data)
        assert data.keys() == properties_of(document, name).keys()
