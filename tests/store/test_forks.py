"""A fork takes no connection with it: on one socket, one organization's reader would get what another's had asked.

Of SQLite it takes the list of locks and not the locks, so a file that was open is refused.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from fairlane import Fairlane

# From Python 3.12 on a fork beside other threads, such as that of hints, is warned of: hosts do so all the same.
PYTHON = [sys.executable, "-W", "ignore:This process"]
HERE = Path(__file__).parents[2]


@pytest.fixture
def used_url(sqlite_url: str) -> str:
    with Fairlane(sqlite_url) as fl:
        fl.organizations.create("acme")
    return sqlite_url


def jobs(url: str) -> int:
    with Fairlane(url) as fl:
        return len(fl.list(organization="acme").items)


@pytest.mark.slow
def test_a_process_that_forks_after_the_first_use_reads_what_it_asked_for(database_url: str) -> None:
    command = [*PYTHON, "-m", "tests.store.forking", database_url]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_what_a_forked_child_submits_is_kept_when_its_parent_has_closed_the_file(used_url: str) -> None:
    command = [*PYTHON, "-m", "tests.store.forking_files", "closed", used_url]
    with subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "look\n"
        assert jobs(used_url) == 2  # and SQLite deletes the log, where nobody seems to have the file open
        process.communicate("\n")
    assert (process.returncode, jobs(used_url)) == (0, 4)


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["writing", "lent", "unused"])
def test_a_forked_child_is_refused_a_file_that_was_open_and_no_other(scene: str, used_url: str) -> None:
    command = [*PYTHON, "-m", "tests.store.forking_files", scene, used_url]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert jobs(used_url) == {"writing": 3, "lent": 2, "unused": 3}[scene]
