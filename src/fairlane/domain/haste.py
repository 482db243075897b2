"""How long the database may take for what is only looked at, before it is stopped.

A context variable, as a request's threads inherit it: no verb between the face and the database has to pass it on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_seconds: ContextVar[float | None] = ContextVar("fairlane_read_seconds", default=None)


def read_seconds() -> float | None:
    """Return how long a look may take here; None: as long as it takes."""
    return _seconds.get()


@contextmanager
def reading_within(seconds: float) -> Iterator[None]:
    """Stop, within the block, what the database does longer for a look, with `StatementTooSlow`."""
    token = _seconds.set(seconds)
    try:
        yield
    finally:
        _seconds.reset(token)
