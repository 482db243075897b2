"""The garbage collector of a process that runs for long."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_YOUNG: Final = 50_000  # objects made, less those dropped, from one look of the collector to the next


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Have the garbage collector leave alone what was made so far, modules above all, and look less often.

    A worker makes and drops thousands of objects at a time, and every few hundred have the collector look for cycles,
    ever again through all that was there before: that took a third of all of a busy worker's time. Whoever serves a
    thousand sockets told nobody anything meanwhile, for a quarter of a second. A heap that the host has frozen itself
    stays as it is, also afterwards.
    """
    if gc.get_freeze_count():
        yield
        return
    young, *older = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(young and max(young, _YOUNG), *older)  # 0: the host wants no looks at all
    try:
        yield
    finally:
        gc.set_threshold(young, *older)
        gc.unfreeze()
