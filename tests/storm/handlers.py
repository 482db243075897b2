"""The storm's handlers. Each does what its parameter `way` says, and writes it to the ledger.

All that they leave with the engine says of which attempt it is, whatever the engine takes it for.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from fairlane import Interrupted, JobContext, PermanentError, TransientError
from tests.storm import ledger
from tests.storm.ledger import Kind

if TYPE_CHECKING:  # the processes of isolated handlers, hundreds in a storm, then start in a third of the time
    from fairlane import Fairlane

# In place of a minute and more: the storm is over in minutes.
_BACKOFF: Final = [0.2, 0.5, 1.0]
SOONEST: Final = 0.8 * _BACKOFF[0]  # seconds from a failure until the next attempt, at least: it is 20 % less or more
_RETRIES: Final = 50
_FOR_EVER: Final = 600.0  # seconds; its timeout comes first
IN_LOOP: Final = "storm.async"
IN_THREAD: Final = "storm.thread"
IN_PROCESS: Final = "storm.process"
LIMITED: Final = "storm.limited"
JOB_TYPES: Final = (IN_LOOP, IN_THREAD, IN_PROCESS, LIMITED)
MOST_LIMITED: Final = 4  # of these run at once
FILE: Final = "page.txt"


def register(fl: "Fairlane") -> None:
    """Make the job types."""
    fl.job_type(IN_LOOP, backoff=_BACKOFF, max_retries=_RETRIES)(in_loop)
    fl.job_type(IN_THREAD, backoff=_BACKOFF, max_retries=_RETRIES)(in_thread)
    fl.job_type(IN_PROCESS, isolation="process", backoff=_BACKOFF, max_retries=_RETRIES)(in_process)
    fl.job_type(LIMITED, max_running=MOST_LIMITED, backoff=_BACKOFF, max_retries=_RETRIES)(limited)


async def in_loop(ctx: JobContext, seconds: float, way: str, own: str) -> dict[str, Any]:
    """Run on the event loop."""
    _begin(ctx, own)
    if way == "checkpoint":
        await ctx.checkpoint(ctx.attempt)
        ledger.write(ctx, Kind.KEEP)
    with _told(ctx):
        await asyncio.sleep(_seconds(ctx, seconds, way))
    # Who was stopped meanwhile may have lost the lease under which it writes these.
    if way == "checkpoint":
        await ctx.checkpoint(ctx.attempt)
    if way == "report":
        ctx.log(str(ctx.attempt))
        ctx.progress(50, str(ctx.attempt))
    if way == "file":
        await ctx.artifact(FILE, str(ctx.attempt))
    return _end(ctx, way)


async def limited(ctx: JobContext, seconds: float, way: str, own: str) -> dict[str, Any]:
    """The same, of which only few run at once."""
    return await in_loop(ctx, seconds, way, own)


def in_thread(ctx: JobContext, seconds: float, way: str, own: str) -> dict[str, Any]:
    """Run in a thread of the worker."""
    _begin(ctx, own)
    if way == "checkpoint":
        ctx.checkpoint(ctx.attempt)
        ledger.write(ctx, Kind.KEEP)
    with _told(ctx):
        ctx.sleep(_seconds(ctx, seconds, way))
    if way == "checkpoint":
        ctx.checkpoint(ctx.attempt)
    if way == "report":
        ctx.log(str(ctx.attempt))
        ctx.progress(50, str(ctx.attempt))
    if way == "file":
        ctx.artifact(FILE, str(ctx.attempt))
    return _end(ctx, way)


def in_process(ctx: JobContext, seconds: float, way: str, own: str) -> dict[str, Any]:
    """Run in a process of its own."""
    return in_thread(ctx, seconds, way, own)


def name(organization: str, job: object = "") -> str:
    """Return the name that a job gets as its parameter `own`. A schedule does not know the ids of its jobs."""
    return f"{organization}/{job}"


def _begin(ctx: JobContext, own: str) -> None:
    is_own = own in {name(ctx.organization, ctx.job_id), name(ctx.organization)}
    ledger.write(ctx, Kind.BEGIN, found=ctx.checkpointed or 0, is_own=is_own)


@contextmanager
def _told(ctx: JobContext) -> Iterator[None]:
    """Write down that a handler was stopped: it does not run any more when its worker is killed later."""
    try:
        yield
    except (asyncio.CancelledError, Interrupted):
        ledger.write(ctx, Kind.GIVE_UP)
        raise


def _seconds(ctx: JobContext, seconds: float, way: str) -> float:
    return _FOR_EVER if way == "time out once" and ctx.attempt == 1 else seconds


def _end(ctx: JobContext, way: str) -> dict[str, Any]:
    if way == "fail once" and ctx.attempt == 1:
        ledger.write(ctx, Kind.FAIL)
        raise TransientError("as planned")
    if way == "break":
        ledger.write(ctx, Kind.GIVE_UP)
        raise PermanentError("as planned")
    ledger.write(ctx, Kind.EFFECT)
    # Whose result it is: that of an attempt under an old lease must never be stored.
    return {"attempt": ctx.attempt, "lease": str(ctx.lease_token)}
