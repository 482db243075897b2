"""A fork takes no connection with it: on one socket, one organization's reader would get what another's had asked."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_whoever_forks_after_the_first_use_reads_what_it_asked_for(database_url: str) -> None:
    # From Python 3.12 on a fork beside other threads, such as that of hints, is warned of: hosts do so all the same.
    command = [sys.executable, "-W", "ignore:This process", "-m", "tests.store.forking", database_url]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
