"""Claims under a limit, side by side: it is never passed, and holds up nothing that is not under it (R4)."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url, select, text

from fairlane import JobStatus
from fairlane.domain.limits import Subject
from fairlane.engine.cleanup import Cleanup
from fairlane.store.statements import running_limits
from fairlane.store.tables import quotas
from fairlane.testing import ManualClock
from tests.engine.worker_kit import engine
from tests.engine.worker_store import give, job_type, later, member, organizations
from tests.patience import PATIENCE
from tests.store.races.race import Race, at_once

WINDOW = 60.0
DAY = 86_400.0


def before_the_lock(monkeypatch: pytest.MonkeyPatch, other: Callable[[], object]) -> None:
    """Something happens while the next claim is between its begin and its lock."""
    lock = running_limits.lock

    def late(*arguments: Any) -> Any:
        monkeypatch.setattr(running_limits, "lock", lock)
        other()
        return lock(*arguments)

    monkeypatch.setattr(running_limits, "lock", late)


def test_a_limit_that_somebody_claims_under_holds_up_only_what_is_under_it(postgres_url: str) -> None:
    with engine(postgres_url) as fl:
        job_type(fl, "pdf", max_running=5)
        job_type(fl, "mail")
        fl.organizations.create("rival", max_running=5)
        give(fl, 2)
        give(fl, 2, "mail")
        give(fl, 2, "mail", "rival")
        worker, race = member(fl), Race(fl.database, postgres_url)
        worker.claims.lanes.now()
        held = "SELECT 1 FROM fairlane_quotas WHERE organization_id = '' AND subject = 'limit/pdf' FOR UPDATE"
        with race.open() as claiming:
            claiming.execute(text(held)).one()
            ready = race.passes(worker.claim).result()
            assert Counter(one.job_type for one in ready) == {"mail": 4}
            assert worker.claims.is_hungry
        assert [len(worker.claim()), len(worker.claim())] == [2, 0]
        assert not worker.claims.is_hungry
        race.close()


@pytest.mark.parametrize(
    "change",
    ["INSERT INTO fairlane_quotas VALUES ('acme', 'limit', now())", "UPDATE fairlane_quotas SET used_at = now()"],
)
def test_a_limit_s_row_that_somebody_writes_holds_up_only_what_is_under_it(postgres_url: str, change: str) -> None:
    with engine(postgres_url) as fl:
        job_type(fl, "pdf")
        fl.organizations.create("rival", max_running=5)
        if change.startswith("UPDATE"):
            fl.organizations.update("acme", max_running=5)
            give(fl, 1)
            assert len(member(fl).claim()) == 1
        fl.organizations.update("acme", max_running=5)
        give(fl, 2)
        give(fl, 2, organization="rival")
        worker, race = member(fl), Race(fl.database, postgres_url)
        with race.open(commit=False) as writing:
            writing.execute(text(change))
            assert organizations(worker.claim()) == {"rival": 2}
            assert worker.claims.is_hungry
        assert organizations(worker.claim()) == {"acme": 2}
        race.close()


def test_a_claim_that_hangs_holds_up_no_organization_but_those_whose_limits_it_has(postgres_url: str) -> None:
    """However often it is their turn before the others'."""
    with engine(postgres_url) as fl:
        job_type(fl, "pdf")
        names = [f"o{number:02}" for number in range(20)]
        for name in names:
            fl.organizations.create(name, max_running=1)
            give(fl, 1, organization=name)
        worker, race = member(fl, slots=30), Race(fl.database, postgres_url)
        worker.claims.lanes.now()
        held = "SELECT 1 FROM fairlane_quotas WHERE organization_id < 'o09' FOR UPDATE"
        started: Counter[str] = Counter()
        with race.open() as hanging:
            assert len(hanging.execute(text(held)).all()) == 9
            for _ in range(6):
                started += organizations(race.passes(partial(worker.claim, 2)).result())
            assert started == dict.fromkeys(names[9:], 1)
            assert worker.claims.is_held_up
        race.close()


def test_a_limit_of_all_organizations_that_is_held_has_nobody_s_own_limit_locked_in_vain(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine(postgres_url) as fl:
        job_type(fl, "pdf", max_running=9)
        for number in range(20):
            fl.organizations.create(f"o{number:02}", max_running=1)
            give(fl, 1, organization=f"o{number:02}")
        worker, race = member(fl), Race(fl.database, postgres_url)
        worker.claims.lanes.now()
        lock, locked = running_limits.lock, set()

        def remember(*arguments: Any) -> Any:
            locked.update(arguments[1])
            return lock(*arguments)

        monkeypatch.setattr(running_limits, "lock", remember)
        with race.open() as claiming:
            claiming.execute(text("SELECT 1 FROM fairlane_quotas WHERE organization_id = '' FOR UPDATE")).one()
            assert race.passes(partial(worker.claim, 2)).result() == []
        assert len({one.organization for one in locked if one.organization}) == 2
        race.close()


def test_a_claim_counts_what_was_claimed_before_it_got_the_lock(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the database's default is that a transaction sees what was there when it began."""
    name = make_url(postgres_url).database
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    with engine(postgres_url) as fl:
        job_type(fl, "pdf", max_running=3)
        give(fl, 9)
        first, second = member(fl, "first"), member(fl, "second")
        before_the_lock(monkeypatch, lambda: second.claim(2))
        assert len(first.claim()) == 1


def test_no_window_is_passed_by_a_claim_that_began_before_another_and_got_the_lock_after_it(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    with engine(postgres_url, clock=clock) as fl:
        job_type(fl, "pdf", execution_rate=10, execution_rate_window=WINDOW)
        give(fl, 30)
        first, second = member(fl, "first"), member(fl, "second")
        first.end(*first.claim(10))
        later(clock, WINDOW - 0.1, first, second)

        def beside() -> None:
            clock.advance(0.2)
            assert len(second.claim(5)) == 5

        before_the_lock(monkeypatch, beside)
        first.claim(10)
        with fl.database.engine.connect() as connection:
            log = connection.execute(text("SELECT at FROM fairlane_execution_log WHERE to_status = 'running'"))
            starts = list(log.scalars())
    assert len(starts) == 20
    for one in starts:
        assert sum(0 <= (one - other).total_seconds() < WINDOW for other in starts) <= 10


def test_starts_of_a_long_window_are_few_rows_and_pass_it_nowhere(database_url: str) -> None:
    """Every claim sums them up: a row for each claim of a day would be 864,000."""
    clock = ManualClock(datetime(2026, 11, 1, tzinfo=UTC))
    with engine(database_url, clock=clock) as fl:
        job_type(fl, "pdf", execution_rate=20, execution_rate_window=DAY)
        give(fl, 40)
        hand = member(fl, "first")
        for _ in range(10):
            hand.end(*hand.claim(2))
            later(clock, 1, hand)
        with fl.database.engine.connect() as connection:
            assert connection.execute(text("SELECT count(*), sum(number) FROM fairlane_starts")).one() == (2, 20)
        # The last of the first slice, which is 8.64 s long, came after 8 s, and the one of the second after 9.
        for seconds, jobs in ((DAY - 3, 0), (1.5, 18), (1, 2)):
            later(clock, seconds, hand)
            assert len(hand.claim(40)) == jobs


def test_a_start_counts_once_where_a_longer_window_has_several_rows_in_a_slice(database_url: str) -> None:
    clock = ManualClock(datetime(2026, 11, 1, tzinfo=UTC))
    with engine(database_url, clock=clock) as fl:
        job_type(fl, "pdf", execution_rate=20, execution_rate_window=60)
        give(fl, 40)
        hand = member(fl, "first")
        for _ in range(5):
            hand.end(*hand.claim(1))
            later(clock, 0.1, hand)
        fl.job_types.limit("pdf", execution_rate=20, execution_rate_window=DAY)
        later(clock, 0.1, hand)
        for _ in range(5):
            hand.end(*hand.claim(1))
            later(clock, 0.1, hand)
        with fl.database.engine.connect() as connection:
            assert connection.execute(text("SELECT count(*), sum(number) FROM fairlane_starts")).one() == (5, 10)
        assert len(hand.claim(40)) == 10


def test_a_drain_waits_for_who_claims_under_the_same_limit(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine(postgres_url) as fl:
        job_type(fl, "pdf", max_running=5)
        fl.drain()
        job = fl.give("pdf")
        race, looks, lock = Race(fl.database, postgres_url), threading.Semaphore(0), running_limits.lock

        def seen(*arguments: Any) -> Any:
            locked = lock(*arguments)
            looks.release()
            return locked

        monkeypatch.setattr(running_limits, "lock", seen)
        held = "INSERT INTO fairlane_quotas (organization_id, subject, used_at) VALUES ('', 'limit/pdf', now())"
        with fl.database.engine.begin() as connection:
            connection.execute(text(held))
        with race.open() as claiming:
            claiming.execute(text("SELECT 1 FROM fairlane_quotas FOR UPDATE")).all()
            drained = race.starts(fl.drain)
            for _ in range(2):  # the second is its last, if it gives up
                assert looks.acquire(timeout=PATIENCE)
        drained.result(PATIENCE)
        assert fl.look(job).status == "completed"
        race.close()


def test_a_limit_whose_quota_row_was_cleaned_up_holds_and_lets_start_what_may(postgres_url: str) -> None:
    """A worker makes it once, and clean-up takes it a day later, with those of limits that are long gone."""
    clock = ManualClock()
    with engine(postgres_url, clock=clock) as fl:
        job_type(fl, "pdf", max_running=1)
        give(fl, 3)
        worker = member(fl)
        worker.end(*worker.claim())
        clock.advance(2 * DAY)
        Cleanup(fl.database, fl.artifacts, 9 * DAY).run_once()
        worker.heartbeat.run_once()
        assert fl.database.read(lambda connection: connection.execute(select(quotas)).all()) == []
        assert worker.claim() == []
        assert worker.claims.is_held_up
        assert [len(worker.claim()), len(worker.claim())] == [1, 0]


def test_clean_up_leaves_a_quota_row_under_which_somebody_claims(postgres_url: str) -> None:
    clock = ManualClock()
    with engine(postgres_url, clock=clock) as fl:
        job_type(fl, "pdf", max_running=1)
        give(fl, 1)
        member(fl).claim()
        clock.advance(2 * DAY)
        race = Race(fl.database, postgres_url)
        with race.open() as claiming:
            running_limits.lock(claiming, [Subject(None, "pdf")])
            race.passes(Cleanup(fl.database, fl.artifacts, 9 * DAY).run_once).result()
        assert len(fl.database.read(lambda connection: connection.execute(select(quotas)).all())) == 1
        race.close()


def test_workers_that_meet_a_new_limit_at_once_start_as_many_as_may(database_url: str) -> None:
    with engine(database_url) as fl:
        job_type(fl, "pdf", max_running=4)
        give(fl, 9)
        workers = [member(fl, f"worker {number}") for number in range(4)]
        at_once([worker.claim for worker in workers])
        assert fl.metrics().jobs_by_status[JobStatus.RUNNING] <= 4
        workers[0].claim()
        assert fl.metrics().jobs_by_status[JobStatus.RUNNING] == 4
