"""Which of an organization's jobs come first: those that come again do not go before the others for ever."""

from collections.abc import Iterator
from random import Random

import pytest
from sqlalchemy import Connection

from fairlane import Backoff
from fairlane.domain.outcomes import Outcome, Snoozed
from fairlane.runtime import rooms
from fairlane.runtime.facts import Ready
from fairlane.store.statements import claim, stage
from fairlane.store.statements.finish import Finish, finish
from fairlane.testing import ManualClock
from tests.runtime.worker_kit import Engine, engine
from tests.runtime.worker_store import give, job_type, later, member


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def fl(database_url: str, clock: ManualClock) -> Iterator[Engine]:
    with engine(database_url, clock=clock) as fl:
        job_type(fl, "pdf")
        yield fl


def end(fl: Engine, ready: Ready, outcome: Outcome) -> None:
    one = ready.claimed
    item = Finish(one.organization, one.id, one.job_type, one.lease_token, outcome, Backoff())
    fl.database.write(lambda connection: finish(connection, fl.database.clock.now(connection), [item], Random(1)))


@pytest.mark.parametrize("priority", ["normal", "low"])
def test_what_snoozes_again_and_again_does_not_go_before_what_came_meanwhile(
    fl: Engine, clock: ManualClock, priority: str
) -> None:
    """Three that poll take the worker's one slot whenever they may; one job came after they were submitted first."""
    job_type(fl, "poll")
    worker = member(fl, slots=1)
    give(fl, 3, "poll")
    clock.advance(1)
    give(fl, 1, priority=priority)
    started: list[str] = []
    while "pdf" not in started and len(started) < 50:
        later(clock, 10, worker)
        fl.database.write(lambda connection: stage.ready_retries(connection, fl.database.clock.now(connection)))
        (one,) = worker.claim(1)
        started.append(one.claimed.job_type)
        end(fl, one, Snoozed(9.0))
    assert "pdf" in started


def test_a_round_leaves_others_something_however_many_job_types_an_organization_has(
    fl: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that claims beside another's open claim finds what that one has not locked."""
    monkeypatch.setattr(rooms, "_MOST_LOOKED_AT", 50)
    for number in range(5):
        job_type(fl, f"type {number}")
        give(fl, 20, f"type {number}")
    first, second = member(fl, "first", slots=100), member(fl, "second", slots=100)
    beside: list[Ready] = []
    real = claim.claim

    def claim_beside(connection: Connection, *args: object, **options: object) -> object:
        claimed = real(connection, *args, **options)  # type: ignore[arg-type]  # as it was called
        if options["worker"] == "first" and fl.database.is_postgres:
            beside.extend(second.claim(100))
        return claimed

    monkeypatch.setattr(claim, "claim", claim_beside)
    mine = first.claim(100)
    if not fl.database.is_postgres:  # SQLite's writers wait for each other
        beside = second.claim(100)
    assert (len(mine), len(beside)) == (10, 10)
    assert not {one.claimed.id for one in mine} & {one.claimed.id for one in beside}


def test_the_most_urgent_start_first_from_whichever_of_many_lanes(fl: Engine) -> None:
    for number in range(5):
        job_type(fl, f"type {number}")
        give(fl, 3, f"type {number}")
    give(fl, 4, "type 3", priority="critical")
    give(fl, 2, "type 1", priority="high")
    worker = member(fl, slots=50)
    assert [one.claimed.job_type for one in worker.claim(6)] == ["type 3"] * 4 + ["type 1"] * 2
