"""What a worker's attempts share, made for the types that it has."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from fairlane.registry.options import Isolation
from fairlane.runtime.attempt import Bench
from fairlane.runtime.executors.async_ import AsyncExecutor
from fairlane.runtime.executors.base import Executor
from fairlane.runtime.executors.process import ProcessExecutor
from fairlane.runtime.executors.target import importable_target
from fairlane.runtime.executors.thread import ThreadExecutor
from fairlane.runtime.parts import WorkerParts
from fairlane.runtime.reporter import Desk


def make_bench(
    parts: WorkerParts, slots: int, report_threads: ThreadPoolExecutor, on_lost: Callable[[UUID], None]
) -> Bench:
    """An executor for each isolation that one of the types has, and the desk of their reports.

    Raises:
        ConfigurationError: a handler that is to run in a process can't be imported there.
    """
    settings = parts.settings
    desk = Desk(
        parts.database,
        parts.artifacts,
        report_threads,
        parts.emit,
        settings.progress_interval,
        on_lost,
        asyncio.get_running_loop(),
        parts.keyring,
    )
    job_types = parts.catalogue.mine.values()
    isolations = {one.isolation for one in job_types}
    executors: dict[Isolation, Executor] = {}
    if Isolation.ASYNC in isolations:
        executors[Isolation.ASYNC] = AsyncExecutor()
    if Isolation.THREAD in isolations:
        executors[Isolation.THREAD] = ThreadExecutor()
    if Isolation.PROCESS in isolations:
        for one in job_types:
            if one.isolation is Isolation.PROCESS:
                importable_target(one.handler)  # better refused now than when its first job is there
        executors[Isolation.PROCESS] = ProcessExecutor(slots)
    return Bench(desk, executors, settings.stop_grace, settings.result_limit)
