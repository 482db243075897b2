"""Skip or fail a test that needs what not every machine has."""

import os
from typing import NoReturn

import pytest


def unable(why: str) -> NoReturn:
    """Skip, or fail where the tests of the dashboard and its client have to run."""
    if os.environ.get("FAIRLANE_TEST_BROWSER") == "required":
        pytest.fail(why)
    pytest.skip(why)
