"""For the tests of applications: a clock that only moves when told, and a context for a handler alone.

There is no fake engine: in-memory SQLite is the real store, and `worker().drain()` the real worker.
"""

from fairlane.testing.clock import ManualClock
from fairlane.testing.context import RecordingContext

__all__ = ["ManualClock", "RecordingContext"]
