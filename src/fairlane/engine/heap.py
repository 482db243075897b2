"""The garbage collector of a process that runs for long."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_YOUNG: Final = 50_000  # objects made, less those dropped, between two collections


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Keep the garbage collector away from all present objects, modules above all, and let it run less often.

    A worker makes and drops thousands of objects at a time. Every few hundred of them make the collector search all
    older objects for cycles, which took a third of a busy worker's time. A server of a thousand sockets stood still
    meanwhile, for a quarter of a second. A heap that the host has frozen itself stays frozen, also afterwards.
    """
    if gc.get_freeze_count():
        yield
        return
    young, *older = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(young and max(young, _YOUNG), *older)  # 0: the host has switched collections off
    try:
        yield
    finally:
        gc.set_threshold(young, *older)
        gc.unfreeze()
