"""Timers that end attempts at their timeout, set a moment late: most attempts have ended by then.

A timer for each would be one of the dearest things that a worker does for a job that takes a millisecond.
"""

import asyncio
from collections.abc import Collection
from typing import Final

from fairlane.runtime.attempt import Attempt

_MOMENT: Final = 0.1  # seconds
_SHORT: Final = 10 * _MOMENT  # a timeout below gets its timer at once


class Deadlines:
    """To be used on the loop's thread.

    Args:
        attempts: all that run, kept up to date by the caller.
    """

    def __init__(self, attempts: Collection[Attempt]) -> None:
        self._attempts = attempts
        self._is_waiting = False

    def begun(self, attempt: Attempt) -> None:
        """This attempt has begun."""
        timeout = attempt.facts.timeout
        if timeout is not None and timeout < _SHORT:
            attempt.set_deadline()
        elif not self._is_waiting:
            self._is_waiting = True
            asyncio.get_running_loop().call_later(_MOMENT, self._set_all)

    def _set_all(self) -> None:
        self._is_waiting = False
        for attempt in self._attempts:
            attempt.set_deadline()
