"""Refuse a caller's connection that leads to another database than Fairlane's own.

A job that is submitted elsewhere is lost from sight: no worker of this `Fairlane` starts it, and no read finds it.
"""

from typing import Any
from weakref import WeakSet

from sqlalchemy import Connection

from fairlane.domain.errors import ConfigurationError
from fairlane.store.borrow import aside
from fairlane.store.engine import engine_of
from fairlane.store.transaction import Database


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
        kind = engine_of(theirs)
        found = kind.place(theirs)
        if found == () and self._database.is_in_memory:
            return  # perhaps the very connection that the database lives in
        if found is None or found != self._place:
            self._look_again(found)
        # SQLite asks nobody, and its connections can't be remembered so.
        if found is not None and kind.is_server:
            self._known.add(driver)

    def _look_again(self, found: tuple[Any, ...] | None) -> None:
        # Where neither has the tables, the first statement says what is missing.
        # Anew, since a server that was started again is at another place.
        self._place = aside(lambda: self._database.look(self._database.kind.place))
        if found != self._place:
            may_be_schema = found is None and self._database.kind.is_server
            schema = " (or its search_path to another schema)" if may_be_schema else ""
            raise ConfigurationError(
                f"This connection leads to another database{schema} than that of this Fairlane, where no worker and no "
                "read of its own would find the job: pass a connection to the database of FAIRLANE_URL, or let "
                "FAIRLANE_URL name the database of the connection."
            )
