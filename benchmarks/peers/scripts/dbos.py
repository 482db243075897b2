"""DBOS: durable workflows from a queue, each recorded; rows stay. It has no way to submit in bulk."""

from typing import ClassVar, Final

from dbos import DBOS, DBOSClient

from benchmarks.peers.handlers import ASYNC
from benchmarks.peers.shape import counter, main, url, wait_for_end

_QUEUE: Final = "bench"
_CONCURRENCY: Final = 1000


def _launch(*, listens: bool) -> None:
    DBOS(config={"name": "bench", "system_database_url": url(), "log_level": "ERROR"})
    for name, handler in ASYNC.items():
        DBOS.workflow(name=name)(handler)
    DBOS.listen_queues([_QUEUE] if listens else [])
    DBOS.launch()
    DBOS.register_queue(_QUEUE, worker_concurrency=_CONCURRENCY, polling_interval_sec=0.1)


class DbosPeer:
    """A workflow without steps."""

    package: ClassVar = "dbos"
    settings: ClassVar = f"worker_concurrency={_CONCURRENCY}, polling_interval_sec=0.1, a workflow without steps"
    source: ClassVar = "https://docs.dbos.dev/python/tutorials/queue-tutorial"

    def __init__(self) -> None:
        self._client: DBOSClient | None = None
        self._count = counter("SELECT count(*) FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING')")

    def prepare(self) -> None:
        _launch(listens=False)
        DBOS.destroy()
        self._client = DBOSClient(system_database_url=url())

    def submit(self, kind: str, count: int, organization: str) -> None:
        assert self._client is not None
        for _ in range(count):
            self._client.enqueue({"queue_name": _QUEUE, "workflow_name": kind})

    def remaining(self) -> int:
        return self._count()

    def work(self) -> None:
        _launch(listens=True)
        wait_for_end()


if __name__ == "__main__":
    main("benchmarks.peers.scripts.dbos", DbosPeer)
