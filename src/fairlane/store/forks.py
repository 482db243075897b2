"""Run things first in each forked child, whose threads and connections are its parent's."""

import os
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakSet

T = TypeVar("T")


def in_each_child(begin: Callable[[T], object]) -> WeakSet[T]:
    """Return a set; a forked child calls `begin` with each of its members that is still there."""
    members = WeakSet[T]()

    def begin_all() -> None:
        for one in members:
            begin(one)

    if hasattr(os, "register_at_fork"):  # as everywhere but on Windows, which has no fork
        os.register_at_fork(after_in_child=begin_all)
    return members
