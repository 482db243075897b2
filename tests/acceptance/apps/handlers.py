"""Handlers for processes of their own: they have to be importable."""

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url

from fairlane import Fairlane, JobContext, Settings, Snooze
from tests.patience import PATIENCE


def where(ctx: JobContext, at: datetime) -> dict[str, Any]:
    """Return the process in which the handler runs."""
    return {"pid": os.getpid(), "at": at, "attempt": ctx.attempt}


def return_nan(ctx: JobContext) -> float:
    return float("nan")


def read_parents(ctx: JobContext) -> list[str]:
    """Return the texts of the parents' artifacts."""
    return [parent.artifact(name).decode() for parent in ctx.parents for name in parent.artifacts]


def leave_open_file(ctx: JobContext, folder: str) -> None:
    """The large file of the folder, as an open one."""
    with Path(folder, "large").open("rb") as file:
        ctx.artifact("large", file)


def pieces_of_large(folder: str) -> Iterator[bytes]:
    """The large file of the folder, in pieces of no round size."""
    with Path(folder, "large").open("rb") as file:
        while piece := file.read(99_999):
            yield piece


def leave_iterator(ctx: JobContext, folder: str) -> None:
    """The large file of the folder, as an iterator."""
    ctx.artifact("large", pieces_of_large(folder))


async def leave_async_iterator(ctx: JobContext, folder: str) -> None:
    """The large file of the folder, as an async iterator."""

    async def pieces() -> AsyncIterator[bytes]:
        for piece in pieces_of_large(folder):
            yield piece

    await ctx.artifact("large", pieces())


def keep_large(ctx: JobContext, folder: str) -> int:
    """The large file of the parent, as a file of the folder; its size as the pieces have it."""
    (parent,) = ctx.parents
    parent.save_artifact("large", Path(folder, "saved"))
    return sum(map(len, parent.stream_artifact("large")))


def report_and_fail_once(ctx: JobContext) -> dict[str, Any]:
    """Use every verb of the context from a process, and fail once."""
    ctx.artifact("page.txt", f"from attempt {ctx.attempt}")
    if ctx.attempt == 1:
        ctx.progress(30, "page 3")
        ctx.log("page 3")
        ctx.checkpoint({"page": 3})
        raise ConnectionError("gone")
    ctx.log.warning("resuming")
    return {"resumed from": ctx.checkpointed}


def sleep_in_the_first_attempt(ctx: JobContext) -> str:
    """Sleep until it is told to stop; its progress names its process."""
    ctx.progress(None, f"{os.getpid()}")
    if ctx.attempt == 1:
        ctx.sleep(600)
    return "second attempt"


def raise_key_error(ctx: JobContext) -> None:
    raise KeyError("x")


def keep_both(ctx: JobContext, folder: str) -> int:
    """A checkpoint and a file, once there is a file "go"."""
    wait_for_go(ctx, folder)
    ctx.checkpoint({"by": ctx.attempt})
    ctx.artifact("a.txt", "kept")
    return ctx.attempt


def submit_another(ctx: JobContext, folder: str, url: str) -> int:
    """Submit by a Fairlane of its own, once there is a file "go"."""
    wait_for_go(ctx, folder)
    with Fairlane(Settings(url=url, lock_timeout=0.1)) as fl:
        fl.submit("another", organization=ctx.organization, dedup_key=str(ctx.job_id))
    return ctx.attempt


def wait_for_go(ctx: JobContext, folder: str) -> None:
    """Wait until there is a file "go"; a file of the job's name says that it waits."""
    Path(folder, f"{ctx.job_id}").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.01)


@contextmanager
def without_checkpoints(ctx: JobContext, folder: str, url: str) -> Iterator[None]:
    """Let nobody write a checkpoint until the block ends; in a SQLite file, nobody can write anything."""
    if url.startswith("sqlite"):
        other: Any = sqlite3.connect(make_url(url).database or "", timeout=PATIENCE, isolation_level=None)
        lock = "BEGIN IMMEDIATE"
    else:
        other = psycopg.connect(url)
        lock = "LOCK TABLE fairlane_checkpoints IN EXCLUSIVE MODE"
    with closing(other):
        other.execute(lock)
        Path(folder, f"{ctx.job_id}").touch()
        yield


def wait_in_a_checkpoint(ctx: JobContext, folder: str, url: str) -> str:
    """Wait in the first attempt, until it is told to stop."""
    if ctx.attempt == 1:
        with without_checkpoints(ctx, folder, url):
            ctx.checkpoint("so far")
    return str(ctx.checkpointed)


QUITS: dict[str, type[BaseException]] = {
    one.__name__: one for one in (SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit)
}


class UnreadableResult(dict[str, int]):
    """A result that raises when it is read."""

    def __init__(self, by: str) -> None:
        super().__init__(a=1)
        self.by = by

    def items(self) -> Any:
        raise QUITS[self.by]("unreadable")


class UnreadableError(Exception):
    """An error that raises when its message is read."""

    def __str__(self) -> str:
        raise QUITS[self.args[0]]("unreadable")

    __repr__ = __str__


class UnreadableAttributes(Exception):
    """An error that raises when it is asked for an attribute, for example `retry_after`."""

    def __getattr__(self, name: str) -> Any:
        raise QUITS[self.args[0]](name)


class UnreadableClass(Exception):
    """An error that raises when it is asked for its class."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise QUITS[self.args[0]]("unreadable")


class FalseError(Exception):
    """An error that counts as false."""

    def __len__(self) -> int:
        return 0


def _raise(error: BaseException) -> Any:
    raise error


UNREADABLE: dict[str, Callable[[str], Any]] = {
    "result": UnreadableResult,
    "error": lambda by: _raise(UnreadableError(by)),
    "attributes": lambda by: _raise(UnreadableAttributes(by)),
    "class": lambda by: _raise(UnreadableClass(by)),
    "false": lambda by: _raise(FalseError(by)),
    "reason of a snooze": lambda by: _raise(Snooze(0, UnreadableError(by))),  # type: ignore[arg-type]
    "group": lambda by: _raise(ExceptionGroup("both", [UnreadableError(by), ValueError()])),
    "cause": lambda by: _raise_from(UnreadableError(by)),
}


def _raise_from(cause: Exception) -> Any:
    raise ValueError("a") from cause


def give_unreadable(ctx: JobContext, kind: str, by: str) -> Any:
    """Return or raise what can't be read."""
    return UNREADABLE[kind](by)
