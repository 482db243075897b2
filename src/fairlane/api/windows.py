"""Counts within the last minute, in the memory of this process, bounded however many there are to be counted.

The storage of `limits` in memory keeps what it has counted once for ever, and looks at all of it with each request.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from threading import Lock
from typing import Final

MINUTE: Final = 60.0  # seconds
_MOST: Final = 100_000  # keys; whoever was silent for longest is forgotten before others


class Windows:
    """A moving window of a minute for each key.

    Args:
        most: keys to remember.
        monotonic: for tests.
    """

    def __init__(self, most: int = _MOST, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._monotonic = monotonic
        self._hits: OrderedDict[str, deque[float]] = OrderedDict()  # by the newest hit, the oldest of those first
        self._lock = Lock()

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._hits)

    def hit(self, key: str, limit: int) -> float:
        """Count one, unless there were `limit` within the last minute: then the seconds until there will be fewer."""
        with self._lock:
            now = self._monotonic()
            self._forget(now - MINUTE)
            hits = self._hits.setdefault(key, deque())
            while hits and hits[0] <= now - MINUTE:
                hits.popleft()
            if len(hits) >= limit:
                return hits[0] + MINUTE - now
            hits.append(now)
            self._hits.move_to_end(key)
            if len(self._hits) > self._most:
                self._hits.popitem(last=False)
            return 0.0

    def take_back(self, key: str) -> None:
        """Count the newest one no more."""
        with self._lock:
            hits = self._hits.get(key)
            if hits:
                hits.pop()
            if not hits:
                self._hits.pop(key, None)

    def _forget(self, before: float) -> None:
        while self._hits:
            oldest = next(iter(self._hits.values()))
            if oldest[-1] > before:
                return
            self._hits.popitem(last=False)
