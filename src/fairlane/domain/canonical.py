"""The canonical text of a value, and the deduplication hash of that text (R2, R3).

The text is the same in every process, whatever the order of keys and whatever PYTHONHASHSEED. These values are equal:

- Numbers of the same value: 1 and 1.0 are equal, and so are -0.0 and 0, because JSON has one kind of number and a
  browser writes 1.0 as 1. `True` is not a number. A `Decimal` counts by value too (1.0 is 1.00), but never equals a
  number.
- Aware datetimes of the same instant, whatever their offset. A naive datetime equals no aware one. Times of day follow
  Python's own equality in the same way.
- An Enum member and its value, since a process without the class sees only the value. A tuple and a list.
- Text is not normalised: "é" as one character and as two are different values.

tests/domain/golden_hashes.json holds examples with their hashes; a change that breaks one of them makes running
systems accept duplicates.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from hashlib import sha256
from inspect import iscoroutine
from json.encoder import JSONEncoder, encode_basestring
from math import isfinite
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

from fairlane.domain.errors import InvalidParameters
from fairlane.domain.secrets import Secret

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# The place of a value, for messages: a text; or a format, the place that it starts from, and the value to put in. It is
# formatted only when there is an error: always to format it would cost more than all the rest.
Place: TypeAlias = "str | tuple[str, Place, object]"
MEMBER: Final = "{}.{}"
ITEM: Final = "{}[{}]"
OF_SET: Final = "{}{{}}"
KEY: Final = "the key {}.{}"
_HASHED: Final = "the deduplication key"
# Every Python writes so many decimal digits: the interpreter's limit can be set, but not below 640 digits.
_DECIMAL_BITS: Final = 2048
# The types of most parameters. The library writes them as this module does, in a third of the time.
_TEXT: Final = frozenset({str})
_AS_JSON: Final = frozenset({str, int, bool, type(None)})
_ENCODER: Final = JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
_SHORT: Final = 600  # characters; of 2,048 bits a number has 617 digits


class Unordered(tuple[object, ...]):
    """The members of a set that can't be a Python set, because some are not hashable."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the set as text, for messages."""
        return f"{{{', '.join(map(repr, self))}}}" if self else "set()"


def digest(organization: str, job_type: str, canonical_parameters: str) -> str:
    """Return the deduplication hash of a submission by its parameters, as 64 hexadecimal digits.

    `canonical_parameters` is the text that `canonical` made of the parameters.
    """
    return _sha256("parameters", organization, job_type, canonical_parameters)


def digest_of_key(organization: str, job_type: str, key: str) -> str:
    """Return the deduplication hash of a submission by the caller's own `key`; no parameters have the same hash."""
    check_scalar(key, "dedup_key")
    return _sha256("key", organization, job_type, key)


def canonical(value: object, place: Place = "parameters") -> str:
    """Return the canonical text of `value`; equal texts mean equal values. Dataclasses and models must be dicts by now.

    Raises InvalidParameters, with the place below `place`, for NaN and infinity, for text with NUL or lone surrogates,
    for keys that are not text and for objects of other types.
    """
    # Most values have one of these two types, so they go first.
    if type(value) is str:
        return _text(value, place)
    if type(value) is int:
        return _int(value)
    while isinstance(value, Enum):
        value = value.value
    if isinstance(value, dict):
        return _object(value, place)
    if isinstance(value, (set, frozenset, Unordered)):
        # As texts: they sort alike everywhere, and members that are equal here become one.
        return f"set[{','.join(sorted({canonical(member, (OF_SET, place, '')) for member in value}))}]"
    if isinstance(value, (list, tuple)):
        return f"[{','.join([canonical(item, (ITEM, place, index)) for index, item in enumerate(value)])}]"
    check_scalar(value, place)
    return _scalar(value)


def check_scalar(value: object, place: Place) -> None:
    """Raise InvalidParameters, with the place, if `value` is no scalar, or a database or JSON can't hold it."""
    if isinstance(value, str):
        _check_text(value, place)
    elif isinstance(value, Secret):
        check_scalar(value.value, place)
    elif isinstance(value, (float, Decimal)):
        if not (value.is_finite() if isinstance(value, Decimal) else isfinite(value)):
            raise InvalidParameters(
                f"{written(place)} is {value}, which JSON can't hold: give null (None in Python) or a string"
            )
    elif iscoroutine(value):
        value.close()
        raise InvalidParameters(
            f"{written(place)} is a coroutine that nobody awaited: a plain function called an `async def` one, as a "
            "decorator does; make it `async def` and await the other there"
        )
    elif not isinstance(value, SCALARS):
        raise InvalidParameters(
            f"{written(place)} is an object of type {type(value).__name__}, which can't be stored as JSON: "
            "pass text, a number, a date, bytes, a list, a dict, a dataclass or a pydantic model instead"
        )


def written(place: Place) -> str:
    """Return a place in words, for example `parameters.items[3]`. Keys are escaped and cut: a key may be any text."""
    if isinstance(place, str):
        return place
    form, origin, step = place
    return form.format(written(origin), ascii(step).strip("'")[:80])


def _text(value: str, place: Place) -> str:
    _check_text(value, place)
    return encode_basestring(value)


def _check_text(text: str, place: Place) -> None:
    if text.isprintable():
        return
    if "\0" in text:
        raise InvalidParameters(f"{written(place)} contains a NUL character (U+0000): remove it, or pass bytes")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidParameters(
            f"{written(place)} contains a lone surrogate, which is not valid Unicode: replace it, or pass bytes"
        ) from None


def _sha256(kind: str, organization: str, job_type: str, text: str) -> str:
    return sha256(f"{_beginning(kind, organization, job_type)},{_text(text, _HASHED)}]".encode()).hexdigest()


@lru_cache(1024)
def _beginning(*parts: str) -> str:
    # The canonical text of a list: each part is quoted, so no choice of names can move the border between two parts.
    return "[" + ",".join([_text(part, _HASHED) for part in parts])


def _object(value: dict[object, object], place: Place) -> str:
    if _TEXT.issuperset(map(type, value)) and _AS_JSON.issuperset(map(type, value.values())):
        text = _ENCODER.encode(value)
        # Names sort like their texts, and so short a text holds no number that would be written in another way.
        if len(text) <= _SHORT and text.isprintable() and all(map(str.isidentifier, cast("dict[str, object]", value))):
            return text
    members = []
    for key, item in value.items():
        if not isinstance(key, str):
            raise InvalidParameters(f"{written(place)} has the key {key!r:.80}: keys must be strings")
        members.append((canonical(key, (KEY, place, key)), canonical(item, (MEMBER, place, key))))
    return f"{{{','.join(f'{key}:{item}' for key, item in sorted(members))}}}"


def _scalar(value: object) -> str:
    return next(_FORMS[kind] for kind in type(value).__mro__ if kind in _FORMS)(value)


def _int(value: int) -> str:
    return format(value, "d") if value.bit_length() <= _DECIMAL_BITS else format(value, "#x")


def _datetime(value: datetime) -> str:
    if value.utcoffset() is None:
        return f"datetime({value.replace(tzinfo=None).isoformat()})"
    # A difference, not astimezone(), which fails near the years 1 and 9999.
    return f"instant({(value - _EPOCH) // _MICROSECOND})"


def _time(value: time) -> str:
    offset = value.utcoffset()
    if offset is None:
        return f"time({value.replace(tzinfo=None).isoformat()})"
    since_midnight = timedelta(0, value.second, value.microsecond, 0, value.minute, value.hour)
    return f"utc_time({(since_midnight - offset) // _MICROSECOND})"


def _decimal(value: Decimal) -> str:
    # Not normalize(), which rounds to the precision of the context.
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    significant = text.rstrip("0")
    if not significant:
        return "decimal(0)"
    return f"decimal({'-' if sign else ''}{significant}e{int(exponent) + len(text) - len(significant)})"


_FORMS: Final[dict[type, Callable[[Any], str]]] = {
    type(None): lambda _: "null",
    bool: lambda value: "true" if value else "false",
    int: _int,
    float: lambda value: format(int(value), "d") if value.is_integer() else float.__repr__(value),
    str: encode_basestring,
    bytes: lambda value: f"bytes({value.hex()})",
    datetime: _datetime,
    date: lambda value: f"date({value.isoformat()})",
    time: _time,
    timedelta: lambda value: f"timedelta({value // _MICROSECOND})",
    Decimal: _decimal,
    UUID: lambda value: f"uuid({value})",
    Secret: lambda value: f"secret({_scalar(value.value)})",
}
SCALARS: Final = tuple(_FORMS)
