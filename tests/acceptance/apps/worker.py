"""A worker in a process of its own: `python -m tests.acceptance.apps.worker SETTINGS ISOLATION…`.

It prints each event as a line of JSON, so that a test can wait for it.
"""

import asyncio
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from fairlane import Fairlane, JobContext, Settings
from fairlane.domain.events import Event
from tests.acceptance.apps import handlers
from tests.faults.elsewhere import injecting_as_its_test


def register(fl: Fairlane, *isolations: str) -> None:
    """The job types of these tests. Each tells, by its progress, that it runs and in which process.

    Args:
        isolations: "process", if its type is wanted too: a worker that has it starts processes.
    """
    if "process" in isolations:
        fl.job_type("process", isolation="process", dedup_window=0)(handlers.sleep_in_the_first_attempt)

    @fl.job_type("async", dedup_window=0)
    async def asynchronous(ctx: JobContext) -> str:
        ctx.progress(None, f"{os.getpid()}")
        if ctx.attempt == 1:
            await asyncio.Event().wait()
        return "second attempt"

    @fl.job_type("thread", dedup_window=0)
    def thread(ctx: JobContext) -> str:
        ctx.progress(None, f"{os.getpid()}")
        if ctx.attempt == 1:
            ctx.sleep(600)
        return "second attempt"

    @fl.job_type("quick", dedup_window=0)
    async def quick(ctx: JobContext) -> None:
        await asyncio.sleep(0.002)

    @fl.job_type("until there is a file")
    def until_file(ctx: JobContext, path: str) -> str:
        ctx.progress(None, f"{os.getpid()}")
        while not Path(path).exists():
            ctx.sleep(0.01)
        return "found it"

    fl.job_type("deaf")(deaf)


async def deaf(ctx: JobContext) -> None:
    """Swallows every cancellation."""
    ctx.progress(None, f"{os.getpid()}")
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


def tell(event: Event) -> None:
    """Print an event."""
    sys.stdout.write(json.dumps({"event": type(event).__name__} | asdict(event), default=str) + "\n")
    sys.stdout.flush()


def main(settings: str, *isolations: str) -> None:
    """Run it until it is told to stop."""
    fl = Fairlane(Settings(**json.loads(settings)), subscribers=[tell])
    register(fl, *isolations)
    with injecting_as_its_test():
        fl.worker().run()
    fl.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
