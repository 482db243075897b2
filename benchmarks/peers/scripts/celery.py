"""Celery on Redis."""

from typing import ClassVar, Final

import redis
from celery import Celery

from benchmarks.peers.handlers import SYNC
from benchmarks.peers.shape import main, url

_PREFETCH: Final = 64


class CeleryPeer:
    """Prefork with two processes, and tuned for short tasks."""

    package: ClassVar = "celery"
    settings: ClassVar = f"prefork, concurrency=2, prefetch_multiplier={_PREFETCH}, task_ignore_result, no gossip"
    source: ClassVar = "https://docs.celeryq.dev/en/stable/userguide/optimizing.html"

    def __init__(self) -> None:
        self._app = Celery("bench", broker=url())
        self._app.conf.update(
            task_ignore_result=True, worker_prefetch_multiplier=_PREFETCH, broker_connection_retry_on_startup=True
        )
        self._tasks = {name: self._app.task(name=name)(handler) for name, handler in SYNC.items()}
        self._redis = redis.Redis.from_url(url())

    def prepare(self) -> None:
        """A queue is made by its first message."""

    def submit(self, kind: str, count: int, organization: str) -> None:
        with self._app.producer_pool.acquire(block=True) as producer:
            for _ in range(count):
                self._tasks[kind].apply_async(producer=producer)

    def remaining(self) -> int:
        return int(self._redis.llen("celery")) + int(self._redis.hlen("unacked"))

    def work(self) -> None:
        options = ["--concurrency=2", "--loglevel=ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        self._app.worker_main(["worker", *options])


if __name__ == "__main__":
    main("benchmarks.peers.scripts.celery", CeleryPeer)
