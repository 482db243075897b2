"""Limits and fair shares in real claim rounds (R4): what may run, whose turn it is, and that no room is lost."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from random import Random

import pytest
from sqlalchemy import insert, select

from fairlane.store.tables import limits
from fairlane.testing import ManualClock
from tests.runtime.worker_kit import Engine, another, engine
from tests.runtime.worker_store import Member, Taken, give, job_type, later, member, organizations

pytestmark = pytest.mark.both_databases


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def fl(database_url: str, clock: ManualClock) -> Iterator[Engine]:
    with engine(database_url, clock=clock) as fl:
        fl.organizations.create("rival")
        yield fl


def types(ready: list[Taken]) -> Counter[str]:
    return Counter(one.job_type for one in ready)


class TestMaxRunning:
    def test_of_an_organization(self, fl: Engine) -> None:
        job_type(fl, "pdf")
        fl.organizations.update("acme", max_running=2)
        give(fl, 5)
        give(fl, 5, organization="rival")
        first, second = member(fl, "first"), member(fl, "second")
        ran = first.claim()
        assert organizations(ran) == {"acme": 2, "rival": 5}
        assert second.claim() == []
        first.end(*ran)
        assert organizations(second.claim()) == {"acme": 2}

    def test_of_a_type(self, fl: Engine) -> None:
        job_type(fl, "pdf", max_running=3)
        job_type(fl, "mail")
        give(fl, 5)
        give(fl, 5, "mail")
        first, second = member(fl, "first"), member(fl, "second")
        ran = first.claim()
        assert types(ran) == {"pdf": 3, "mail": 5}
        assert second.claim() == []
        first.end(ran[0], ran[-1])
        assert types(second.claim()) == {"pdf": types([ran[0], ran[-1]])["pdf"]}

    def test_of_a_type_of_one_organization_in_several_queues(self, fl: Engine) -> None:
        job_type(fl, "pdf")
        worker = member(fl, slots=50)
        give(fl, 5)
        give(fl, 5, queue="bulk")
        give(fl, 5, organization="rival")
        fl.job_types.limit("pdf", organization="acme", max_running=3)
        assert organizations(worker.claim(50)) == {"acme": 3, "rival": 5}

    def test_none_at_all_and_no_limit(self, fl: Engine) -> None:
        job_type(fl, "pdf", max_running=0)
        give(fl, 5)
        worker = member(fl)
        assert worker.claim() == []
        fl.job_types.limit("pdf", max_running=None)
        fl.organizations.update("acme", max_running=0)
        assert worker.claim() == []
        fl.organizations.update("acme", max_running=None)
        fl.job_types.limit("pdf", organization="acme", max_running=0)
        assert worker.claim() == []
        fl.job_types.limit("pdf", organization="acme", max_running=None)
        assert len(worker.claim()) == 5

    def test_may_change_while_jobs_run(self, fl: Engine) -> None:
        job_type(fl, "pdf", max_running=4)
        give(fl, 10)
        worker = member(fl)
        ran = worker.claim()
        assert len(ran) == 4
        fl.job_types.limit("pdf", max_running=2)
        worker.end(*ran[:2])
        assert worker.claim() == []
        worker.end(ran[2])
        assert len(worker.claim()) == 1
        fl.job_types.reset_limit("pdf")
        assert len(worker.claim()) == 2

    def test_beside_something_that_a_newer_version_set(self, fl: Engine) -> None:
        job_type(fl, "pdf")
        give(fl, 5)
        newer = insert(limits).values(organization_id="", job_type="pdf", document='{"burst": 9, "max_running": 1}')
        fl.database.write(lambda connection: connection.execute(newer))
        worker = member(fl)
        assert len(worker.claim()) == 1
        assert fl.job_types.limit("pdf", max_running=2).changed == ("max_running",)
        assert len(worker.claim()) == 1
        document = fl.database.read(lambda connection: connection.scalars(select(limits.c.document)).one())
        assert json.loads(document) == {"burst": 9, "max_running": 2}

    def test_that_was_registered_last_holds_for_workers_whose_code_says_another(self, fl: Engine) -> None:
        job_type(fl, "pdf", max_running=4)
        give(fl, 10)
        worker = member(fl)
        with another(fl) as deployed:
            job_type(deployed, "pdf", max_running=2)
            deployed.migrate()  # as a deployment does
        assert len(worker.claim()) == 2
        fl.job_types.limit("pdf", max_running=3)
        assert len(worker.claim()) == 1


class TestExecutionRate:
    def test_holds_in_any_window(self, fl: Engine, clock: ManualClock) -> None:
        job_type(fl, "pdf", execution_rate=5, execution_rate_window=60)
        give(fl, 20)
        first, second = member(fl, "first"), member(fl, "second")
        first.end(*first.claim(3))
        later(clock, 30, first, second)
        second.end(*second.claim())
        assert first.claim() == []
        later(clock, 29.9, first, second)
        assert second.claim() == []
        later(clock, 0.1, first, second)
        assert len(second.claim()) == 3
        later(clock, 30, first, second)
        assert len(first.claim()) == 2
        assert len(first.claim()) == 0

    def test_of_one_organization_and_of_all(self, fl: Engine, clock: ManualClock) -> None:
        job_type(fl, "pdf", execution_rate=5)
        fl.drain()  # registers the type
        fl.job_types.limit("pdf", organization="acme", execution_rate=1, execution_rate_window=120)
        give(fl, 9)
        give(fl, 9, organization="rival")
        worker = member(fl, slots=50)
        assert organizations(worker.claim(50)) == {"acme": 1, "rival": 4}
        later(clock, 60, worker)
        # The room of acme, which acme may not use.
        assert organizations(worker.claim(50)) == {"rival": 5}
        later(clock, 60, worker)
        assert organizations(worker.claim(50)) == {"acme": 1}

    def test_starts_that_a_clock_that_was_set_back_has_yet_to_come_to_do_not_count(
        self, fl: Engine, clock: ManualClock
    ) -> None:
        job_type(fl, "pdf", execution_rate=2, execution_rate_window=10)
        give(fl, 6)
        worker = member(fl)
        worker.end(*worker.claim())
        clock._now -= timedelta(hours=1)
        assert len(worker.claim()) == 2
        assert worker.claim() == []
        clock._now += timedelta(hours=1)
        assert len(worker.claim()) == 2


class TestNoRoomIsLost:
    def test_to_an_organization_that_is_at_its_own_limit(self, fl: Engine) -> None:
        job_type(fl, "pdf", max_running=1)
        job_type(fl, "mail")
        fl.organizations.update("acme", max_running=1)
        worker = member(fl, slots=50)
        give(fl, 1, "mail")
        assert types(worker.claim(50)) == {"mail": 1}
        give(fl, 3)
        give(fl, 3, organization="rival")
        assert organizations(worker.claim(50)) == {"rival": 1}

    def test_to_an_organization_whose_more_urgent_jobs_take_all_that_it_may_start(self, fl: Engine) -> None:
        job_type(fl, "pdf", max_running=4)
        job_type(fl, "mail", priority="high")
        worker = member(fl, slots=20)
        give(fl, 50, "mail")
        give(fl, 10)
        give(fl, 10, organization="rival")
        ran = worker.claim(20)
        worker.end(*(one for one in ran if one.job_type == "mail"))
        ran += worker.claim(20)
        assert organizations([one for one in ran if one.job_type == "pdf"]) == {"rival": 4}

    def test_to_organizations_with_more_urgent_jobs_however_many_they_are(self, fl: Engine) -> None:
        job_type(fl, "pdf", max_running=1)
        job_type(fl, "mail", priority="high")
        worker = member(fl, slots=50)
        fl.organizations.create("third")
        for name in ("acme", "rival", "third"):
            give(fl, 1, organization=name)
        started: list[Taken] = []
        for _ in range(3):
            for name in ("acme", "rival"):
                give(fl, 10, "mail", name)
            started += worker.claim(10)
            worker.end(*(one for one in started if one.job_type == "mail"))
        assert organizations([one for one in started if one.job_type == "pdf"]) == {"third": 1}

    def test_to_an_organization_with_few_jobs(self, fl: Engine) -> None:
        job_type(fl, "pdf", max_running=20)
        worker = member(fl, slots=50)
        give(fl, 1)
        give(fl, 30, organization="rival")
        assert len(worker.claim(50)) + len(worker.claim(50)) == 20

    @pytest.mark.parametrize("seed", range(2))
    def test_in_a_random_walk(self, fl: Engine, seed: int) -> None:
        Walk(fl, Random(seed)).run(30)


class Walk:
    """Random submissions, claims, ends and changes of limits; after each the limits hold, and no room is left."""

    TYPES = ("pdf", "mail")
    ORGANIZATIONS = ("acme", "rival", "third")

    def __init__(self, fl: Engine, random: Random) -> None:
        self.fl, self.random = fl, random
        fl.organizations.create("third")
        for name in self.TYPES:
            job_type(fl, name)
        self.workers = [member(fl, "first", slots=1000), member(fl, "second", slots=1000)]
        fl.database.write(fl.catalogue.write)()
        self.limits: dict[tuple[str | None, str | None], int | None] = {}
        self.waiting: Counter[tuple[str, str]] = Counter()
        self.running: list[tuple[Member, Taken]] = []

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.random.choice([self.submit, self.submit, self.end, self.limit])()
            claimed = [self.claim(), self.claim()]
            while sum(claimed[-2:]):
                claimed.append(self.claim())
            self.no_room_is_left()

    def submit(self) -> None:
        name, organization = self.random.choice(self.TYPES), self.random.choice(self.ORGANIZATIONS)
        number = self.random.randint(1, 6)
        give(self.fl, number, name, organization, priority=self.random.choice(["low", "normal", "high"]))
        self.waiting[organization, name] += number

    def end(self) -> None:
        self.random.shuffle(self.running)
        for _ in range(min(self.random.randint(1, 6), len(self.running))):
            worker, one = self.running.pop()
            worker.end(one)

    def limit(self) -> None:
        organization = self.random.choice([None, *self.ORGANIZATIONS])
        name = self.random.choice(self.TYPES if organization is None else [None, *self.TYPES])
        limit = self.random.choice([None, 0, 1, 2, 3, 5, 8])
        if name is None:
            assert organization is not None
            self.fl.organizations.update(organization, max_running=limit)
        else:
            self.fl.job_types.limit(name, organization=organization, max_running=limit)
        self.limits[organization, name] = limit

    def claim(self) -> int:
        worker = self.random.choice(self.workers)
        before = Counter((one.organization, one.job_type) for _, one in self.running)
        ready = worker.claim(self.random.choice([101, 500]))
        self.running += [(worker, one) for one in ready]
        started = Counter((one.organization, one.job_type) for one in ready)
        self.waiting -= started
        for subject, limit in self.limits.items():
            if limit is not None and self.of(subject, started):
                assert self.of(subject, before + started) <= limit, subject
        return len(ready)

    def no_room_is_left(self) -> None:
        running = Counter((one.organization, one.job_type) for _, one in self.running)
        for organization, name in self.waiting:
            subjects = [(organization, None), (None, name), (organization, name)]
            limits = [(subject, self.limits.get(subject)) for subject in subjects]
            full = [subject for subject, limit in limits if limit is not None and self.of(subject, running) >= limit]
            assert full, f"{organization} {name} waits for nothing"

    @staticmethod
    def of(subject: tuple[str | None, str | None], running: Counter[tuple[str, str]]) -> int:
        organization, name = subject
        return sum(
            number for (one, other), number in running.items() if organization in (None, one) and name in (None, other)
        )
