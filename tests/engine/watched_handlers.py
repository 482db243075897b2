"""Handlers that tell which job runs, and middlewares; child processes import them by name."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar

from fairlane import JobContext, PermanentError, Snooze, current_job

VARIABLE = ContextVar("VARIABLE", default="")


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


def outer(ctx: JobContext) -> Iterator[None]:
    ctx.log("outer begins")
    yield
    ctx.log("outer ends")


def inner(ctx: JobContext) -> Iterator[None]:
    ctx.log(f"inner begins of {seen()[2]}")
    VARIABLE.set("set by inner")
    yield
    ctx.log("inner ends")


async def waiting(ctx: JobContext) -> AsyncIterator[None]:
    await asyncio.sleep(0)
    await ctx.log("waiting begins")
    try:
        yield
    finally:
        await ctx.log("waiting ends")


def hiding(ctx: JobContext) -> Iterator[None]:
    try:
        yield
    except BaseException as error:  # noqa: BLE001 - it tries to
        ctx.log(f"hiding saw {type(error).__name__}")


def twice(ctx: JobContext) -> Iterator[None]:
    yield
    yield


def never(ctx: JobContext) -> Iterator[None]:
    yield from ()


def falling(ctx: JobContext) -> Iterator[None]:
    """Fall where the label says."""
    if ctx.labels["falls"] == "before":
        raise KeyError("before")
    try:
        yield
    except ValueError:
        if ctx.labels["falls"] == "instead":
            raise KeyError("instead") from None
        raise
    if ctx.labels["falls"] == "after":
        raise KeyError("after")


def snoozing(ctx: JobContext) -> Iterator[None]:
    if ctx.attempt == 1:
        raise Snooze(0)
    yield


async def work_on_loop(ctx: JobContext, fails: bool = False) -> str:
    ctx.log("works")  # not awaited
    if fails:
        raise ValueError("no paper")
    return VARIABLE.get()


def work(ctx: JobContext, fails: bool = False) -> str:
    ctx.log("works")
    if fails:
        raise ValueError("no paper")
    return VARIABLE.get()


def headers(ctx: JobContext) -> list[object]:
    return [dict(ctx.headers), [dict(one.headers) for one in ctx.parents]]


WORK = {"async": work_on_loop, "thread": work, "process": work}
