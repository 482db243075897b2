"""Dramatiq on Redis."""

from typing import ClassVar, Final

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peers.handlers import SYNC
from benchmarks.peers.shape import main, url, wait_for_end

_THREADS: Final = 8
_KEY: Final = "dramatiq:default"


class DramatiqPeer:
    """Dramatiq in one process with its default number of threads."""

    package: ClassVar = "dramatiq"
    settings: ClassVar = f"{_THREADS} threads in one process"
    source: ClassVar = "https://dramatiq.io/guide.html#workers"

    def __init__(self) -> None:
        self._broker = RedisBroker(url=url())
        dramatiq.set_broker(self._broker)
        self._actors = {name: dramatiq.actor(handler, actor_name=name) for name, handler in SYNC.items()}
        self._redis = redis.Redis.from_url(url())

    def prepare(self) -> None:
        """A queue is made by its first message."""

    def submit(self, kind: str, count: int, organization: str) -> None:
        for _ in range(count):
            self._actors[kind].send()

    def remaining(self) -> int:
        # A message's body is there until it is acknowledged.
        return int(self._redis.hlen(f"{_KEY}.msgs"))

    def work(self) -> None:
        dramatiq.Worker(self._broker, worker_threads=_THREADS).start()
        wait_for_end()


if __name__ == "__main__":
    main("benchmarks.peers.scripts.dramatiq", DramatiqPeer)
