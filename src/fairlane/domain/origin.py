"""The origin of an action, for the audit: the face, and over a network the credential and the address.

Context variables keep it, which a request's threads inherit. So no verb has to pass it on, and none can forget to.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_LIBRARY: Final = "library"
_origin: ContextVar[str] = ContextVar("fairlane_origin", default=_LIBRARY)
_as_operator: ContextVar[bool] = ContextVar("fairlane_as_operator", default=True)
_trusted: ContextVar[bool] = ContextVar("fairlane_trusted", default=True)


def origin() -> str:
    """Return the origin of the current action: "library", "command line", "token 01928f3a from 203.0.113.9"."""
    return _origin.get()


def acts_as_operator() -> bool:
    """Return True if an operator acts here as operator, and not by a credential that makes them a member."""
    return _as_operator.get()


def is_trusted() -> bool:
    """Return True if a change here needs no right: the application's own code or the command line makes it."""
    return _trusted.get()


@contextmanager
def acting_from(text: str, *, as_operator: bool = True, is_trusted: bool = False) -> Iterator[None]:
    """Set the origin of all that is audited within the block.

    Args:
        as_operator: whether an operator acts as operator there: see `acts_as_operator`.
        is_trusted: whether a change there needs no right. Else each verb checks that its `user` has the right.
    """
    origin, operator, trusted = _origin.set(text[:200]), _as_operator.set(as_operator), _trusted.set(is_trusted)
    try:
        yield
    finally:
        _trusted.reset(trusted)
        _as_operator.reset(operator)
        _origin.reset(origin)
