"""taskiq on Redis streams, which acknowledge."""

import asyncio
import os
import sys
from typing import ClassVar, Final

import redis
from taskiq_redis import RedisStreamBroker

from benchmarks.peers.handlers import ASYNC
from benchmarks.peers.shape import main, url

_CONCURRENCY: Final = 100
_STREAM: Final = "taskiq"

broker = RedisStreamBroker(url=url())
_TASKS: Final = {name: broker.register_task(handler, task_name=name) for name, handler in ASYNC.items()}


class TaskiqPeer:
    """taskiq with its own command line as the worker."""

    package: ClassVar = "taskiq"
    settings: ClassVar = f"RedisStreamBroker, --workers 1 --max-async-tasks {_CONCURRENCY}"
    source: ClassVar = "https://taskiq-python.github.io/guide/cli.html"

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._redis = redis.Redis.from_url(url())

    def prepare(self) -> None:
        self._runner.run(broker.startup())

    def submit(self, kind: str, count: int, organization: str) -> None:
        self._runner.run(self._submit(kind, count))

    async def _submit(self, kind: str, count: int) -> None:
        for _ in range(count):
            await _TASKS[kind].kiq()

    def remaining(self) -> int:
        (group,) = self._redis.xinfo_groups(_STREAM)
        return int(group["pending"]) + int(group["lag"] or 0)

    def work(self) -> None:
        options = ["--workers", "1", "--max-async-tasks", str(_CONCURRENCY), "--log-level", "ERROR"]
        where = "benchmarks.peers.scripts.taskiq:broker"
        os.execv(sys.executable, [sys.executable, "-m", "taskiq", "worker", *options, where])


if __name__ == "__main__":
    main("benchmarks.peers.scripts.taskiq", TaskiqPeer)
