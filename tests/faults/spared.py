"""What is spared from faults in the ordinary tests, and why. Whatever is not named here has to bear them."""

from fnmatch import fnmatch

from tests.faults.fault import Fault
from tests.faults.injection import Spares

LEFT_OUT: dict[str, str] = {
    "tests/acceptance/test_bench.py*": "it measures",
    "tests/acceptance/test_demo.py*": "its workers run in processes of their own",
    "tests/acceptance/test_cli_worker.py*": "its workers run in processes of their own",
    "tests/acceptance/test_engine_outage.py*": "it takes the database away itself",
    "tests/runtime/test_worker_idle.py*": "it counts statements",
    "tests/runtime/test_worker_many_limits.py*": "it looks at turns",
}


def left_out(test: str) -> str | None:
    """Why a test is not run with faults; None: it is."""
    return next((reason for pattern, reason in LEFT_OUT.items() if fnmatch(test, pattern)), None)


def spares_for(test: str) -> Spares:
    """What to spare in this test."""

    def spares(fault: Fault) -> bool:
        # A handler is told that its checkpoint or file could not be kept; those of the tests don't try again.
        return fault.is_told

    return spares
