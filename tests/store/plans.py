"""Explain the plans of the statements that a function of the store executes."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event

from fairlane.store.engine import engine_of
from fairlane.store.row_security import SETTING, DatabaseRole
from fairlane.store.transaction import Database

_PARAMETER = re.compile(r"%\((\w+)\)s")


def plans(
    database: Database, work: Callable[[Connection], object], *, generic: bool = False, of: str | None = None
) -> list[str]:
    """The plan of each statement that `work` executes, in a transaction that is rolled back.

    Args:
        generic: PostgreSQL's plan for any values of the parameters, which it may choose once a statement is prepared.
            A partial index is of no use to it where the predicate is compared with a parameter.
        of: the organization whose rows alone row security shows; None = there is none.
    """
    with database.engine.connect() as connection:
        explain = _explain_generic if generic else _explain
        if not engine_of(connection).writers_are_serial:
            # Processes share a database. `work` passes over a row that another locks, and executes other statements.
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(0)")
        with _recorded(connection) as statements:
            work(connection)
        if of is not None:
            connection.exec_driver_sql(f"SET LOCAL ROLE {DatabaseRole.TENANT}")
            connection.exec_driver_sql("SELECT set_config(%s, %s, true)", (SETTING, of))
        found = [explain(connection, *statement) for statement in statements]
        connection.rollback()
    return found


@contextmanager
def _recorded(connection: Connection) -> Iterator[list[tuple[str, Any]]]:
    statements: list[tuple[str, Any]] = []

    def record(_connection: object, _cursor: object, sql: str, parameters: Any, _context: object, many: bool) -> None:
        statements.append((sql, parameters[0] if many else parameters))

    event.listen(connection, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(connection, "before_cursor_execute", record)


def _explain(connection: Connection, sql: str, parameters: Any) -> str:
    if engine_of(connection).writers_are_serial:
        return _lines(row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters))
    return _lines(connection.exec_driver_sql(f"EXPLAIN {sql}", parameters).scalars())


def _explain_generic(connection: Connection, sql: str, parameters: Any) -> str:
    names = list(dict.fromkeys(_PARAMETER.findall(sql)))
    numbered = _PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", sql)
    values = f"({', '.join(['NULL'] * len(names))})" if names else ""
    connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
    connection.exec_driver_sql(f"PREPARE explained AS {numbered}")
    plan = _lines(connection.exec_driver_sql(f"EXPLAIN EXECUTE explained{values}").scalars())
    connection.exec_driver_sql("DEALLOCATE explained")
    return plan


def _lines(lines: Any) -> str:
    return "\n".join(lines)


def scans(plan: str, table: str) -> Sequence[str]:
    """The lines of a plan that read a whole table."""
    return [line for line in plan.splitlines() if re.search(rf"Seq Scan on {table}\b|SCAN {table}$", line)]
