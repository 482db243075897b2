"""The jobs of a worker whose lease ran out are taken back, once, and by nobody who may be wrong."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import Connection, Table, delete, select, text, update

from fairlane import Job, JobStatus, ParentPolicy, Submission
from fairlane.domain.events import DeadLetterAlert, JobsRescued
from fairlane.engine.stage import Stage
from fairlane.store.tables import jobs, live, workers
from fairlane.testing import ManualClock
from tests.engine.worker_kit import Engine, engine
from tests.engine.worker_outages import held_job
from tests.engine.worker_store import LEASE, Member, later, member, nothing, registered
from tests.patience import PATIENCE


@pytest.fixture
def fl(database_url: str, clock: ManualClock) -> Iterator[Engine]:
    with engine(database_url, clock=clock, dead_letter_alert=1) as fl:
        nothing(fl)
        yield fl


@pytest.fixture
def survivor(fl: Engine) -> Member:
    """A worker whose heartbeat has succeeded for a full lease."""
    survivor = member(fl, "survivor")
    survivor.is_steady()
    return survivor


def lose(fl: Engine, clock: ManualClock, survivor: Member) -> UUID:
    """Another worker claims what there is and falls silent until its lease has run out."""
    lost = member(fl, "lost")
    lost.claim()
    later(clock, LEASE + 0.1, survivor)
    return lost.card.id


def test_a_lost_workers_job_runs_again(
    fl: Engine, clock: ManualClock, survivor: Member, caplog: pytest.LogCaptureFixture
) -> None:
    job = fl.give("work")
    lost = lose(fl, clock, survivor)
    assert survivor.rescue.run_once() == 1
    assert fl.way(job) == ["queued", "running", "queued"]
    (again,) = survivor.claim()
    assert (again.id, again.attempt) == (job.id, 2)
    assert fl.events.of(JobsRescued) == [JobsRescued(lost, 1, "lost")]
    assert "Jobs taken back from the lost worker lost: 1." in caplog.messages
    assert registered(fl) == {survivor.card.id}


def test_the_lost_attempt_is_recorded_and_no_retry_is_spent(fl: Engine, clock: ManualClock, survivor: Member) -> None:
    job = fl.give("work")
    lose(fl, clock, survivor)
    survivor.rescue.run_once()
    now = fl.look(job)
    assert (now.attempt, now.retry_count, now.next_retry_at) == (1, 0, None)
    rescued = fl.history(job.id, organization="acme")[-1]
    assert rescued.message == "worker lost was lost, rescue 1"
    assert (rescued.attempt, rescued.error_type) == (1, "WorkerLost")


def test_a_running_row_without_a_lease_keeps_no_other_job_from_being_rescued_or_claimed(
    fl: Engine, clock: ManualClock, survivor: Member
) -> None:
    odd = fl.give("work")
    lost = member(fl, "lost")
    lost.claim()
    job = fl.give("work")
    (taken,) = lost.claim()
    fl.database.write(lambda c: c.execute(update(live).where(live.c.id == odd.id).values(lease_token=None)), of="acme")
    lost.claims.doubt()
    waiting = fl.give("work")
    assert [one.id for one in lost.claim()] == [waiting.id]
    assert taken.id == job.id
    later(clock, LEASE + 0.1, survivor)
    assert survivor.rescue.run_once() == 2
    assert registered(fl) == {survivor.card.id}


@pytest.mark.slow
def test_a_large_claim_whose_answer_was_lost_is_given_back_whole(fl: Engine) -> None:
    fl.submit_many([Submission("work", organization="acme") for _ in range(600)])
    worker = member(fl, "worker", slots=600)
    worker.claim(600)
    worker.claims.doubt()
    rounds = 0
    while worker.claims.is_unsure and (rounds := rounds + 1) < 5:
        worker.claims.give_back(frozenset())
    assert len(fl.list(organization="acme", status=JobStatus.RUNNING).items) == 0


def test_the_third_rescue_sends_the_job_to_dead_letter(fl: Engine, clock: ManualClock, survivor: Member) -> None:
    job = fl.give("work")
    child = fl.give("work", depends_on=[job], on_parent_failure=ParentPolicy.DEAD_LETTER)
    for status in ("queued", "queued", "dead_letter"):
        lose(fl, clock, survivor)
        survivor.rescue.run_once()
        assert fl.look(job).status == status
    assert fl.look(job).error_type == "WorkerLost"
    assert "3 times while it had the job" in str(fl.look(job).error_message)
    assert fl.look(child).status == "dead_letter"
    assert fl.events.of(DeadLetterAlert) == [DeadLetterAlert("acme", 2)]


def test_neighbours_of_a_killer_are_queued_apart_and_the_one_that_kills_again_is_dead_lettered(
    fl: Engine, clock: ManualClock, survivor: Member
) -> None:
    given = [fl.give("work") for _ in range(3)]
    for _ in range(3):
        lose(fl, clock, survivor)
        survivor.rescue.run_once()
    assert {fl.look(job).status for job in given} == {"queued"}
    at_once = [job for job in given if fl.look(job).next_retry_at is None]
    assert len(at_once) == 1
    assert len({fl.look(job).next_retry_at for job in given}) == 3
    lose(fl, clock, survivor)
    survivor.rescue.run_once()
    assert fl.look(at_once[0]).status == "dead_letter"
    assert sorted(fl.look(job).status for job in given) == ["dead_letter", "queued", "queued"]


def test_a_suspect_that_ran_on_while_another_started_is_cleared_and_runs_again_at_once(
    fl: Engine, clock: ManualClock, survivor: Member
) -> None:
    given = [fl.give("work") for _ in range(2)]
    for _ in range(3):
        lose(fl, clock, survivor)
        survivor.rescue.run_once()
    lost = member(fl, "lost")
    (innocent,) = lost.claim()
    # The other's time comes, and it takes the worker down.
    later(clock, 2 * LEASE + 1, survivor, lost)
    Stage(fl.database, fl.database.hint).run_once()
    (killer,) = lost.claim()
    later(clock, LEASE + 0.1, survivor)
    survivor.rescue.run_once()
    statuses = {job.id: fl.look(job).status for job in given}
    assert statuses == {innocent.id: "queued", killer.id: "dead_letter"}
    (again,) = survivor.claim()
    assert again.id == innocent.id


def test_a_worker_with_a_valid_lease_keeps_its_jobs(fl: Engine, clock: ManualClock, survivor: Member) -> None:
    job = fl.give("work")
    member(fl, "alive").claim()
    clock.advance(LEASE - 0.1)
    assert not survivor.rescue.run_once()
    assert fl.look(job).status == "running"


def test_nobody_rescues_before_its_own_heartbeat_has_succeeded_for_a_full_lease(fl: Engine, clock: ManualClock) -> None:
    """After an outage of the database every lease has run out, those of healthy workers too."""
    job = fl.give("work")
    healthy, fresh = member(fl, "healthy"), member(fl, "fresh")
    healthy.claim()
    clock.advance(10 * LEASE)
    fresh.heartbeat.run_once()
    assert not fresh.rescue.run_once()
    healthy.heartbeat.run_once()
    fresh.is_steady()
    assert not fresh.rescue.run_once()
    assert fl.look(job).status == "running"


def test_a_step_of_the_databases_clock_costs_no_living_worker_its_jobs(
    fl: Engine, clock: ManualClock, survivor: Member
) -> None:
    """Every lease has run out by the new time; the rescuer may look before anybody's next beat, or after its own."""
    job = fl.give("work")
    healthy = member(fl, "healthy")
    healthy.claim()
    clock.advance(10 * LEASE)
    assert not survivor.rescue.run_once()
    survivor.heartbeat.run_once()
    assert not survivor.rescue.run_once()
    later(clock, LEASE + 0.1, healthy, survivor)
    assert survivor.heartbeat.may_rescue()
    assert not survivor.rescue.run_once()
    assert fl.look(job).status == "running"


def test_who_is_lost_when_the_databases_clock_steps_is_rescued_a_lease_later(
    fl: Engine, clock: ManualClock, survivor: Member
) -> None:
    fl.give("work")
    member(fl, "lost").claim()
    clock.advance(10 * LEASE)
    later(clock, LEASE + 0.1, survivor)
    assert not survivor.rescue.run_once()
    later(clock, LEASE / 3, survivor)
    assert survivor.rescue.run_once() == 1


def test_a_rescue_that_had_to_wait_beyond_the_lease_takes_nothing(
    fl: Engine, clock: ManualClock, survivor: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same lock may hold up the beats of living workers, too; the rescuer had asked if it may before it waited."""
    job = fl.give("work")
    member(fl, "healthy").claim()
    asked, may = threading.Event(), survivor.heartbeat.may_rescue

    def may_rescue() -> bool:
        answer = may()
        asked.set()
        return answer

    monkeypatch.setattr(survivor.heartbeat, "may_rescue", may_rescue)
    with ThreadPoolExecutor(1) as threads:

        def hold(connection: Connection) -> "Future[int | None]":
            if fl.database.kind.is_server:
                connection.execute(text("LOCK TABLE fairlane_workers"))
            rescuing = threads.submit(survivor.rescue.run_once)
            assert asked.wait(PATIENCE)
            clock.advance(LEASE + 0.1)
            survivor.monotonic.now += LEASE + 0.1
            return rescuing

        assert fl.database.write(hold).result(PATIENCE) == 0
    assert fl.look(job).status == "running"


def test_a_cancel_that_was_acknowledged_outlives_its_worker(fl: Engine, clock: ManualClock, survivor: Member) -> None:
    job = fl.give("work", user="ana")
    lost = member(fl, "lost")
    lost.claim()
    fl.cancel(job.id, organization="acme", user="ana")
    later(clock, LEASE + 0.1, survivor)
    survivor.rescue.run_once()
    assert fl.way(job) == ["queued", "running", "canceled"]
    assert fl.look(job).canceled_by == "ana"
    assert "worker lost was lost" in fl.reasons(job)


def test_two_rescuers_take_a_lost_workers_jobs_once(fl: Engine, clock: ManualClock, survivor: Member) -> None:
    second = member(fl, "second")
    second.is_steady()
    given = [fl.give("work") for _ in range(5)]
    member(fl, "lost").claim()
    later(clock, LEASE + 0.1, survivor, second)
    assert [survivor.rescue.run_once(), second.rescue.run_once(), survivor.rescue.run_once()] == [5, 0, 0]
    assert {fl.look(job).attempt for job in given} == {1}
    assert all(fl.way(job) == ["queued", "running", "queued"] for job in given)


def test_all_lost_workers_are_found(fl: Engine, clock: ManualClock, survivor: Member) -> None:
    for name in ("first", "second", "third"):
        fl.give("work")
        member(fl, name).claim()
    later(clock, LEASE + 0.1, survivor)
    assert sum(survivor.rescue.run_once() or 0 for _ in range(3)) == 3
    assert registered(fl) == {survivor.card.id}


def test_lost_workers_without_jobs_keep_nobody_waiting(fl: Engine, clock: ManualClock, survivor: Member) -> None:
    for number in range(5):
        member(fl, f"idle {number}")
    fl.give("work")
    lose(fl, clock, survivor)
    assert survivor.rescue.run_once() == 1
    assert registered(fl) == {survivor.card.id}


def test_jobs_whose_worker_s_row_is_gone_are_taken_back(fl: Engine, clock: ManualClock, survivor: Member) -> None:
    """Somebody deleted it by hand; no lease would ever run out."""
    job, kept = fl.give("work"), fl.give("work")
    gone = member(fl, "gone")
    gone.claim(1)
    survivor.claim(1)
    fl.database.write(lambda connection: connection.execute(delete(workers).where(workers.c.id == gone.card.id)))
    assert [survivor.rescue.run_once(), survivor.rescue.run_once()] == [1, 0]
    assert fl.way(job) == ["queued", "running", "queued"]
    assert fl.look(kept).status == "running"
    assert fl.events.of(JobsRescued) == [JobsRescued(gone.card.id, 1, str(gone.card.id))]


def test_a_worker_that_is_back_finds_its_lease_lost(fl: Engine, clock: ManualClock, survivor: Member) -> None:
    job = fl.give("work")
    presumed_dead = member(fl, "presumed dead")
    (ready,) = presumed_dead.claim()
    later(clock, LEASE + 0.1, survivor)
    survivor.rescue.run_once()
    (again,) = survivor.claim()
    presumed_dead.heartbeat.run_once()
    assert registered(fl) == {survivor.card.id, presumed_dead.card.id}
    assert again.lease_token != ready.lease_token
    assert lease_of(fl, job) == again.lease_token


def test_a_lost_worker_whose_rows_somebody_holds_keeps_no_other_waiting(postgres_url: str, clock: ManualClock) -> None:
    with engine(postgres_url, clock=clock) as fl:
        nothing(fl)
        survivor = member(fl)
        survivor.is_steady()
        held, free = fl.give("work"), fl.give("work")
        member(fl, "first").claim(1)
        later(clock, 1.0, survivor)
        lose(fl, clock, survivor)
        with held_job(fl, held):
            assert survivor.rescue.run_once() == 1
            assert fl.look(free).status == "queued"
            assert not survivor.rescue.run_once()
        assert survivor.rescue.run_once() == 1
        assert fl.look(held).status == "queued"


@pytest.mark.parametrize("table", [live, jobs], ids=["its state", "its facts"])
def test_a_job_that_somebody_holds_is_rescued_when_it_is_free(
    postgres_url: str, clock: ManualClock, table: Table
) -> None:
    """A host may hold the facts, which its own tables refer to."""
    with engine(postgres_url, clock=clock) as fl:
        nothing(fl)
        survivor = member(fl)
        survivor.is_steady()
        held, free = fl.give("work"), fl.give("work")
        lose(fl, clock, survivor)
        with held_job(fl, held, table):
            assert survivor.rescue.run_once() == 1
            # Nothing to do for now, so that the service does not spin.
            assert not survivor.rescue.run_once()
        assert fl.look(free).status == "queued"
        assert fl.look(held).status == "running"
        assert survivor.rescue.run_once() == 1
        assert fl.look(held).status == "queued"


@pytest.mark.parametrize("way", ["lost", "leaves", "doubts"])
def test_jobs_that_somebody_holds_keep_none_of_their_worker_s_waiting(
    postgres_url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """They filled each batch."""
    for service in ("rescue", "claiming"):
        monkeypatch.setattr(f"fairlane.engine.{service}._BATCH", 1)
    with engine(postgres_url, clock=clock) as fl:
        nothing(fl)
        survivor = member(fl)
        survivor.is_steady()
        held, free = fl.give("work"), fl.give("work")
        leaving = member(fl, "leaving")
        leaving.claim()
        with held_job(fl, held, jobs):
            if way == "lost":
                later(clock, LEASE + 0.1, survivor)
                assert survivor.rescue.run_once() == 1
            elif way == "leaves":
                assert leaving.claims.leave() == 1
            else:
                assert leaving.claims.give_back(frozenset()) == 1
                assert leaving.claims.is_unsure
        assert [fl.look(one).status for one in (held, free)] == ["running", "queued"]


def lease_of(fl: Engine, job: Job) -> UUID:
    mine = select(live.c.lease_token).where(live.c.organization_id == "acme", live.c.id == job.id)
    token: UUID = fl.database.read(lambda connection: connection.scalars(mine).one())
    return token
