"""Handlers that tell which job runs; child processes import them by name."""

import asyncio
import logging

from fairlane import JobContext, PermanentError, current_job


def look(ctx: JobContext) -> list[object]:
    return seen()


async def look_on_loop(ctx: JobContext) -> list[object]:
    """Look in the task, in a task of its own, and in a thread that asyncio gives."""
    found = seen()
    assert await asyncio.create_task(in_task()) == found
    assert await asyncio.to_thread(seen) == found
    return found


async def in_task() -> list[object]:
    return seen()


def seen() -> list[object]:
    job = current_job()
    assert job is not None
    return [str(job.job_id), job.organization, job.job_type, job.attempt]


def tell(ctx: JobContext, words: str) -> None:
    logging.getLogger("shop").warning("%s", words, extra={"order": 7})


def break_off(ctx: JobContext, words: str, password: str) -> None:
    raise PermanentError(f"{words} with password={password}")


HANDLERS = {"async": look_on_loop, "thread": look, "process": look}
