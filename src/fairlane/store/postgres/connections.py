"""Connections to PostgreSQL, of Fairlane's own."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Engine, create_engine, make_url

from fairlane.config import FULL, Synchronous
from fairlane.domain.errors import ConfigurationError
from fairlane.store.liveness import (
    ask_idle_connections,
    close_late_ones,
    give_up_stuck_connections,
    leave_connections_to_parent,
)
from fairlane.store.response_timeout import ResponseTimeout, bound

_CONNECT_SECONDS = 5
_LONGEST_PAUSE = 15  # seconds between two statements of a transaction; ours take milliseconds
# Whichever side vanished, or was frozen, must not hold the other one for the hours of TCP's default. Seconds, and how
# often; between processes of one machine by a Unix socket they say nothing.
_UNHEARD = 20
_KEEPALIVES: Final = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


def connect(
    url: str,
    *,
    pool_size: int,
    lock_seconds: float,
    synchronous: Synchronous = FULL,  # a server's commits wait as its own settings say
    is_default: bool = False,  # no server is
    response_timeout: ResponseTimeout | None = None,
) -> Engine:
    """Make an engine whose sessions give up silent servers, and nobody waits for for long."""
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(
            parsed,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=30,
            connect_args={
                "connect_timeout": _CONNECT_SECONDS,
                "client_encoding": "UTF8",  # not by the options, which PGCLIENTENCODING and poolers leave behind
                "fallback_application_name": "fairlane",  # where neither the URL nor PGAPPNAME has one
                "options": _options(parsed.query.get("options", ()), lock_seconds),
                "tcp_user_timeout": _UNHEARD * 1000,
                **_KEEPALIVES,
            },
            hide_parameters=True,
            use_native_hstore=False,  # else each engine asks for a type that we don't have
        )
    except ModuleNotFoundError:
        raise ConfigurationError("PostgreSQL needs its driver: pip install 'fairlane[postgres]'.") from None
    ask_idle_connections(engine)
    give_up_stuck_connections(engine)
    if response_timeout is not None:
        bound(engine, response_timeout)
    leave_connections_to_parent(engine)
    close_late_ones(engine)
    return engine


def _options(of_url: str | Sequence[str], lock_seconds: float) -> str:
    """Return what our sessions set; what the URL sets goes before it, or would be lost."""
    theirs = [of_url] if isinstance(of_url, str) else of_url
    ours = (
        # Nobody's transaction holds up ours for ever, nor that of a process of ours that was stopped in the middle.
        f"-c lock_timeout={int(lock_seconds * 1000)}",
        f"-c idle_in_transaction_session_timeout={_LONGEST_PAUSE * 1000}",
        # Nor that of one that vanished or was frozen as it was sent an answer: it is in no pause, and to a server that
        # waits for it to take more, no other timeout applies.
        f"-c tcp_user_timeout={_UNHEARD * 1000}",
        *(f"-c tcp_{name}={value}" for name, value in _KEEPALIVES.items()),
        # Whatever the role's default: who has waited for a lock has to see what was committed meanwhile.
        "-c default_transaction_isolation=read\\ committed",
        # Whatever the database's zone: the driver can't read a moment that falls there before year 1 or after 9999.
        "-c TimeZone=UTC",
        # Nor one that is not written in ISO 8601.
        "-c DateStyle=ISO",
        # To claims a sort is made to look dear, so dear that PostgreSQL would compile each, for most of a second.
        "-c jit=off",
    )
    return " ".join((*theirs, *ours))
