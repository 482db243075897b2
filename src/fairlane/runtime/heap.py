"""The garbage collector of a process that runs for long."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Have the garbage collector leave alone what was made so far, modules above all.

    A worker makes and drops thousands of objects at a time, and every few hundred have the collector look for cycles,
    ever again through all that was there before: that took a third of all of a busy worker's time. Whoever serves a
    thousand sockets told nobody anything meanwhile, for a quarter of a second. A heap that the host has frozen itself
    stays as it is, also afterwards.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
