"""Whatever connection is lost at whatever statement: no job is lost, and none takes effect twice."""

import pytest

from tests.faults.injection import Fault, Faults, injecting
from tests.faults.load import Book, assert_books_balance, register, submit
from tests.runtime.worker_kit import Engine, another, engine, running
from tests.store.races.agreement import assert_all_logs_agree

RATE, SEED = 0.03, 1
ROUNDS = 8
LEASE = 10.0  # seconds; the heartbeat may fail a few times


def lived_through(url: str, faults: Faults) -> list[Fault]:
    """Two workers run the load to its end, with these faults; the books are checked."""
    book = Book()
    options = {"lease": LEASE, "poll_interval": 0.05, "cleanup_interval": 0.2, "watch_interval": 0.05}
    with engine(url, **options) as fl, another(fl, **options) as other:
        for one in (fl, other):
            register(one, book)
        with injecting(faults), running(fl.worker()), running(other.worker()):
            jobs = [fl.ended(job) for job in submit(fl, ROUNDS)]
        assert_books_balance([fl.look(job) for job in jobs], book)
        assert_all_logs_agree(fl)
        assert_nothing_is_left(fl)
    return faults.injected


def assert_nothing_is_left(fl: Engine) -> None:
    assert fl.list(organization="acme", status=["pending", "queued", "running"]).total == 0


def test_no_job_is_lost_and_none_takes_effect_twice(database_url: str) -> None:
    injected = lived_through(database_url, Faults(RATE, SEED, "promises"))
    assert {one.has_effect for one in injected} == {False, True}
    assert any(one.is_commit and one.has_effect for one in injected)
    assert {"Claims.claim_round", "Finisher._finish"} <= {one.place for one in injected}
