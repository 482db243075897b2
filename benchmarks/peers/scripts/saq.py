"""SAQ on Redis."""

import asyncio
from typing import Any, ClassVar, Final

from saq import Queue, Worker

from benchmarks.peers.handlers import ASYNC
from benchmarks.peers.shape import main, url

_CONCURRENCY: Final = 100


class SaqPeer:
    """Results are kept for no time."""

    package: ClassVar = "saq"
    settings: ClassVar = f"concurrency={_CONCURRENCY}, ttl=-1 (results are not kept), hiredis"
    source: ClassVar = "https://saq-py.readthedocs.io/en/latest/getting_started.html"

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._queue: Any = Queue.from_url(url())

    def prepare(self) -> None:
        self._runner.run(self._queue.connect())

    def submit(self, kind: str, count: int, organization: str) -> None:
        self._runner.run(self._submit(kind, count))

    async def _submit(self, kind: str, count: int) -> None:
        for _ in range(count):
            await self._queue.enqueue(kind, ttl=-1)

    def remaining(self) -> int:
        return int(self._runner.run(self._queue.count("incomplete")))

    def work(self) -> None:
        self._runner.run(self._work())

    async def _work(self) -> None:
        worker = Worker(self._queue, functions=list(ASYNC.items()), concurrency=_CONCURRENCY)
        await worker.start()


if __name__ == "__main__":
    main("benchmarks.peers.scripts.saq", SaqPeer)
