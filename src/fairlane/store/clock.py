"""The one clock. Every time in the database comes from it, so a worker whose own clock lies does no harm."""

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
    """Tells the time of one database."""

    def now(self, connection: Connection) -> datetime:
        """Return the moment, taken once per group of statements; aware."""

    def lease_seconds(self, connection: Connection) -> float:
        """Return the seconds on a clock that leases are compared by; its zero is arbitrary."""

    def boot_id(self, connection: Connection) -> str:
        """Return within which boot `lease_seconds` compare; the same everywhere on PostgreSQL."""


class DatabaseClock:
    """PostgreSQL: its `clock_timestamp()`. SQLite, whose users share a machine: that machine's clocks.

    Not `now()`: in a host's transaction it may be an hour old.
    """

    def now(self, connection: Connection) -> datetime:
        """Return the moment, aware, in UTC."""
        if not engine_of(connection).is_server:
            return datetime.now(UTC)
        moment: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        return moment.astimezone(UTC)

    def lease_seconds(self, connection: Connection) -> float:
        """Return PostgreSQL's epoch seconds; on SQLite the machine's monotonic seconds, which no set clock moves."""
        if not engine_of(connection).is_server:
            return time.monotonic()
        return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())

    def boot_id(self, connection: Connection) -> str:
        """Return the machine's boot on SQLite: monotonic seconds of another boot mean nothing."""
        return "" if engine_of(connection).is_server else _machine_boot_id()


def beforehand(clock: Clock, connection: Connection) -> datetime | None:
    """Return the moment.

    None where only PostgreSQL knows it, whose statement then says `clock_timestamp()` itself.
    """
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
