"""R15: what came in, started and ended, step by step."""

from datetime import timedelta

import pytest

from fairlane.domain.errors import InvalidParameters
from fairlane.domain.timeline import TimelineStep
from fairlane.reads import charts
from fairlane.reads.service import Reads
from tests.reads.world import World

pytestmark = pytest.mark.both_databases


def last(reads: Reads, **options: int) -> TimelineStep:
    return reads.charts.timeline("acme", **options).steps[-1]


def test_r15_nothing_happened(world: World, reads: Reads) -> None:
    timeline = reads.charts.timeline("acme", minutes=10, step=5)

    assert (timeline.step_seconds, len(timeline.steps), timeline.is_sampled) == (300, 2, False)
    assert timeline.steps[0] == TimelineStep(timeline.steps[0].at, 0, False, 0, 0, 0, None, None, None, None)


def test_r15_what_came_in_started_and_ended(world: World, reads: Reads) -> None:
    world.run(waits=4.0, runs=2.0)
    world.run(waits=8.0, runs=6.0)
    world.count(failures=3)
    world.submit()

    step = last(reads)

    assert (step.submitted, step.started, step.completed, step.failed) == (3, 5, 2, 3)
    assert (step.wait_p50, step.wait_p95, step.run_p50, step.run_p95) == (4.0, 8.0, 2.0, 6.0)


def test_r15_each_step_tells_of_its_own_time(world: World, reads: Reads) -> None:
    world.run(runs=1.0)
    world.pass_time(120.0)
    world.run(runs=30.0)

    first, between, now = reads.charts.timeline("acme", minutes=3).steps

    assert [(one.submitted, one.started, one.completed, one.run_p50) for one in (first, between, now)] == [
        (1, 1, 1, 1.0),
        (0, 0, 0, None),
        (1, 1, 1, 30.0),
    ]


def test_r15_what_runs_has_started(world: World, reads: Reads) -> None:
    world.submit()
    world.claim(world.start_worker())

    assert (last(reads).started, last(reads).completed) == (1, 0)


def test_r15_a_timeline_shows_nothing_of_another_organization(world: World, reads: Reads) -> None:
    world.run("rival")

    step = last(reads)

    assert (step.submitted, step.started, step.completed, step.run_p50) == (0, 0, 0, None)


def test_r15_submissions_are_counted_to_a_cap(world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "COUNTED", 2)
    for _ in range(4):
        world.submit()

    assert (last(reads).submitted, last(reads).submitted_is_capped) == (2, True)


def test_r15_the_newest_ends_stand_for_all(world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "_SAMPLED", 2)  # one for each of the two steps that are looked at
    for seconds in (1.0, 2.0, 3.0):
        world.run(runs=seconds)

    timeline = reads.charts.timeline("acme")

    assert timeline.is_sampled
    assert (timeline.steps[-1].started, timeline.steps[-1].run_p50) == (3, 3.0)


def test_r15_operators_see_how_attempts_of_all_ended(world: World, reads: Reads) -> None:
    world.run()
    world.run("rival")
    world.count(failures=1)

    step = reads.charts.timeline(None).steps[-1]

    assert (step.submitted, step.started, step.completed, step.failed) == (None, None, 2, 1)


@pytest.mark.parametrize(
    "options", [{"minutes": 0}, {"minutes": 1441}, {"step": 0}, {"minutes": 241, "step": 1}], ids=str
)
def test_r15_more_steps_than_anybody_looks_at_are_refused(world: World, reads: Reads, options: dict[str, int]) -> None:
    with pytest.raises(InvalidParameters):
        reads.charts.timeline("acme", **options)


def test_r15_a_day_in_long_steps(world: World, reads: Reads) -> None:
    world.run(runs=1.0)
    world.pass_time(timedelta(hours=23).total_seconds())

    timeline = reads.charts.timeline("acme", minutes=1440, step=60)

    assert sum(one.completed for one in timeline.steps) == 1
    assert len(timeline.steps) == 24
