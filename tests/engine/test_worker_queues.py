"""A worker tells at its start which of its job types it will not run, because it does not serve their queues."""

import logging
from collections.abc import Sequence

import pytest

from fairlane import JobContext
from fairlane.domain.events import QueuesNotServed
from tests.engine.worker_kit import Engine, engine


def with_types(fl: Engine) -> None:
    for name, queue in (("mail", "default"), ("rebuild", "bulk"), ("scan", "slow")):

        @fl.job_type(name, queue=queue)
        async def handler(ctx: JobContext) -> None: ...


def test_a_worker_says_once_which_queues_of_its_types_it_does_not_serve(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with engine(database_url) as fl, caplog.at_level(logging.WARNING, "fairlane"):
        with_types(fl)
        fl.drain(name="w1")
        assert fl.events.of(QueuesNotServed) == [QueuesNotServed("w1", ("bulk", "slow"), ("rebuild", "scan"))]
    (line,) = caplog.messages
    assert "does not serve bulk, slow" in line
    assert "fairlane worker --queue bulk --queue slow" in line


@pytest.mark.parametrize("queues", [None, ("default", "bulk", "slow")])
def test_a_worker_that_serves_all_of_them_says_nothing(database_url: str, queues: Sequence[str] | None) -> None:
    with engine(database_url) as fl:
        with_types(fl)
        fl.drain(queues=queues)
        assert fl.events.of(QueuesNotServed) == []
