"""PgQueuer: rows of one table, deleted when they are done."""

import asyncio
from typing import Any, ClassVar, Final

import asyncpg
import uvloop
from pgqueuer import PgQueuer, Queries
from pgqueuer.db import AsyncpgDriver

from benchmarks.peers.handlers import ASYNC
from benchmarks.peers.shape import chunks, counter, main, url

_BATCH: Final = 200


class PgQueuerPeer:
    """PgQueuer at its default durability."""

    package: ClassVar = "pgqueuer"
    settings: ClassVar = f"asyncpg, uvloop, batch_size={_BATCH}, autovacuum as recommended"
    source: ClassVar = "https://pgqueuer.readthedocs.io/en/latest/guides/performance-tuning/"

    def __init__(self) -> None:
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._queries: Any = None
        self._count = counter("SELECT count(*) FROM pgqueuer")

    def prepare(self) -> None:
        self.runner.run(self._prepare())

    async def _prepare(self) -> None:
        self._queries = Queries(AsyncpgDriver(await asyncpg.connect(url())))
        await self._queries.install()
        await self._queries.optimize_autovacuum()

    def submit(self, kind: str, count: int, organization: str) -> None:
        for size in chunks(count):
            self.runner.run(self._queries.enqueue([kind] * size, [None] * size, [0] * size))

    async def submit_alone(self, kind: str) -> None:
        # On one connection, as its example of a producer does: a pool, for callers at once, adds a reset of each loan.
        await self._queries.enqueue(kind, None)

    def remaining(self) -> int:
        return self._count()

    def work(self) -> None:
        self.runner.run(self._work())

    async def _work(self) -> None:
        queuer = PgQueuer(AsyncpgDriver(await asyncpg.connect(url())))
        for name, handler in ASYNC.items():
            queuer.entrypoint(name)(handler)
        await queuer.run(batch_size=_BATCH)


if __name__ == "__main__":
    main("benchmarks.peers.scripts.pgqueuer", PgQueuerPeer)
