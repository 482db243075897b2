"""Whether the database answers, for whoever asks, which is everybody."""

import asyncio
import time
from typing import Final

from starlette.concurrency import run_in_threadpool

from fairlane.app import Fairlane
from fairlane.domain.errors import FairlaneError

_FRESH: Final = 1.0  # seconds


class Pulse:
    """Asks the database at most once a second, and one at a time, however many want to know."""

    def __init__(self, fl: Fairlane) -> None:
        self._fl = fl
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._problem: FairlaneError | None = None

    async def check(self) -> None:
        """Wait for the answer.

        Raises:
            FairlaneError: there was none.
        """
        async with self._asking:
            if time.monotonic() - self._asked_at > _FRESH:
                await self._ask()
        if self._problem is not None:
            raise self._problem

    async def _ask(self) -> None:
        database, self._problem = self._fl.database, None
        try:
            await run_in_threadpool(database.read, database.clock.now)
        except FairlaneError as error:
            self._problem = error
        self._asked_at = time.monotonic()
