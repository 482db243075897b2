"""RQ on Redis."""

from typing import ClassVar

import redis
from rq import Queue, SimpleWorker
from rq.registry import StartedJobRegistry

from benchmarks.peers.handlers import SYNC
from benchmarks.peers.shape import chunks, main, url


class RqPeer:
    """A worker that does not fork for each job."""

    package: ClassVar = "rq"
    settings: ClassVar = "SimpleWorker, enqueue_many, result_ttl=0"
    source: ClassVar = "https://python-rq.org/docs/workers/"

    def __init__(self) -> None:
        self._redis = redis.Redis.from_url(url())
        self._queue = Queue("default", connection=self._redis)
        self._started = StartedJobRegistry("default", connection=self._redis)

    def prepare(self) -> None:
        """A queue is made by its first job."""

    def submit(self, kind: str, count: int, organization: str) -> None:
        handler = f"benchmarks.peers.handlers.{SYNC[kind].__name__}"
        for size in chunks(count):
            self._queue.enqueue_many([Queue.prepare_data(handler, result_ttl=0) for _ in range(size)])

    def remaining(self) -> int:
        return int(self._queue.count + self._started.get_job_count(cleanup=False))

    def work(self) -> None:
        SimpleWorker([self._queue], connection=self._redis).work(logging_level="ERROR")


if __name__ == "__main__":
    main("benchmarks.peers.scripts.rq", RqPeer)
