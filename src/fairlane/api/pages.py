"""Pages by keyset: a cursor names the item after which a page begins, so that new items shift nothing."""

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
    str | None, Query(max_length=1000, description="`next_cursor` of the page before; omitted: from the start.")
]

Before = Annotated[UUID | None, Query(alias="cursor", description="`next_cursor` of the page before.")]

_NO_CURSOR = "The cursor is not one that a list returned; leave it out to start from the beginning."


class Items(BaseModel, Generic[T]):
    """A page. `next_cursor` null: it is the last page."""

    items: list[T]
    next_cursor: str | None = Field(default=None, examples=["MjAyNi0xMS0yNlQxMDowMDowMCswMDowMCAwMTkyOGYzYQ=="])


class Counted(Items[T], Generic[T]):
    """A page and the number of all items. If `total_is_capped`, there are more than the 10,000 that were counted."""

    total: int
    total_is_capped: bool = False
    searched_newest: int | None = Field(default=None, description="How many of the newest were searched for a text.")


def after_of(cursor: str | None) -> str | None:
    """Return the key after which a page begins; None: at the first item.

    Raises:
        InvalidParameters: the cursor is not valid.
    """
    return _decode(cursor) if cursor is not None else None


def before_of(cursor: str | None) -> UUID | None:
    """Return the id before which a page of newest items first begins; None: at the newest.

    Raises:
        InvalidParameters: the cursor is not valid.
    """
    try:
        return UUID(_decode(cursor)) if cursor is not None else None
    except ValueError:
        raise InvalidParameters(_NO_CURSOR) from None


def page_from(found: Sequence[T], key: Callable[[T], str], limit: int) -> Items[T]:
    """Return a page of the items found after a cursor. One item more than `limit` says that there is another page."""
    shown = list(found[:limit])
    return Items(items=shown, next_cursor=_encode(key(shown[-1])) if len(found) > limit else None)


def page_of(items: Sequence[T], key: Callable[[T], str], cursor: str | None, limit: int) -> Items[T]:
    """Return a page of a complete list, which is in the order of its keys.

    Raises:
        InvalidParameters: the cursor is not valid.
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
