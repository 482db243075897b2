"""R16, with workers that run: what fails and fails is left alone, then tried once."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator
from sqlalchemy import update

from fairlane import (
    Fairlane,
    InvalidParameters,
    Job,
    JobContext,
    JobStatus,
    PermanentError,
    Snooze,
    StorageUnavailable,
)
from fairlane.domain.breaker import REST, Outcomes, Pair
from fairlane.domain.events import BreakerClosed, BreakerOpened
from fairlane.domain.statuses import PASSING
from fairlane.engine.breakers import Breakers, Tally
from fairlane.engine.cleanup import Cleanup
from fairlane.store.statements import outcomes
from fairlane.store.tables import jobs as facts
from fairlane.store.transaction import Database
from fairlane.testing import ManualClock
from tests.engine.sealed_engine import FIRST
from tests.engine.test_worker_files import left
from tests.engine.worker_kit import Engine, running

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
COMPLETED, QUEUED, DEAD = JobStatus.COMPLETED, JobStatus.QUEUED, JobStatus.DEAD_LETTER


class Clinic(Engine):
    """An engine whose type "operate" fails while `is_ill`, and whose type "visit" never fails."""

    is_ill = True

    def statuses(self, jobs: list[Job]) -> list[JobStatus]:
        return [self.look(job).status for job in jobs]

    def jobs(self, number: int, **options: Any) -> list[Job]:
        return [self.give("operate", **options) for _ in range(number)]

    def drained(self, jobs: list[Job]) -> set[tuple[JobStatus, str | None]]:
        """Drain, and say how these jobs stand then."""
        self.drain()
        return {(job.status, job.error_type) for job in map(self.look, jobs)}

    def break_down(self) -> None:
        """Ten failures."""
        self.jobs(10)
        self.drain()

    def counted(self) -> int:
        """Attempts of acme that breakers could go by."""
        pair, start = Pair("acme", "operate"), START.replace(year=1)
        return self.database.read(lambda c: outcomes.since(c, start, [pair]).get(pair, Outcomes()).attempts)

    def pass_time(self, time: timedelta) -> None:
        clock = self.database.clock
        assert isinstance(clock, ManualClock)
        clock.advance(time.total_seconds())


@pytest.fixture
def fl(database_url: str) -> Iterator[Clinic]:
    with Clinic(database_url, clock=ManualClock(START)) as fl:
        fl.organizations.create("acme")
        fl.organizations.create("rival")

        @fl.job_type("operate", dedup_window=0)
        async def operate(ctx: JobContext) -> None:
            if fl.is_ill:
                raise PermanentError("no doctor")

        @fl.job_type("visit", dedup_window=0)
        async def visit(ctx: JobContext) -> None: ...

        yield fl


def test_what_fails_and_fails_waits_and_spends_no_attempt(fl: Clinic) -> None:
    fl.break_down()
    (waiting,) = fl.jobs(1)
    other_type, other_organization = fl.give("visit"), fl.give("operate", organization="rival")
    fl.drain()
    assert (fl.look(waiting).status, fl.look(waiting).attempt) == (QUEUED, 0)
    assert (fl.look(other_type).status, fl.look(other_organization).status) == (COMPLETED, DEAD)
    assert fl.events.of(BreakerOpened) == [BreakerOpened("acme", "operate", START + REST, 10, 10)]
    (breaker,) = fl.job_types.breakers()
    assert (breaker.pair, breaker.until, breaker.trial) == (("acme", "operate"), START + REST, None)


def test_in_maintenance_mode_no_trial_starts(fl: Clinic) -> None:
    fl.break_down()
    (waiting,) = fl.jobs(1)
    fl.pass_time(REST)
    fl.maintenance.on()
    fl.drain()
    assert fl.look(waiting).attempt == 0
    fl.is_ill = False
    fl.maintenance.off()
    fl.drain()
    assert fl.look(waiting).status == COMPLETED


def test_nine_failures_open_nothing(fl: Clinic) -> None:
    fl.jobs(9)
    fl.drain()
    assert fl.job_types.breakers() == ()


def test_fewer_failures_than_half_open_nothing(fl: Clinic) -> None:
    fl.is_ill = False
    fl.jobs(11)
    fl.drain()
    fl.is_ill = True
    fl.break_down()
    assert fl.job_types.breakers() == ()


def test_failures_of_long_ago_do_not_count(fl: Clinic) -> None:
    fl.jobs(9)
    fl.drain()
    fl.pass_time(timedelta(minutes=31))
    fl.jobs(9)
    fl.drain()
    assert fl.job_types.breakers() == ()


def test_what_a_trial_completes_lets_all_others_start(fl: Clinic) -> None:
    fl.break_down()
    jobs = fl.jobs(5)
    fl.pass_time(REST)
    fl.is_ill = False
    fl.drain()
    assert fl.statuses(jobs) == [COMPLETED] * 5
    assert fl.events.of(BreakerClosed) == [BreakerClosed("acme", "operate", None)]
    assert fl.job_types.breakers() == ()


def test_a_trial_that_fails_is_the_only_one_for_another_rest(fl: Clinic) -> None:
    fl.break_down()
    jobs = fl.jobs(5)
    fl.pass_time(REST)
    fl.drain()
    assert sorted(fl.statuses(jobs)) == [DEAD, *[QUEUED] * 4]
    assert fl.events.of(BreakerOpened)[1:] == [BreakerOpened("acme", "operate", START + 2 * REST, 1, 1)]
    fl.pass_time(REST - timedelta(seconds=1))
    fl.drain()
    assert fl.statuses(jobs).count(QUEUED) == 4


def test_a_trial_whose_parameters_the_handler_does_not_take_decides_nothing(fl: Clinic) -> None:
    def even(number: int) -> int:
        if number % 2:
            raise ValueError("it is odd")
        return number

    @fl.job_type("count", max_retries=0, dedup_window=0)
    async def count(ctx: JobContext, number: Annotated[int, AfterValidator(even)]) -> None:
        if fl.is_ill:
            raise InvalidParameters("the handler's own error")

    def submit(number: int) -> Job:
        with Fairlane(fl.settings) as elsewhere:  # where the check is not known
            return elsewhere.submit("count", organization="acme", parameters={"number": number}, dedup_window=0)

    for _ in range(10):
        fl.give("count", parameters={"number": 2})
    fl.drain()
    fl.pass_time(REST)
    fl.give("count", parameters={"number": 2})
    fl.drain()
    assert len(fl.events.of(BreakerOpened)) == 2, "what the handler raises itself fails the trial"
    fl.pass_time(REST)
    fl.is_ill = False
    odd, well = submit(1), submit(2)
    fl.drain()
    fl.give("visit")  # a worker that ends nothing that counts judges trials now and then only
    fl.drain()
    fl.drain()
    assert (fl.look(odd).status, fl.look(odd).error_type) == (DEAD, "InvalidParameters")
    assert fl.look(well).status == COMPLETED
    assert len(fl.events.of(BreakerOpened)) == 2
    assert fl.events.of(BreakerClosed) == [BreakerClosed("acme", "count", None)]


def test_a_sealed_payload_that_can_t_be_decoded_is_no_failure_of_the_handler(database_url: str) -> None:
    with Clinic(database_url, clock=ManualClock(START), encryption_keys=FIRST) as fl:
        fl.organizations.create("acme")
        fl.keys.enable(organization="acme")

        @fl.job_type("operate", dedup_window=0, max_retries=0)
        async def operate(ctx: JobContext) -> None:
            if fl.is_ill:
                raise PermanentError("no doctor")

        @fl.job_type("visit")
        async def visit(ctx: JobContext) -> None: ...

        def damaged(number: int) -> list[Job]:
            given = fl.jobs(number)
            theirs = (facts.c.organization_id == "acme") & facts.c.id.in_([job.id for job in given])
            with fl.database.engine.begin() as connection:
                connection.execute(update(facts).where(theirs).values(parameters="fl1:1:damaged"))
            return given

        assert fl.drained(damaged(10)) == {(DEAD, "InvalidParameters")}
        assert fl.job_types.breakers() == ()
        fl.break_down()
        opened = fl.events.of(BreakerOpened)
        fl.pass_time(REST)
        assert fl.drained(damaged(1)) == {(DEAD, "InvalidParameters")}
        fl.give("visit")  # a worker that ends nothing that counts judges trials now and then only
        fl.drain()
        assert fl.events.of(BreakerOpened) == opened, "its trial decides nothing"
        fl.is_ill = False
        assert fl.drained(fl.jobs(1)) == {(COMPLETED, None)}
        assert fl.events.of(BreakerClosed) == [BreakerClosed("acme", "operate", None)]


def test_a_trial_that_was_told_of_too_many_files_decides_nothing_and_spends_no_retries(fl: Clinic) -> None:
    parent = fl.give("visit")
    fl.drain()
    left(fl, parent.id, 10_001)
    fl.break_down()
    opened = fl.events.of(BreakerOpened)
    fl.pass_time(REST)
    assert fl.drained([fl.give("operate", depends_on=[parent])]) == {(DEAD, "TooManyFiles")}
    fl.give("visit")  # a worker that ends nothing that counts judges trials now and then only
    fl.drain()
    assert fl.events.of(BreakerOpened) == opened
    fl.is_ill = False
    assert fl.drained(fl.jobs(1)) == {(COMPLETED, None)}


def test_after_it_has_closed_only_what_ends_from_then_on_counts(fl: Clinic) -> None:
    fl.break_down()
    fl.jobs(1)
    fl.pass_time(REST)
    fl.is_ill = False
    fl.drain()
    fl.pass_time(timedelta(minutes=1))
    fl.is_ill = True
    fl.jobs(9)
    fl.drain()
    assert fl.job_types.breakers() == ()
    fl.jobs(1)
    fl.drain()
    assert len(fl.job_types.breakers()) == 1


def test_an_operator_lets_all_start_at_once(fl: Clinic) -> None:
    fl.break_down()
    jobs = fl.jobs(3)
    assert fl.job_types.close_breaker("operate", organization="acme", user="olga")
    assert not fl.job_types.close_breaker("operate", organization="acme", user="olga")
    fl.is_ill = False
    fl.drain()
    assert fl.statuses(jobs) == [COMPLETED] * 3
    assert fl.events.of(BreakerClosed) == [BreakerClosed("acme", "operate", "olga")]


async def test_the_verbs_can_be_awaited(fl: Clinic) -> None:
    assert await fl.aio.job_types.breakers() == ()
    assert not await fl.aio.job_types.close_breaker("operate", organization="acme")


def test_ends_that_the_handler_is_not_to_blame_for_count_nothing(fl: Clinic) -> None:
    @fl.job_type("sleep", dedup_window=0)
    async def sleep(ctx: JobContext) -> None:
        raise Snooze(60, "tired")

    fl.members.add("acme", "eva")
    for _ in range(10):
        fl.give("sleep")
        fl.give("sleep", user="eva")
    fl.members.remove("acme", "eva")
    fl.drain()
    assert fl.job_types.breakers() == ()


def test_a_worker_that_goes_on_sees_it_by_itself(fl: Clinic) -> None:
    with running(fl.worker()):
        fl.jobs(10)
        fl.events.wait(BreakerOpened, organization="acme", job_type="operate")


def service(fl: Clinic, tally: Tally) -> Breakers:
    return Breakers(fl.database, uuid4(), tally, fl.emit)


@given(st.lists(st.sampled_from(JobStatus)))
def test_r16_only_ends_that_the_handler_is_to_blame_for_count(ends: list[JobStatus]) -> None:
    tally = Tally()
    tally.add(("acme", "operate", end, 2.0) for end in ends)

    total = tally.take().get(Pair("acme", "operate"), Outcomes())
    assert total.completions == ends.count(JobStatus.COMPLETED)
    assert total.failures == sum(end in PASSING for end in ends)
    assert total.seconds == 2.0 * total.attempts
    assert tally.take() == {}


def ends(number: int, status: JobStatus) -> Tally:
    tally = Tally()
    tally.add([("acme", "operate", status, 1.0)] * number)
    return tally


def failures(number: int) -> Tally:
    return ends(number, JobStatus.TIMED_OUT)


def completions(number: int) -> Tally:
    return ends(number, COMPLETED)


def test_a_failure_opens_it_as_the_tenth_attempt_and_a_completion_does_not(fl: Clinic) -> None:
    for tally in (failures(5), completions(4), completions(1)):
        service(fl, tally).run_once()
    assert fl.job_types.breakers() == ()
    service(fl, failures(1)).run_once()
    assert len(fl.job_types.breakers()) == 1


@pytest.mark.slow
def test_jobs_that_are_retried_once_their_handler_is_mended_all_run(fl: Clinic) -> None:
    fl.is_ill = True
    jobs = [fl.give("operate") for _ in range(9)]
    fl.drain()
    fl.is_ill = False
    for job in jobs:
        fl.retry(job.id, organization="acme")
        fl.drain()
    assert {fl.look(job).status for job in jobs} == {COMPLETED}


def test_completions_that_no_longer_count_make_the_failures_after_them_enough(fl: Clinic) -> None:
    tally = completions(6)
    one = service(fl, tally)
    one.run_once()
    fl.pass_time(timedelta(minutes=20))
    for some in (failures(5), completions(4)):
        tally.add_all(some.take())
        one.run_once()
    assert fl.job_types.breakers() == ()
    fl.pass_time(timedelta(minutes=11))
    tally.add_all(failures(1).take())
    one.run_once()
    assert len(fl.job_types.breakers()) == 1


def test_what_several_workers_saw_counts_together(fl: Clinic) -> None:
    for _ in range(2):
        service(fl, failures(5)).run_once()
    assert len(fl.job_types.breakers()) == 1


def test_what_one_worker_saw_twice_within_a_minute_counts_together(fl: Clinic) -> None:
    tally = failures(5)
    one = service(fl, tally)
    one.run_once()
    tally.add_all(failures(5).take())
    one.run_once()
    assert len(fl.job_types.breakers()) == 1


def test_what_could_not_be_written_is_written_later(fl: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise StorageUnavailable("The database did not answer.")

    one = service(fl, failures(10))
    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", away)
        with pytest.raises(StorageUnavailable):
            one.run_once()
    one.run_once()
    assert len(fl.job_types.breakers()) == 1


def test_a_worker_with_nothing_to_tell_asks_only_now_and_then(fl: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def write(_: Database, work: object) -> list[object]:
        asked.append(work)
        return []

    monkeypatch.setattr(Database, "write", write)
    one = service(fl, Tally())
    for _ in range(20):
        one.run_once()
    assert len(asked) == 2


def test_counts_and_breakers_are_forgotten_after_a_day(fl: Clinic) -> None:
    fl.break_down()
    cleaner = Cleanup(fl.database, fl.artifacts, retention=1e6)
    fl.pass_time(timedelta(days=1))
    cleaner.run_once()
    assert len(fl.job_types.breakers()) == 1
    assert fl.counted() == 10
    fl.pass_time(timedelta(minutes=16))
    cleaner.run_once()
    assert fl.job_types.breakers() == ()
    assert fl.counted() == 0
