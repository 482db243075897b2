"""A schema document to the pydantic validator that every process uses, with or without the handler (R1, R2).

The validator takes lifted values (see parameters_values) and gives them back typed: '2026-11-01' for a date becomes a
date, a list for a set an `Unordered`, an integer for a float a float. It is strict otherwise: no text for numbers, no
number for a bool. A date given to `date | str` is a date, since members of a union are tried in their order and the
more exact one wins.
"""

from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal, DecimalException
from functools import partial
from typing import Any, Final
from uuid import UUID

from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator, core_schema

from fairlane.domain.canonical import Unordered, canonical
from fairlane.domain.errors import ConfigurationError, InvalidParameters
from fairlane.domain.redact import REDACTED
from fairlane.domain.secrets import MARK, Secret, is_marked
from fairlane.jobtypes.parameters_document import CONSTRAINTS, Node, most_of
from fairlane.jobtypes.parameters_values import json_form, unordered


def validator_of(document: Node) -> SchemaValidator:
    """Return the validator of a whole document, for `checked`.

    Raises ConfigurationError for a kind that is unknown here.
    """
    known = document["definitions"]
    tell_apart = partial(_told_apart, known)
    # Each in a chain of one: the chain gets the name, since its content may be a reference to another name.
    definitions: list[CoreSchema] = [
        core_schema.chain_schema([_schema(_changed(node, tell_apart))], ref=name) for name, node in known.items()
    ]
    parameters = _schema(_changed(document["parameters"], tell_apart))
    return SchemaValidator(core_schema.definitions_schema(parameters, definitions))


def checked(validator: SchemaValidator, values: object) -> Any:
    """Return lifted values as the validator types them.

    Raises:
        ValidationError: some don't fit.
        InvalidParameters: nested unions would be tried too often.
    """
    tries = _Tries(values)
    try:
        return validator.validate_python(values, context=tries)
    finally:
        if tries.left < 0:
            raise InvalidParameters(
                "values that fit several members of a union, in each other, would take too long to check; "
                "name the field by which the union's members are told apart: Field(discriminator=…)"
            )


class _Tries:
    """A counter of the tries of unions: in nested unions the tries multiply.

    Attributes:
        left: the tries that are left; less than 0 once there were too many.
    """

    def __init__(self, values: object) -> None:
        self._values = values
        self._is_first = True
        self.left = _FEW_TRIES

    def count(self) -> None:
        self.left -= 1
        if self.left < 0 and self._is_first:
            self.left, self._is_first = _TRIES_A_VALUE * _number(self._values), False
        if self.left < 0:
            raise ValueError  # this ends this member; each other member ends at its next union


def _number(values: object) -> int:
    """Return the number of values, with the values in all of them."""
    waiting = [values]
    for one in waiting:
        if isinstance(one, (Mapping, list, tuple)):
            waiting.extend(one.values() if isinstance(one, Mapping) else one)
    return len(waiting)


def filling(document: Node) -> Node:
    """Return the document of a validator that fills in the default of each missing field."""
    definitions = {name: _changed(node, _filled) for name, node in document["definitions"].items()}
    return {"parameters": _changed(document["parameters"], _filled), "definitions": definitions}


def _changed(node: Node, change: Callable[[Node], Node]) -> Node:
    """Return the node with each node in it, and itself, changed."""
    if node["kind"] in _CHOICES:
        return node
    changed = dict(node)
    if "fields" in node:
        schemas = {name: _changed(field["schema"], change) for name, field in node["fields"].items()}
        changed["fields"] = {name: node["fields"][name] | {"schema": schema} for name, schema in schemas.items()}
    for word in _WITHIN:
        if word in node:
            one = node[word]
            changed[word] = [_changed(each, change) for each in one] if isinstance(one, list) else _changed(one, change)
    return change(changed)


def _filled(node: Node) -> Node:
    fields = {
        name: field | {"schema": {"kind": "default", "of": field["schema"], "value": field["default"]}}
        for name, field in node.get("fields", {}).items()
        if "default" in field
    }
    return node | {"fields": node["fields"] | fields} if fields else node


def _told_apart(definitions: Node, node: Node) -> Node:
    """Return a union with the places of its members by the values of the field that tells them apart."""
    if "by" not in node:
        return node
    members = [definitions[one["name"]] if one["kind"] == "ref" else one for one in node["of"]]
    fields = [one.get("fields", {}).get(node["by"], {"schema": {}}) for one in members]
    schemas = [one["schema"].get("of", one["schema"]) for one in fields]  # the field may have a default
    values = [(canonical(value), place) for place, one in enumerate(schemas) for value in one.get("values", ())]
    is_so = all("values" in one for one in schemas) and len(dict(values)) == len(values)
    return node | {"places": dict(values)} if is_so and not any("also" in one for one in fields) else node


def words(node: Node) -> str:
    """Return in words what a node accepts, for messages: "a date", "one of 'a', 'b'"."""
    kind = node["kind"]
    if kind in _SCALARS:
        return _SCALARS[kind].words
    if kind == "union":
        return " or ".join(dict.fromkeys(words(member) for member in node["of"]))
    if kind == "optional":
        return f"{words(node['of'])} or null"
    if kind in _CHOICES:
        return f"one of {', '.join(map(repr, node['values']))}"[:80]
    return _WORDS.get(kind, "a list")


def kinds(node: Node, definitions: Node) -> Iterator[str]:
    """Yield the kinds of a node, of all nodes in it, and of the definitions that these refer to."""
    seen: set[str] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one["kind"]
        if one["kind"] == "ref" and one["name"] not in seen:
            seen.add(one["name"])
            waiting.append(definitions[one["name"]])
        waiting.extend(_within(one))


def _within(node: Node) -> Iterator[Node]:
    """Yield the nodes that a node is made of.

    Names of fields, defaults and the values of an Enum are the application's. They may equal a node's own keys, but are
    not nodes.
    """
    if node["kind"] in _CHOICES:
        return
    for field in node.get("fields", {}).values():
        yield field["schema"]
    for word in _WITHIN:
        if word in node:
            yield from node[word] if isinstance(node[word], list) else [node[word]]


_WORDS: Final = {
    "ref": "an object",
    "object": "an object",
    "dict": "an object",
    "secret": "a string",
    "secret_bytes": "bytes (as base64)",
}
_CHOICES: Final = frozenset({"literal", "enum"})
_FEW_TRIES: Final = 20_000  # of unions, which take some 10 to 20 ms
_TRIES_A_VALUE: Final = 3
_WITHIN: Final = ("of", "items", "keys", "values", "rest", "extras")
SECRETS: Final = frozenset({"secret", "secret_bytes"})
# The kinds for which a validator gives the same result for JSON text as for the values in it.
FLAT: Final = frozenset({"null", "bool", "int", "float", "str", "optional", "list", "object"})


@dataclass(frozen=True, slots=True)
class _Scalar:
    """A scalar kind: its words in messages, pydantic's schema, and the reader of its JSON form (or ValueError)."""

    words: str
    schema: Callable[..., CoreSchema]
    read: Callable[[Any], object] | None = None
    reads: tuple[type, ...] = (str,)


def _datetime(text: str) -> datetime:
    # A bare date does not mean midnight: in `datetime | date` the two could not be told apart.
    if "T" not in text and " " not in text:
        raise ValueError("no time of day")
    return datetime.fromisoformat(text)


def _decimal(number: str | float) -> Decimal:
    try:
        # Through its text a number is exactly as typed: 0.1, not 0.1000000000000000055…, and all digits of a
        # LongNumber. A bool's text is not a number.
        return Decimal(str(number))
    except DecimalException:
        raise ValueError("no number") from None


_DATETIME: Final = core_schema.datetime_schema
_DURATION: Final = SchemaValidator(core_schema.timedelta_schema())
_SCALARS: Final[dict[str, _Scalar]] = {
    "null": _Scalar("null", core_schema.none_schema),
    "bool": _Scalar("a bool", core_schema.bool_schema),
    "int": _Scalar("an int", core_schema.int_schema),
    "float": _Scalar("a float", partial(core_schema.float_schema, allow_inf_nan=False)),
    "str": _Scalar("a string", core_schema.str_schema),
    "bytes": _Scalar("bytes (as base64)", core_schema.bytes_schema, lambda text: b64decode(text, validate=True)),
    "datetime": _Scalar("a datetime", _DATETIME, _datetime),
    "aware_datetime": _Scalar("a datetime with an offset", partial(_DATETIME, tz_constraint="aware"), _datetime),
    "naive_datetime": _Scalar("a datetime without offset", partial(_DATETIME, tz_constraint="naive"), _datetime),
    "date": _Scalar("a date", core_schema.date_schema, date.fromisoformat),
    "time": _Scalar("a time", core_schema.time_schema, time.fromisoformat),
    "timedelta": _Scalar("a duration", core_schema.timedelta_schema, _DURATION.validate_python),
    "decimal": _Scalar("a decimal number", core_schema.decimal_schema, _decimal, (str, int, float)),
    "uuid": _Scalar("a UUID", core_schema.uuid_schema, UUID),
}


def _schema(node: Node) -> CoreSchema:
    kind = node["kind"]
    if kind in _SCALARS:
        return _scalar(node)
    if kind not in _BUILDERS:
        raise ConfigurationError(
            f"the parameters of a job type are described by the unknown kind {kind!r}: "
            "they were registered by a newer version of Fairlane, upgrade this process too"
        )
    return _BUILDERS[kind](node)


def _scalar(node: Node) -> CoreSchema:
    scalar = _SCALARS[node["kind"]]
    schema = _reading(scalar, scalar.schema(**({} if node["kind"] == "null" else {"strict": True})))
    schema = _saying(words(node), schema)
    limits = {name: node[name] for name in CONSTRAINTS.get(node["kind"], ()) if name in node}
    if not limits:
        return schema
    if scalar.read is not None:
        limits = {name: scalar.read(limit) if isinstance(limit, str) else limit for name, limit in limits.items()}
    # In a step of its own, so that "must be an int" and "must be at least 1" stay two messages.
    return core_schema.chain_schema([schema, scalar.schema(**limits)])


def _reading(scalar: _Scalar, schema: CoreSchema) -> CoreSchema:
    if scalar.read is None:
        return schema
    read, reads = scalar.read, scalar.reads
    return core_schema.no_info_before_validator_function(
        lambda value: read(value) if isinstance(value, reads) else value, schema
    )


def _saying(expected: str, schema: CoreSchema) -> CoreSchema:
    return core_schema.custom_error_schema(
        schema, "kind", custom_error_message="must be {expected}", custom_error_context={"expected": expected}
    )


def _wrong(expected: str) -> PydanticCustomError:
    return PydanticCustomError("kind", "must be {expected}", {"expected": expected})


def _many(most: float) -> PydanticCustomError:
    return PydanticCustomError(
        "kind", f"must have at most {most:,.0f} members, as all sets and dicts of anything but text; pass a list"
    )


def _limits(node: Node) -> dict[str, Any]:
    return {name: node[name] for name in ("min_length", "max_length") if name in node}


def _any(value: object) -> object:
    try:
        return json_form(value)
    except TypeError as error:
        raise PydanticCustomError("kind", "can't be stored as JSON: {error}", {"error": str(error)}) from None


def _opaque(value: object) -> object:
    if _has_bytes(value):
        # Bytes would arrive as base64 text, and nobody would notice.
        raise PydanticCustomError("kind", "must not contain bytes, since only the handler knows its type")
    return _any(value)


def _has_bytes(value: object) -> bool:
    if isinstance(value, Secret):
        value = value.value
    if isinstance(value, dict):
        return any(map(_has_bytes, value.values()))
    return any(map(_has_bytes, value)) if isinstance(value, (list, tuple)) else isinstance(value, bytes)


def _reserved(_: object) -> object:
    raise PydanticCustomError("kind", "must be left out: it is the name of the handler's context")


def _in_secret(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.value
    return value[MARK] if is_marked(value) else value


def _secret(value: object) -> Secret:
    text = _in_secret(value)
    if not isinstance(text, str):
        raise _wrong(_WORDS["secret"])
    return Secret(text)


def _secret_bytes(value: object) -> Secret:
    data = _in_secret(value)
    if data == REDACTED:
        raise PydanticCustomError(
            "kind", f"must not be '{REDACTED}', which people are shown in its place: give its value"
        )
    try:
        data = b64decode(data, validate=True) if isinstance(data, str) else data
    except ValueError:
        data = None
    if not isinstance(data, bytes):
        raise _wrong(_WORDS["secret_bytes"])
    return Secret(data)


def _choice(node: Node) -> CoreSchema:
    # By canonical text, in which True is not 1.
    choices = {canonical(value): value for value in node["values"]}
    expected = words(node)

    def choose(value: object) -> object:
        text = _text_of_choice(value)
        if text not in choices:
            raise _wrong(expected)
        return choices[text]

    return core_schema.no_info_plain_validator_function(choose)


def _text_of_choice(value: object) -> str:
    return "" if isinstance(value, (dict, list, tuple)) else canonical(value)


def _set(node: Node) -> CoreSchema:
    most = most_of(node["items"])

    def collect(members: list[object]) -> Unordered:
        members_once = unordered(members)
        if not node.get("min_length", 0) <= len(members_once) <= node.get("max_length", len(members_once)):
            raise _wrong(f"of {node.get('min_length', 0)} to {node.get('max_length', 'any number of')} members")
        if len(members_once) > most:
            raise _many(most)
        return members_once

    schema = core_schema.list_schema(_schema(node["items"]), strict=True, fail_fast=True)
    return core_schema.no_info_after_validator_function(
        collect,
        core_schema.no_info_before_validator_function(
            lambda value: list(value) if isinstance(value, Unordered) else value, schema
        ),
    )


def _tuple(node: Node) -> CoreSchema:
    members = [node["rest"]] if "rest" in node else node["items"]
    schema = core_schema.tuple_schema(
        [_schema(member) for member in members], variadic_item_index=0 if "rest" in node else None, fail_fast=True
    )

    def from_list(value: object) -> object:
        if not isinstance(value, list):
            raise _wrong("a list")
        return tuple(value)

    return core_schema.no_info_before_validator_function(from_list, schema)


def _dict(node: Node) -> CoreSchema:
    keys = _schema(node["keys"])
    if node["keys"]["kind"] == "int":
        integer = core_schema.no_info_before_validator_function(
            lambda key: int(key) if isinstance(key, str) else key, keys
        )
        keys = _saying("an int", integer)
    # Typed first, then text again: a UUID in capitals becomes the one form that is stored and hashed.
    texts = core_schema.no_info_after_validator_function(lambda key: str(json_form(key)), keys)
    schema = core_schema.dict_schema(texts, _schema(node["values"]), strict=True, **_limits(node))
    most = most_of(node["keys"])

    def refuse_many(items: dict[str, object]) -> dict[str, object]:
        if len(items) > most:
            raise _many(most)
        return items

    return core_schema.no_info_after_validator_function(refuse_many, schema)


def _object(node: Node) -> CoreSchema:
    fields = {}
    for name, field in node["fields"].items():
        alias = [[key] for key in (name, *field["also"])] if "also" in field else None
        fields[name] = core_schema.typed_dict_field(
            _schema(field["schema"]), required=field["required"], validation_alias=alias
        )
    extras = _schema(node.get("extras", {"kind": "any"})) if node["extra"] == "allow" else None
    return core_schema.typed_dict_schema(fields, extra_behavior=node["extra"], extras_schema=extras)


def _union(node: Node) -> CoreSchema:
    members = [_schema(member) for member in node["of"]]
    if "places" in node:
        name, places = node["by"], node["places"]

        def place_of(value: Any) -> int | None:
            given = isinstance(value, dict) and name in value
            return places.get(_text_of_choice(value[name])) if given else None

        return _saying(words(node), core_schema.tagged_union_schema(dict(enumerate(members)), place_of))
    choices: list[CoreSchema | tuple[CoreSchema, str]] = [*members]
    union = core_schema.with_info_before_validator_function(_counted, core_schema.union_schema(choices))
    return _saying(words(node), union)


def _counted(value: object, info: core_schema.ValidationInfo) -> object:
    if info.context is not None:
        info.context.count()
    return value


_BUILDERS: Final[dict[str, Callable[[Node], CoreSchema]]] = {
    "any": lambda _: core_schema.no_info_plain_validator_function(_any),
    "opaque": lambda _: core_schema.no_info_plain_validator_function(_opaque),
    "reserved": lambda _: core_schema.no_info_plain_validator_function(_reserved),
    "secret": lambda _: core_schema.no_info_plain_validator_function(_secret),
    "secret_bytes": lambda _: core_schema.no_info_plain_validator_function(_secret_bytes),
    "ref": lambda node: core_schema.definition_reference_schema(node["name"]),
    "default": lambda node: core_schema.with_default_schema(
        _schema(node["of"]), default=node["value"], validate_default=True
    ),
    "optional": lambda node: core_schema.nullable_schema(_schema(node["of"])),
    "union": _union,
    "literal": _choice,
    "enum": _choice,
    "list": lambda node: core_schema.list_schema(_schema(node["items"]), strict=True, fail_fast=True, **_limits(node)),
    "set": _set,
    "tuple": _tuple,
    "dict": _dict,
    "object": _object,
}
