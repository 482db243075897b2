"""honker: rows of one SQLite table, deleted when they are done."""

import sqlite3
import time
from typing import Any, ClassVar, Final

import honker

from benchmarks.peers.handlers import SYNC
from benchmarks.peers.shape import chunks, main, url

_BATCH: Final = 500
_IDLE: Final = 0.002  # seconds before it looks again


class HonkerPeer:
    """honker with claim_batch and ack_batch, as its documentation says for batches."""

    package: ClassVar = "honker"
    settings: ClassVar = f"claim_batch and ack_batch of {_BATCH}, its own synchronous=NORMAL"
    source: ClassVar = "https://honker.dev/docs/"

    def __init__(self) -> None:
        self._database = honker.open(url())
        self._queue: Any = self._database.queue("bench")
        self._reader = sqlite3.connect(url())

    def prepare(self) -> None:
        """The queue is made where it is named first."""

    def submit(self, kind: str, count: int, organization: str) -> None:
        for size in chunks(count):
            with self._database.transaction() as transaction:
                for _ in range(size):
                    self._queue.enqueue(kind, tx=transaction)

    def remaining(self) -> int:
        (count,) = self._reader.execute("SELECT count(*) FROM _honker_live").fetchone()
        return int(count)

    def work(self) -> None:
        while True:
            jobs = self._queue.claim_batch("worker", _BATCH)
            for job in jobs:
                SYNC[job.payload]()
            if jobs:
                self._queue.ack_batch([job.id for job in jobs], "worker")
            else:
                time.sleep(_IDLE)


if __name__ == "__main__":
    main("benchmarks.peers.scripts.honker", HonkerPeer)
