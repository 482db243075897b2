"""Which pooled connections may be used: none that a fork left behind, and on PostgreSQL none that is dead.

Whether it lives is asked before it is used. And none is kept that was in use when all were closed.

SQLAlchemy's own pre-ping asks at each checkout, a round trip that costs as much as a short transaction. Here one that
was in use just now is asked only if its server has sent something, as one does that closes it: to see that takes no
round trip. What no server can send, because the network is gone, shows after a pause at the latest.
"""

import select
import time
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InvalidatePoolError

from fairlane.store.forks import before_each_fork, in_each_child
from fairlane.store.response_timeout import answered_within

FRESH: Final = 5.0  # seconds since its last use for which a silent connection is taken to live
# Seconds for the answer that it lives. Where one connection was silent the others mostly are, and each is asked in its
# turn: with the patience that statements need, an outage would last for as many times that as there are connections.
PING: Final = 3.0
_SINCE: Final = "fairlane_idle_since"
_AGE: Final = "fairlane_age"


def ask_idle_connections(engine: Engine) -> None:
    """Have the engine's pool replace its connections when one turns out to be dead."""

    def on_checkin(_connection: object, record: Any) -> None:
        record.info[_SINCE] = time.monotonic()

    def on_checkout(connection: Any, record: Any, _proxy: object) -> None:
        since = record.info.get(_SINCE)
        if since is None:  # it was made just now
            return
        driver_error = engine.dialect.loaded_dbapi.Error
        try:
            if time.monotonic() - since > FRESH or has_news(connection.fileno()):
                with answered_within(PING):
                    engine.dialect.do_ping(connection)
        except driver_error as error:
            # The others have mostly met the same end.
            raise InvalidatePoolError from error

    event.listen(engine, "checkin", on_checkin)
    event.listen(engine, "checkout", on_checkout)


def leave_connections_to_parent(engine: Engine) -> None:
    """Have a forked child make connections of its own: on one socket each would read the other's answers."""
    _engines.add(engine)


def close_before_fork(engine: Engine) -> None:
    """Have the idle connections closed before this process is forked: SQLite copies its list of locks, not the locks.

    A connection of the child would trust the copied list, and others would write, and delete the log, beside it.
    """
    _files.add(engine)


def close_late_ones(engine: Engine) -> None:
    """Have each connection closed that was in use during `replace_all` or `close_all`, when it is given back.

    SQLAlchemy would keep it open in a pool of which nobody knows any more.
    """
    _ages[engine] = object()

    def on_connect(_connection: object, record: Any) -> None:
        record.info[_AGE] = _ages[engine]

    def on_checkin(_connection: object, record: Any) -> None:
        if engine in _closed or record.info.get(_AGE) is not _ages[engine]:
            record.close()

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "checkin", on_checkin)


def replace_all(engine: Engine) -> None:
    """Close the connections that are idle now, and those in use when they are given back; others are made and kept."""
    _ages[engine] = object()
    engine.dispose()
    # One that was made meanwhile may be in the pool that is gone.
    _ages[engine] = object()


def close_all(engine: Engine) -> None:
    """Close all for good: what is still made is closed when it is given back."""
    _closed.add(engine)
    engine.dispose()


def _leave_connections(engine: Engine) -> None:
    engine.dispose(close=False)


_engines: Final = in_each_child(_leave_connections)
_files: Final = before_each_fork(replace_all)
_ages: Final = WeakKeyDictionary[Engine, object]()  # of the connections that are kept
_closed: Final = WeakSet[Engine]()  # none of their connections is kept, whatever its age


def has_news(socket: int) -> bool:
    """Return True if the server has sent something that nobody asked for, as one does that closes the connection."""
    if not hasattr(select, "poll"):  # as on Windows
        return bool(select.select([socket], [], [], 0)[0])
    news = select.poll()
    news.register(socket, select.POLLIN)
    return bool(news.poll(0))


def give_up_stuck_connections(engine: Engine) -> None:
    """Have a connection given up whose server ended the session amid a pipeline.

    The driver may stay in the pipeline, where it can't even roll back, and does not take the connection for broken.
    """

    def on_error(context: ExceptionContext) -> None:
        connection = context.connection
        if connection is None or connection.closed or connection.invalidated:
            return
        driver: Any = connection.connection.driver_connection
        if driver is not None and driver.pgconn.pipeline_status:
            context.is_disconnect = True

    event.listen(engine, "handle_error", on_error)
