"""Limits on what real workers run (R4): what may run, whose turn it is, and that no room is lost."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from random import Random

import pytest
from sqlalchemy import insert, select

from fairlane import Job
from fairlane.store.tables import limits
from fairlane.testing import ManualClock
from tests.engine.worker_kit import Engine, Hold, another, engine, running, running_jobs, until
from tests.engine.worker_store import nothing

pytestmark = pytest.mark.both_databases

DAY = 86_400.0
EVERYBODY = ("acme", "rival", "third")
IDLE = "idle"  # an organization that nothing limits


class Runs:
    """The running jobs, in more slots than there are jobs; each job runs until the test ends it."""

    def __init__(self, fl: Engine) -> None:
        self.fl, self.hold = fl, Hold()
        for name in (*EVERYBODY[1:], IDLE):
            fl.organizations.create(name)
        nothing(fl)

    def job_type(self, name: str, **options: object) -> None:
        self.hold.job_type(self.fl, name, **options)

    def give(self, number: int, name: str = "pdf", organization: str = "acme", **options: object) -> None:
        for _ in range(number):
            self.fl.give(name, organization=organization, **options)

    def now(self) -> Counter[tuple[str, str]]:
        """Return how many jobs of each organization and type run."""
        return Counter((job.organization, job.job_type) for job in running_jobs(self.fl, *EVERYBODY))

    def are(self, **expected: int) -> None:
        """Assert that so many run, by organization or type, and no more, though workers have looked again since."""

        def found() -> Counter[str]:
            numbers = Counter[str]()
            for (organization, name), number in self.now().items():
                numbers[organization if organization in expected else name] += number
            return numbers

        until(lambda: found() == expected)
        self.look_again()
        assert found() == expected

    def look_again(self) -> None:
        """Wait until what nothing limits has started and ended."""
        for _ in range(2):
            assert self.fl.ended(self.fl.give("work", organization=IDLE)).status == "completed"

    def end(self, number: int, organization: str = "acme", name: str = "pdf") -> None:
        """End so many of these jobs."""
        jobs = [job for job in running_jobs(self.fl, organization) if job.job_type == name][:number]
        assert len(jobs) == number
        self.hold.let_go(*jobs)
        for job in jobs:
            self.fl.ended(job)


@pytest.fixture
def fl(database_url: str, clock: ManualClock) -> Iterator[Engine]:
    with engine(database_url, clock=clock, lease=DAY) as fl:
        yield fl


@pytest.fixture
def runs(fl: Engine) -> Runs:
    return Runs(fl)


class TestMaxRunning:
    @pytest.mark.slow
    def test_of_an_organization(self, fl: Engine, runs: Runs) -> None:
        runs.job_type("pdf")
        fl.organizations.update("acme", max_running=2)
        runs.give(5)
        runs.give(5, organization="rival")
        with running(fl.worker()):
            runs.are(acme=2, rival=5)
            runs.end(1)
            runs.are(acme=2, rival=5)

    @pytest.mark.slow
    def test_of_a_type(self, fl: Engine, runs: Runs) -> None:
        runs.job_type("pdf", max_running=3)
        runs.job_type("mail")
        runs.give(5)
        runs.give(5, "mail")
        with running(fl.worker()):
            runs.are(pdf=3, mail=5)
            runs.end(1)
            runs.end(1, name="mail")
            runs.are(pdf=3, mail=4)

    @pytest.mark.slow
    def test_of_a_type_of_one_organization_in_several_queues(self, fl: Engine, runs: Runs) -> None:
        runs.job_type("pdf")
        fl.migrate()  # registers the type
        fl.job_types.limit("pdf", organization="acme", max_running=3)
        runs.give(5)
        runs.give(5, queue="bulk")
        runs.give(5, organization="rival")
        with running(fl.worker(queues=None)):
            runs.are(acme=3, rival=5)

    @pytest.mark.slow
    def test_none_at_all_and_no_limit(self, fl: Engine, runs: Runs) -> None:
        runs.job_type("pdf", max_running=0)
        runs.give(5)
        with running(fl.worker()):
            runs.are()
            fl.organizations.update("acme", max_running=0)
            fl.job_types.limit("pdf", max_running=None)
            runs.are()
            fl.job_types.limit("pdf", organization="acme", max_running=0)
            fl.organizations.update("acme", max_running=None)
            runs.are()
            fl.job_types.limit("pdf", organization="acme", max_running=None)
            runs.are(acme=5)

    @pytest.mark.slow
    def test_may_change_while_jobs_run(self, fl: Engine, runs: Runs) -> None:
        runs.job_type("pdf", max_running=4)
        runs.give(10)
        with running(fl.worker()):
            runs.are(acme=4)
            fl.job_types.limit("pdf", max_running=2)
            runs.end(2)
            runs.are(acme=2)
            runs.end(1)
            runs.are(acme=2)
            fl.job_types.reset_limit("pdf")
            runs.are(acme=4)

    @pytest.mark.slow
    def test_beside_something_that_a_newer_version_set(self, fl: Engine, runs: Runs) -> None:
        runs.job_type("pdf")
        runs.give(5)
        newer = insert(limits).values(organization_id="", job_type="pdf", document='{"burst": 9, "max_running": 1}')
        fl.database.write(lambda connection: connection.execute(newer))
        with running(fl.worker()):
            runs.are(acme=1)
            assert fl.job_types.limit("pdf", max_running=2).changed == ("max_running",)
            runs.are(acme=2)
        document = fl.database.read(lambda connection: connection.scalars(select(limits.c.document)).one())
        assert json.loads(document) == {"burst": 9, "max_running": 2}

    @pytest.mark.slow
    def test_that_was_registered_last_holds_for_workers_whose_code_says_another(self, fl: Engine, runs: Runs) -> None:
        runs.job_type("pdf", max_running=4)
        with running(fl.worker()):
            runs.look_again()
            with another(fl) as deployed:
                runs.hold.job_type(deployed, "pdf", max_running=2)
                deployed.migrate()  # as a deployment does
            runs.give(10)
            runs.are(acme=2)
            fl.job_types.limit("pdf", max_running=3)
            runs.are(acme=3)


class TestExecutionRate:
    @pytest.mark.slow
    def test_holds_in_any_window(self, fl: Engine, clock: ManualClock, runs: Runs) -> None:
        runs.job_type("pdf", execution_rate=5, execution_rate_window=60)
        with running(fl.worker()):
            runs.give(3)
            runs.are(acme=3)
            clock.advance(30)
            runs.give(17)
            runs.are(acme=5)
            clock.advance(29.9)
            runs.are(acme=5)
            clock.advance(0.1)
            runs.are(acme=8)
            clock.advance(30)
            runs.are(acme=10)

    @pytest.mark.slow
    def test_of_one_organization_and_of_all(self, fl: Engine, clock: ManualClock, runs: Runs) -> None:
        runs.job_type("pdf", execution_rate=5)
        fl.migrate()  # registers the type
        fl.job_types.limit("pdf", organization="acme", execution_rate=1, execution_rate_window=120)
        runs.give(9)
        runs.give(15, organization="rival")
        with running(fl.worker()):
            runs.are(acme=1, rival=4)
            clock.advance(60)
            # The room of acme, which acme may not use.
            runs.are(acme=1, rival=9)
            clock.advance(60)
            until(lambda: runs.now()["acme", "pdf"] == 2)
            runs.are(acme=2, rival=13)

    @pytest.mark.slow
    def test_starts_that_a_clock_that_was_set_back_has_yet_to_come_to_do_not_count(
        self, fl: Engine, clock: ManualClock, runs: Runs
    ) -> None:
        runs.job_type("pdf", execution_rate=2, execution_rate_window=10)
        runs.give(6)
        with running(fl.worker()):
            runs.are(acme=2)
            clock._now -= timedelta(hours=1)
            runs.are(acme=4)
            clock._now += timedelta(hours=1)
            runs.are(acme=6)


class TestNoRoomIsLost:
    @pytest.mark.slow
    def test_to_an_organization_that_is_at_its_own_limit(self, fl: Engine, runs: Runs) -> None:
        runs.job_type("pdf", max_running=1)
        runs.job_type("mail")
        fl.organizations.update("acme", max_running=1)
        runs.give(1, "mail")
        with running(fl.worker()):
            runs.are(acme=1)
            runs.give(3)
            runs.give(3, organization="rival")
            runs.are(mail=1, rival=1)

    @pytest.mark.slow
    def test_to_an_organization_whose_more_urgent_jobs_take_all_that_it_may_start(self, fl: Engine, runs: Runs) -> None:
        runs.job_type("pdf", max_running=4)
        runs.job_type("mail", priority="high")
        runs.give(50, "mail")
        runs.give(10)
        runs.give(10, organization="rival")
        with running(fl.worker(concurrency=20)):
            until(lambda: runs.now().total() == 20)

            def rival_has_all_the_room() -> bool:
                # A claim may count jobs that have just ended, and give a slot less: the next end gives it.
                runs.end(1, name="mail")
                return runs.now()["rival", "pdf"] == 4

            until(rival_has_all_the_room)

    @pytest.mark.slow
    def test_to_organizations_with_more_urgent_jobs_however_many_they_are(self, fl: Engine, runs: Runs) -> None:
        runs.job_type("pdf", max_running=1)
        runs.job_type("mail", priority="high")
        for name in EVERYBODY:
            runs.give(1, organization=name)
        for name in EVERYBODY[:2]:
            runs.give(30, "mail", name)
        with running(fl.worker(concurrency=10)):
            for _ in range(3):
                until(lambda: runs.now().total() == 10)
                for name in EVERYBODY[:2]:
                    runs.end(1, name, "mail")
            assert runs.now()["third", "pdf"] == 1

    @pytest.mark.slow
    def test_to_an_organization_with_few_jobs(self, fl: Engine, runs: Runs) -> None:
        runs.job_type("pdf", max_running=20)
        runs.give(1)
        runs.give(30, organization="rival")
        with running(fl.worker()):
            runs.are(acme=1, rival=19)

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(2))
    def test_in_a_random_walk(self, fl: Engine, runs: Runs, seed: int) -> None:
        Walk(runs, Random(seed)).run(20)


class Walk:
    """Random submissions, ends and changes of limits beside two workers; limits hold, and no room is left for long."""

    TYPES = ("pdf", "mail")

    def __init__(self, runs: Runs, random: Random) -> None:
        self.runs, self.fl, self.random = runs, runs.fl, random
        for name in self.TYPES:
            runs.job_type(name)
        self.fl.migrate()
        self.limits: dict[tuple[str | None, str | None], int | None] = {}

    def run(self, steps: int) -> None:
        with ExitStack() as stack:
            second = stack.enter_context(another(self.fl, lease=DAY))
            nothing(second)
            for name in self.TYPES:
                self.runs.hold.job_type(second, name)
            for one in (self.fl, second):
                stack.enter_context(running(one.worker(concurrency=1000)))
            for _ in range(steps):
                before = self.runs.now()
                self.random.choice([self.submit, self.submit, self.end, self.limit])()
                until(self.is_full)
                self.limits_hold(before)

    def submit(self) -> None:
        name, organization = self.random.choice(self.TYPES), self.random.choice(EVERYBODY)
        priority = self.random.choice(["low", "normal", "high"])
        self.runs.give(self.random.randint(1, 6), name, organization, priority=priority)

    def end(self) -> None:
        jobs = running_jobs(self.fl, *EVERYBODY)
        chosen = self.random.sample(jobs, min(self.random.randint(1, 6), len(jobs)))
        self.runs.hold.let_go(*chosen)
        for job in chosen:
            self.fl.ended(job)

    def limit(self) -> None:
        organization = self.random.choice([None, *EVERYBODY])
        name = self.random.choice(self.TYPES if organization is None else [None, *self.TYPES])
        limit = self.random.choice([None, 0, 1, 2, 3, 5, 8])
        if name is None:
            assert organization is not None
            self.fl.organizations.update(organization, max_running=limit)
        else:
            self.fl.job_types.limit(name, organization=organization, max_running=limit)
        self.limits[organization, name] = limit

    def is_full(self) -> bool:
        """Return True if every waiting job waits at a limit."""
        now = self.runs.now()
        return all(self.fullest(job, now) for job in self.waiting())

    def waiting(self) -> list[Job]:
        return [job for name in EVERYBODY for job in self.fl.list(organization=name, status="queued", limit=1000).items]

    def fullest(self, job: Job, now: Counter[tuple[str, str]]) -> bool:
        subjects = [(job.organization, None), (None, job.job_type), (job.organization, job.job_type)]
        found = [(subject, self.limits.get(subject)) for subject in subjects]
        return any(limit is not None and number_of(subject, now) >= limit for subject, limit in found)

    def limits_hold(self, before: Counter[tuple[str, str]]) -> None:
        """Assert the limits; jobs that ran before a limit came, or was made lower, may run on."""
        self.runs.look_again()
        now = self.runs.now()
        for subject, limit in self.limits.items():
            if limit is not None:
                assert number_of(subject, now) <= max(limit, number_of(subject, before)), subject


def number_of(subject: tuple[str | None, str | None], running: Counter[tuple[str, str]]) -> int:
    organization, name = subject
    return sum(
        number for (one, other), number in running.items() if organization in (None, one) and name in (None, other)
    )
