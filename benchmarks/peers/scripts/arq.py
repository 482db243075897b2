"""arq on Redis."""

import asyncio
from typing import Any, ClassVar, Final

from arq import create_pool
from arq.connections import RedisSettings
from arq.constants import default_queue_name
from arq.worker import Worker, func

from benchmarks.peers.handlers import ASYNC
from benchmarks.peers.shape import chunks, main, url

_CONCURRENCY: Final = 100


class ArqPeer:
    """Results are not kept."""

    package: ClassVar = "arq"
    settings: ClassVar = f"max_jobs={_CONCURRENCY}, poll_delay=0.05, keep_result=0, hiredis"
    source: ClassVar = "https://arq-docs.helpmanual.io/"

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._redis: Any = None

    def prepare(self) -> None:
        self._redis = self._runner.run(create_pool(RedisSettings.from_dsn(url())))

    def submit(self, kind: str, count: int, organization: str) -> None:
        for size in chunks(count):
            self._runner.run(self._submit(kind, size))

    async def _submit(self, kind: str, size: int) -> None:
        for _ in range(size):
            await self._redis.enqueue_job(kind)

    def remaining(self) -> int:
        return int(self._runner.run(self._redis.zcard(default_queue_name)))

    def work(self) -> None:
        self._runner.run(self._work())

    async def _work(self) -> None:
        worker = Worker(
            [func(handler, name=name) for name, handler in ASYNC.items()],
            redis_settings=RedisSettings.from_dsn(url()),
            max_jobs=_CONCURRENCY,
            poll_delay=0.05,
            keep_result=0,
        )
        await worker.async_run()


if __name__ == "__main__":
    main("benchmarks.peers.scripts.arq", ArqPeer)
