"""Procrastinate: rows of one table with an event for each change; rows stay."""

import asyncio
from typing import Any, ClassVar, Final

import procrastinate

from benchmarks.peers.handlers import ASYNC
from benchmarks.peers.shape import chunks, counter, main, url

_CONCURRENCY: Final = 100


class ProcrastinatePeer:
    """Async tasks, LISTEN/NOTIFY on."""

    package: ClassVar = "procrastinate"
    settings: ClassVar = f"psycopg pool, concurrency={_CONCURRENCY}"
    source: ClassVar = "https://procrastinate.readthedocs.io/en/stable/howto/basics/worker.html"

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url(), max_size=10))
        self._tasks: dict[str, Any] = {name: self._app.task(name=name)(handler) for name, handler in ASYNC.items()}
        self._count = counter("SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')")

    def prepare(self) -> None:
        self._runner.run(self._prepare())

    async def _prepare(self) -> None:
        await self._app.open_async()
        await self._app.schema_manager.apply_schema_async()

    def submit(self, kind: str, count: int, organization: str) -> None:
        for size in chunks(count):
            self._runner.run(self._tasks[kind].batch_defer_async(*[{} for _ in range(size)]))

    def remaining(self) -> int:
        return self._count()

    def work(self) -> None:
        self._app.run_worker(concurrency=_CONCURRENCY)


if __name__ == "__main__":
    main("benchmarks.peers.scripts.procrastinate", ProcrastinatePeer)
