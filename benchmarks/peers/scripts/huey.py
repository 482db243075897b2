"""Huey on SQLite: a row is gone once a worker has read it."""

from typing import ClassVar, Final

from huey import SqliteHuey

from benchmarks.peers.handlers import SYNC
from benchmarks.peers.shape import main, url

_WORKERS: Final = 4


class HueyPeer:
    """Threads. Its store shows what waits, and not what runs: a drain is over when nothing waits."""

    package: ClassVar = "huey"
    settings: ClassVar = f"SqliteHuey(fsync=True, results=False), {_WORKERS} threads, initial_delay=0.01"
    source: ClassVar = "https://huey.readthedocs.io/en/latest/consumer.html"

    def __init__(self) -> None:
        self._huey = SqliteHuey("bench", filename=url(), fsync=True, results=False)
        self._tasks = {name: self._huey.task(name=name)(handler) for name, handler in SYNC.items()}

    def prepare(self) -> None:
        """The tables are made where the database is named."""

    def submit(self, kind: str, count: int, organization: str) -> None:
        for _ in range(count):
            self._tasks[kind]()

    def remaining(self) -> int:
        return int(self._huey.pending_count())

    def work(self) -> None:
        self._huey.create_consumer(workers=_WORKERS, initial_delay=0.01, max_delay=0.1).run()


if __name__ == "__main__":
    main("benchmarks.peers.scripts.huey", HueyPeer)
