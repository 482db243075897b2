"""Numbers that handlers give, and numbers in JSON."""

import math
from decimal import Decimal, DecimalException
from json import JSONDecoder
from typing import Any, Final, Self, SupportsFloat, SupportsIndex


class LongNumber(float):
    """A number in JSON that a float writes in another way, for example 9.50; a Decimal is made of its text."""

    __slots__ = ("_text",)
    _text: str

    def __new__(cls, text: str) -> Self:
        """Read the number."""
        made = super().__new__(cls, text)
        made._text = text
        return made

    def __repr__(self) -> str:
        return self._text

    def is_shortened(self) -> bool:
        """Return True if not even 17 digits, as some languages write a float, give the number back."""
        return self.is_changed() and not _is_same(f"{self:.16e}", self._text)

    def is_changed(self) -> bool:
        """Return True if the float is a different number."""
        return not _is_same(float.__repr__(self), self._text)


def _number(text: str) -> float:
    value = float(text)
    return value if repr(value) == text or math.isinf(value) else LongNumber(text)


def _is_same(one: str, other: str) -> bool:
    try:
        return Decimal(one) == Decimal(other)
    except DecimalException:  # an exponent of more than 18 digits
        return False


# In place of json.loads for parameters of people or clients: a number that a float writes otherwise is a LongNumber.
read_json: Final = JSONDecoder(parse_float=_number).decode


def long_numbers(plain: Any) -> list[str]:
    """Return the texts of the numbers that a float changes, in an order that does not depend on the order of names."""
    if isinstance(plain, dict):
        plain = list(plain.values())
    if isinstance(plain, list):
        return sorted(text for one in plain for text in long_numbers(one))
    return [repr(plain)] if isinstance(plain, LongNumber) and plain.is_changed() else []


def number_of(rule: str, value: str | SupportsFloat | SupportsIndex) -> float:
    """Return a number as a float.

    Args:
        rule: the beginning of the error's sentence, for example "percent must be a number, not".

    Raises:
        ValueError: it is not a number.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"{rule} {value!r}.")
    return number
