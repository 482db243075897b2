"""A pytest plugin: a test itself reads and writes the database as the login of the URL.

Sessions of an application have taken on a role that sees only what its transactions have named (row security). Tests
look below that: a connection that a test takes from Fairlane's engine, or a transaction that it runs itself, steps out
of the role for as long as it has it. Services that a test runs on the application's connections have the worker's role
there, as they have in a worker. All other code of Fairlane keeps to its role; so does a test within `in_role`.
Where there are no roles, as on SQLite, a transaction of the app is still to say whose rows it wants: tests and services
are freed from that, too.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import Pool

import fairlane
from fairlane.store import row_security, transaction
from fairlane.store.dbapi_adapter import DBAPIAdapter
from tests.faults import injection

_OURS: Final = f"{Path(fairlane.__path__[0])}{os.sep}"
_PASSED_OVER: Final = (
    f"{Path(sqlalchemy.__path__[0])}{os.sep}",
    str(transaction.__file__),
    str(contextlib.__file__),
    str(injection.__file__),
    "<string>",
)
_ROLE: Final = row_security._ROLE_OF
_LEFT: Final = "left role"
# What speaks to the database in workers alone.
_SERVICES: Final = tuple(
    f"{_OURS}{name.replace('/', os.sep)}.py"
    for name in (
        *("engine/breakers", "engine/claiming", "engine/cleanup", "engine/context"),
        *("engine/heartbeat", "engine/lane_cache", "engine/reporter", "engine/rescue", "engine/results"),
        *("engine/stage", "engine/start_checks", "engine/system/bulk_actions", "engine/watch", "engine/worker"),
        "schedules/scheduler",
    )
)
_keeps: ContextVar[bool] = ContextVar("keeps its role", default=False)


@pytest.fixture(autouse=True, scope="session")
def _step_out_of_roles() -> Iterator[None]:
    event.listen(Engine, "engine_connect", _step_out)
    event.listen(Pool, "checkin", _step_in)
    yield
    event.remove(Engine, "engine_connect", _step_out)
    event.remove(Pool, "checkin", _step_in)


def _step_out(connection: Connection) -> None:
    if isinstance(connection.connection, DBAPIAdapter):
        return  # the caller's
    if connection.get_execution_options().get(row_security.SESSION_ROLE) is None or _keeps.get():
        return
    caller = _caller()
    if caller.startswith(_OURS) and not caller.startswith(_SERVICES):
        return
    connection.execution_options(**{row_security.SESSION_ROLE: None})
    role = connection.info.get(_ROLE)
    if role is None:
        return
    other = row_security.DatabaseRole.WORKER if caller.startswith(_SERVICES) else "none"
    if other == role:
        return
    _become(connection.connection.driver_connection, other)
    connection.info.update({_ROLE: None, _LEFT: role})


def _step_in(driver: Any, record: Any) -> None:
    role = record.info.pop(_LEFT, None)
    if role is not None and driver is not None:
        _become(driver, role)
        record.info[_ROLE] = role


def _become(driver: Any, role: str) -> None:
    was, driver.autocommit = driver.autocommit, True
    driver.execute(f"SET ROLE {role}")
    driver.autocommit = was


def _caller() -> str:
    """The file of the nearest caller outside SQLAlchemy and the transaction helper."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PASSED_OVER):
        frame = frame.f_back
    return frame.f_code.co_filename


@contextlib.contextmanager
def in_role() -> Iterator[None]:
    """Run the test's statements in the block under the sessions' role."""
    token = _keeps.set(True)
    try:
        yield
    finally:
        _keeps.reset(token)
