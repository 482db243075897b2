"""Connections that break while a commit is on its way."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection, PoolProxiedConnection, event

from fairlane.store.dialects import WRITE
from fairlane.store.transaction import Database


@contextmanager
def breaking(database: Database, *, arrives: bool) -> Iterator[None]:
    """The connection breaks at the next commit of a transaction that writes.

    Args:
        arrives: whether the database commits first, so that only its answer is lost.
    """
    dialect: Any = database.engine.dialect
    commit, writes = dialect.do_commit, 0
    breaks = False

    def on_commit(connection: Connection) -> None:
        nonlocal writes, breaks
        is_write = connection.get_execution_options().get(WRITE, False)
        writes += is_write
        breaks = is_write and writes == 1

    def do_commit(connection: PoolProxiedConnection) -> None:
        if arrives or not breaks:
            commit(connection)
        if not breaks:
            return
        if dialect.name == "sqlite":
            raise dialect.loaded_dbapi.OperationalError("disk I/O error")
        driver: Any = connection.driver_connection
        driver.close()
        raise dialect.loaded_dbapi.OperationalError("server closed the connection unexpectedly")

    event.listen(database.engine, "commit", on_commit)
    with patch.object(dialect, "do_commit", do_commit):
        yield
    event.remove(database.engine, "commit", on_commit)
    assert writes, "nothing was written"
