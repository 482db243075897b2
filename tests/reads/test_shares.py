"""R15: who uses the workers, and who waits behind whom."""

from collections.abc import Callable, Mapping

import pytest

from fairlane.domain.metrics import OrganizationView
from fairlane.domain.shares import Neighbour, OrganizationLoad, Share, WaitingOrganizations
from fairlane.reads import charts
from fairlane.reads.service import Reads
from tests.reads.world import World

pytestmark = pytest.mark.both_databases


def shares(reads: Reads, minutes: int = 2) -> dict[str | None, Share]:
    return {one.organization: one for one in reads.charts.shares(minutes=minutes).shares}


def test_r15_nobody_does_anything(world: World, reads: Reads) -> None:
    found = reads.charts.shares()

    assert (found.shares, found.rest, found.organizations, found.neighbour) == ((), None, 0, None)
    assert len(found.minutes) == 60


def test_r15_time_that_was_used_by_minute(world: World, reads: Reads) -> None:
    world.count(completions=2, failures=1, seconds=9.0)
    world.pass_time(60.0)
    world.count(completions=1, seconds=2.0)
    world.count("rival", completions=1, seconds=0.5)

    found = shares(reads)

    assert (found["acme"].ended, found["acme"].seconds) == ((3, 1), (9.0, 2.0))
    assert (found["rival"].ended, found["rival"].seconds) == ((0, 1), (0.0, 0.5))
    assert list(found) == ["acme", "rival"]


def test_r15_what_runs_and_what_is_in_line(world: World, reads: Reads) -> None:
    for _ in range(3):
        world.submit()
    world.claim(world.start_worker())
    world.pass_time(7.0)

    assert shares(reads)["acme"].now == OrganizationLoad(running=1, ready=2, waiting_seconds=7.0)


def test_r15_a_crowd_is_named_while_others_wait(world: World, reads: Reads) -> None:
    for _ in range(4):
        world.submit()
    world.claim(world.start_worker(slots=1))
    world.submit("rival")
    world.pass_time(3.0)

    found = reads.charts.shares()
    assert found.neighbour == Neighbour("acme", 1, 3, False, others_waiting=1, others_seconds=3.0)
    assert found.waiting == WaitingOrganizations(1, 3.0)


KEPT: Mapping[str, Callable[[World], object]] = {
    "a paused queue": lambda world: world.pause("queue", "default"),
    "a paused type": lambda world: world.pause("job_type", "report.pdf"),
    "a paused organization": lambda world: world.pause("organization", "rival"),
    "a limit": lambda world: world.set_max_running("rival", 0),
    "a breaker": lambda world: world.open_breaker("rival"),
}


@pytest.mark.parametrize("keep", KEPT.values(), ids=KEPT)
def test_r15_who_waits_for_a_pause_or_a_limit_of_their_own_waits_behind_nobody(
    world: World, reads: Reads, keep: Callable[[World], object]
) -> None:
    for _ in range(4):
        world.submit()
    world.claim(world.start_worker(slots=1))
    world.submit("rival")
    world.pass_time(3.0)
    keep(world)

    found = reads.charts.shares()
    assert (found.neighbour, found.waiting) == (None, None)
    assert shares(reads)["rival"].now == OrganizationLoad(running=0, ready=1, waiting_seconds=None, held=1)


def test_r15_who_waits_while_slots_are_free_or_without_a_worker_waits_behind_nobody(world: World, reads: Reads) -> None:
    for _ in range(3):
        world.submit()
    world.claim(world.start_worker(slots=3, queues=("default",)))
    world.submit("rival")
    world.submit("rival", queue="gpu")
    world.start_worker("other", queues=("other",), job_types=("other",))
    world.pass_time(3.0)

    found = reads.charts.shares()
    assert (found.neighbour, found.waiting) == (None, None)
    assert shares(reads)["rival"].now == OrganizationLoad(ready=2, waiting_seconds=3.0, held=1)


def test_r15_a_long_line_is_counted_to_a_cap(world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "COUNTED", 2)
    for _ in range(4):
        world.submit()

    now = shares(reads)["acme"].now

    assert (now.ready, now.ready_is_capped) == (2, True)


def test_r15_the_rest_stand_together(world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "_SHOWN", 1)
    world.count(completions=1, seconds=9.0)
    world.count("rival", completions=2, seconds=4.0)
    world.submit("rival")

    found = reads.charts.shares(minutes=1)

    assert [one.organization for one in found.shares] == ["acme"]
    assert found.rest == Share(None, OrganizationLoad(ready=1, held=1), (2,), (4.0,))
    assert found.organizations == 2


def test_r15_one_look_at_everything_adds_up(world: World, reads: Reads) -> None:
    for _ in range(3):
        world.submit()
    world.claim(world.start_worker())
    world.submit("rival")
    world.pass_time(7.0)
    world.set_max_running("acme", 2)

    found = reads.overview()

    assert found.organizations == (OrganizationView("acme", 1, 1, 1, 7.0), OrganizationView("rival", 0, 1, 0, 7.0))
    assert [(one.running, one.ready, one.limited) for one in found.queues] == [(1, 2, 1)]
    assert (len(found.jobs), sum(one.running for one in found.workers)) == (1, 1)
