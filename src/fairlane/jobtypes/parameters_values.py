"""Python values to plain JSON: the forms in which parameters and results are stored.

Datetimes, dates and times are ISO 8601 text with the offset that they were given, durations ISO 8601 too, Decimals and
UUIDs their text, bytes base64, sets sorted lists, Enum members their values, dataclasses and models dicts. Secrets are
`{"$secret": …}`, so that every reader can hide them.
"""

import dataclasses
import json
from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import singledispatch
from math import inf
from typing import Any, Final, cast
from uuid import UUID

from pydantic import AliasChoices, BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import SchemaValidator, to_json

from fairlane.domain.canonical import (
    ITEM,
    KEY,
    MEMBER,
    OF_SET,
    SCALARS,
    Place,
    Unordered,
    canonical,
    check_scalar,
    written,
)
from fairlane.domain.errors import InvalidParameters, PayloadTooLarge, PermanentError
from fairlane.domain.numbers import LongNumber
from fairlane.domain.secrets import MARK, Secret, is_marked

# Deeper than any honest payload; far from where a parser of any language gives up.
MAX_DEPTH: Final = 32
# Python reads no integer of more than 4300 digits from JSON, which is about 14,284 bits.
MAX_INT_BITS: Final = 14_000
_BYTE: Final = 8  # bits
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
# The types that JSON has, too; nearly every value in a large payload has one of these.
_SIMPLE: Final = frozenset({str, int, float, bool, type(None)})
_CONTAINERS: Final = frozenset({list, dict})
# The types without methods of the application's.
_PLAIN: Final = _SIMPLE | _CONTAINERS
_BUILT_IN: Final = _PLAIN | {tuple, UUID, Decimal, date, timedelta, bytes}
_TEXT: Final = frozenset({str})
_AS_GIVEN: Final = frozenset({str, int, bool, type(None)})
_FEW: Final = 4000  # bytes; no whole number in them has too many digits
_NUL: Final = rb"\u0000"
_SMALL: Final = 4_000  # bytes, as `lift` counts them: 2,000 items at most, a few milliseconds
_COLLECTIONS: Final = (Mapping, list, tuple, set, frozenset)


def lift(value: object, place: Place, depth: int = 0, *, limit: float = inf) -> object:
    """Return `value` made of dicts, lists, `Unordered` and scalars of their own Python types only.

    Raises InvalidParameters, with the place below `place`, for values that can't be stored: NaN, NUL, lone surrogates,
    unknown objects, and more than 32 levels of lists and dicts. Raises PayloadTooLarge as soon as the lifted part has
    more than `limit` bytes as JSON; the rest is not looked at.
    """
    return _Lifting(limit).lift(value, place, depth)


class _Lifting:
    """Lift a value, and count the least bytes of its JSON.

    A container counts the fewest bytes that its members can have; each member then counts its bytes beyond those.

    Args:
        opens: takes objects with methods of their own, too; else TypeError.
    """

    def __init__(self, limit: float, *, opens: bool = True) -> None:
        self._limit = self._left = limit
        self._opens = opens

    def lift(self, value: object, place: Place, depth: int) -> object:
        if type(value) in _SIMPLE:
            return self._scalar(value, place)
        value = self._opened(value)
        if type(value) not in _CONTAINERS and (isinstance(value, SCALARS) or not isinstance(value, _COLLECTIONS)):
            return self._scalar(value, place)
        if depth > MAX_DEPTH:
            raise InvalidParameters(
                f"{written(place):.80} is nested more than {MAX_DEPTH} levels deep: pass a flatter value"
            )
        if isinstance(value, Mapping):
            self._count(5 * len(value) or 1)  # "":0,
            return {
                self._key(key, place): self.lift(item, (MEMBER, place, key), depth + 1) for key, item in value.items()
            }
        items = cast("Collection[object]", value)
        self._count(2 * len(items) or 1)  # 0,
        if isinstance(items, (set, frozenset)):
            return unordered(self.lift(item, (OF_SET, place, ""), depth + 1) for item in items)
        return [self.lift(item, (ITEM, place, index), depth + 1) for index, item in enumerate(items)]

    def _scalar(self, value: object, place: Place) -> object:
        if isinstance(value, int):
            bits = value.bit_length()
            if bits > MAX_INT_BITS:
                raise InvalidParameters(f"{written(place)} is an integer of more than 4200 digits: pass it as text")
            if bits >= _BYTE:
                self._count(bits // _BYTE)
            return value
        if isinstance(value, str | bytes):
            self._count(len(value))
        elif isinstance(value, Decimal):
            self._count(len(str(value)))
        check_scalar(value, place)
        return value

    def _key(self, key: object, place: Place) -> object:
        return self._scalar(self._opened(key), (KEY, place, key))

    def _opened(self, value: object) -> object:
        if not self._opens and type(value) not in _BUILT_IN and not _is_moment(value):
            raise TypeError
        return _opened(value)

    def _count(self, more: int) -> None:
        self._left -= more
        if self._left < 0:
            raise PayloadTooLarge(f"more than {self._limit:,} bytes as JSON")


def stored_as_given(validator: SchemaValidator, given: object, limit: float) -> tuple[dict[str, Any], str] | None:
    """Return a checked dict, and its text, for the parameters of most jobs: a few texts, whole numbers and bools.

    None: a value in it is stored in another form, or is refused; the general way finds the error.
    """
    if type(given) is not dict or not (
        _TEXT.issuperset(map(type, given)) and _AS_GIVEN.issuperset(map(type, given.values()))
    ):
        return None
    try:
        typed = validator.validate_python(given)
        data = to_json(typed)
    except (ValueError, InvalidParameters):
        return None
    is_same = typed == given and _AS_GIVEN.issuperset(map(type, typed.values()))
    return (typed, data.decode()) if is_same and len(data) <= min(limit, _FEW) and _NUL not in data else None


def unordered(members: Iterable[object]) -> Unordered:
    """Return a set of lifted `members`: each canonical value once, numbers first and by size, the others by text."""
    distinct = {canonical(member): member for member in members}
    return Unordered(distinct[text] for text in sorted(distinct, key=lambda text: _rank(distinct[text], text)))


def encode_result(value: object, *, limit: int) -> str | None:
    """Return a handler's return value as JSON text of at most `limit` bytes; None for None.

    Raises PermanentError if it can't be stored.
    """
    return None if value is None else encoded(value, "result", limit)


def encode_small(value: object, *, limit: int) -> str | None:
    """Return a result as `encode_result` does if that is quick and runs no code of the application; else None."""
    try:
        lifted = _Lifting(min(_SMALL, limit), opens=False).lift(value, "result", 1)
        text = dumps(json_form(lifted))
    except Exception:  # noqa: BLE001 - also of what a thread of the handler's changes meanwhile; a thread says why
        return None
    return text if len(text.encode()) <= limit else None


def encoded(value: object, what: str, limit: int) -> str:
    """Return a value of a handler as JSON text of at most `limit` bytes; `what` names it.

    Raises PermanentError if it can't be stored: another attempt would hand over the same.
    """
    try:
        text = dumps(json_form(lift(value, what, depth=1, limit=limit)))
    except (InvalidParameters, TypeError) as error:
        raise PermanentError(f"the {what} can't be stored: {error}") from error
    except PayloadTooLarge:
        text = None
    if text is None or len(text.encode()) > limit:
        raise PermanentError(f"the {what} has more than {limit:,} bytes as JSON: store it as an artifact instead")
    return text


def dumps(tree: object) -> str:
    """Return compact JSON text of a tree of plain JSON values."""
    return _ENCODER.encode(tree)


def json_form(value: Any) -> Any:
    """Return a lifted value as plain JSON. Raises TypeError for keys that are not text and for long numbers."""
    if type(value) in _SIMPLE:
        return value
    if isinstance(value, (list, tuple)):
        return [json_form(item) for item in value]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"keys must be strings, not {key!r:.80}")
        return {key: json_form(item) for key, item in value.items()}
    return _scalar_form(value)


@singledispatch
def _scalar_form(value: Any) -> Any:
    return value


@_scalar_form.register
def _(value: bytes) -> Any:
    return b64encode(value).decode()


@_scalar_form.register(date)  # a datetime is a date to Python
@_scalar_form.register(time)
def _(value: date | time) -> Any:
    return value.isoformat()


@_scalar_form.register
def _(value: timedelta) -> Any:
    size = abs(value)
    fraction = f".{size.microseconds:06}" if size.microseconds else ""
    return f"{'-' if value < size else ''}P{size.days}DT{size.seconds}{fraction}S"


@_scalar_form.register(Decimal)
@_scalar_form.register(UUID)
def _(value: Decimal | UUID) -> Any:
    return str(value)


@_scalar_form.register
def _(value: LongNumber) -> Any:
    if value.is_shortened():
        raise TypeError("a number has more digits than a float keeps; write it as text, in quotes")
    return float(value)


@_scalar_form.register
def _(value: Secret) -> Any:
    return {MARK: json_form(value.value)}


def dressed(value: Any) -> Any:
    """Return a typed tree with its secrets as pydantic's own types, for the handler's annotations."""
    if isinstance(value, Secret):
        return SecretStr(value.value) if isinstance(value.value, str) else SecretBytes(value.value)
    if isinstance(value, dict):
        return SecretStr(value[MARK]) if is_marked(value) else {key: dressed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(dressed, value))
    return value


def wire_names(name: str, field: FieldInfo) -> list[str]:
    """Return the keys from which a model reads a field; the field is stored under the first."""
    alias = field.alias if field.validation_alias is None else field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return [choice for choice in choices if isinstance(choice, str)] or [name]


def _is_moment(value: object) -> bool:
    """Return True if it is Python's own datetime, with no other time zone than Python's own offsets."""
    return type(value) is datetime and (value.tzinfo is None or type(value.tzinfo) is timezone)


def _opened(value: object) -> object:
    """Return an Enum member's value, a dataclass or a model as a dict (all its fields), other values unchanged."""
    if type(value) in _PLAIN:
        return (
            Secret(value[MARK])
            if type(value) is dict and MARK in value and is_marked(value) and isinstance(value[MARK], str)
            else value
        )
    while isinstance(value, Enum):
        value = value.value
    if isinstance(value, SecretStr | SecretBytes):
        return Secret(value.get_secret_value())
    if isinstance(value, type):
        return value
    fields: dict[str, FieldInfo] | None = getattr(type(value), "__pydantic_fields__", None)
    if fields is not None:
        if getattr(value, "__pydantic_root_model__", False):
            return _opened(vars(value)["root"])
        stored = {
            wire_names(name, field)[0]: getattr(value, name)
            for name, field in fields.items()
            if field.init is not False
        }
        return stored | (value.model_extra or {} if isinstance(value, BaseModel) else {})
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    return value


def _rank(member: object, text: str) -> tuple[float, str]:
    # An int is not converted to a float: comparison between the two is exact.
    if isinstance(member, (int, float)) and not isinstance(member, bool):
        return member, ""
    return float("inf"), text
