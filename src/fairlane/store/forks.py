"""Close before a fork what must not be copied, and run things first in each forked child.

The child has no threads, and its connections are its parent's.
"""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar
from weakref import WeakSet

T = TypeVar("T")
_HAS_FORKS: Final = hasattr(os, "register_at_fork")  # as everywhere but on Windows
_MOST_FILES: Final = 65_536  # that are looked for where the system lists none; the lowest numbers are given first

_copied: Final = set[tuple[int, int]]()  # device and number of each file that was open when this process was forked


def before_each_fork(prepare: Callable[[T], object]) -> WeakSet[T]:
    """Return a set; before this process is forked, `prepare` is called with each of its members that is still there."""
    members = WeakSet[T]()

    def prepare_all() -> None:
        with suppress(RuntimeError):  # another thread adds one just now; the child takes the rest as it is
            for one in members:
                prepare(one)

    if _HAS_FORKS:
        os.register_at_fork(before=prepare_all)
    return members


def in_each_child(begin: Callable[[T], object]) -> WeakSet[T]:
    """Return a set; a forked child calls `begin` with each of its members that is still there."""
    members = WeakSet[T]()

    def begin_all() -> None:
        for one in members:
            begin(one)

    if _HAS_FORKS:
        os.register_at_fork(after_in_child=begin_all)
    return members


def was_open_at_fork(file: str) -> bool:
    """Return True if anything had the file open, by whatever name, when this process or one before it was forked."""
    if _copied:
        with suppress(OSError):  # it is not there
            found = Path(file).stat()
            return (found.st_dev, found.st_ino) in _copied
    return False


def _note_open_files() -> None:
    # What counts is the moment of the fork. No count of connections has it: other threads go on until then, and the
    # application may have connections of its own.
    try:
        numbers = [int(one.name) for one in Path("/dev/fd").iterdir()]
    except OSError:
        numbers = list(range(min(os.sysconf("SC_OPEN_MAX"), _MOST_FILES)))
    for number in numbers:
        with suppress(OSError):  # it is not open
            found = os.fstat(number)
            if stat.S_ISREG(found.st_mode):
                _copied.add((found.st_dev, found.st_ino))


if _HAS_FORKS:
    os.register_at_fork(after_in_child=_note_open_files)
