"""Fair shares in real claim rounds (promise 3): weights, newcomers, a limit's room, and what waited longest."""

from collections import Counter
from collections.abc import Iterator

import pytest

from fairlane.store.statements import running_limits
from fairlane.testing import ManualClock
from tests.runtime.worker_kit import Engine, engine
from tests.runtime.worker_store import Member, Taken, give, job_type, later, member, organizations


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def fl(database_url: str, clock: ManualClock) -> Iterator[Engine]:
    with engine(database_url, clock=clock) as fl:
        fl.organizations.create("rival")
        job_type(fl, "pdf")
        yield fl


def test_no_slot_is_kept_free_and_whoever_comes_to_a_full_worker_gets_the_first_that_is(
    fl: Engine, clock: ManualClock
) -> None:
    give(fl, 1, organization="rival")
    give(fl, 40)
    worker = member(fl, slots=10)
    running = worker.claim(10)
    running += worker.claim(10 - len(running))  # what rival could have taken of the first round
    assert organizations(running) == {"acme": 9, "rival": 1}
    later(clock, 1, worker)
    worker.end(*(one for one in running if one.organization == "rival"))
    assert organizations(worker.claim(1)) == {"acme": 1}
    give(fl, 20, organization="rival")
    worker.end(running[0])
    assert organizations(worker.claim(1)) == {"rival": 1}


def test_a_newcomer_gets_no_more_than_its_share_of_many_small_workers_at_once(fl: Engine, clock: ManualClock) -> None:
    workers = [member(fl, f"worker {number}", slots=1) for number in range(10)]
    give(fl, 30)
    running = [worker.claim(1)[0] for worker in workers]
    assert organizations(running) == {"acme": 10}
    later(clock, 1, *workers)
    give(fl, 30, organization="rival")
    for place, worker in enumerate(workers):
        worker.end(running[place])
        running[place] = worker.claim(1)[0]
    assert organizations(running) == {"rival": 5, "acme": 5}


def test_a_worker_that_comes_later_makes_up_for_what_others_run(fl: Engine) -> None:
    give(fl, 50)
    first, second = member(fl, "first", slots=20), member(fl, "second", slots=20)
    assert organizations(first.claim(20)) == {"acme": 20}
    give(fl, 50, organization="rival")
    # Of forty slots twenty are acme's share; it may have a quarter more, and one.
    assert organizations(second.claim(20)) == {"acme": 6, "rival": 14}


@pytest.mark.parametrize("number", [1, 2], ids=["one worker", "two workers"])
def test_shares_converge_to_the_weights(fl: Engine, clock: ManualClock, number: int) -> None:
    """Each worker has eight slots."""
    fl.organizations.update("acme", weight=3)
    workers = [member(fl, f"worker {n}", slots=8) for n in range(number)]
    running: list[tuple[Member, Taken]] = []

    def claim() -> None:
        for worker in workers:
            running.extend((worker, one) for one in worker.claim(8 - sum(one is worker for one, _ in running)))

    give(fl, 8 * number, organization="rival")
    claim()
    give(fl, 60)
    for _ in range(10 * number):
        later(clock, 1, *workers)
        worker, one = running.pop(0)
        worker.end(one)
        give(fl, 1, organization="rival")
        claim()
    assert organizations(one for _, one in running) == {"acme": 6 * number, "rival": 2 * number}


def test_a_type_s_limit_is_shared_among_organizations_whoever_came_first(fl: Engine) -> None:
    job_type(fl, "mail", max_running=6)
    fl.organizations.create("third")
    give(fl, 12, "mail")
    worker = member(fl, slots=50)
    running = worker.claim(50)
    assert organizations(running) == {"acme": 6}
    for name in ("rival", "third"):
        give(fl, 12, "mail", name)
    for _ in range(4):
        worker.end(running.pop(0))
        running += worker.claim(50)
    assert organizations(running) == {"acme": 2, "rival": 2, "third": 2}


def starts_until(worker: Member, fl: Engine, priority: str) -> int:
    """How many jobs start, one by one, until one of this priority does, while more urgent ones go on coming."""
    for number in range(1, 50):
        give(fl, 1, priority="high")
        (one,) = worker.claim(1)
        worker.end(one)
        if fl.get(one.id, organization="acme").priority == priority:
            return number
    raise AssertionError("it never started")


def test_a_tenth_of_the_starts_is_for_what_waited_longest_whatever_its_priority(fl: Engine, clock: ManualClock) -> None:
    worker = member(fl)
    give(fl, 3, priority="low")
    later(clock, 61, worker)
    give(fl, 5, priority="high")
    assert [starts_until(worker, fl, "low") for _ in range(3)] == [10, 10, 10]


def test_what_waited_longest_in_another_lane_has_the_same_share(fl: Engine, clock: ManualClock) -> None:
    job_type(fl, "mail")
    worker = member(fl)
    give(fl, 1, "mail", priority="low", queue="bulk")
    later(clock, 61, worker)
    give(fl, 5, priority="high")
    assert starts_until(worker, fl, "low") == 10


def test_the_share_of_the_oldest_holds_beside_another_worker_s_claims(
    fl: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another claims under its limit, an organization is left out of a round; it is not forgotten."""
    fl.organizations.update("acme", max_running=1)
    worker = member(fl)
    give(fl, 1, priority="low")
    later(clock, 61, worker)
    give(fl, 5, priority="high")
    started = 0
    while started < 9:
        with monkeypatch.context() as patch:
            patch.setattr(running_limits, "lock", lambda *_: frozenset())
            assert worker.claim(1) == []
        (one,) = worker.claim(1)
        worker.end(one)
        give(fl, 1, priority="high")
        started += 1
    assert starts_until(worker, fl, "low") == 1


def test_until_it_has_waited_for_a_minute_the_more_urgent_goes_first(fl: Engine, clock: ManualClock) -> None:
    worker = member(fl)
    give(fl, 1, priority="low")
    later(clock, 59, worker)
    for _ in range(25):
        give(fl, 1, priority="high")
        (one,) = worker.claim(1)
        assert fl.get(one.id, organization="acme").priority == "high"


def test_what_waited_longest_keeps_to_the_limits(fl: Engine, clock: ManualClock) -> None:
    job_type(fl, "mail", max_running=2)
    worker = member(fl, slots=100)
    give(fl, 20, "mail", priority="low")
    later(clock, 61, worker)
    give(fl, 40, priority="high")
    give(fl, 20, "mail", priority="critical")
    ready = worker.claim(40)
    assert Counter(one.job_type for one in ready) == {"pdf": 38, "mail": 2}
    assert {fl.get(one.id, organization="acme").priority for one in ready} == {"high", "low"}
    assert not any(one.job_type == "mail" for one in worker.claim(10))
