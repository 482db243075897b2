"""Pool health: no dead connection is used on PostgreSQL, and no connection of a parent process.

A connection is checked before its use. A connection that was in use when all were closed is closed on its return.

SQLAlchemy's own pre-ping takes a round trip at each checkout, which costs as much as a short transaction. Here a
recently used connection is pinged only if its server has sent something, as it does when it closes the connection. That
check takes no round trip. A broken network is found by the ping after a pause.
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

FRESH: Final = 5.0  # seconds since its last use in which a silent connection counts as healthy
# Timeout of a ping, in seconds. If one connection is dead, mostly the others are, too, and each is pinged in turn. With
# a statement's timeout, an outage would last for that timeout times the number of connections.
PING: Final = 3.0
_SINCE: Final = "fairlane_idle_since"
_AGE: Final = "fairlane_age"


def ask_idle_connections(engine: Engine) -> None:
    """Make the engine's pool replace its connections when one of them is dead."""

    def on_checkin(_connection: object, record: Any) -> None:
        record.info[_SINCE] = time.monotonic()

    def on_checkout(connection: Any, record: Any, _proxy: object) -> None:
        since = record.info.get(_SINCE)
        if since is None:  # a new connection
            return
        driver_error = engine.dialect.loaded_dbapi.Error
        try:
            if time.monotonic() - since > FRESH or has_news(connection.fileno()):
                with answered_within(PING):
                    engine.dialect.do_ping(connection)
        except driver_error as error:
            # The others are mostly dead, too.
            raise InvalidatePoolError from error

    event.listen(engine, "checkin", on_checkin)
    event.listen(engine, "checkout", on_checkout)


def leave_connections_to_parent(engine: Engine) -> None:
    """Make a forked child open its own connections: on a shared socket each process would read the other's answers."""
    _engines.add(engine)


def close_before_fork(engine: Engine) -> None:
    """Close idle connections before this process is forked: a fork copies SQLite's list of locks, not the locks.

    A connection of the child would trust the copied list, while others write and delete the log.
    """
    _files.add(engine)


def close_late_ones(engine: Engine) -> None:
    """Close each connection that was in use during `replace_all` or `close_all` when it is returned.

    SQLAlchemy would keep it open in a discarded pool.
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
    """Close idle connections now, and connections in use when they are returned. New ones replace them."""
    _ages[engine] = object()
    engine.dispose()
    # A connection that was made meanwhile may be in the discarded pool.
    _ages[engine] = object()


def close_all(engine: Engine) -> None:
    """Close all connections for good. A connection that is still made is closed when it is returned."""
    _closed.add(engine)
    engine.dispose()


def _leave_connections(engine: Engine) -> None:
    engine.dispose(close=False)


_engines: Final = in_each_child(_leave_connections)
_files: Final = before_each_fork(replace_all)
_ages: Final = WeakKeyDictionary[Engine, object]()  # the generation of the connections to keep
_closed: Final = WeakSet[Engine]()  # their connections are all closed on return


def has_news(socket: int) -> bool:
    """Return True if the server has sent something unrequested, as it does when it closes the connection."""
    if not hasattr(select, "poll"):  # as on Windows
        return bool(select.select([socket], [], [], 0)[0])
    news = select.poll()
    news.register(socket, select.POLLIN)
    return bool(news.poll(0))


def give_up_stuck_connections(engine: Engine) -> None:
    """Give up a connection whose server ended the session within a pipeline.

    The driver may stay in the pipeline, where it can't even roll back, and does not see that the connection is broken.
    """

    def on_error(context: ExceptionContext) -> None:
        connection = context.connection
        if connection is None or connection.closed or connection.invalidated:
            return
        driver: Any = connection.connection.driver_connection
        if driver is not None and driver.pgconn.pipeline_status:
            context.is_disconnect = True

    event.listen(engine, "handle_error", on_error)
