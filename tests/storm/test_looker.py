"""What the storm's looker tells of the jobs at which it looks."""

from collections.abc import Iterator
from random import Random

import pytest

from fairlane import new_id
from tests.engine.worker_kit import Engine, engine, until
from tests.engine.worker_store import nothing
from tests.storm.looker import Looker


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url) as fl:
        nothing(fl)
        yield fl


def test_jobs_are_found_while_they_wait_and_when_they_have_ended(fl: Engine) -> None:
    waiting, ended = fl.give("work", delay=3600), fl.give("work")
    looker = Looker(fl, [(str(one.id), one.organization) for one in (waiting, ended)], Random(7))
    with looker.running():
        fl.drain()
        drained = looker.looks
        until(lambda: looker.looks > drained + 1)
    assert looker.lost == []


def test_a_job_that_is_not_there_is_lost(fl: Engine) -> None:
    job = str(new_id())
    looker = Looker(fl, [(job, "acme")], Random(7))
    looker.look()
    assert (looker.looks, [one.job for one in looker.lost]) == (1, [job])
