"""From where somebody acts, for the audit: the face, and over a network the credential and the address. And as what.

Context variables, as a request's threads inherit them: no verb between the face and what asks has to pass them on, and
none can forget to.
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
    """Return where what happens here comes from: "library", "command line", "token 01928f3a from 203.0.113.9"."""
    return _origin.get()


def acts_as_operator() -> bool:
    """Return True if an operator acts here as one, and not by a credential that makes a member of them."""
    return _as_operator.get()


def is_trusted() -> bool:
    """Return True if a change here takes no right, as one by the application's code or on the command line."""
    return _trusted.get()


@contextmanager
def acting_from(text: str, *, as_operator: bool = True, is_trusted: bool = False) -> Iterator[None]:
    """Name, within the block, where whatever is audited comes from.

    Args:
        as_operator: whether an operator acts as one there: see `acts_as_operator`.
        is_trusted: whether a change takes no right there. Else each verb asks its `user` for the right that it needs.
    """
    origin, operator, trusted = _origin.set(text[:200]), _as_operator.set(as_operator), _trusted.set(is_trusted)
    try:
        yield
    finally:
        _trusted.reset(trusted)
        _as_operator.reset(operator)
        _origin.reset(origin)
