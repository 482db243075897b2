"""Pages by keyset: a cursor says after which item to go on, so that what comes in between shifts nothing."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field

from fairlane.domain.errors import InvalidParameters

T = TypeVar("T")

LARGEST = 100
Limit = Annotated[int, Query(ge=1, le=LARGEST, description="How many at most.")]
LARGEST_OF_QUEUES = 1000
QueueLimit = Annotated[int, Query(ge=1, le=LARGEST_OF_QUEUES, description="How many at most.")]
Cursor = Annotated[
    str | None, Query(max_length=1000, description="The page before's `next_cursor`; left out: from the start.")
]

Before = Annotated[UUID | None, Query(alias="cursor", description="The page before's `next_cursor`.")]

_NO_CURSOR = "The cursor is not one that a list gave; leave it out to begin anew."


class Items(BaseModel, Generic[T]):
    """A page. `next_cursor` null: it was the last one."""

    items: list[T]
    next_cursor: str | None = Field(default=None, examples=["MjAyNi0xMS0yNlQxMDowMDowMCswMDowMCAwMTkyOGYzYQ=="])


class Counted(Items[T], Generic[T]):
    """A page, and how many there are: counted no further than to 10,000 where `total_is_capped`."""

    total: int
    total_is_capped: bool = False
    searched_newest: int | None = Field(default=None, description="How many of the newest a text was looked for in.")


def after_of(cursor: str | None) -> str | None:
    """Return the key after which a page begins; None: with the first.

    Raises:
        InvalidParameters: it is no cursor of ours.
    """
    return _decode(cursor) if cursor is not None else None


def before_of(cursor: str | None) -> UUID | None:
    """Return the id before which a page begins whose newest stand first; None: with the newest.

    Raises:
        InvalidParameters: it is no cursor of ours.
    """
    try:
        return UUID(_decode(cursor)) if cursor is not None else None
    except ValueError:
        raise InvalidParameters(_NO_CURSOR) from None


def page_from(found: Sequence[T], key: Callable[[T], str], limit: int) -> Items[T]:
    """Return a page of what was found after a cursor; one more than the page has says that there are more."""
    shown = list(found[:limit])
    return Items(items=shown, next_cursor=_encode(key(shown[-1])) if len(found) > limit else None)


def page_of(items: Sequence[T], key: Callable[[T], str], cursor: str | None, limit: int) -> Items[T]:
    """Return a page of what is known as a whole and stands in the order of its keys.

    Raises:
        InvalidParameters: it is no cursor of ours.
    """
    after = after_of(cursor)
    return page_from([one for one in items if after is None or key(one) > after], key, limit)


def _encode(key: str) -> str:
    return urlsafe_b64encode(key.encode()).decode()


def _decode(cursor: str) -> str:
    try:
        return urlsafe_b64decode(cursor.encode()).decode()
    except ValueError:
        raise InvalidParameters(_NO_CURSOR) from None
