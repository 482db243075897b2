"""Bound the moments that people give: both databases hold them in every time zone, and can add a century to them."""

from datetime import UTC, datetime
from typing import Final

from fairlane.domain.errors import ConfigurationError

FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
END: Final = datetime(2200, 1, 1, tzinfo=UTC)


def moment_of(name: str, given: object) -> datetime:
    """Return a moment that somebody gave, in UTC.

    Raises:
        ConfigurationError: it is no datetime, has no time zone, or is too far away to be stored.
    """
    if not isinstance(given, datetime) or given.utcoffset() is None:
        raise ConfigurationError(
            f"{name} must be a datetime with a time zone, such as datetime(…, tzinfo=UTC), not {given!r:.80}."
        )
    if not FIRST <= given < END:
        raise ConfigurationError(f"{name} must be in the years {FIRST.year} to {END.year - 1}, not {given}.")
    return given.astimezone(UTC)
