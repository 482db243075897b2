"""Check the arguments that all verbs share: durations, limits, names, moments, and values that are not given."""

import sys
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import Final, Literal, TypeVar

from fairlane.domain.errors import ConfigurationError, InvalidParameters
from fairlane.domain.texts import NAMES, PATH_NAMES


class Inherit(Enum):
    """The type of `INHERIT`, the absence of a value."""

    INHERIT = "inherit"


# Not given: inherit from the type, the organization or the default. None would mean unlimited.
INHERIT: Final = Inherit.INHERIT
Inheriting = Literal[Inherit.INHERIT]

Seconds = float | timedelta
E = TypeVar("E", bound=StrEnum)

LARGEST_COUNT: Final = 2**31 - 1  # what an integer column holds
LARGEST_PAGE: Final = 1000
# Both databases hold these moments in every time zone, and can add a century to them.
_FIRST_MOMENT: Final = datetime(1970, 1, 1, tzinfo=UTC)
_END_OF_MOMENTS: Final = datetime(2200, 1, 1, tzinfo=UTC)


def seconds(name: str, value: object) -> float:
    """Return a duration in seconds.

    Raises:
        ConfigurationError: it is negative, or is not a number.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= sys.float_info.max:
        raise ConfigurationError(f"{name} must be seconds (0 or more) or a timedelta, not {_shown(value)}.")
    return float(number)


def _shown(value: object) -> str:
    try:
        return f"{value!r:.80}"
    except ValueError:  # Python refuses to write so long a number
        return "a number of thousands of digits"


def count(name: str, value: object) -> int | None:
    """Return a limit: None = unlimited, 0 = none allowed.

    Raises:
        ConfigurationError: it is negative, or is not a whole number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_COUNT:
        raise ConfigurationError(
            f"{name} must be a whole number from 0 to {LARGEST_COUNT}, or None for unlimited, not {_shown(value)}."
        )
    return int(value)  # databases do not take a subclass, for example an IntEnum


def page_size(limit: object) -> int:
    """Return the limit of a page.

    Raises:
        InvalidParameters: it is not within 1 to 1000.
    """
    if not isinstance(limit, int) or not 1 <= limit <= LARGEST_PAGE:
        raise InvalidParameters(f"A page has 1 to {LARGEST_PAGE} items, not {limit!r:.80}.")
    return limit


def text(name: str, value: object) -> str:
    """Return a name or a key: of a queue, a permission, a label.

    Raises:
        ConfigurationError: it is empty, too long, or has a character that is not printable.
    """
    if not isinstance(value, str) or not NAMES.fits(value):
        raise ConfigurationError(
            f"{name} must be text of 1 to {NAMES.longest} printable characters, not {value!r:.80}."
        )
    return value


def queue_name(value: object) -> str:
    """Return the name of a queue.

    Raises:
        ConfigurationError: it is not a valid `text`, or is `.` or `..`, which no URL of the REST API can hold.
    """
    found = text("queue", value)
    if not PATH_NAMES.fits(found):
        raise ConfigurationError(
            "A queue is called neither '.' nor '..': no URL reaches that, so nobody could pause it; choose another."
        )
    return found


def choice(kind: type[E], name: str, value: object) -> E:
    """Return the member of an enumeration that has this value.

    Raises:
        ConfigurationError: there is none.
    """
    if isinstance(value, kind):
        return value
    try:
        return kind(str(value))
    except ValueError:
        raise ConfigurationError(f"{name} must be one of {', '.join(kind)}, not {value!r}.") from None


def moment_of(name: str, given: object) -> datetime:
    """Return a moment that the caller gave, in UTC.

    Raises:
        ConfigurationError: it is not a datetime, has no time zone, or is too far away to be stored.
    """
    if not isinstance(given, datetime) or given.utcoffset() is None:
        raise ConfigurationError(
            f"{name} must be a datetime with a time zone, for example datetime(…, tzinfo=UTC), not {given!r:.80}."
        )
    if not _FIRST_MOMENT <= given < _END_OF_MOMENTS:
        raise ConfigurationError(
            f"{name} must be in the years {_FIRST_MOMENT.year} to {_END_OF_MOMENTS.year - 1}, not {given}."
        )
    return given.astimezone(UTC)
