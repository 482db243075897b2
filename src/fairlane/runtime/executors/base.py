"""What the executors have in common: what they are given, what they give back, and how a handler can end."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fairlane.domain.errors import FairlaneError, TransientError
from fairlane.registry.job_types import JobType
from fairlane.runtime.context import Interrupted, JobContext
from fairlane.runtime.reports import AttemptFacts, Channel, Interruption


class HandlerQuit(FairlaneError):
    """The handler raised what ends programs or tasks (SystemExit, CancelledError, …) though nobody asked it to stop."""


class Abandoned(FairlaneError):
    """The handler did not stop when asked to, so it was killed or, where that is impossible, left behind."""


class ProcessDied(TransientError):
    """The handler's process ended before the handler did: a crash, an exit, or memory that ran out."""


@dataclass(frozen=True, slots=True)
class Call:
    """A handler and what to call it with. A process decodes `facts.parameters` itself, it needs no `arguments`."""

    job_type: JobType[..., Any]
    arguments: Mapping[str, object]
    context: JobContext
    facts: AttemptFacts
    channel: Channel


class Execution(Protocol):
    """One handler on its way. To be used on the loop's thread."""

    @property
    def finished(self) -> "asyncio.Future[object]":
        """Done when the handler is: its return value or exception; `Interrupted` if it stopped because it was asked."""

    def interrupt(self, reason: Interruption) -> None:
        """Ask the handler to stop. The first reason stands, a second call does nothing."""

    def abandon(self) -> None:
        """Stop the handler now; where Python can't, leave it behind. `finished` is done afterwards."""


class Executor(Protocol):
    """One way to run handlers. To be used on the loop's thread."""

    @property
    def abandoned(self) -> int:
        """How many handlers were left behind and still occupy something."""

    async def start(self) -> None:
        """Get ready; before the first `begin`."""

    async def stop(self) -> None:
        """Give back what is held; what still runs is abandoned."""

    def begin(self, call: Call) -> Execution:
        """Begin to run a handler.

        Raises OSError or RuntimeError if there is no thread or process to be had, and what else keeps this handler
        from being run.
        """


async def run_async(
    handler: Callable[..., Awaitable[object]], context: JobContext, arguments: Mapping[str, object]
) -> object:
    """Run an `async def` handler, and see what it reported through to the end."""
    value = await handler(context, **arguments)
    await context.settled()
    return value


def settle(
    finished: "asyncio.Future[object]", value: object, raised: BaseException | None, reason: Interruption | None
) -> None:
    """Say how a handler ended, by `ending`; what is too late is dropped."""
    if finished.done():
        return
    if raised is None:
        finished.set_result(value)
    else:
        finished.set_exception(ending(raised, reason))


def ending(raised: BaseException, reason: Interruption | None) -> BaseException:
    """What is to be said of a handler that raised: mostly that. Never an exception that ends a task or the worker.

    Args:
        raised: what the handler raised.
        reason: why it was asked to stop, or None if it was not.
    """
    if reason is not None and isinstance(raised, Interrupted | asyncio.CancelledError):
        return Interrupted(reason)
    # A future takes no StopIteration.
    if isinstance(raised, Exception) and not isinstance(raised, StopIteration):
        return raised
    error = HandlerQuit(f"the handler raised {type(raised).__name__} though nobody asked it to stop: {raised}")
    error.__cause__ = raised
    return error
