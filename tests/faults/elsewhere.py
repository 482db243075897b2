"""Faults in a worker that a test has started as a process of its own: as many, and as few, as in the test itself."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.injection import Faults, injecting
from tests.faults.spared import spares_for


@contextmanager
def injecting_as_its_test() -> Iterator[None]:
    """Inject what the test's run was asked to inject, while the block runs; nothing, if that is nothing."""
    asked = os.environ.get("FAIRLANE_TEST_FAULTS")
    if not asked:
        yield
        return
    rate, _, seed = asked.partition(":")
    test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" (")[0]
    # Others than in the test, or a statement that both send would fail in both.
    with injecting(Faults(float(rate), int(seed), f"{test} in a process", spares_for(test))):
        yield
