"""Fair shares of the slots that workers have (promise 3): newcomers, a limit's room, and what waited longest.

That starts come to the weights is tested in `acceptance/test_engine_shares.py`.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from fairlane import PLATFORM, Job, JobContext
from fairlane.testing import ManualClock
from tests.engine.worker_kit import (
    Engine,
    Hold,
    another,
    engine,
    running,
    running_by_organization,
    running_jobs,
    until,
)

DAY = 86_400.0
EVERYBODY = ("acme", "rival", "third")


@pytest.fixture
def fl(database_url: str, clock: ManualClock) -> Iterator[Engine]:
    with engine(database_url, clock=clock, lease=DAY) as fl:
        for name in EVERYBODY[1:]:
            fl.organizations.create(name)
        yield fl


class Slots:
    """The jobs in the slots of all workers; each job runs until the test ends it."""

    def __init__(self, fl: Engine) -> None:
        self.fl, self.hold = fl, Hold()
        self.hold.job_type(fl, "pdf")

    def give(self, number: int, organization: str = "acme", name: str = "pdf") -> None:
        for _ in range(number):
            self.fl.give(name, organization=organization)

    def filled(self, number: int) -> Counter[str]:
        """Wait until so many jobs run, and count them by organization."""
        until(lambda: len(running_jobs(self.fl, *EVERYBODY)) == number)
        return running_by_organization(self.fl, *EVERYBODY)

    def end_one(self, organization: str) -> None:
        self.end(running_jobs(self.fl, organization)[-1])

    def end(self, job: Job) -> None:
        self.hold.let_go(job)
        self.fl.ended(job)


def test_no_slot_is_kept_free_and_a_newcomer_to_full_workers_gets_one_of_the_next(fl: Engine) -> None:
    slots = Slots(fl)
    slots.give(1, "rival")
    slots.give(40)
    with running(fl.worker(concurrency=10)):
        assert slots.filled(10) == {"acme": 9, "rival": 1}
        slots.end_one("rival")
        until(lambda: running_by_organization(fl, "acme")["acme"] == 10)
        slots.give(20, "rival")
        ended = 0
        while not slots.filled(10)["rival"]:
            slots.end_one("acme")
            ended += 1
        assert ended <= 2


def test_the_platform_has_the_share_of_one_organization(fl: Engine) -> None:
    slots = Slots(fl)
    for name in (PLATFORM, "acme"):
        slots.give(20, name)
    with running(fl.worker(concurrency=10)):
        until(lambda: len(running_jobs(fl, PLATFORM, "acme")) == 10)
        assert running_by_organization(fl, PLATFORM, "acme") == {PLATFORM: 5, "acme": 5}


@pytest.mark.slow
def test_a_newcomer_gets_its_share_of_many_small_workers_and_no_more(fl: Engine) -> None:
    slots = Slots(fl)
    slots.give(20)
    with ExitStack() as stack:
        engines = [stack.enter_context(another(fl, lease=DAY)) for _ in range(4)]
        for one in engines:
            slots.hold.job_type(one, "pdf")
            stack.enter_context(running(one.worker(concurrency=1)))
        assert slots.filled(4) == {"acme": 4}
        slots.give(20, "rival")
        for job in running_jobs(fl, "acme"):
            slots.end(job)
            slots.filled(4)
        # Two are its share; it may have a quarter more, and one.
        assert slots.filled(4)["rival"] in {2, 3}


def test_a_worker_that_comes_later_makes_up_for_what_others_run(fl: Engine) -> None:
    slots = Slots(fl)
    slots.give(50)
    with another(fl, lease=DAY) as elsewhere, running(fl.worker(concurrency=20)):
        slots.hold.job_type(elsewhere, "pdf")
        assert slots.filled(20) == {"acme": 20}
        slots.give(50, "rival")
        with running(elsewhere.worker(concurrency=20)):
            # Of forty slots twenty are acme's share; it may have a quarter more, and one.
            assert slots.filled(40)["acme"] <= 26


@pytest.mark.slow
def test_a_type_s_limit_is_shared_among_organizations_in_whatever_order_they_came(fl: Engine) -> None:
    slots = Slots(fl)
    slots.hold.job_type(fl, "mail", max_running=6)
    slots.give(12, "acme", "mail")
    with running(fl.worker(concurrency=50)):
        assert slots.filled(6) == {"acme": 6}
        for name in EVERYBODY[1:]:
            slots.give(12, name, "mail")
        ended = 0
        while slots.filled(6)["acme"] > 2:
            slots.end_one("acme")
            ended += 1
        assert slots.filled(6) == {"acme": 2, "rival": 2, "third": 2}
        assert ended <= 6


class Starts:
    """The order in which jobs start on a worker with one slot, while more urgent ones go on coming."""

    def __init__(self, fl: Engine, most: int) -> None:
        self.fl, self.most = fl, most
        self.priorities: list[str] = []
        for name in ("pdf", "mail"):
            fl.job_type(name, dedup_window=0)(self.start)

    def run(self) -> None:
        for _ in range(5):
            self.fl.give("pdf", priority="high")
        self.fl.drain(queues=None, concurrency=1)

    @property
    def of_low(self) -> list[int]:
        """Return the numbers of the starts of jobs of low priority; the first start is 1."""
        return [place for place, priority in enumerate(self.priorities, 1) if priority == "low"]

    def start(self, ctx: JobContext) -> None:
        self.priorities.append(self.fl.get(ctx.job_id, organization="acme").priority)
        if len(self.priorities) < self.most:
            self.fl.give("pdf", priority="high")


@pytest.mark.slow
@pytest.mark.parametrize("lane", [{"job_type": "pdf"}, {"job_type": "mail", "queue": "bulk"}], ids=["same", "other"])
def test_a_tenth_of_the_starts_is_for_what_waited_longest_whatever_its_priority(
    fl: Engine, clock: ManualClock, lane: dict[str, str]
) -> None:
    starts = Starts(fl, most=35)
    for _ in range(3):
        fl.give(**lane, priority="low")
    clock.advance(61)
    starts.run()
    assert starts.of_low == [10, 20, 30]


def test_until_it_has_waited_for_a_minute_the_more_urgent_goes_first(fl: Engine, clock: ManualClock) -> None:
    starts = Starts(fl, most=25)
    fl.give("pdf", priority="low")
    clock.advance(59)
    starts.run()
    assert starts.of_low == [len(starts.priorities)]


@pytest.mark.slow
def test_the_share_of_the_oldest_holds_beside_another_worker_s_starts_under_the_same_limit(
    fl: Engine, clock: ManualClock
) -> None:
    """While another worker claims under its limit, a round skips an organization, and later rounds do not forget it."""
    fl.organizations.update("acme", max_running=1)
    starts = Starts(fl, most=60)
    low = fl.give("pdf", priority="low")
    clock.advance(61)
    with another(fl, lease=DAY) as elsewhere:
        elsewhere.job_type("pdf", dedup_window=0)(starts.start)
        for _ in range(5):
            fl.give("pdf", priority="high")
        with running(elsewhere.worker(concurrency=1)), running(fl.worker(concurrency=1)):
            fl.ended(low)
    assert starts.of_low[0] <= 20


def test_what_waited_longest_keeps_to_the_limits(fl: Engine, clock: ManualClock) -> None:
    slots = Slots(fl)
    slots.hold.job_type(fl, "mail", max_running=2)
    for number, name, priority in ((20, "mail", "low"), (40, "pdf", "high"), (20, "mail", "critical")):
        for _ in range(number):
            fl.give(name, priority=priority)
        if priority == "low":
            clock.advance(61)
    with running(fl.worker(concurrency=40)):
        slots.filled(40)
        assert Counter(job.job_type for job in running_jobs(fl, "acme")) == {"pdf": 38, "mail": 2}
        assert "low" in {job.priority for job in running_jobs(fl, "acme")}
