"""A storm of half a minute on each database: nothing is lost, nothing is done twice without a reason."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from tests.storm import bounds, clock, profiles, results
from tests.storm.faults import Fault
from tests.storm.storm import run
from tests.storm.work import ORGANIZATIONS

pytestmark = pytest.mark.slow

SEED = 20261126


@pytest.mark.parametrize("database", profiles.DATABASES)
def test_no_job_is_lost_and_no_old_lease_writes_in_a_storm(database: str, run_directory: Path) -> None:
    profile = profiles.SHORT[database]
    if not clock.can_lie():
        profile = replace(profile, faults={**profile.faults, Fault.CLOCK: 0})
    directory = run_directory / f"storm-{uuid4().hex}"
    directory.mkdir()

    report = run(database, profile, SEED, directory)

    told = [*results.told(report), *results.injected(report), results.command(database, SEED, "--short")]
    assert not bounds.failed(report), "\n".join(told)
    assert report.submitted >= profile.jobs
    assert report.ticks >= profile.seconds * len(ORGANIZATIONS)
