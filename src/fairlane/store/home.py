"""Refuse a caller's connection that leads to another database than Fairlane's own.

A job that is submitted elsewhere is lost from sight: no worker of this `Fairlane` starts it, and no read finds it.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import Connection, text

from fairlane.domain.errors import ConfigurationError
from fairlane.store.borrow import aside
from fairlane.store.dialects import is_in_memory, is_sqlite
from fairlane.store.tables import jobs
from fairlane.store.transaction import Database

# A copied server has the same numbers, but was not started in the same microsecond.
_PLACE: Final = text("""
SELECT pg_database.oid, jobs.oid, extract(epoch FROM pg_postmaster_start_time())
FROM pg_database JOIN pg_class AS jobs ON jobs.oid = to_regclass(:jobs) WHERE datname = current_database()
""")
# Not in an attached database: SQLite commits each file by itself, so the job could be there without the caller's rows.
_FILE: Final = text("""
SELECT coalesce(file, '') FROM pragma_database_list
WHERE name = 'main' AND EXISTS (SELECT 1 FROM main.sqlite_master WHERE name = :jobs)
""")
_IN_MEMORY: Final = ("in memory",)


class Home:
    """Fairlane's own database, to compare others with."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._place: tuple[Any, ...] | None = None
        self._known = WeakSet[object]()  # the driver's connections that lead there

    def refuse_elsewhere(self, theirs: Connection) -> None:
        """Raise ConfigurationError if the connection leads to another database.

        One without Fairlane's tables is told from Fairlane's own if that one has them.
        """
        driver = theirs.connection.driver_connection
        if driver in self._known:
            return
        found = _place(theirs)
        if found == _IN_MEMORY and is_in_memory(self._database.url):
            return  # perhaps the very connection that the database lives in
        if found is None or found != self._place:
            self._look_again(found)
        # SQLite asks nobody, and its connections can't be remembered so.
        if found is not None and not is_sqlite(theirs):
            self._known.add(driver)

    def _look_again(self, found: tuple[Any, ...] | None) -> None:
        # Where neither has the tables, the first statement says what is missing.
        # Anew, since a server that was started again is at another place.
        self._place = aside(lambda: self._database.look(_place))
        if found != self._place:
            schema = " (or its search_path to another schema)" if found is None and self._database.is_postgres else ""
            raise ConfigurationError(
                f"This connection leads to another database{schema} than that of this Fairlane, where no worker and no "
                "read of its own would find the job: pass a connection to the database of FAIRLANE_URL, or let "
                "FAIRLANE_URL name the database of the connection."
            )


def _place(connection: Connection) -> tuple[Any, ...] | None:
    """Return what tells the database from others; None without Fairlane's tables."""
    if not is_sqlite(connection):
        row = connection.execute(_PLACE, {"jobs": jobs.name}).one_or_none()
        return tuple(row) if row is not None else None
    file = connection.scalar(_FILE, {"jobs": jobs.name})
    if not file:
        return None if file is None else _IN_MEMORY
    with suppress(OSError):  # deleted while it is open
        found = Path(file).stat()
        return found.st_dev, found.st_ino
    return None
