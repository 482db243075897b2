"""From where somebody acts, for the audit: the face, and over a network the credential and the address.

A context variable, as a request's threads inherit it: no verb between the face and the record has to pass it on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_LIBRARY: Final = "library"
_origin: ContextVar[str] = ContextVar("fairlane_origin", default=_LIBRARY)


def origin() -> str:
    """Where what happens here comes from: "library", "command line", "token 01928f3a from 203.0.113.9"."""
    return _origin.get()


@contextmanager
def acting_from(text: str) -> Iterator[None]:
    """Within the block, whatever is audited comes from there."""
    token = _origin.set(text[:200])
    try:
        yield
    finally:
        _origin.reset(token)
