"""Warn about a submission that stays outside of a transaction that the application has open."""

import asyncio
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import get_ident
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, make_url

from fairlane.domain.errors import ConfigurationError
from fairlane.store.borrow import is_a

# In place of `connection=`: a connection of Fairlane's own, whatever the application's `connection_of` says.
OWN: Final = object()
_HERE: Final = frozenset({"", "localhost", "127.0.0.1", "::1"})


class TransactionNotUsed(UserWarning):
    """A job is submitted without `connection=` while the application has a transaction open in this thread or task."""


class OpenTransactions:
    """Find open transactions of the application here: Django's, and those of SQLAlchemy that it passed before.

    Args:
        url: of Fairlane's database.
        connection_of: the application's function that returns the connection of its open transaction.

    Raises:
        ConfigurationError: `connection_of` is no function.
    """

    def __init__(self, url: str, connection_of: Callable[[], object | None] | None = None) -> None:
        if connection_of is not None and not callable(connection_of):
            raise ConfigurationError(
                f"connection_of must be a function that returns a connection, not a {type(connection_of).__name__}."
            )
        self._connection_of = connection_of
        self._url = make_url(url)
        # The thread and the task in which each was passed.
        self._passed: WeakKeyDictionary[Any, tuple[int, int]] = WeakKeyDictionary()

    def choose(self, connection: object | None) -> object | None:
        """Return the connection that was passed, else that of `connection_of`; else None, and warn if need be."""
        if connection is None and self._connection_of is not None:
            connection = self._connection_of()
        if connection is None:
            self._warn()
        else:
            self._remember(connection)
        return connection

    def _remember(self, connection: Any) -> None:
        """Remember a SQLAlchemy connection or session that was passed."""
        if is_a(connection, "sqlalchemy.orm", "scoped_session"):
            connection = connection()
        if isinstance(connection, Connection) or is_a(connection, "sqlalchemy.orm", "Session"):
            self._passed[connection] = _place()

    def _warn(self) -> None:
        """Warn, at the line that submits, if a transaction is open."""
        found = self._of_django() or self._of_sqlalchemy()
        if found is not None:
            warnings.warn(
                f"{found} has a transaction open, and this job is submitted outside of it: "
                "its rollback would leave the job. "
                "Pass it as connection=, or name it once by Fairlane(…, connection_of=…).",
                TransactionNotUsed,
                stacklevel=_level_of_caller(),
            )

    def _of_django(self) -> str | None:
        database, conf = sys.modules.get("django.db"), sys.modules.get("django.conf")
        if database is None or conf is None or not conf.settings.configured:
            return None
        for one in database.connections.all(initialized_only=True):
            if one.in_atomic_block and _is_same(self._url, one.settings_dict):
                return f"The Django connection {one.alias!r}"
        return None

    def _of_sqlalchemy(self) -> str | None:
        if self._passed:
            here = _place()
            for one, place in list(self._passed.items()):
                # In its hook `after_commit` a Session still has its transaction, which is no longer active.
                if place == here and one.in_transaction() and getattr(one, "is_active", True):
                    return f"A SQLAlchemy {type(one).__name__} that you passed before"
        return None


def _place() -> tuple[int, int]:
    try:
        return get_ident(), id(asyncio.current_task())
    except RuntimeError:  # no loop runs in this thread
        return get_ident(), id(None)


def _is_same(url: URL, settings: Mapping[str, Any]) -> bool:
    """Return True if Django's settings lead to the URL's database."""
    engine, name = str(settings["ENGINE"]), str(settings["NAME"])
    if url.get_backend_name() == "sqlite":
        return "sqlite" in engine and bool(url.database) and Path(name).resolve() == Path(str(url.database)).resolve()
    theirs = _server(settings.get("HOST"), settings.get("PORT"))
    ours = _server(url.query.get("host") or url.host, url.query.get("port") or url.port)
    return ("postgres" in engine or "postgis" in engine) and name == url.database and theirs == ours


def _server(host: object, port: object) -> tuple[str, str]:
    return "" if str(host or "") in _HERE else str(host), str(port or 5432)


def _level_of_caller() -> int:
    """Return the `stacklevel` of the first frame that is not Fairlane's, for a `warn` in the calling function."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "fairlane":
        frame, level = frame.f_back, level + 1
    return level
