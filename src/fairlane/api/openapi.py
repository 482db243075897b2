"""The OpenAPI document: the routes' own descriptions, and what the middleware adds to each."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from threading import Lock
from typing import Any, Final
from uuid import UUID

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic_core import to_jsonable_python
from starlette.requests import Request
from starlette.responses import Response

from fairlane.api.authentication import COOKIE, OPEN
from fairlane.api.headers import headers_told, is_same
from fairlane.api.problems import MEDIA_TYPE
from fairlane.api.representations import EXAMPLE_ID, EXAMPLE_TIME
from fairlane.domain.metrics import Metrics, SlowJob, Spread
from fairlane.domain.statuses import PASSING, JobStatus, Priority

_PROBLEMS: Final = {
    "400": "The request can't be read: it is not JSON, is nested too deeply, or gives its length twice.",
    "401": "There is no credential, or it is not valid.",
    "403": "The right is missing, or a page of another site sent the request.",
    "404": "It does not exist, or you may not see it.",
    "405": "The address does not take the method.",
    "408": "The body took too long to come.",
    "409": "The current state does not allow it, or what the request would create exists already.",
    "413": "The body, or the parameters of a job, are too large, or have too many values or names.",
    "415": "The body is compressed, or is not JSON.",
    "422": "A value is wrong; `errors` or `index` say which.",
    "429": "Too many requests, or the queue is full; Retry-After says how long to wait, where that helps.",
    "500": "Something is broken in the server; its log says what.",
    "503": "The database, or the directory, does not answer; Retry-After says how long to wait, where that helps.",
}
# Headers of the answers of a status.
_HEADERS: Final = {
    "401": ("WWW-Authenticate",),
    "405": ("Allow",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
}
# The health check ignores everything that a request sends.
_NEVER: Final = {"getHealth": frozenset({"401", "404", "409", "415", "422"})}
PROBLEM: Final = {
    "type": "object",
    "title": "Problem",
    "description": "A problem as RFC 9457 defines it. Some types have more members than these.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {
            "type": "string",
            "description": "The type of problem.",
            "examples": ["urn:fairlane:problem:job-not-found"],
        },
        "title": {"type": "string", "examples": ["Not Found"]},
        "status": {"type": "integer", "examples": [404]},
        "detail": {"type": "string", "examples": ["The organization has no such job."]},
        "retry_after": {"type": "number", "description": "In seconds."},
        "index": {"type": "integer", "description": "The position of the wrong job in its batch, from 0."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
_BY_TYPE: Final[dict[str, Any]] = {"boolean": False, "string": "text", "object": {}, "null": None}
_BY_FORMAT: Final = {"uuid": EXAMPLE_ID, "date-time": EXAMPLE_TIME}
# Example texts for the domain's own views, which have none.
_BY_NAME: Final = {
    "organization": "acme",
    "job_type": "report.pdf",
    "user": "ana",
    "queue": "default",
    "actor": "ana",
    "error_type": "ValueError",
    "fingerprint": "ValueError 0d1b7c2f9a3e5480",
    "reason": "ValueError: no row 4711",
}
_DEEPEST: Final = 8
_MOUNTS: Final = 8  # paths at which an application may be mounted at once
# An example of the metrics. Examples of their single fields would make an empty one.
_ENDED: Final = {JobStatus.COMPLETED: 180, JobStatus.DEAD_LETTER: 2}
_METRICS: Final = Metrics(
    jobs_by_status={status: _ENDED.get(status, 0) for status in JobStatus if status not in PASSING},
    queue_depth_by_priority=dict.fromkeys(Priority, 0),
    oldest_queued_seconds=None,
    dead_letter_depth=2,
    workers=None,
    minutes=60,
    throughput_per_minute=3.2,
    wait_seconds=Spread(average=0.4, p95=1.7),
    processing_seconds=Spread(average=2.3, p95=8.1),
    attempts_by_type={"report.pdf": 150, "mail.send": 40},
    processing_seconds_by_type={"report.pdf": Spread(2.8, 9.3), "mail.send": Spread(0.425, 1.1)},
    failure_rate_by_type={"report.pdf": 0.06, "mail.send": 0.0},
    slowest=(SlowJob(UUID(EXAMPLE_ID), "acme", "report.pdf", datetime.fromisoformat(EXAMPLE_TIME), 14.2),),
)
# By operation.
_EXAMPLES: Final[Mapping[str, Any]] = {
    "getMetrics": to_jsonable_python(_METRICS),
    "getMetricsOfAll": to_jsonable_python(replace(_METRICS, workers=4)),
}


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document, which is built once."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    made = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, openapi_version="3.1.0"
    )
    parts = made.setdefault("components", {})
    schemas = parts["schemas"]
    for framework in ("HTTPValidationError", "ValidationError"):
        schemas.pop(framework, None)
    schemas["Problem"] = PROBLEM
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    parts["responses"] = {
        f"Problem{code}": {"description": told, "content": content, **headers_told(*_HEADERS.get(code, ()))}
        for code, told in _PROBLEMS.items()
    }
    parts["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API token (fl_…), or a JWT."},
        "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "Set by a login."},
    }
    for path, method, operation in _operations(made):
        is_open = (method.upper(), path) in OPEN
        operation["security"] = [] if is_open else [{"bearer": []}, {"session": []}]
        answers = operation["responses"]
        answers.pop("422", None)
        given = _PROBLEMS.keys() - _NEVER.get(operation["operationId"], ())
        answers |= {code: {"$ref": f"#/components/responses/Problem{code}"} for code in sorted(given)}
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _without_null(parameter["schema"])
        if method == "patch":
            _drop_defaults(operation, schemas)
        _add_examples(operation, schemas)
    app.openapi_schema = made
    return made


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter without null, which no URL and no header can express."""
    kinds = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if not kinds:
        return schema
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**rest, **kinds[0]} if len(kinds) == 1 else {**rest, "anyOf": kinds}


def _drop_defaults(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Drop the defaults from the body of a change, where an omitted field keeps its value."""
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    for field in schemas[reference.rpartition("/")[2]]["properties"].values():
        field.pop("default", None)


def route_of(app: FastAPI) -> Callable[[Request], Response]:
    """Return the route that sends the document.

    Anybody may request it, so its bytes are made once for each path at which the application is mounted.
    """
    making = Lock()  # this takes most of a second, and other requests wait for it

    @lru_cache(_MOUNTS)
    def made(below: str) -> tuple[bytes, str]:
        servers = {"servers": [{"url": below}]} if below else {}
        text = json.dumps({**app.openapi(), **servers}, ensure_ascii=False, separators=(",", ":")).encode()
        return text, f'W/"{sha256(text).hexdigest()[:32]}"'

    def route(request: Request) -> Response:
        with making:
            text, tag = made(request.scope.get("root_path", "").rstrip("/"))
        headers = {"ETag": tag, "Cache-Control": "no-cache"}  # a client that caches it asks if it is unchanged
        if is_same(tag, request.headers.get("if-none-match")):
            return Response(status_code=304, headers=headers)
        return Response(text, media_type="application/json", headers=headers)

    return route


def _operations(made: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _add_examples(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Add an example to the body and to each answer: its own, or one made of its fields' examples."""
    if (own := _EXAMPLES.get(operation["operationId"])) is not None:
        operation["responses"]["200"]["content"]["application/json"]["example"] = own
    for part in (operation.get("requestBody", {}), *operation["responses"].values()):
        for media in part.get("content", {}).values():
            if "schema" in media:
                media.setdefault("example", example_of(media["schema"], schemas))


def example_of(schema: dict[str, Any], schemas: dict[str, Any], depth: int = 0) -> Any:
    """Return a value that fits the schema: its example or default, else a value of its type."""
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas, depth + 1)
    for name in ("examples", "enum"):
        if schema.get(name):
            return schema[name][0]
    for name in ("default", "const"):
        if name in schema:
            return schema[name]
    if "anyOf" in schema:
        kinds = schema["anyOf"]
        has_null = any(one.get("type") == "null" for one in kinds)
        return None if has_null else example_of(kinds[0], schemas, depth + 1)
    return _of_type(schema, schemas, depth)


def _of_field(name: str, schema: dict[str, Any], schemas: dict[str, Any], depth: int) -> Any:
    found = example_of(schema, schemas, depth)
    return _BY_NAME.get(name, found) if found == _BY_TYPE["string"] else found


def _of_type(schema: dict[str, Any], schemas: dict[str, Any], depth: int) -> Any:
    match schema.get("type"):
        case "object" if depth < _DEEPEST:
            fields = schema.get("properties", {})
            return {name: _of_field(name, one, schemas, depth + 1) for name, one in fields.items()}
        case "array" if depth < _DEEPEST and "items" in schema:
            return [example_of(schema["items"], schemas, depth + 1)]
        case "array":
            return []
        case "integer" | "number" as kind:
            least = max(schema.get("minimum", 1), 1)
            return int(least) if kind == "integer" else least
        case "string":
            return _BY_FORMAT.get(schema.get("format", ""), _BY_TYPE["string"])
        case kind:
            return _BY_TYPE.get(str(kind))
