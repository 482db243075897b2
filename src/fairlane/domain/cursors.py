"""Keyset cursors: opaque to their holder, a moment and an id to us."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from uuid import UUID

from fairlane.domain.errors import InvalidParameters


def encode_cursor(at: datetime, last: UUID) -> str:
    """Return the cursor of the page after this row."""
    return urlsafe_b64encode(f"{at.isoformat()} {last}".encode()).decode()


def decode_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Return the row that a cursor stands for.

    Raises:
        InvalidParameters: it is no cursor of ours.
    """
    try:
        moment, last = urlsafe_b64decode(cursor.encode()).decode().split(" ")
        at = datetime.fromisoformat(moment)
        if at.tzinfo is None:
            raise ValueError("no moment of ours")
        return at.astimezone(UTC), UUID(last)
    except (ValueError, OverflowError):
        raise InvalidParameters(
            "The cursor is not one that a list gave; leave it out to begin at the newest."
        ) from None
