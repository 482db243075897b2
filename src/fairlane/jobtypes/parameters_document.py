"""A handler's annotations to the schema document: plain JSON by which any process validates and canonicalises (R1, R2).

A node of the document is `{"kind": …, …}`. The kinds:

- scalars: null, bool, int, float, str, bytes, datetime, aware_datetime, naive_datetime, date, time, timedelta, decimal,
  uuid, each with its constraints (`ge`, `gt`, `le`, `lt`, `multiple_of`, `min_length`, `max_length`, `pattern`, …);
- `secret` and `secret_bytes`, text and bytes that only the handler sees;
- `literal` and `enum` with their `values`; `optional` and `union` with what they are `of`, and a union of objects that
  are told apart by a field of theirs with its name, `by`;
- `list` and `set` with `items`, `dict` with `keys` and `values`, `tuple` with `items` or, if of any length, `rest`;
- `object` (dataclass, model, TypedDict) with `fields`, each read from its name or those that it has `also`, and what
  becomes of `extra` keys: forbid, ignore or allow, these as `extras` says, or any. A field that is not `required` may
  have a `default`, for the hash: see `parameters`;
- `ref`, the name of one of the document's definitions: objects are kept there, since they may be recursive;
- `any`, a JSON value, for what has no annotation;
- `opaque`, a JSON value that only the handler's own types can check, because a document can't hold the code: other
  classes, validators that run before pydantic's own;
- `reserved`, the name of the handler's context, which is not a parameter.

Validators that run after pydantic's own are such code, too; the types below them are in the document. If there is such
code (`has_code`), a process that has the handler runs it at each submission. For others the worker runs it.
"""

import collections.abc
import dataclasses
import re
import types
import typing
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from math import inf
from typing import Any, Final, NewType, NotRequired, Required, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import pydantic
from pydantic import AfterValidator, AliasPath, BaseModel, Discriminator, StringConstraints
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, SchemaError, SchemaValidator, core_schema
from typing_extensions import ReadOnly, TypeAliasType, is_typeddict

from fairlane.domain.errors import ConfigurationError
from fairlane.jobtypes.parameters_values import json_form, wire_names

Node = dict[str, Any]

_SCALARS: Final[dict[type, str]] = {
    type(None): "null",
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    bytes: "bytes",
    datetime: "datetime",
    pydantic.AwareDatetime: "aware_datetime",
    pydantic.NaiveDatetime: "naive_datetime",
    pydantic.PastDatetime: "datetime",
    pydantic.FutureDatetime: "datetime",
    date: "date",
    pydantic.PastDate: "date",
    pydantic.FutureDate: "date",
    time: "time",
    timedelta: "timedelta",
    Decimal: "decimal",
    UUID: "uuid",
    pydantic.SecretStr: "secret",
    pydantic.SecretBytes: "secret_bytes",
}
_BY_THE_CLOCK: Final = (pydantic.PastDatetime, pydantic.FutureDatetime, pydantic.PastDate, pydantic.FutureDate)
_CONTAINERS: Final[dict[Any, str]] = {
    list: "list",
    collections.abc.Sequence: "list",
    collections.abc.MutableSequence: "list",
    collections.abc.Collection: "list",
    set: "set",
    frozenset: "set",
    collections.abc.Set: "set",
    collections.abc.MutableSet: "set",
    dict: "dict",
    collections.abc.Mapping: "dict",
    collections.abc.MutableMapping: "dict",
    tuple: "tuple",
}
# Factories that make the same value at each call. Other functions may make another value tomorrow.
_EMPTY: Final = (list, dict, set, frozenset, tuple, str, bytes)
# Python salts the hashes of texts, but not of other types. An attacker can choose numbers or UUIDs with the same hash,
# so that a set of them takes quadratic time: 0.04 s for 1,000 UUIDs.
_HASHED_BY_SECRET: Final = frozenset({"str", "bytes", "date", "literal", "enum"})
_MOST_HASHED: Final = 1_000
REQUIRED: Final = object()  # in the place of a default: the field must be given
_UNKNOWN: Final = object()  # the field may be omitted, and only the handler's process knows its default
# The kinds with one text for each value, so that they can be keys of a JSON object.
_KEYS: Final = frozenset({"any", "str", "int", "date", "uuid", "literal", "enum"})
_QUALIFIERS: Final = (Required, NotRequired, ReadOnly, typing.Final)
# Metadata beside a type that does not change the accepted values; `StringConstraints` are read as constraints.
_HARMLESS: Final = (
    AfterValidator,
    Discriminator,
    StringConstraints,
    FieldInfo,
    pydantic.Strict,
    pydantic.AllowInfNan,
    pydantic.Tag,
    pydantic.PlainSerializer,
    pydantic.WrapSerializer,
    pydantic.WithJsonSchema,
)
_RANGE: Final = frozenset({"ge", "gt", "le", "lt"})
_LENGTH: Final = frozenset({"min_length", "max_length"})
_NUMBER: Final = _RANGE | {"multiple_of"}
# The simple constraints of a type, for example `Field(ge=1)`, which are keys of its node; by kind.
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


def _flattened(metadata: Iterable[object]) -> list[object]:
    """Return the metadata beside a type, with the content of each `Field(…)` before it."""
    flat: list[object] = []
    for item in metadata:
        flat.extend([*item.metadata, item] if isinstance(item, FieldInfo) else [item])
    return flat


def _constrain(node: Node, metadata: Iterable[object]) -> Node:
    """Return `node` with the simple constraints among `metadata`; all others are left to the worker."""
    target = node
    while target["kind"] == "optional":
        target = target["of"]
    allowed = CONSTRAINTS.get(target["kind"], frozenset())
    for item in metadata:
        if target["kind"] == "union" and (by := _discriminator(item)) is not None:
            target["by"] = by
        if isinstance(item, AfterValidator):
            break  # later constraints look at that validator's result
        for name in sorted(allowed):
            value = getattr(item, name, None)
            if name == "pattern" and value is not None:
                value = _portable(value)
            if value is not None:
                target[name] = json_form(value)
    return node


def _discriminator(item: object) -> str | None:
    """Return the name of the field that tells a union's members apart; only the worker uses a function instead."""
    found = item.discriminator if isinstance(item, (FieldInfo, Discriminator)) else None
    name = found.discriminator if isinstance(found, Discriminator) else found
    return name if isinstance(name, str) else None


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


class DocumentBuilder:
    """Turn annotations into nodes, and collect the definitions that they refer to.

    `defaults` has the optional fields, each with its name and its default as a Python value. `has_code` is True if the
    annotations refuse more than the document; `runs_code`, if code of the application may run.
    """

    def __init__(self) -> None:
        self.definitions: dict[str, Node] = {}
        self.defaults: list[tuple[str, Node, object]] = []
        self.has_code = self.runs_code = False
        self._names: dict[Any, str] = {}

    def node(self, annotation: Any, metadata: Iterable[object] = ()) -> Node:
        """Return the node for a resolved `annotation`, with the `metadata` that pydantic keeps beside it.

        Raises ConfigurationError for a type that can't be read back from JSON.
        """
        beside = list(metadata)
        while True:
            if get_origin(annotation) is typing.Annotated:
                annotation, *inner = get_args(annotation)
                beside = inner + beside
            elif get_origin(annotation) in _QUALIFIERS:
                (annotation,) = get_args(annotation)
            elif isinstance(annotation, NewType):
                annotation = annotation.__supertype__
            else:
                break
        flat = _flattened(beside)
        if any(hasattr(item, "__get_pydantic_core_schema__") and not isinstance(item, _HARMLESS) for item in flat):
            return self._opaque()
        self.runs_code |= any(isinstance(item, Discriminator) for item in flat)
        # `AfterValidator`s, and predicates of annotated_types.
        self.has_code |= any(hasattr(item, "func") for item in flat)
        return _constrain(self._node_of(annotation), flat)

    def field(self, name: str, node: Node, default: object = REQUIRED) -> Node:
        """Return the field of an object; with a `default` it is optional."""
        field: Node = {"schema": node, "required": default is REQUIRED}
        if default is not REQUIRED and default is not _UNKNOWN:
            self.defaults.append((name, field, default))
        return field

    def _node_of(self, annotation: Any) -> Node:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if annotation in (Any, object) or isinstance(annotation, TypeVar):
            return {"kind": "any"}
        if isinstance(annotation, TypeAliasType):
            return self._defined(annotation, annotation.__name__, lambda: self.node(annotation.__value__))
        if origin in (Union, types.UnionType):
            return self._union(arguments)
        if origin is typing.Literal:
            return _literal(arguments)
        if (container := _CONTAINERS.get(origin or annotation)) is not None:
            return self._container(container, annotation, arguments)
        target = origin or annotation
        return self._class(target) if isinstance(target, type) else self._opaque()

    def _opaque(self) -> Node:
        self.has_code = True
        return {"kind": "opaque"}

    def _union(self, members: tuple[Any, ...]) -> Node:
        nodes = [self.node(member) for member in members if member is not type(None)]
        node: Node = nodes[0] if len(nodes) == 1 else {"kind": "union", "of": nodes}
        return {"kind": "optional", "of": node} if type(None) in members else node

    def _container(self, kind: str, annotation: Any, arguments: tuple[Any, ...]) -> Node:
        if kind == "tuple":
            if annotation is tuple or arguments[1:] == (...,):
                return {"kind": kind, "rest": self.node(arguments[0] if arguments else Any)}
            return {"kind": kind, "items": [self.node(argument) for argument in arguments]}
        if kind == "dict":
            keys, values = (self.node(argument) for argument in arguments or (str, Any))
            text_only = all(isinstance(value, str) for value in keys.get("values", ()))
            if keys["kind"] not in _KEYS or not text_only:
                raise ConfigurationError(
                    f"{annotation}: the keys of a dict must be str, int, date, UUID or an Enum of str"
                )
            return {"kind": kind, "keys": keys, "values": values}
        return {"kind": kind, "items": self.node(arguments[0] if arguments else Any)}

    def _class(self, kind: type) -> Node:
        if kind in _SCALARS:
            self.has_code |= kind in _BY_THE_CLOCK
            return {"kind": _SCALARS[kind]}
        if issubclass(kind, Enum) and not issubclass(kind, Flag):
            return _enum(kind)
        if is_typeddict(kind):
            return self._defined(kind, kind.__qualname__, lambda: self._typed_dict(kind))
        self.runs_code = (
            True  # when an instance of the application's class is made: a factory, a descriptor, a hash of its own
        )
        if hasattr(kind, "__pydantic_fields__"):
            return self._defined(kind, kind.__qualname__, lambda: self._model(kind))
        if dataclasses.is_dataclass(kind):
            return self._defined(kind, kind.__qualname__, lambda: self._dataclass(kind))
        return self._opaque()

    def _defined(self, key: Any, name: str, build: Callable[[], Node]) -> Node:
        if key not in self._names:
            short = name.rpartition("<locals>.")[2]
            taken = sum(other.partition("#")[0] == short for other in self._names.values())
            # Named before it is built: a recursive type meets itself.
            self._names[key] = f"{short}#{taken + 1}" if taken else short
            self.definitions[self._names[key]] = build()
        return {"kind": "ref", "name": self._names[key]}

    def _model(self, model: Any) -> Node:
        """Describe a pydantic model or pydantic dataclass."""
        fields: dict[str, FieldInfo] = model.__pydantic_fields__
        decorators = model.__pydantic_decorators__
        own_schema = "__get_pydantic_core_schema__" in vars(model)
        if own_schema or any(item.info.mode != "after" for item in decorators.model_validators.values()):
            return self._opaque()
        self.has_code |= bool(decorators.model_validators or decorators.field_validators) or _has_own_init(model)
        if issubclass(model, pydantic.RootModel):
            return self.node(fields["root"].annotation, fields["root"].metadata)
        judges = [item.info for item in decorators.field_validators.values() if item.info.mode != "after"]
        judged = {name for info in judges for name in info.fields}
        nodes = {}
        for name, field in fields.items():
            if field.init is False:
                continue
            opaque = name in judged or "*" in judged
            node = self._opaque() if opaque else self.node(field.annotation, [field])
            stored, *others = _names(model, name, field)
            nodes[stored] = self.field(stored, node, _default(field.default, field.default_factory))
            if others:
                nodes[stored]["also"] = others
        return _object(nodes, model)

    def _dataclass(self, kind: Any) -> Node:
        hints = get_type_hints(kind, include_extras=True)
        self.has_code |= _has_own_init(kind)
        fields = {
            field.name: self.field(
                field.name, self.node(hints[field.name]), _default(field.default, field.default_factory)
            )
            for field in dataclasses.fields(kind)
            if field.init
        }
        return _object(fields, kind)

    def _typed_dict(self, kind: Any) -> Node:
        hints = get_type_hints(kind, include_extras=True)
        missing = dict.fromkeys(kind.__optional_keys__, _UNKNOWN)
        fields = {name: self.field(name, self.node(hint), missing.get(name, REQUIRED)) for name, hint in hints.items()}
        return _object(fields, kind)


def most_of(node: Node) -> float:
    """Return the most members of a set, or names of a dict, that are of this node."""
    if node["kind"] == "optional":
        return most_of(node["of"])
    return inf if node["kind"] in _HASHED_BY_SECRET else _MOST_HASHED


def is_read_as_it_is(annotation: Any) -> bool:
    """Return True if a value of this type equals its JSON form."""
    if get_origin(annotation) in (list, Union, types.UnionType):
        return all(map(is_read_as_it_is, get_args(annotation)))
    return annotation in (str, int, float, bool, types.NoneType)


def _has_own_init(kind: Any) -> bool:
    """Return True if the class has code that runs at creation: `__post_init__`, or a model's two hooks."""
    if issubclass(kind, BaseModel) and kind.__init__ not in (BaseModel.__init__, pydantic.RootModel.__init__):
        return True
    of_models = getattr(kind, "model_post_init", BaseModel.model_post_init)
    return hasattr(kind, "__post_init__") or of_models is not BaseModel.model_post_init


def _object(fields: dict[str, Node], kind: Any) -> Node:
    attribute = "model_config" if issubclass(kind, BaseModel) else "__pydantic_config__"
    config: dict[str, Any] = getattr(kind, attribute, None) or {}
    return {"kind": "object", "fields": fields, "extra": config.get("extra") or "ignore"}


def _default(default: object, factory: object) -> object:
    """Return the default of a field of a dataclass or a model, if it is the same at each call."""
    if default is not dataclasses.MISSING and default is not PydanticUndefined:
        return default
    if factory is None or factory is dataclasses.MISSING:
        return REQUIRED
    if factory in _EMPTY and callable(factory):
        return factory()
    # A dataclass or a model has its own fields' defaults then.
    is_record = dataclasses.is_dataclass(factory) or hasattr(factory, "__pydantic_fields__")
    return {} if is_record and isinstance(factory, type) else _UNKNOWN


def _names(model: Any, name: str, field: FieldInfo) -> list[str]:
    if isinstance(field.validation_alias, AliasPath):
        raise ConfigurationError(
            f"{model.__name__}.{name} has an AliasPath, but its value must be stored under one key"
        )
    names = wire_names(name, field)
    config = getattr(model, "model_config", None) or getattr(model, "__pydantic_config__", None) or {}
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    return [*names, name] if by_name and name not in names else names


def _enum(kind: type[Enum]) -> Node:
    values = [member.value for member in kind]
    if not all(value is None or isinstance(value, (str, int, float)) for value in values):
        raise ConfigurationError(f"{kind.__name__} can't be read back from JSON: give it values of text or numbers")
    return {"kind": "enum", "values": values}


def _literal(values: tuple[Any, ...]) -> Node:
    if not all(value is None or type(value) in (str, int, bool) for value in values):
        raise ConfigurationError(
            f"Literal{list(values)} can't be read back from JSON: use text, integers and booleans, or the Enum itself"
        )
    return {"kind": "literal", "values": list(values)}
