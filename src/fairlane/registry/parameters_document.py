"""A handler's annotations to the schema document: plain JSON by which any process validates and canonicalises (R1, R2).

A node of the document is `{"kind": …, …}`. The kinds:

- scalars: null, bool, int, float, str, bytes, datetime, aware_datetime, naive_datetime, date, time, timedelta, decimal,
  uuid, each with its constraints (`ge`, `gt`, `le`, `lt`, `multiple_of`, `min_length`, `max_length`, `pattern`, …);
- `secret` and `secret_bytes`, text and bytes that nobody but the handler is shown;
- `literal` and `enum` with their `values`; `optional` and `union` with what they are `of`;
- `list` and `set` with `items`, `dict` with `keys` and `values`, `tuple` with `items` or, if of any length, `rest`;
- `object` (dataclass, model, TypedDict) with `fields`, each read from its name or those that it has `also`, and what
  becomes of `extra` keys: forbid, ignore or allow, these as `extras` says, or any;
- `ref`, the name of one of the document's definitions: objects are kept there, since they may be recursive;
- `any`, a JSON value, for what has no annotation;
- `opaque`, a JSON value that only the handler's own types can judge, because a document can't hold the code: other
  classes, validators that run before pydantic's own. What such code refuses, the worker finds out when it decodes;
- `reserved`, the name of the handler's context, which is no parameter.

Validators that run after pydantic's own are left to the worker too, the types below them are in the document.
"""

import collections.abc
import dataclasses
import types
import typing
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from typing import Any, Final, NewType, NotRequired, Required, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import pydantic
from pydantic import AfterValidator, AliasPath, BaseModel, Discriminator, StringConstraints
from pydantic.fields import FieldInfo
from typing_extensions import ReadOnly, TypeAliasType, is_typeddict

from fairlane.domain.errors import ConfigurationError
from fairlane.registry.parameters_constraints import Node, constrain, flattened
from fairlane.registry.parameters_values import wire_names

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
# The kinds with one text for each value, so that they can be keys of a JSON object.
_KEYS: Final = frozenset({"any", "str", "int", "date", "uuid", "literal", "enum"})
_QUALIFIERS: Final = (Required, NotRequired, ReadOnly, typing.Final)
# What stands beside a type and does not change what it accepts; `StringConstraints` are read as constraints.
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


class DocumentBuilder:
    """Turns annotations into nodes, and collects the definitions that they refer to."""

    def __init__(self) -> None:
        self.definitions: dict[str, Node] = {}
        self._names: dict[Any, str] = {}

    def node(self, annotation: Any, metadata: Iterable[object] = ()) -> Node:
        """The node for a resolved `annotation`, with the `metadata` that pydantic keeps beside it.

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
        flat = flattened(beside)
        if any(hasattr(item, "__get_pydantic_core_schema__") and not isinstance(item, _HARMLESS) for item in flat):
            return {"kind": "opaque"}
        return constrain(self._node_of(annotation), flat)

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
        return self._class(target) if isinstance(target, type) else {"kind": "opaque"}

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
            return {"kind": _SCALARS[kind]}
        if issubclass(kind, Enum) and not issubclass(kind, Flag):
            return _enum(kind)
        if is_typeddict(kind):
            return self._defined(kind, kind.__qualname__, lambda: self._typed_dict(kind))
        if hasattr(kind, "__pydantic_fields__"):
            return self._defined(kind, kind.__qualname__, lambda: self._model(kind))
        if dataclasses.is_dataclass(kind):
            return self._defined(kind, kind.__qualname__, lambda: self._dataclass(kind))
        return {"kind": "opaque"}

    def _defined(self, key: Any, name: str, build: Callable[[], Node]) -> Node:
        if key not in self._names:
            short = name.rpartition("<locals>.")[2]
            taken = sum(other.partition("#")[0] == short for other in self._names.values())
            # Named before it is built: a recursive type meets itself.
            self._names[key] = f"{short}#{taken + 1}" if taken else short
            self.definitions[self._names[key]] = build()
        return {"kind": "ref", "name": self._names[key]}

    def _model(self, model: Any) -> Node:
        """A pydantic model or pydantic dataclass."""
        fields: dict[str, FieldInfo] = model.__pydantic_fields__
        decorators = model.__pydantic_decorators__
        own_schema = "__get_pydantic_core_schema__" in vars(model)
        if own_schema or any(item.info.mode != "after" for item in decorators.model_validators.values()):
            return {"kind": "opaque"}
        if issubclass(model, pydantic.RootModel):
            return self.node(fields["root"].annotation, fields["root"].metadata)
        judges = [item.info for item in decorators.field_validators.values() if item.info.mode != "after"]
        judged = {name for info in judges for name in info.fields}
        nodes = {}
        for name, field in fields.items():
            if field.init is False:
                continue
            opaque = name in judged or "*" in judged
            node = {"kind": "opaque"} if opaque else self.node(field.annotation, field.metadata)
            stored, *others = _names(model, name, field)
            nodes[stored] = _field(node, field.is_required()) | ({"also": others} if others else {})
        return _object(nodes, model)

    def _dataclass(self, kind: Any) -> Node:
        hints = get_type_hints(kind, include_extras=True)
        fields = {
            field.name: _field(
                self.node(hints[field.name]),
                field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
            )
            for field in dataclasses.fields(kind)
            if field.init
        }
        return _object(fields, kind)

    def _typed_dict(self, kind: Any) -> Node:
        hints = get_type_hints(kind, include_extras=True)
        fields = {name: _field(self.node(hint), name in kind.__required_keys__) for name, hint in hints.items()}
        return _object(fields, kind)


def _object(fields: dict[str, Node], kind: Any) -> Node:
    attribute = "model_config" if issubclass(kind, BaseModel) else "__pydantic_config__"
    config: dict[str, Any] = getattr(kind, attribute, None) or {}
    return {"kind": "object", "fields": fields, "extra": config.get("extra") or "ignore"}


def _field(node: Node, required: bool) -> Node:
    return {"schema": node, "required": required}


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
