"""The clock of a database. Every time in the database comes from it, so a worker's wrong clock does no harm."""

import platform
import subprocess
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, text

from fairlane.store.engine import engine_of


class Clock(Protocol):
    """A source of the time for one database."""

    def now(self, connection: Connection) -> datetime:
        """Return the time for a group of statements, with a time zone."""

    def lease_seconds(self, connection: Connection) -> float:
        """Return the seconds of the clock for leases; its zero is arbitrary."""

    def boot_id(self, connection: Connection) -> str:
        """Return the boot within which `lease_seconds` are comparable; on PostgreSQL always the same."""


class DatabaseClock:
    """A clock that reads PostgreSQL's `clock_timestamp()`, or the clocks of the machine of a SQLite file.

    It does not use `now()`, which may be an hour old in a host's transaction.
    """

    def now(self, connection: Connection) -> datetime:
        """Return the time, in UTC, with its time zone."""
        if not engine_of(connection).is_server:
            return datetime.now(UTC)
        moment: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        return moment.astimezone(UTC)

    def lease_seconds(self, connection: Connection) -> float:
        """Return PostgreSQL's epoch seconds, or on SQLite the machine's monotonic seconds, which never jump."""
        if not engine_of(connection).is_server:
            return time.monotonic()
        return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())

    def boot_id(self, connection: Connection) -> str:
        """Return the machine's boot on SQLite: monotonic seconds of two boots are not comparable."""
        return "" if engine_of(connection).is_server else _machine_boot_id()


def beforehand(clock: Clock, connection: Connection) -> datetime | None:
    """Return the time; None if only PostgreSQL knows it, and its statement calls `clock_timestamp()` itself."""
    if isinstance(clock, DatabaseClock) and engine_of(connection).is_server:
        return None
    return clock.now(connection)


@cache
def _machine_boot_id() -> str:
    linux = Path("/proc/sys/kernel/random/boot_id")
    if linux.exists():
        return linux.read_text().strip()
    try:
        answer = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, check=True
        )
        return answer.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return platform.node()
