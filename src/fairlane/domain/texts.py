"""Checks of the text that callers give, before it goes to a database; and moments as text."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Final

from fairlane.domain.errors import ConfigurationError, InvalidParameters

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
# The characters that `str.isprintable` refuses in all versions of Unicode, as both Python and JSON Schema read them.
_UNPRINTABLE: Final = r"\x00-\x1f\x7f-\xa0\xad\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff"


_compiled: Final = cache(re.compile)


@dataclass(frozen=True, slots=True)
class Names:
    """The rule for a kind of name: printable text of 1 to `longest` characters that matches the `pattern`.

    The OpenAPI document shows the pattern, so it must hold for Python and for JSON Schema.
    """

    longest: int
    pattern: str

    def fits(self, text: object) -> bool:
        """Return True if the text is such a name."""
        return (
            isinstance(text, str)
            and 0 < len(text) <= self.longest
            and text.isprintable()
            and _compiled(self.pattern).search(text) is not None
        )


# The path of a URL loses the names "." and "..".
_NO_PATH: Final = r"(?!\.{1,2}$)"
NAMES: Final = Names(200, rf"^[^{_UNPRINTABLE}]*$")  # as long as their columns
PATH_NAMES: Final = Names(200, rf"^{_NO_PATH}[^{_UNPRINTABLE}]*$")
USER_IDS: Final = PATH_NAMES
# "/limits" takes the same methods as the URL of the type itself; see api/resources/operator_engine.py.
JOB_TYPE_NAMES: Final = Names(200, rf"^{_NO_PATH}(?!.*/limits$)[^{_UNPRINTABLE},]*$")
ORGANIZATION_IDS: Final = Names(140, rf"^[^{_UNPRINTABLE},/]*$")  # R1
SCHEDULE_NAMES: Final = Names(200, rf"^{_NO_PATH}[^{_UNPRINTABLE}/]*$")
NEW_ORGANIZATION_IDS: Final = Names(140, rf"^{_NO_PATH}(?!-| +$)[^{_UNPRINTABLE},/]*$")  # "-x" reads as an option


class Platform(StrEnum):
    """The type of `PLATFORM`. Text that is equal to `PLATFORM` is refused: see `require_organization`."""

    PLATFORM = ",platform"


# In place of an organization, for jobs that belong to none. No organization's id has a comma.
PLATFORM: Final = Platform.PLATFORM
_PLATFORM_TEXT: Final = PLATFORM.value


def organization_of(text: str) -> str:
    """Return the organization of a row, or of an address: `PLATFORM`, or the text itself."""
    return PLATFORM if text == _PLATFORM_TEXT else text


def storable(**texts: str | None) -> None:
    """Refuse values that no database can store, and so can't find: NULs, lone surrogates, and values that are not text.

    Args:
        texts: by the names of the arguments.

    Raises:
        InvalidParameters: it names the argument.
    """
    for name, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise InvalidParameters(f"{name} must be text, not {text!r:.80}.")
        if text is not None and _UNSTORABLE.search(text):
            raise InvalidParameters(f"{name} holds a NUL or half a surrogate pair, which can't be stored; remove it.")


def require_organization(organization: object) -> None:
    """Refuse an organization that is not text, above all None: every job belongs to an organization.

    Text that is equal to `PLATFORM` may come from a stranger, so it does not name the platform.

    Raises:
        InvalidParameters
    """
    if not isinstance(organization, str):
        raise InvalidParameters(
            "organization must be the id of the organization that the job belongs to, for example 'acme', "
            f"not {organization!r:.80}."
        )
    if organization == _PLATFORM_TEXT and not isinstance(organization, Platform):
        raise InvalidParameters(
            f"The text {_PLATFORM_TEXT!r} is no organization's id; pass fairlane.PLATFORM if you mean the platform."
        )


def require_user_id(user: object) -> None:
    """Refuse a text that can't be a user's id.

    Raises:
        ConfigurationError
    """
    if not USER_IDS.fits(user):
        raise ConfigurationError(
            f"A user's id has 1 to 200 printable characters, and is neither '.' nor '..'; {user!r:.220} does not fit."
        )


def printable(text: str) -> str:
    """Return the text without control characters, so that it ends no line of a log, and moves no cursor."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def is_storable(text: str) -> bool:
    """Return True if a database can store the text, and so find it."""
    return _UNSTORABLE.search(text) is None


def time_of(moment: datetime) -> str:
    """Return a moment as text for a sentence."""
    return f"{moment:%Y-%m-%d %H:%M:%S} {moment.tzname() or ''}".rstrip()
