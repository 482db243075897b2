"""Fairlane itself, on PostgreSQL or SQLite.

BENCH_DEDUP=0 makes every job type's deduplication window 0; BENCH_SLOTS is the worker's number of slots.
"""

import asyncio
import os
from itertools import count
from typing import ClassVar, Final

import uvloop

from benchmarks.peers import handlers
from benchmarks.peers.shape import chunks, main, url
from fairlane import Fairlane, JobContext, Submission

_WITHOUT_DEDUP: Final = os.environ.get("BENCH_DEDUP") == "0"
# A slot is free again when the end of its job is on its way: short jobs need many.
_SLOTS: Final = int(os.environ.get("BENCH_SLOTS", "1000"))
_WINDOW: Final = 0.0 if _WITHOUT_DEDUP else 300.0  # seconds; 300 is the default


def _application() -> Fairlane:
    fl = Fairlane(url())

    @fl.job_type("noop", dedup_window=_WINDOW)
    async def noop(ctx: JobContext, number: int) -> None:
        await handlers.async_noop()

    @fl.job_type("short", dedup_window=_WINDOW)
    async def short(ctx: JobContext, number: int) -> None:
        await handlers.async_short()

    @fl.job_type("mark", dedup_window=_WINDOW)
    async def mark(ctx: JobContext, number: int) -> None:
        await handlers.async_mark()

    @fl.job_type("slow", dedup_window=_WINDOW)
    async def slow(ctx: JobContext, number: int) -> None:
        await handlers.async_slow()

    return fl


class FairlanePeer:
    """Fairlane with all checks and the execution log on; its role owns the tables."""

    package: ClassVar = "fairlane"
    settings: ClassVar = (
        f"uvloop, concurrency={_SLOTS}, {'no deduplication' if _WITHOUT_DEDUP else 'deduplication'}, all checks, log"
    )
    source: ClassVar = "docs/how-to.md"

    def __init__(self) -> None:
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._fl = _application()
        self._numbers = count()

    def prepare(self) -> None:
        self._fl.migrate()
        for organization in ("a", "b"):
            self._fl.organizations.create(organization)

    def submit(self, kind: str, count: int, organization: str) -> None:
        for size in chunks(count):
            self._fl.submit_many(
                [
                    Submission(kind, organization=organization, parameters={"number": next(self._numbers)})
                    for _ in range(size)
                ]
            )

    async def submit_alone(self, kind: str) -> None:
        await self._fl.aio.submit(kind, organization="a", parameters={"number": next(self._numbers)})

    def remaining(self) -> int:
        return sum(one.live for one in self._fl.reads.queues())

    def work(self) -> None:
        self._fl.worker(concurrency=_SLOTS).run()


if __name__ == "__main__":
    main("benchmarks.peers.scripts.fairlane", FairlanePeer)
