"""The application that the storm's workers run: `fairlane --app tests.storm.app:fl worker`."""

from typing import Any, Final

from sqlalchemy import Connection, Engine, event

from fairlane import Fairlane
from fairlane.domain.events import Event, WorkerStarted
from tests.storm import clock, folder, handlers

_NO_BOUND: Final = 2**30  # pages


def _tell(event: Event) -> None:
    if isinstance(event, WorkerStarted):
        folder.up_file(*folder.mine()).touch()


def _bound_file(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.dbapi_connection
        is_full = folder.full_file(folder.mine()[0]).exists()
        pages = driver.execute("PRAGMA page_count").fetchone()[0] if is_full else _NO_BOUND
        driver.execute(f"PRAGMA max_page_count = {pages}").fetchone()


clock.require()
event.listen(Engine, "engine_connect", _bound_file)
fl = Fairlane(subscribers=[_tell])
handlers.register(fl)
