"""Connections that break while a commit is on its way."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from unittest.mock import patch

from sqlalchemy import Connection, PoolProxiedConnection, event

from fairlane.store.engine import WRITE
from fairlane.store.prepared import Prepared
from fairlane.store.transaction import Database


@contextmanager
def breaking(  # noqa: C901, PLR0915 - one hook for each way to commit
    database: Database, *, arrives: bool, of_transaction: bool = False
) -> Iterator[None]:
    """The connection breaks at the next commit of what writes: a transaction, or a statement by itself.

    Args:
        arrives: whether the database commits first, so that only its answer is lost.
        of_transaction: let a statement by itself pass.
    """
    dialect: Any = database.engine.dialect
    commit, execute, writes = dialect.do_commit, dialect.do_execute, 0
    breaks = is_the_drivers = False

    def on_commit(connection: Connection) -> None:
        nonlocal writes, breaks
        is_write = connection.get_execution_options().get(WRITE, False)
        writes += is_write
        breaks = is_write and writes == 1

    def do_commit(connection: PoolProxiedConnection) -> None:
        nonlocal writes, breaks
        if is_the_drivers and not writes:  # a transaction that SQLAlchemy does not see
            writes, breaks = 1, True
        if arrives or not breaks:
            commit(connection)
        if not breaks:
            return
        if dialect.name == "sqlite":
            raise dialect.loaded_dbapi.OperationalError("disk I/O error")
        cut(connection.driver_connection)

    def do_execute(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        nonlocal writes, is_the_drivers
        is_so = context is None and dialect.name != "sqlite" and "pg_notify" not in statement
        is_the_drivers = is_the_drivers or is_so  # a hint may be sent meanwhile
        is_by_itself = is_so and (isinstance(cursor, Prepared) or cursor.connection.autocommit)
        commits = is_by_itself and not of_transaction
        writes += commits
        if arrives or not commits or writes > 1:
            execute(cursor, statement, parameters, context)
        if commits and writes == 1:
            if arrives:
                with cursor.connection.pipeline() as sent:
                    sent.sync()  # with which it is committed
            cut(cursor.connection)

    def cut(driver: Any) -> NoReturn:
        driver.close()
        raise dialect.loaded_dbapi.OperationalError("server closed the connection unexpectedly")

    event.listen(database.engine, "commit", on_commit)
    with patch.object(dialect, "do_commit", do_commit), patch.object(dialect, "do_execute", do_execute):
        yield
    event.remove(database.engine, "commit", on_commit)
    assert writes, "nothing was written"
