"""The records of the storm's feeder about the jobs that it submitted."""

import time
from collections.abc import Iterator
from random import Random

import pytest

from fairlane.domain.statuses import JobStatus
from tests.engine.worker_kit import Engine, engine
from tests.storm import handlers, work
from tests.storm.feeder import Feeder
from tests.storm.verdict import Expected

ORDERS = work.batch(Random(7), 500)


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url) as fl:
        handlers.register(fl)
        for organization in work.ORGANIZATIONS[1:]:
            fl.organizations.create(organization)
        yield fl


@pytest.fixture
def feeder(fl: Engine) -> Feeder:
    return Feeder(fl, Random(7), jobs=1, seconds=0.0)


def test_a_job_that_was_canceled_before_it_ran_is_never_to_complete(fl: Engine, feeder: Feeder) -> None:
    order = next(one for one in ORDERS if one.expected is Expected.EITHER)
    feeder._submit([order])
    feeder._cancel_running()
    job, organization = str(order.submission.id), order.submission.organization
    assert fl.get(job, organization=organization).status is JobStatus.CANCELED
    assert feeder.expected == {job: Expected.STOPPED}


def test_a_job_with_a_delay_is_due_after_it(feeder: Feeder) -> None:
    order = next(one for one in ORDERS if one.again)
    before = time.monotonic()
    feeder._submit([order])
    due = feeder.due[str(order.submission.id)]
    assert before + order.delay <= due <= time.monotonic() + order.delay
    assert feeder.rejected == 1
