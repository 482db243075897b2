"""A batch that waits for a lock takes a turn of each of its organizations, so that none has more than two."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from queue import Queue

from fairlane import Submission
from fairlane.control.lock_turns import LockTurns
from tests.patience import PATIENCE

_ALL = 5  # turns


class Turns:
    """Turns of organizations whose names are letters. Each lasts until the test ends it."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._turns = LockTurns(_ALL, PATIENCE)
        self._begun = Queue[tuple[str, threading.Event]]()

    def come(self, organizations: str) -> asyncio.Task[None]:
        """Come for a turn, in the order of calls."""
        submissions = [Submission("report", organization=one) for one in organizations]
        ended = threading.Event()

        def last() -> None:
            self._begun.put((organizations, ended))
            assert ended.wait(PATIENCE)

        return asyncio.create_task(self._turns.run_in(self._threads, submissions, last))

    async def begun(self) -> tuple[str, threading.Event]:
        """Wait for the next that begins, and return its organizations, and what ends it."""
        return await asyncio.to_thread(self._begun.get, timeout=PATIENCE)


async def test_batches_of_one_organization_with_others_leave_turns_to_a_third() -> None:
    with ThreadPoolExecutor(_ALL) as threads:
        turns = Turns(threads)
        tasks = [turns.come(whose) for whose in ("ab", "ab", "ac", "ac", "ad", "z")]
        first = [await turns.begun() for _ in range(3)]
        assert sorted(whose for whose, _ in first) == ["ab", "ab", "z"]
        for _, ended in first:
            ended.set()
        for _ in range(3):
            (await turns.begun())[1].set()
        await asyncio.gather(*tasks)
