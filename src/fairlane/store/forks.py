"""Hooks for forks: close things that must not be copied, and reset things in each forked child.

The child has no threads, and its connections belong to its parent.
"""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar
from weakref import WeakSet

T = TypeVar("T")
_HAS_FORKS: Final = hasattr(os, "register_at_fork")  # everywhere except on Windows
_MOST_FILES: Final = 65_536  # checked if the system has no list; the lowest numbers are used first

_copied: Final = set[tuple[int, int]]()  # device and inode of each file that was open at the fork of this process


def before_each_fork(prepare: Callable[[T], object]) -> WeakSet[T]:
    """Return a weak set. Before this process is forked, `prepare` is called with each member that still exists."""
    members = WeakSet[T]()

    def prepare_all() -> None:
        with suppress(RuntimeError):  # another thread is adding a member; the child takes the others unprepared
            for one in members:
                prepare(one)

    if _HAS_FORKS:
        os.register_at_fork(before=prepare_all)
    return members


def in_each_child(begin: Callable[[T], object]) -> WeakSet[T]:
    """Return a weak set. A forked child calls `begin` with each member that still exists."""
    members = WeakSet[T]()

    def begin_all() -> None:
        for one in members:
            begin(one)

    if _HAS_FORKS:
        os.register_at_fork(after_in_child=begin_all)
    return members


def was_open_at_fork(file: str) -> bool:
    """Return True if the file was open, under any name, when this process or an ancestor was forked."""
    if _copied:
        with suppress(OSError):  # the file does not exist
            found = Path(file).stat()
            return (found.st_dev, found.st_ino) in _copied
    return False


def _note_open_files() -> None:
    # Read at the moment of the fork. A count of connections would miss some: other threads go on until then, and the
    # application may have its own connections.
    try:
        numbers = [int(one.name) for one in Path("/dev/fd").iterdir()]
    except OSError:
        numbers = list(range(min(os.sysconf("SC_OPEN_MAX"), _MOST_FILES)))
    for number in numbers:
        with suppress(OSError):  # the file is not open
            found = os.fstat(number)
            if stat.S_ISREG(found.st_mode):
                _copied.add((found.st_dev, found.st_ino))


if _HAS_FORKS:
    os.register_at_fork(after_in_child=_note_open_files)
