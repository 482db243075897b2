"""A batch that waits for a lock takes a turn of each of its organizations, so that none has more than two."""

import asyncio
import threading
from contextlib import closing
from queue import Queue

from fairlane.store.shared_threads import SharedThreads
from tests.patience import PATIENCE

_ALL = 5  # turns


class Turns:
    """Turns of organizations whose names are letters. Each lasts until the test ends it."""

    def __init__(self) -> None:
        self._turns = SharedThreads(_ALL, "turns", each=2)
        self._begun = Queue[tuple[str, threading.Event]]()

    def come(self, organizations: str) -> asyncio.Task[None]:
        """Come for a turn, in the order of calls."""
        ended = threading.Event()

        def last() -> None:
            self._begun.put((organizations, ended))
            assert ended.wait(PATIENCE)

        return asyncio.create_task(self._turns.run(organizations, last))

    def close(self) -> None:
        self._turns.shutdown()

    async def begun(self) -> tuple[str, threading.Event]:
        """Wait for the next that begins, and return its organizations, and what ends it."""
        return await asyncio.to_thread(self._begun.get, timeout=PATIENCE)


async def test_batches_of_one_organization_with_others_leave_turns_to_a_third() -> None:
    with closing(Turns()) as turns:
        tasks = [turns.come(whose) for whose in ("ab", "ab", "ac", "ac", "ad", "z")]
        first = [await turns.begun() for _ in range(3)]
        assert sorted(whose for whose, _ in first) == ["ab", "ab", "z"]
        for _, ended in first:
            ended.set()
        for _ in range(3):
            (await turns.begun())[1].set()
        await asyncio.gather(*tasks)
