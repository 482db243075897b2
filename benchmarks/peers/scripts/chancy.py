"""Chancy: rows of one table, with leader election and plugins; rows stay."""

import asyncio
from typing import ClassVar, Final

from chancy import Chancy, Job, Queue, Worker

from benchmarks.peers.handlers import ASYNC
from benchmarks.peers.shape import chunks, counter, main, url

_CONCURRENCY: Final = 100


class ChancyPeer:
    """Chancy with its default plugins."""

    package: ClassVar = "chancy"
    settings: ClassVar = f"AsyncExecutor, concurrency={_CONCURRENCY}, eager_polling, polling_interval=1"
    source: ClassVar = "https://tkte.ch/chancy/chancy.queue.html"

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._chancy = Chancy(url())
        self._count = counter("SELECT count(*) FROM chancy_jobs WHERE state NOT IN ('succeeded', 'failed')")

    def prepare(self) -> None:
        self._runner.run(self._prepare())

    async def _prepare(self) -> None:
        await self._chancy.__aenter__()
        await self._chancy.migrate()
        await self._chancy.declare(
            Queue(
                "default",
                concurrency=_CONCURRENCY,
                executor=Chancy.Executor.Async,
                eager_polling=True,
                polling_interval=1,
            )
        )

    def submit(self, kind: str, count: int, organization: str) -> None:
        for size in chunks(count):
            self._runner.run(self._submit(kind, size))

    async def _submit(self, kind: str, size: int) -> None:
        job = Job.from_func(ASYNC[kind])
        async for _ in self._chancy.push_many([job] * size):
            """Submitted."""

    def remaining(self) -> int:
        return self._count()

    def work(self) -> None:
        self._runner.run(self._work())

    async def _work(self) -> None:
        async with self._chancy, Worker(self._chancy) as worker:
            await worker.wait_for_shutdown()


if __name__ == "__main__":
    main("benchmarks.peers.scripts.chancy", ChancyPeer)
