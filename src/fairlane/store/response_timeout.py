"""Timeouts for PostgreSQL's answers.

A middlebox or a hanging server may accept what is sent and never answer. TCP sees no fault then. Without a timeout the
caller waits for ever, although a new connection would work.
"""

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Engine, event

if TYPE_CHECKING:
    from psycopg import AsyncConnection, BaseConnection, Connection, OperationalError
    from psycopg.abc import RV, PQGen

UNLIMITED: Final = math.inf
_LOOK: Final = 0.1  # seconds between two looks at the clock
_here: ContextVar[float] = ContextVar("fairlane_answer_seconds", default=UNLIMITED)


class ResponseTimeout:
    """The seconds that an engine's connections wait for an answer before they are given up.

    A change takes effect at once, even for connections that are waiting.
    """

    def __init__(self, seconds: float = UNLIMITED) -> None:
        self.seconds = seconds


@contextmanager
def answered_within(seconds: float) -> Iterator[None]:
    """Bound the wait of bounded connections within the block. A nested block can only shorten the wait."""
    token = _here.set(min(seconds, _here.get()))
    try:
        yield
    finally:
        _here.reset(token)


def bound(engine: Engine, response_timeout: ResponseTimeout) -> None:
    """Make a psycopg engine give up connections that stay silent for too long."""
    import psycopg  # noqa: PLC0415 - optional

    class Bounded(psycopg.Connection[Any]):
        def wait(self, gen: "PQGen[RV]", *args: Any, **options: Any) -> "RV":
            return super().wait(_given_up(gen, self, response_timeout, psycopg.OperationalError), *args, **options)

    def connect(_dialect: object, _record: object, args: Any, parameters: dict[str, Any]) -> object:
        timeout = min(response_timeout.seconds, _here.get(), parameters["connect_timeout"])
        return Bounded.connect(*args, **{**parameters, "connect_timeout": math.ceil(timeout)})

    event.listen(engine, "do_connect", connect)


def on_loop(
    connection: "Connection[Any]", response_timeout: ResponseTimeout | None
) -> "AsyncConnection[tuple[Any, ...]]":
    """Return the connection as an async connection with the same timeout."""
    import psycopg  # noqa: PLC0415 - optional
    from psycopg.waiting import wait_async  # noqa: PLC0415 - optional

    bounds = response_timeout or ResponseTimeout()

    class BoundedOnLoop(psycopg.AsyncConnection[tuple[Any, ...]]):
        async def wait(self, gen: "PQGen[RV]", *args: Any, **options: Any) -> "RV":
            bounded = _given_up(gen, self, bounds, psycopg.OperationalError)
            try:
                return await wait_async(bounded, self.pgconn.socket, _LOOK)
            except asyncio.CancelledError:
                # At once: when a loop shuts down, it cancels handlers, and the driver would first send a request to the
                # server.
                self.pgconn.finish()
                raise

    return BoundedOnLoop(connection.pgconn)


def _given_up(
    gen: "PQGen[RV]",
    connection: "BaseConnection[Any]",
    response_timeout: ResponseTimeout,
    error: "type[OperationalError]",
) -> "PQGen[RV]":
    """Run psycopg's generator, and give up the connection at the timeout, checked every tenth of a second."""
    since = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                since = time.monotonic()
            elif (silent := time.monotonic() - since) > min(response_timeout.seconds, _here.get()):
                connection.pgconn.finish()
                raise error(f"silent for {silent:.1f} s")
            wanted = gen.send(ready)
    except StopIteration as done:
        answer: RV = done.value
        return answer
