"""A check that the database answers. Any number of requests share it."""

import asyncio
import time
from typing import Final

from starlette.concurrency import run_in_threadpool

from fairlane.app import Fairlane
from fairlane.domain.errors import FairlaneError

_FRESH: Final = 1.0  # seconds


class Pulse:
    """A check of the database, made at most once a second, however many requests wait for its result."""

    def __init__(self, fl: Fairlane) -> None:
        self._fl = fl
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._problem: FairlaneError | None = None

    async def check(self) -> None:
        """Wait for the result.

        Raises:
            FairlaneError: the database did not answer.
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
