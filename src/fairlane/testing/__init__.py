"""For the tests of applications: an engine in memory, and a clock that only moves when told.

There is no fake: in-memory SQLite is the real store, and `worker().drain()` the real worker.
"""

from fairlane.testing.clock import ManualClock

__all__ = ["ManualClock"]
