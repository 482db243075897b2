"""The work that is measured: the handlers, and the two processes beside the one that measures.

`python -m benchmarks.work worker N` is a worker as in production, with N slots; `… feeder N` keeps N jobs of
one organization in the queue. Both end with the process that started them.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count, islice
from typing import Final

from fairlane import Fairlane, JobContext, Submission

NOOP: Final = "bench.noop"
THREAD: Final = "bench.thread"
MARK: Final = "bench.mark"
SHORT: Final = "bench.short"
LIMITED: Final = "bench.limited"
COMPUTE: Final = "bench.compute"
# Whose backlog others must not wait for.
NOISY: Final = "noisy"

SLOTS: Final = 1000  # of the worker: short jobs need many, as a slot is free again when a job's end is on its way
BATCH: Final = 1000
FEW_SLOTS: Final = 4  # of workers that share jobs which take long: each gets no more than it is at
_SHORT_SECONDS: Final = 0.001
_COMPUTE_SECONDS: Final = 0.005
_FULL_PAUSE: Final = 0.02  # seconds before the feeder looks again


def application(url: str | None = None) -> Fairlane:
    """Make an application with the handlers that are measured.

    Deduplication is on, so each job has another number.
    """
    fl = Fairlane(url)

    @fl.job_type(NOOP)
    async def noop(ctx: JobContext, number: int) -> None:
        """Do nothing."""

    @fl.job_type(THREAD)
    def thread(ctx: JobContext, number: int) -> None:
        """Do nothing, in a thread."""

    @fl.job_type(MARK)
    async def mark(ctx: JobContext, number: int) -> float:
        # One clock for all processes of a machine.
        return time.monotonic()

    @fl.job_type(LIMITED, max_running=0)
    async def limited(ctx: JobContext, number: int) -> None:
        """Do nothing: its limit is reached from the beginning, so it never runs."""

    @fl.job_type(COMPUTE)
    def compute(ctx: JobContext, number: int) -> None:
        until = time.thread_time() + _COMPUTE_SECONDS
        while time.thread_time() < until:
            sum(range(1000))

    @fl.job_type(SHORT)
    async def short(ctx: JobContext, number: int) -> None:
        await asyncio.sleep(_SHORT_SECONDS)

    return fl


def submissions(
    job_type: str, organizations: list[str], *, first: int = 0, delay: float | None = None
) -> Iterator[Submission]:
    """Yield endless submissions, by turns for the organizations, no two alike: the numbers go on from `first`."""
    return (
        Submission(
            job_type,
            organization=organizations[number % len(organizations)],
            parameters={"number": number},
            delay=delay,
        )
        for number in count(first)
    )


def live_jobs(fl: Fairlane) -> int:
    """Count the jobs that have not ended, as the database shows them."""
    return sum(one.live for one in fl.reads.queues())


def _feed(fl: Fairlane, depth: int) -> None:
    endless = submissions(SHORT, [NOISY])
    while True:
        if missing := max(depth - live_jobs(fl), 0):
            fl.submit_many(list(islice(endless, min(missing, BATCH))))
        else:
            time.sleep(_FULL_PAUSE)


def _end_with_parent() -> None:
    def wait() -> None:
        # The parent holds the other end and never writes.
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def main(role: str, number: str) -> None:
    """Run as a worker or a feeder until the parent is gone or says stop."""
    logging.basicConfig(level=logging.WARNING)
    _end_with_parent()
    with application() as fl:
        if role == "worker":
            fl.worker(queues=None, concurrency=int(number)).run()
        else:
            _feed(fl, int(number))


if __name__ == "__main__":
    main(*sys.argv[1:])
