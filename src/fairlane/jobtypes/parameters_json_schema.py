"""A schema document as JSON Schema 2020-12, for forms and for clients of other languages.

It accepts all that a submission accepts, and may accept more: JSON Schema can't express a date's bounds, the unique
members of a set, or lengths after whitespace was stripped. Only the submission checks these.
"""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final
from urllib.parse import quote

from fairlane.jobtypes.parameters_document import Node, most_of

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_SCALARS: Final[Mapping[str, Mapping[str, Any]]] = {
    "null": {"type": "null"},
    "bool": {"type": "boolean"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "str": {"type": "string"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "datetime": {"type": "string", "format": "date-time"},
    "aware_datetime": {"type": "string", "format": "date-time"},
    "naive_datetime": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "time"},
    "timedelta": {"type": "string", "format": "duration"},
    "decimal": {"type": ["string", "number"]},
    "uuid": {"type": "string", "format": "uuid"},
    "secret": {"type": "string", "format": "password", "writeOnly": True},
    "secret_bytes": {"type": "string", "format": "password", "writeOnly": True, "contentEncoding": "base64"},
}
_NUMBERS: Final = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_TEXTS: Final = {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"}
# Changes that pydantic makes before it checks: only the least length also holds for the given value.
_CHANGES: Final = frozenset({"strip_whitespace", "to_lower", "to_upper"})


def json_schema(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a job type's parameters, from its registered document.

    A kind that this version does not know is accepted as any value, so that a list of types survives a newer worker.
    """
    made = {"$schema": _DIALECT, **_object(document["parameters"])}
    if document["definitions"]:
        made["$defs"] = {name: _of(node) for name, node in document["definitions"].items()}
    return made


def _of(node: Node) -> dict[str, Any]:
    kind = node["kind"]
    if kind in _SCALARS:
        return {**_SCALARS[kind], **_limits(node)}
    return _BUILDERS[kind](node) if kind in _BUILDERS else {}


def _limits(node: Node) -> dict[str, Any]:
    if node["kind"] == "str":
        names = {"min_length": "minLength"} if not _CHANGES.isdisjoint(node) else _TEXTS
    else:
        names = _NUMBERS if node["kind"] in {"int", "float"} else {}
    return {theirs: node[ours] for ours, theirs in names.items() if ours in node}


def _array(node: Node) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "array", "items": _of(node["items"])}
    if "min_length" in node:
        made["minItems"] = node["min_length"]
    if "max_length" in node and node["kind"] == "list":  # a set may be given a member twice
        made["maxItems"] = node["max_length"]
    return made


def _tuple(node: Node) -> dict[str, Any]:
    if "rest" in node:
        return {"type": "array", "items": _of(node["rest"])}
    members = [_of(one) for one in node["items"]]
    return {"type": "array", "prefixItems": members, "items": False, "minItems": len(members)}


def _dict(node: Node) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "object", "additionalProperties": _of(node["values"])}
    keys = _of(node["keys"])
    if keys.get("type") == "string" or "enum" in keys:
        made["propertyNames"] = keys
    if "min_length" in node:
        made["minProperties"] = node["min_length"]
    most = min(node.get("max_length", inf), most_of(node["keys"]))
    return made | ({"maxProperties": most} if most < inf else {})


def _object(node: Node) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required, either = [], []
    for name, field in node["fields"].items():
        names = (name, *field.get("also", ()))
        if field["schema"]["kind"] == "reserved":
            properties[name] = False
            continue
        properties |= dict.fromkeys(names, _of(field["schema"]))
        if field["required"] and len(names) == 1:
            required.append(name)
        elif field["required"]:
            either.append({"anyOf": [{"required": [one]} for one in names]})
    made: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        made["required"] = required
    if either:
        made["allOf"] = either
    if node["extra"] == "forbid":
        made["additionalProperties"] = False
    elif node["extra"] == "allow":
        made["additionalProperties"] = _of(node.get("extras", {"kind": "any"}))
    return made


def _choice(node: Node) -> dict[str, Any]:
    return {"enum": node["values"]}


_BUILDERS: Final[Mapping[str, Callable[[Node], dict[str, Any]]]] = {
    "ref": lambda node: {"$ref": f"#/$defs/{quote(node['name'], safe='')}"},
    "optional": lambda node: {"anyOf": [_of(node["of"]), {"type": "null"}]},
    "union": lambda node: {"anyOf": [_of(one) for one in node["of"]]},
    "literal": _choice,
    "enum": _choice,
    "list": _array,
    "set": _array,
    "tuple": _tuple,
    "dict": _dict,
    "object": _object,
}
