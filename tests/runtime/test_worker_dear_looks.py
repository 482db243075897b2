"""Rounds that go by a look that was dear, as while some session holds an old snapshot: they find out less themselves.

They begin where the round before came to, and go by what ran then; only limits are counted as always. What they miss,
the next look finds. Nothing of this is on SQLite, where what is dead stands in no claim's way.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, select

from fairlane.runtime.facts import Ready
from fairlane.store.tables import quotas
from fairlane.testing import ManualClock
from tests.runtime.worker_kit import Engine, engine
from tests.runtime.worker_store import Member, Monotonic, give, job_type, later, member, organizations


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def fl(postgres_url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr("fairlane.runtime.outlook._FELT", -1.0)
    with engine(postgres_url, clock=clock) as fl:
        fl.organizations.create("rival")
        job_type(fl, "pdf")
        yield fl


def keeping(fl: Engine, name: str = "worker", *, slots: int = 10) -> Member:
    """A worker that looks again only when it is told to."""
    worker = member(fl, name, slots=slots)
    outlooks = worker.claims.outlooks
    outlooks.kept = 3600.0
    outlooks.now()  # which takes long, as it seems
    outlooks.drop()
    return worker


def types(ready: list[Ready]) -> Counter[str]:
    return Counter(one.claimed.job_type for one in ready)


def ids(ready: list[Ready]) -> set[UUID]:
    return {one.claimed.id for one in ready}


def priorities(fl: Engine, ready: list[Ready]) -> list[str]:
    return [fl.get(one.claimed.id, organization="acme").priority for one in ready]


def test_rounds_take_each_job_once_and_the_most_urgent_first(fl: Engine) -> None:
    for priority in ("low", "normal", "critical", "normal", "low"):
        give(fl, 1, priority=priority)
    worker = keeping(fl)
    taken = [one for _ in range(6) for one in worker.claim(1)]
    assert priorities(fl, taken) == ["critical", "normal", "normal", "low", "low"]
    assert len(ids(taken)) == 5


def test_what_comes_in_at_the_end_of_a_rung_is_claimed_by_the_next_round(fl: Engine) -> None:
    give(fl, 2)
    worker = keeping(fl)
    assert len(worker.claim(1)) == 1
    give(fl, 1)
    assert len(worker.claim()) == 2


@pytest.mark.parametrize("missed", ["more urgent", "given back"])
def test_what_comes_before_the_place_where_claims_begin_is_found_by_the_next_look(fl: Engine, missed: str) -> None:
    give(fl, 3)
    worker = keeping(fl)
    first, _ = worker.claim(2)
    if missed == "given back":
        job_id = first.claimed.id
        assert worker.claims.give_back(frozenset()) == 2
    else:
        job_id = fl.give("pdf", priority="critical").id
    assert job_id not in ids(worker.claim(1))
    worker.claims.outlooks.drop()
    worker.claim()
    assert fl.get(job_id, organization="acme").status == "running"


def test_a_limit_on_what_runs_is_exact(fl: Engine) -> None:
    job_type(fl, "mail", max_running=2)
    give(fl, 9, "mail")
    first, second = keeping(fl, "first"), keeping(fl, "second")
    ran = first.claim()
    assert types(ran) == {"mail": 2}
    assert second.claim() == []
    first.end(*ran)
    assert types(second.claim()) == {"mail": 2}
    assert first.claim() == []


def test_what_is_limited_has_a_round_after_each_look(fl: Engine) -> None:
    """What runs is counted for it, which is dear, so it waits for the next look while there is anything else."""
    job_type(fl, "mail", max_running=1)
    give(fl, 9, "mail")
    give(fl, 9)
    worker = keeping(fl)
    ran = worker.claim(2)
    assert types(ran) == {"mail": 1, "pdf": 1}
    worker.end(*ran)
    assert types(worker.claim(3)) == {"pdf": 3}
    worker.claims.outlooks.drop()
    assert types(worker.claim(2)) == {"mail": 1, "pdf": 1}


def test_what_is_limited_has_its_round_once_another_worker_s_claim_lets_go(fl: Engine) -> None:
    job_type(fl, "mail", max_running=1)
    give(fl, 1, "mail")
    give(fl, 9)
    worker = keeping(fl)
    with fl.database.engine.begin() as other:
        other.execute(select(quotas).where(quotas.c.subject == "limit/mail").with_for_update())
        assert types(worker.claim(2)) == {"pdf": 2}
    assert types(worker.claim(2)) == {"mail": 1, "pdf": 1}


def test_a_dear_look_is_kept_whatever_is_hinted(fl: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or looking would take all the time while some session holds an old snapshot."""
    for name, seconds in (("_DEAR", 0.0), ("_REST", 1e9), ("_LONGEST", 1e9)):
        monkeypatch.setattr(f"fairlane.runtime.outlook.{name}", seconds)
    give(fl, 2)
    worker = keeping(fl)
    assert organizations(worker.claim(1)) == {"acme": 1}
    give(fl, 1, organization="rival")
    worker.claims.outlooks.hinted()
    assert organizations(worker.claim(1)) == {"acme": 1}


def test_shares_go_by_what_other_workers_ran_at_the_look(fl: Engine) -> None:
    give(fl, 40)
    other, worker = keeping(fl, "other", slots=20), keeping(fl, slots=20)
    assert organizations(other.claim(20)) == {"acme": 20}
    give(fl, 40, organization="rival")
    worker.claims.outlooks.drop()
    assert organizations(worker.claim(20)) == {"acme": 6, "rival": 14}


def test_shares_count_a_worker_s_own_jobs_once(fl: Engine, clock: ManualClock) -> None:
    give(fl, 3)
    worker = keeping(fl)
    worker.claim(2)
    later(clock, 1, worker)
    give(fl, 9, organization="rival")
    give(fl, 9)
    worker.claims.outlooks.drop()
    assert organizations(worker.claim(6)) == {"rival": 4, "acme": 2}


def test_shares_go_by_what_this_worker_still_runs(fl: Engine, clock: ManualClock) -> None:
    for organization in ("acme", "rival"):
        give(fl, 9, organization=organization)
    worker = keeping(fl)
    ran = worker.claim(4)
    assert organizations(ran) == {"acme": 2, "rival": 2}
    later(clock, 1, worker)
    worker.end(*(one for one in ran if one.claimed.organization == "acme"))
    assert organizations(worker.claim(2)) == {"acme": 2}


def test_what_is_oldest_keeps_its_share_and_to_its_lane_s_room(fl: Engine, clock: ManualClock) -> None:
    job_type(fl, "mail", max_running=3)
    worker = keeping(fl, slots=100)
    give(fl, 20, priority="low")
    give(fl, 9, "mail", priority="low")
    later(clock, 61, worker)
    give(fl, 40, priority="high")
    give(fl, 9, "mail", priority="critical")
    ran = worker.claim(40)
    assert types(ran)["mail"] <= 3
    assert Counter(priorities(fl, ran))["low"] == 4


def test_a_database_that_is_far_away_is_not_taken_for_one_with_a_snapshot(
    fl: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlane.runtime.outlook._FELT", 0.05)
    monotonic = Monotonic()
    monkeypatch.setattr("fairlane.runtime.outlook.time", SimpleNamespace(monotonic=monotonic))
    look = fl.database.look

    def from_afar(work: Callable[[Connection], Any], **scope: Any) -> Any:
        monotonic.now += 0.1
        return look(work, **scope)

    monkeypatch.setattr(fl.database, "look", from_afar)
    give(fl, 2)
    outlooks = member(fl, "worker").claims.outlooks
    outlooks.kept = 3600.0
    for _ in range(2):
        outlooks.drop()
        outlook = outlooks.now()
        assert outlook is not None
        assert (outlook.rungs, outlook.running) == ({}, None)
