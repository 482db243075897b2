"""This machine's two clocks: the ledger goes by one that nothing moves, the database by the time of day.

The time of day is set forward where a machine stood still as a whole, as a virtual one does that is moved to another
host. Compared once, in the end, all that was written before seems that much earlier, and no fault explains it.
"""

import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

_EVERY: Final = 1.0  # seconds from one look to the next
_STEP: Final = 0.05  # seconds; by less the clocks part as they go


class Clocks:
    """Moments of the time of day, as the monotonic clock had them."""

    def __init__(self) -> None:
        self._since: list[float] = []  # the time of day
        self._ahead: list[float] = []  # from then on, of the monotonic clock
        self.look()

    def look(self) -> None:
        """Note by how much they differ now, if that is something else than before."""
        now = time.time()
        ahead = now - time.monotonic()
        if not self._ahead or abs(ahead - self._ahead[-1]) > _STEP:
            self._since.append(now)
            self._ahead.append(ahead)

    def monotonic(self, moment: datetime) -> float:
        """Return the seconds of the monotonic clock at a moment; one in a step is taken to come before it."""
        at = moment.timestamp()
        return at - self._ahead[max(0, bisect_right(self._since, at) - 1)]


@contextmanager
def compared() -> Iterator[Clocks]:
    """Compare again and again while the block runs."""
    clocks, is_over = Clocks(), threading.Event()

    def watch() -> None:
        while not is_over.wait(_EVERY):
            clocks.look()

    watcher = threading.Thread(target=watch, name="storm-clocks")
    watcher.start()
    try:
        yield clocks
    finally:
        is_over.set()
        watcher.join()
