"""A worker beside a main thread that ends first: `python -m tests.acceptance.apps.beside SETTINGS HOW END`."""

import asyncio
import json
import sys
import threading

from fairlane import Fairlane, Settings
from fairlane.domain.events import Event, JobProgressed
from tests.acceptance.apps.worker import register, tell
from tests.faults.elsewhere import injecting_as_its_test


def main(settings: str, how: str, end: str) -> None:
    """Run a worker in a thread, and end once a job runs.

    Args:
        how: "run" or "run_async".
        end: "returns" or "raises".
    """
    runs = threading.Event()

    def hear(event: Event) -> None:
        tell(event)
        if isinstance(event, JobProgressed):
            runs.set()

    fl = Fairlane(Settings(**json.loads(settings)), subscribers=[hear])
    register(fl)

    def serve() -> None:
        with injecting_as_its_test():
            fl.worker().run() if how == "run" else asyncio.run(fl.worker().run_async())

    threading.Thread(target=serve).start()
    runs.wait()
    if end == "raises":
        sys.exit("The main thread has failed.")


if __name__ == "__main__":
    main(*sys.argv[1:])
