"""The simple constraints of a type, such as `Field(ge=1)`, as keys of its node in the schema document."""

import re
from collections.abc import Iterable
from typing import Any, Final

from pydantic import AfterValidator
from pydantic.fields import FieldInfo
from pydantic_core import SchemaError, SchemaValidator, core_schema

from fairlane.jobtypes.parameters_values import json_form

Node = dict[str, Any]

_RANGE: Final = frozenset({"ge", "gt", "le", "lt"})
_LENGTH: Final = frozenset({"min_length", "max_length"})
_NUMBER: Final = _RANGE | {"multiple_of"}
# By kind.
CONSTRAINTS: Final[dict[str, frozenset[str]]] = {
    "int": _NUMBER,
    "float": _NUMBER,
    "decimal": _NUMBER | {"max_digits", "decimal_places"},
    "date": _RANGE,
    "datetime": _RANGE,
    "aware_datetime": _RANGE,
    "naive_datetime": _RANGE,
    "time": _RANGE,
    "timedelta": _RANGE,
    "str": _LENGTH | {"pattern", "strip_whitespace", "to_lower", "to_upper"},
    "bytes": _LENGTH,
    "list": _LENGTH,
    "set": _LENGTH,
    "dict": _LENGTH,
}


def flattened(metadata: Iterable[object]) -> list[object]:
    """Return what stands beside a type, with the content of each `Field(…)` in its place."""
    flat: list[object] = []
    for item in metadata:
        flat.extend(item.metadata if isinstance(item, FieldInfo) else [item])
    return flat


def constrain(node: Node, metadata: Iterable[object]) -> Node:
    """Return `node` with the simple constraints among `metadata`; all others are left to the worker."""
    target = node
    while target["kind"] == "optional":
        target = target["of"]
    allowed = CONSTRAINTS.get(target["kind"], frozenset())
    for item in metadata:
        if isinstance(item, AfterValidator):
            break  # what follows looks at that validator's result
        for name in sorted(allowed):
            value = getattr(item, name, None)
            if name == "pattern" and value is not None:
                value = _portable(value)
            if value is not None:
                target[name] = json_form(value)
    return node


def _portable(pattern: str | re.Pattern[str]) -> str | None:
    """Return the text of a pattern that pydantic's own engine reads; it has no flags and no look-around."""
    if isinstance(pattern, re.Pattern):
        if pattern.flags & ~re.UNICODE:
            return None
        pattern = pattern.pattern
    try:
        SchemaValidator(core_schema.str_schema(pattern=pattern))
    except SchemaError:
        return None
    return pattern
