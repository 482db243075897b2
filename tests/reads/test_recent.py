"""R15: how long jobs waited and ran of late, what failed, and which were the slowest."""

import pytest

from fairlane.domain.errors import InvalidParameters
from fairlane.domain.recent import Spread
from fairlane.reads import metrics as numbers
from fairlane.reads.service import Reads
from tests.reads.world import World


def test_r15_where_nothing_ended_nothing_is_told_of_it(world: World, reads: Reads) -> None:
    world.submit()
    metrics = reads.metrics("acme")

    assert (metrics.wait_seconds, metrics.processing_seconds) == (Spread(None, None), Spread(None, None))
    assert (metrics.minutes, metrics.throughput_per_minute, metrics.slowest) == (60, 0.0, ())
    assert metrics.attempts_by_type == metrics.processing_seconds_by_type == metrics.failure_rate_by_type == {}


def test_r15_wait_and_processing_time(world: World, reads: Reads) -> None:
    world.run(waits=4.0, runs=2.0)
    world.run(waits=8.0, runs=6.0)

    metrics = reads.metrics("acme")

    assert metrics.wait_seconds == Spread(average=6.0, p95=8.0)
    assert metrics.processing_seconds == Spread(average=4.0, p95=6.0)
    assert metrics.throughput_per_minute == pytest.approx(2 / 59, abs=0.01)


def test_r15_processing_time_and_failure_rate_of_each_type(world: World, reads: Reads) -> None:
    for seconds in (1.0, 3.0):
        world.run(runs=seconds)
    world.run(job_type="mail.send", runs=9.0)
    world.count(job_type="mail.send", failures=3, seconds=3.0)

    metrics = reads.metrics("acme")

    assert metrics.attempts_by_type == {"mail.send": 4, "report.pdf": 2}
    assert metrics.processing_seconds_by_type == {"mail.send": 3.0, "report.pdf": 2.0}
    assert metrics.failure_rate_by_type == {"mail.send": 0.75, "report.pdf": 0.0}


def test_r15_the_slowest_jobs_first(world: World, reads: Reads) -> None:
    quick, slow = world.run(runs=1.0), world.run(job_type="mail.send", runs=30.0)

    slowest = reads.metrics("acme").slowest

    assert [(one.id, one.job_type, one.seconds) for one in slowest] == [
        (slow, "mail.send", 30.0),
        (quick, "report.pdf", 1.0),
    ]


def test_r15_an_organization_is_told_of_its_own_jobs_and_operators_of_all(world: World, reads: Reads) -> None:
    mine, theirs = world.run(waits=1.0, runs=2.0), world.run("rival", waits=5.0, runs=6.0)
    world.count("rival", failures=2)

    metrics, everybodys = reads.metrics("acme"), reads.metrics()

    assert (metrics.wait_seconds.p95, everybodys.wait_seconds.p95) == (1.0, 5.0)
    assert (metrics.processing_seconds.p95, everybodys.processing_seconds.p95) == (2.0, 6.0)
    assert (metrics.failure_rate_by_type, everybodys.failure_rate_by_type) == ({"report.pdf": 0}, {"report.pdf": 0.5})
    assert [one.id for one in metrics.slowest] == [mine]
    assert [(one.id, one.organization) for one in everybodys.slowest] == [(theirs, "rival"), (mine, "acme")]


def test_r15_live_workers_are_counted_for_operators(world: World, reads: Reads) -> None:
    world.start_worker()

    assert (reads.metrics().workers, reads.metrics("acme").workers) == (1, None)


def test_r15_what_ended_before_is_left_out(world: World, reads: Reads) -> None:
    world.run(runs=50.0)
    world.pass_time(3600.0)
    world.run(runs=2.0)

    metrics, of_a_day = reads.metrics("acme"), reads.metrics("acme", minutes=1440)

    assert (metrics.attempts_by_type, of_a_day.attempts_by_type) == ({"report.pdf": 1}, {"report.pdf": 2})
    assert ([one.seconds for one in metrics.slowest], len(of_a_day.slowest)) == ([2.0], 2)


def test_r15_the_sample_is_taken_from_the_busiest_types_of_all_the_time(
    world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers, "_CELLS", 2)
    monkeypatch.setattr(numbers, "_SAMPLED", 4)
    old = [world.run(runs=1.0) for _ in range(3)]
    world.pass_time(1200.0)
    new = [world.run(runs=2.0) for _ in range(2)]
    world.run(job_type="rare", runs=90.0)

    metrics = reads.metrics("acme")

    assert metrics.attempts_by_type == {"report.pdf": 5, "rare": 1}
    assert {one.id for one in metrics.slowest} == {old[-1], new[-1]}
    # Each stands for those that ended with it, three and two.
    assert metrics.processing_seconds.p95 == 2.0


@pytest.mark.parametrize("minutes", [0, 1441])
def test_r15_no_further_back_than_there_are_counts(world: World, reads: Reads, minutes: int) -> None:
    with pytest.raises(InvalidParameters, match="1 to 1440"):
        reads.metrics("acme", minutes=minutes)
