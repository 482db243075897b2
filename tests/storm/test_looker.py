"""The reports of the storm's looker about the jobs at which it looks."""

from random import Random

from fairlane import new_id
from tests.engine.worker_kit import Engine, until
from tests.engine.worker_store import nothing
from tests.storm.looker import Looker


def test_jobs_are_found_while_they_wait_and_when_they_have_ended(fl: Engine) -> None:
    nothing(fl)
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
