"""A module that a handler's process takes long to import, where the environment says so."""

import os
import time
from pathlib import Path

from fairlane import JobContext

time.sleep(float(os.environ.get("FAIRLANE_TEST_SLOW_IMPORT", "0")))


def work(ctx: JobContext, path: str) -> str:
    """Take next to no time; a file says when it has begun."""
    Path(path).touch()
    return "done"
