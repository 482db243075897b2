"""A client that is frozen, or has vanished, holds no lock for ever."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from fairlane.store import dialects
from fairlane.store.transaction import Database
from tests.runtime.worker_kit import until
from tests.runtime.worker_outages import own_server

_LOCK = text("SELECT pg_advisory_xact_lock(1)")
_TRY = text("SELECT pg_try_advisory_xact_lock(1)")
_LARGE = b"SELECT repeat('x', 1000000) FROM generate_series(1, 100)"  # more than the sockets between them take


def test_not_even_one_that_takes_no_more_of_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL waits for it within a statement: neither a pause nor the statement's time is over."""
    monkeypatch.setattr(dialects, "_UNHEARD", 1)
    with own_server(tmp_path) as server:
        url = server.listen()
        frozen, other = Database(url), Database(url)
        with frozen.engine.connect() as connection:
            connection.execute(_LOCK)
            driver: Any = connection.connection.driver_connection
            driver.pgconn.send_query(_LARGE)  # and nobody reads
            assert not other.read(lambda one: one.scalar(_TRY))
            until(lambda: other.read(lambda one: one.scalar(_TRY)))
            connection.invalidate()
        frozen.close()
        other.close()
