"""Handlers that child processes import by name."""

import asyncio
import ctypes
import gc
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from itertools import count
from pathlib import Path
from typing import NoReturn

from fairlane.domain.errors import PermanentError, TransientError
from fairlane.domain.texts import PLATFORM
from fairlane.engine.context import JobContext

LONG = 60.0  # seconds; no test waits for that
IMPORTED = time.monotonic()


@dataclass
class Page:
    number: int


class ServiceDown(TransientError):
    """An application's own transient error."""


def imported(ctx: JobContext) -> float:
    return IMPORTED


def organization_here(ctx: JobContext) -> bool:
    """Return True for a job of the platform."""
    return ctx.organization is PLATFORM


def add(ctx: JobContext, a: int, b: int = 1) -> int:
    return a + b


def typed(ctx: JobContext, day: date, page: Page) -> list[str]:
    return [type(day).__name__, type(page).__name__, str(day.year + page.number)]


def pid(ctx: JobContext) -> int:
    return os.getpid()


def describe(ctx: JobContext) -> dict[str, object]:
    return {
        "organization": ctx.organization,
        "attempt": ctx.attempt,
        "lease": str(ctx.lease_token),
        "labels": dict(ctx.labels),
        "parents": [[str(one.id), one.status, one.result, one.artifact("a.txt").decode()] for one in ctx.parents],
    }


def report_all(ctx: JobContext, path: str) -> None:
    ctx.progress(10, "begun")
    ctx.log.warning("look out")
    ctx.checkpoint({"page": 3})
    ctx.artifact("a.txt", "ä")
    ctx.artifact("b.txt", Path(path), "text/x-test")
    ctx.progress(100, "done")


def checkpoint(ctx: JobContext) -> str:
    try:
        ctx.checkpoint(1)
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    return "kept"


def flood(ctx: JobContext) -> None:
    for number in range(20_000):
        ctx.progress(number / 200)
    ctx.progress(100, "last")


def log_in_a_loop(ctx: JobContext) -> None:
    for number in count():
        ctx.log(number)


def fail(ctx: JobContext, how: str) -> NoReturn:
    if how == "exit":
        sys.exit(3)
    raise ServiceDown("down", retry_after=7)


def unstorable(ctx: JobContext) -> object:
    return object()


def sleep(ctx: JobContext) -> None:
    try:
        ctx.log("begun")  # where it may be interrupted already
        ctx.sleep(LONG)
    finally:
        ctx.log("cleaned up")
        ctx.checkpoint("so far")


def sleep_deaf(ctx: JobContext) -> None:
    """Blocks without the context's help; a signal wakes it."""
    try:
        ctx.log(f"begun {os.getpid()}")
        time.sleep(LONG)
    finally:
        ctx.log(f"canceled: {ctx.is_canceled()}")


def sleep_twice(ctx: JobContext) -> None:
    """Blocks twice in one call of C: a signal that ends the first is as one that comes just before a system call."""
    libc = ctypes.CDLL(None)
    ctx.log("begun")
    libc.bsearch(int(LONG), None, 3, 1, libc.sleep)  # two steps, and "compares" with the key by sleeping for it


def wait_for_stop(ctx: JobContext) -> str:
    with suppress(BaseException):
        ctx.log("begun")
        time.sleep(LONG)
    return "returned all the same"


def ignore_all(ctx: JobContext) -> None:
    """Ignores SIGTERM, and so does the process that it starts."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen(["sleep", str(LONG)])
    ctx.log(f"pids {os.getpid()} {grandchild.pid}")
    grandchild.wait()


def start_and_exit(ctx: JobContext, how: str) -> None:
    """Dies, but a process that it forked lives on."""
    forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(LONG,))
    forked.start()
    ctx.log(f"pid {forked.pid}")
    die(ctx, how)


def die(ctx: JobContext, how: str) -> NoReturn:
    match how:
        case "exit":
            os._exit(3)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case _:
            os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def crash(ctx: JobContext, how: str) -> NoReturn:
    """End its process in earnest, by what handlers do."""
    ctx.log("begun")
    match how:
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(7)
        case "out of memory":
            exhaust_memory()
        case _:
            os.kill(os.getpid(), signal.SIGKILL)  # as Linux kills the largest process when there is no memory left
    raise AssertionError


def exhaust_memory() -> NoReturn:
    """Under a limit of its own takes all there is, to the last kilobyte."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 64 * 2**20, resource.RLIM_INFINITY))
    taken = []
    while True:
        taken.append(bytearray(1024))


def block(ctx: JobContext, how: str) -> None:
    """Blocks where no signal of Python's gets through, and so does the process that it starts."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen(["sleep", str(LONG)])
    ctx.log(f"pids {os.getpid()} {grandchild.pid}")
    match how:
        case "system call":
            ours, _theirs = os.pipe()
            os.read(ours, 1)
        case _:
            ctypes.PyDLL(None).sleep(int(LONG))  # it keeps the interpreter's lock, so that no other thread runs


def leave_process(ctx: JobContext, how: str) -> int:
    """End, but leave a process that goes on."""
    if how == "forks twice":
        started = subprocess.run(
            f"sleep {LONG} >/dev/null & echo $!", shell=True, stdout=subprocess.PIPE, text=True, check=True
        )
        ctx.log(f"pids {started.stdout}")
    else:
        left = subprocess.Popen(["sleep", str(LONG)])
        ctx.log(f"pids {left.pid}")
        left.returncode = 0  # so that nobody warns of it
    if how == "fails":
        raise ServiceDown("down")
    return os.getpid()


def say_and_sleep(ctx: JobContext) -> None:
    ctx.log(f"pids {os.getpid()}")
    ctx.sleep(LONG)


def refuse_sigterm(ctx: JobContext) -> int:
    """Leaves its process deaf."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return os.getpid()


def leave_thread(ctx: JobContext, path: str) -> int:
    """End, but leave a thread that goes on and speaks once the file is there."""

    def speak() -> None:
        while not Path(path).exists():
            time.sleep(0.01)
        ctx.log("from the grave")
        with suppress(PermanentError):
            ctx.checkpoint("from the grave")
        Path(path).unlink()

    threading.Thread(target=speak, daemon=True).start()
    return os.getpid()


def wake_thread(ctx: JobContext, path: str) -> int:
    """Let that thread speak, and wait until it has."""
    Path(path).touch()
    while Path(path).exists():
        time.sleep(0.01)
    return os.getpid()


def signaled_from_outside(ctx: JobContext) -> str:
    os.kill(os.getpid(), signal.SIGTERM)
    ctx.sleep(0.01)
    return "went on"


async def report_async(ctx: JobContext) -> int:
    await ctx.progress(50)
    await ctx.checkpoint("state")
    ctx.artifact("unawaited.txt", b"data")
    return os.getpid()


async def sleep_async(ctx: JobContext) -> None:
    try:
        ctx.log("begun")
        await ctx.sleep(LONG)
    finally:
        await asyncio.sleep(0)
        await ctx.checkpoint("so far")


async def report_without_await(ctx: JobContext, times: int, length: int = 1) -> None:
    for number in range(times):
        ctx.log(f"{number:x>{length}}")
        ctx.checkpoint(number)


async def leave_failures(ctx: JobContext, word: str) -> None:
    """Leave a task and a thread behind that have failed, and that nobody asks."""

    async def fail() -> None:
        raise ValueError(f"login failed for {word}")

    def fail_in_thread() -> None:
        raise OSError(f"no host {word}")

    task = asyncio.create_task(fail(), name=word)
    await asyncio.sleep(0)
    del task
    gc.collect()
    thread = threading.Thread(target=fail_in_thread)
    thread.start()
    thread.join()
