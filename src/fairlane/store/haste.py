"""Looks that take a database too long are stopped: PostgreSQL has a setting for it, SQLite is asked now and then."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from fairlane.domain.errors import StatementTooSlow
from fairlane.store.dialects import is_sqlite
from fairlane.store.driver_errors import is_stopped

_STEPS: Final = 10_000  # of SQLite's machine between two looks at the clock: a tenth of a millisecond or so


@contextmanager
def stopped_after(connection: Connection, seconds: float | None) -> Iterator[None]:
    """Stop SQLite after so long within the block, and say on both what it means to be stopped.

    PostgreSQL has a setting for it: see `row_security.open_to`.

    Args:
        seconds: None = never.

    Raises:
        StatementTooSlow
    """
    if seconds is None:
        yield
        return
    driver = connection.connection.driver_connection if is_sqlite(connection) else None
    deadline = time.monotonic() + seconds
    if driver is not None:
        driver.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        yield
    except DBAPIError as error:
        if is_stopped(error):
            raise StatementTooSlow(
                "The database took too long for this and was stopped; nothing was changed. "
                "Ask for less: with more filters, of less time, or fewer at once."
            ) from error
        raise
    finally:
        if driver is not None:
            driver.set_progress_handler(None, 0)
