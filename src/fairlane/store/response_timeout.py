"""How long a connection waits for PostgreSQL to answer.

Where a middlebox or a server that hangs takes what is sent and says nothing, TCP sees nothing wrong: whoever waits
would wait for ever, although a new connection would work.
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
    """How many seconds the connections of an engine wait for an answer before they are given up.

    It may be changed at any time, and holds for those that wait just then, too.
    """

    def __init__(self, seconds: float = UNLIMITED) -> None:
        self.seconds = seconds


@contextmanager
def answered_within(seconds: float) -> Iterator[None]:
    """Bound, within the block, how long bounded connections wait; a block within another one waits no longer."""
    token = _here.set(min(seconds, _here.get()))
    try:
        yield
    finally:
        _here.reset(token)


def bound(engine: Engine, response_timeout: ResponseTimeout) -> None:
    """Have each connection of an engine of psycopg's given up that stays silent for too long."""
    import psycopg  # noqa: PLC0415 - optional

    class Bounded(psycopg.Connection[Any]):
        def wait(self, gen: "PQGen[RV]", *args: Any, **options: Any) -> "RV":
            return super().wait(_given_up(gen, self, response_timeout, psycopg.OperationalError), *args, **options)

    def connect(_dialect: object, _record: object, args: Any, parameters: dict[str, Any]) -> object:
        patience = min(response_timeout.seconds, _here.get(), parameters["connect_timeout"])
        return Bounded.connect(*args, **{**parameters, "connect_timeout": math.ceil(patience)})

    event.listen(engine, "do_connect", connect)


def on_loop(
    connection: "Connection[Any]", response_timeout: ResponseTimeout | None
) -> "AsyncConnection[tuple[Any, ...]]":
    """Return the connection as one to await, which is given up as it would be."""
    import psycopg  # noqa: PLC0415 - optional
    from psycopg.waiting import wait_async  # noqa: PLC0415 - optional

    bounds = response_timeout or ResponseTimeout()

    class BoundedOnLoop(psycopg.AsyncConnection[tuple[Any, ...]]):
        async def wait(self, gen: "PQGen[RV]", *args: Any, **options: Any) -> "RV":
            bounded = _given_up(gen, self, bounds, psycopg.OperationalError)
            try:
                return await wait_async(bounded, self.pgconn.socket, _LOOK)
            except asyncio.CancelledError:
                # At once: a loop that is taken down ends handlers meanwhile, and the driver would ask its server first.
                self.pgconn.finish()
                raise

    return BoundedOnLoop(connection.pgconn)


def _given_up(
    gen: "PQGen[RV]",
    connection: "BaseConnection[Any]",
    response_timeout: ResponseTimeout,
    error: "type[OperationalError]",
) -> "PQGen[RV]":
    """Give up what psycopg waits for: look whenever it has waited for a tenth of a second in vain."""
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
