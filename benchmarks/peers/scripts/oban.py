"""Oban for Python: rows of one table; rows stay. Without the paid Pro, which acknowledges in bulk."""

import asyncio
from typing import Any, ClassVar, Final

import uvloop
from oban import Oban, worker
from oban.schema import install

from benchmarks.peers.handlers import ASYNC
from benchmarks.peers.shape import chunks, counter, main, url

_CONCURRENCY: Final = 100


def _worker(kind: str) -> Any:
    async def process(_self: object, _job: object) -> None:
        await ASYNC[kind]()

    # Oban finds a worker by its name in its module.
    made = type(kind.title(), (), {"process": process, "__module__": __name__})
    return worker(queue="default")(made)


_WORKERS: Final = {kind: _worker(kind) for kind in ASYNC}


class ObanPeer:
    """Oban with its notifier on PostgreSQL."""

    package: ClassVar = "oban"
    settings: ClassVar = f"uvloop, queue of {_CONCURRENCY}"
    source: ClassVar = "https://oban.pro/docs/py"

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._oban: Any = None
        self._count = counter(
            "SELECT count(*) FROM oban_jobs WHERE state IN ('available', 'scheduled', 'executing', 'retryable')"
        )

    def prepare(self) -> None:
        self._runner.run(self._prepare())

    async def _prepare(self) -> None:
        pool = await Oban.create_pool(url())
        await install(pool)
        self._oban = Oban(pool=pool)
        await self._oban.start()

    def submit(self, kind: str, count: int, organization: str) -> None:
        for size in chunks(count):
            self._runner.run(self._oban.enqueue_many([_WORKERS[kind].new({}) for _ in range(size)]))

    def remaining(self) -> int:
        return self._count()

    def work(self) -> None:
        self._runner.run(self._work())

    async def _work(self) -> None:
        pool = await Oban.create_pool(url())
        async with Oban(pool=pool, queues={"default": _CONCURRENCY}):
            await asyncio.Event().wait()


if __name__ == "__main__":
    main("benchmarks.peers.scripts.oban", ObanPeer)
