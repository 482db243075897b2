"""A clock for tests."""

import threading
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """Stands still until it is moved: `Fairlane("sqlite://", clock=clock)`, then `clock.advance(60)`.

    Args:
        start: the first moment; aware.
    """

    def __init__(self, start: datetime = _BEGINNING) -> None:
        self._now = start
        self._lease = 0.0
        self._lock = threading.Lock()

    def advance(self, seconds: float) -> None:
        """Move all its times forward."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
            self._lease += seconds

    def now(self, connection: Connection) -> datetime:
        """Return the moment."""
        return self._now

    def lease_seconds(self, connection: Connection) -> float:
        """Return the seconds since the start."""
        return self._lease

    def boot_id(self, connection: Connection) -> str:
        """Return always the same boot."""
        return ""
