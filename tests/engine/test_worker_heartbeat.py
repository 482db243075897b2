"""The heartbeat keeps the worker's lease, and knows when it may judge the leases of others."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from fairlane import StorageUnavailable
from fairlane.domain.events import StorageBack, StorageLost
from fairlane.engine.heartbeat import Heartbeat
from fairlane.store.statements import workers
from fairlane.store.statements.workers import WorkerCard
from fairlane.testing import ManualClock
from tests.engine.worker_kit import Engine, engine, running, until
from tests.engine.worker_outages import held_table
from tests.engine.worker_store import LEASE, Member, later, member, nothing, registered
from tests.patience import PATIENCE
from tests.store.races.race import waiting_for_locks


@pytest.fixture
def fl(database_url: str, clock: ManualClock) -> Iterator[Engine]:
    with engine(database_url, clock=clock) as fl:
        nothing(fl)
        yield fl


@pytest.fixture
def worker(fl: Engine) -> Member:
    return member(fl)


def test_the_first_beat_registers_the_worker(fl: Engine, worker: Member) -> None:
    (row,) = fl.database.read(lambda connection: workers.all_workers(connection, fl.database.clock))
    assert (row.id, row.name, row.slots, row.queues) == (worker.card.id, "worker", 10, "null")
    assert row.job_types == '["work"]'
    assert not row.stopping


def test_every_beat_extends_the_lease(fl: Engine, worker: Member, clock: ManualClock) -> None:
    for _ in range(3):
        clock.advance(LEASE - 0.1)
        assert registered(fl) == {worker.card.id}
        worker.heartbeat.run_once()


def test_without_a_beat_the_lease_runs_out(fl: Engine, worker: Member, clock: ManualClock) -> None:
    clock.advance(LEASE + 0.1)
    assert registered(fl) == set()
    assert worker.claim() == []


def test_a_worker_that_was_given_up_registers_again(fl: Engine, worker: Member) -> None:
    fl.database.write(lambda connection: workers.remove(connection, worker.card.id))
    assert registered(fl) == set()
    worker.heartbeat.run_once()
    assert registered(fl) == {worker.card.id}


def test_a_worker_that_was_given_up_claims_nothing_before_it_is_registered_again(fl: Engine, worker: Member) -> None:
    fl.give("work")
    fl.database.write(lambda connection: workers.remove(connection, worker.card.id))
    assert worker.claim() == []
    worker.heartbeat.run_once()
    assert len(worker.claim()) == 1


def test_a_stopping_worker_says_so(fl: Engine, worker: Member) -> None:
    worker.heartbeat.say_stopping()
    worker.heartbeat.run_once()
    (row,) = fl.database.read(lambda connection: workers.all_workers(connection, fl.database.clock))
    assert row.stopping


def test_it_may_not_rescue_before_it_has_succeeded_for_a_full_lease(worker: Member) -> None:
    for _ in range(3):
        assert not worker.heartbeat.may_rescue()
        worker.monotonic.now += LEASE / 3
        worker.heartbeat.run_once()
    assert worker.heartbeat.may_rescue()


def test_it_may_not_rescue_while_its_own_last_success_is_long_ago(worker: Member) -> None:
    worker.is_steady()
    worker.monotonic.now += LEASE
    assert not worker.heartbeat.may_rescue()


def test_after_a_failed_beat_the_full_lease_begins_anew(worker: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.is_steady()
    with monkeypatch.context() as patch:
        patch.setattr(worker.fl.database, "write", unavailable)
        with pytest.raises(StorageUnavailable):
            worker.heartbeat.run_once()
    worker.heartbeat.run_once()
    assert not worker.heartbeat.may_rescue()
    worker.is_steady()
    assert worker.heartbeat.may_rescue()


def test_after_a_gap_without_a_beat_the_full_lease_begins_anew(worker: Member) -> None:
    """A machine that slept, or a thread that did not get to run, is an outage too."""
    worker.is_steady()
    worker.monotonic.now += 10 * LEASE
    worker.heartbeat.run_once()
    assert not worker.heartbeat.may_rescue()


def test_at_no_moment_of_a_beat_that_ends_a_gap_may_it_rescue(worker: Member) -> None:
    """Another thread asks, while the beat is written down."""
    worker.is_steady()
    worker.monotonic.now += 10 * LEASE
    heartbeat, answers = worker.heartbeat, list[bool]()

    class Watched(Heartbeat):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            answers.append(self.may_rescue())

    heartbeat.__class__ = Watched
    heartbeat.run_once()
    assert answers
    assert not any(answers)


def test_it_knows_whether_its_lease_lasted_all_the_time(worker: Member) -> None:
    now, heartbeat = worker.monotonic, worker.heartbeat
    began = now.now
    worker.is_steady()
    assert heartbeat.has_kept_lease(began)
    now.now += LEASE + 0.1
    assert not heartbeat.has_kept_lease(began)
    heartbeat.run_once()
    assert not heartbeat.has_kept_lease(began)
    assert heartbeat.has_kept_lease(now.now)


def on_its_way(worker: Member, monkeypatch: pytest.MonkeyPatch, *, before: float = 0.0, after: float = 0.0) -> None:
    """Beat, and let the beat take so many seconds before it extends the lease, and after that until it is back."""
    write = workers.beat

    def beat(*arguments: Any, **options: Any) -> bool:
        worker.monotonic.now += before
        is_extended = write(*arguments, **options)
        worker.monotonic.now += after
        return is_extended

    with monkeypatch.context() as patch:
        patch.setattr(workers, "beat", beat)
        worker.heartbeat.run_once()


def test_its_lease_lasts_no_longer_for_the_time_that_the_answer_to_the_beat_took(
    worker: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, heartbeat = worker.monotonic, worker.heartbeat
    on_its_way(worker, monkeypatch, after=4.0)
    began = now.now
    now.now += LEASE - 4.0
    assert heartbeat.has_kept_lease(began)
    now.now += 0.1
    assert not heartbeat.has_kept_lease(began)


def test_a_beat_that_was_sent_in_time_and_came_too_late_has_not_kept_the_lease(
    worker: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = worker.monotonic.now
    worker.monotonic.now += LEASE - 1.0
    on_its_way(worker, monkeypatch, before=1.1)
    assert not worker.heartbeat.has_kept_lease(began)
    assert worker.heartbeat.has_kept_lease(worker.monotonic.now)


def test_others_have_a_full_lease_from_when_a_beat_had_come_through(
    worker: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent into an outage, it may have waited for the database as theirs did."""
    worker.monotonic.now += 10 * LEASE
    on_its_way(worker, monkeypatch, before=LEASE / 3)
    for _ in range(3):
        assert not worker.heartbeat.may_rescue()
        worker.monotonic.now += LEASE / 3
        worker.heartbeat.run_once()
    assert worker.heartbeat.may_rescue()


def test_a_slow_beat_hides_no_step_of_the_databases_clock(
    fl: Engine, worker: Member, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_its_way(worker, monkeypatch, after=4.0)
    clock.advance(LEASE / 3 + 0.1)
    assert worker.heartbeat.sees_a_step(fl.database.read(clock.lease_seconds))


def test_after_a_step_of_the_databases_clock_the_full_lease_begins_anew(worker: Member, clock: ManualClock) -> None:
    worker.is_steady()
    clock.advance(LEASE)
    worker.heartbeat.run_once()
    assert not worker.heartbeat.may_rescue()
    later(clock, LEASE, worker)
    assert worker.heartbeat.may_rescue()


def test_a_clock_that_is_set_by_less_than_a_beat_disturbs_nobody(worker: Member, clock: ManualClock) -> None:
    worker.is_steady()
    for seconds in (LEASE / 3 - 0.1, -LEASE):
        clock.advance(seconds)
        worker.heartbeat.run_once()
        assert worker.heartbeat.may_rescue()


@pytest.mark.parametrize("error", [StorageUnavailable("away"), ZeroDivisionError("a mistake of ours")])
def test_no_error_ends_the_heartbeat(fl: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    card = member(fl).card
    heartbeat = made(fl, card, 0.3)
    heartbeat.start()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(fl.database, "write", lambda _: raise_(error))
            fl.events.wait(StorageLost, service="heartbeat", times=2)
        fl.events.wait(StorageBack, service="heartbeat")
    finally:
        heartbeat.stop()


def test_a_heartbeat_that_was_stopped_lets_the_lease_run_out(fl: Engine, clock: ManualClock) -> None:
    worker = member(fl)
    heartbeat = made(fl, worker.card, 0.03)
    heartbeat.start()
    heartbeat.stop()
    clock.advance(LEASE + 0.1)
    until(lambda: registered(fl) == set())


def test_whose_keys_it_lacks_is_told_anew_to_who_gave_it_up_and_forgotten_with_it(fl: Engine) -> None:
    worker = member(fl)

    def lacking(organization: str) -> frozenset[UUID]:
        return fl.database.write(lambda connection: workers.lacking_key_of(connection, organization))

    worker.locked = frozenset({"acme", "rival"})
    worker.heartbeat.run_once()
    assert lacking("acme") == lacking("rival") == {worker.card.id}
    fl.database.write(lambda connection: workers.remove(connection, worker.card.id))
    assert lacking("acme") == frozenset()
    worker.heartbeat.run_once()
    assert lacking("acme") == {worker.card.id}
    worker.locked = frozenset({"rival"})
    worker.heartbeat.run_once()
    assert lacking("acme") == frozenset()
    assert lacking("rival") == {worker.card.id}


def test_whose_keys_it_lacks_is_told_again_after_a_beat_of_which_nobody_knows_if_it_was_kept(
    fl: Engine, worker: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.locked = frozenset({"acme"})
    worker.heartbeat.run_once()
    with monkeypatch.context() as patch:
        patch.setattr(fl.database, "write", unavailable)
        with pytest.raises(StorageUnavailable):
            worker.heartbeat.run_once()
    fl.database.write(lambda connection: workers.tell_locked(connection, worker.card.id, ["rival"]))
    worker.heartbeat.run_once()
    assert fl.database.write(lambda connection: workers.lacking_key_of(connection, "rival")) == frozenset()


def unavailable(_: Any) -> None:
    raise StorageUnavailable("The database did not answer.")


def raise_(error: Exception) -> None:
    raise error


def test_a_beat_waits_for_no_open_claim(postgres_url: str) -> None:
    """Or a slow claim would cost the lease."""
    with engine(postgres_url, lease=0.3, lock_timeout=PATIENCE) as fl:
        nothing(fl)
        fl.queues.pause("default")
        job = fl.give("work")
        with running(fl.worker()):
            until(fl.workers.list)
            with held_table(postgres_url, "fairlane_execution_log"):
                fl.queues.resume("default")
                until(lambda: waiting_for_locks(postgres_url))
                # A machine that is busy may have the worker miss a lease: then it is not listed for a moment.
                since = fl.database.read(fl.database.clock.now)
                until(lambda: any(one.heartbeat_at > since for one in fl.workers.list()))
                assert waiting_for_locks(postgres_url)
            assert fl.ended(job).status == "completed"


def made(fl: Engine, card: WorkerCard, lease: float) -> Heartbeat:
    return Heartbeat(fl.database, card, lease, fl.events, left_behind=int, locked=frozenset, on_drain=bool)
