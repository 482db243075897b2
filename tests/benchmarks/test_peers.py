"""Everything that is measured of the peers is measured of Fairlane, too. No test holds the figures themselves."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.slow

REPOSITORY: Final = Path(__file__).parents[2]


def test_what_a_job_takes_of_the_worker_and_of_postgresql_is_measured_as_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    asked = ["--peers", "fairlane", "--only", "drain", "--jobs", "2000", "--runs", "1"]
    command = [sys.executable, "-m", "benchmarks.peers", "run", *asked, "--out", str(file)]

    subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True)

    (found,) = json.loads(file.read_text())["peers"]
    assert 10 < found["cpu-worker"]["value"] < 5_000  # microseconds
    assert 10 < found["cpu-store"]["value"] < 5_000


def test_single_submissions_and_picking_up_are_measured_alone(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    asked = ["--peers", "fairlane-sqlite", "--only", "pickup", "--only", "single", "--jobs", "3", "--runs", "2"]
    command = [sys.executable, "-m", "benchmarks.peers", "run", *asked, "--out", str(file)]

    subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True)

    (found,) = json.loads(file.read_text())["peers"]
    figures = {name: one["runs"] for name, one in found.items() if isinstance(one, dict)}
    assert figures.keys() == {"single", "pickup-p50", "pickup-p99"}
    assert all(len(runs) == 2 and min(runs) > 0 for runs in figures.values())
