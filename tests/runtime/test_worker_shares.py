"""Fair shares in real claim rounds (promise 3): weights, the reserve, a limit's room, and what waited longest."""

from collections import Counter
from collections.abc import Iterator

import pytest

from fairlane.runtime.facts import Ready
from fairlane.store.statements import running_limits
from fairlane.testing import ManualClock
from tests.runtime.worker_kit import Engine, engine
from tests.runtime.worker_store import Member, give, job_type, later, member, organizations


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def fl(database_url: str, clock: ManualClock) -> Iterator[Engine]:
    with engine(database_url, clock=clock) as fl:
        fl.organizations.create("rival")
        job_type(fl, "pdf")
        yield fl


def test_long_jobs_leave_the_reserve_to_an_organization_that_comes(fl: Engine) -> None:
    give(fl, 1, organization="rival")
    give(fl, 20)
    worker = member(fl, slots=10)
    running = worker.claim(10)
    running += worker.claim(10 - len(running))  # what rival could have taken of the first round
    assert organizations(running) == {"acme": 8, "rival": 1}
    worker.end(*(one for one in running if one.claimed.organization == "rival"))
    assert organizations(worker.claim(2)) == {"acme": 1}
    give(fl, 1, organization="rival")
    assert organizations(worker.claim(1)) == {"rival": 1}


def test_an_organization_that_comes_to_a_full_worker_gets_the_first_slot_that_is_free(fl: Engine) -> None:
    give(fl, 20)
    worker = member(fl, slots=10)
    running = worker.claim(10)
    assert organizations(running) == {"acme": 10}
    give(fl, 20, organization="rival")
    worker.end(running.pop())
    assert organizations(worker.claim(1)) == {"rival": 1}


def test_many_small_workers_keep_one_reserve_together(fl: Engine) -> None:
    workers = [member(fl, f"worker {number}", slots=2) for number in range(10)]
    running: list[tuple[Member, Ready]] = []

    def claim() -> Counter[str]:
        taken = Counter(worker.card.id for worker, _ in running)
        more = [(worker, one) for worker in workers for one in worker.claim(2 - taken[worker.card.id])]
        running.extend(more)
        return organizations(one for _, one in more)

    def end(organization: str) -> None:
        worker, one = next(each for each in running if each[1].claimed.organization == organization)
        running.remove((worker, one))
        worker.end(one)

    give(fl, 1, organization="rival")
    give(fl, 30)
    assert claim() == {"rival": 1, "acme": 17}
    end("rival")
    assert claim() == {"acme": 1}
    for name in ("third", "fourth"):
        fl.organizations.create(name)
        give(fl, 1, organization=name)
    assert claim() == {"third": 1, "fourth": 1}
    # What was given away is kept again, by whichever worker gets a slot free.
    end("acme")
    assert claim() == {}


def test_what_may_not_start_anyway_takes_nobody_the_reserve(fl: Engine) -> None:
    fl.organizations.update("rival", max_running=0)
    give(fl, 1, organization="rival")
    give(fl, 20)
    assert organizations(member(fl, slots=10).claim(10)) == {"acme": 10}


def test_what_runs_for_another_queue_takes_nobody_the_reserve(fl: Engine) -> None:
    give(fl, 1, organization="rival", queue="bulk")
    assert organizations(member(fl, "for bulk", queues=("bulk",)).claim()) == {"rival": 1}
    worker = member(fl, slots=10, queues=("default",))
    give(fl, 20)
    assert organizations(worker.claim(10)) == {"acme": 10}


@pytest.mark.parametrize("number", [1, 2], ids=["one worker", "two workers"])
def test_shares_converge_to_the_weights(fl: Engine, number: int) -> None:
    """Each worker has nine slots; one slot of them all is the reserve."""
    fl.organizations.update("acme", weight=3)
    workers = [member(fl, f"worker {n}", slots=9) for n in range(number)]
    running: list[tuple[Member, Ready]] = []

    def claim() -> None:
        for worker in workers:
            running.extend((worker, one) for one in worker.claim(9 - sum(one is worker for one, _ in running)))

    give(fl, 8 * number, organization="rival")
    claim()
    give(fl, 60)
    for _ in range(10 * number):
        worker, one = running.pop(0)
        worker.end(one)
        give(fl, 1, organization="rival")
        claim()
    shares = organizations(one for _, one in running)
    assert shares.total() == 9 * number - 1
    assert shares["acme"] == pytest.approx(3 / 4 * shares.total(), abs=1)


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
        if fl.get(one.claimed.id, organization="acme").priority == priority:
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
        assert fl.get(one.claimed.id, organization="acme").priority == "high"


def test_what_waited_longest_keeps_to_the_limits(fl: Engine, clock: ManualClock) -> None:
    job_type(fl, "mail", max_running=2)
    worker = member(fl, slots=100)
    give(fl, 20, "mail", priority="low")
    later(clock, 61, worker)
    give(fl, 40, priority="high")
    give(fl, 20, "mail", priority="critical")
    ready = worker.claim(40)
    assert Counter(one.claimed.job_type for one in ready) == {"pdf": 38, "mail": 2}
    assert {fl.get(one.claimed.id, organization="acme").priority for one in ready} == {"high", "low"}
    assert not any(one.claimed.job_type == "mail" for one in worker.claim(10))
