"""The realtime contract as an AsyncAPI document, made of the models that the code sends: `docs/asyncapi.json`."""

import json
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from fairlane.api.authentication import ROOT
from fairlane.api.openapi import PROBLEM
from fairlane.api.sockets import PATH
from fairlane.api.watching import JobSnapshot, Left, Wanted
from fairlane.realtime.events import EVENTS, Overview, Subscribed

PAGE: Final = Path(__file__).with_name("asyncapi.json")
_REQUESTS: Final[dict[str, tuple[type[BaseModel], str]]] = {
    "subscribe": (Wanted, "Enter a room. The acknowledgement is Subscribed, or Refused."),
    "unsubscribe": (Left, "Leave a room. The acknowledgement is {}."),
}
_ANSWERS: Final = (Subscribed, Overview, JobSnapshot)
_REFUSALS: Final[dict[str, Any]] = {
    "Refused": {
        "type": "object",
        "title": "Refused",
        "description": "The acknowledgement of `subscribe` to whoever is not let in.",
        "required": ["error"],
        "properties": {"error": {"$ref": "#/components/schemas/Problem"}},
    },
    "Problem": PROBLEM,
}


def document() -> dict[str, Any]:
    """Return the document."""
    models: list[type[BaseModel]] = [*EVENTS, *(model for model, _ in _REQUESTS.values()), *_ANSWERS]
    _, schemas = models_json_schema(
        [(one, "serialization") for one in models], ref_template="#/components/schemas/{model}"
    )
    told = {event.name: _message(event.name, event) for event in EVENTS}
    asked = {name: _message(name, model, summary) for name, (model, summary) in _REQUESTS.items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Fairlane, live",
            "version": "1",
            "description": "Socket.IO (protocol 5), namespace /. docs/realtime.md tells how; "
            f"the same events come as server-sent events at {ROOT}/organizations/{{organization}}/events and "
            f"{ROOT}/operator/events.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "web": {
                "host": "localhost:8000",
                "pathname": f"{PATH}/",
                "protocol": "socketio",
                "security": [{"$ref": "#/components/securitySchemes/ticket"}],
            }
        },
        "channels": {
            "events": {"address": "/", "messages": _refs(told, "messages"), "title": "What clients are told"},
            "requests": {"address": "/", "messages": _refs(asked, "messages"), "title": "What clients ask"},
        },
        "operations": {
            **{f"tell_{name}": _operation("send", "events", name) for name in told},
            **{f"take_{name}": _operation("receive", "requests", name) for name in asked},
        },
        "components": {
            "messages": {**told, **asked},
            "schemas": {**schemas["$defs"], **_REFUSALS},
            "securitySchemes": {
                "ticket": {
                    "type": "userPassword",
                    "description": f'Socket.IO\'s auth is {{"ticket": "…"}}, from POST {ROOT}/socket-tickets.',
                }
            },
        },
    }


def text() -> str:
    """Return the document as it is committed."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _message(name: str, model: type[BaseModel], summary: str | None = None) -> dict[str, Any]:
    told = summary or " ".join((model.__doc__ or "").split())
    return {"name": name, "summary": told, "payload": {"$ref": f"#/components/schemas/{model.__name__}"}}


def _refs(messages: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/{kind}/{name}"} for name in messages}


def _operation(action: str, channel: str, message: str) -> dict[str, Any]:
    place = f"#/channels/{channel}"
    return {"action": action, "channel": {"$ref": place}, "messages": [{"$ref": f"{place}/messages/{message}"}]}
