"""Handlers for processes of their own: they have to be importable."""

import os
import time
from datetime import datetime
from typing import Any

from fairlane import JobContext


def where(ctx: JobContext, at: datetime) -> dict[str, Any]:
    """Which process it runs in."""
    return {"pid": os.getpid(), "at": at, "attempt": ctx.attempt}


def sleep_for_ever(ctx: JobContext) -> None:
    """Until it is told to stop."""
    while True:
        time.sleep(1)


def return_nan(ctx: JobContext) -> float:
    """What JSON has no word for."""
    return float("nan")


def read_parents(ctx: JobContext) -> list[str]:
    """What the parents left as files."""
    return [parent.artifact(name).decode() for parent in ctx.parents for name in parent.artifacts]


def say_and_sleep(ctx: JobContext) -> None:
    """Until it is told to stop; its first progress says which process it is."""
    ctx.progress(None, f"{os.getpid()}")
    ctx.sleep(300)


def report_and_fail_once(ctx: JobContext) -> dict[str, Any]:
    """All that a handler may say, from a process."""
    ctx.artifact("page.txt", f"from attempt {ctx.attempt}")
    if ctx.attempt == 1:
        ctx.progress(30, "page 3")
        ctx.log("page 3")
        ctx.checkpoint({"page": 3})
        raise ConnectionError("gone")
    ctx.log.warning("resuming")
    return {"resumed from": ctx.checkpointed}


def sleep_in_the_first_attempt(ctx: JobContext) -> str:
    """Until it is told to stop; its progress says which process it is."""
    ctx.progress(None, f"{os.getpid()}")
    if ctx.attempt == 1:
        ctx.sleep(600)
    return "second attempt"


def raise_key_error(ctx: JobContext) -> None:
    """What a mistake in a handler does."""
    raise KeyError("x")
