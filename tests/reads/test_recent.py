"""R15: how long jobs waited and ran of late, what failed, and which were the slowest."""

import pytest

from fairlane.domain.errors import InvalidParameters
from fairlane.domain.metrics import Spread
from fairlane.reads import metrics as numbers
from fairlane.reads.service import Reads
from tests.reads.world import World


def test_r15_where_nothing_ended_nothing_is_told_of_it(world: World, reads: Reads) -> None:
    world.submit()
    metrics = reads.metrics("acme")

    assert (metrics.wait_seconds, metrics.processing_seconds) == (Spread(None, None), Spread(None, None))
    assert (metrics.minutes, metrics.throughput_per_minute, metrics.slowest) == (60, 0.0, ())
    assert metrics.attempts_by_type == metrics.failure_rate_by_type == {}
    assert metrics.processing_seconds_by_type == {}


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
    world.count(job_type="fax.send", failures=1, seconds=7.0)

    metrics = reads.metrics("acme")

    assert metrics.attempts_by_type == {"mail.send": 4, "report.pdf": 2, "fax.send": 1}
    assert metrics.processing_seconds_by_type == {
        "mail.send": Spread(average=9.0, p95=9.0),
        "report.pdf": Spread(average=2.0, p95=3.0),
        "fax.send": Spread(None, None),  # no job of it has ended
    }
    assert metrics.failure_rate_by_type == {"mail.send": 0.75, "report.pdf": 0.0, "fax.send": 1.0}


@pytest.mark.slow
def test_r15_the_95th_percentile_of_each_type_is_the_same_on_both_databases(world: World, reads: Reads) -> None:
    worker = world.start_worker(job_types=("report.pdf", "mail.send"))
    for number in range(1, 101):
        for job_type, seconds in (("report.pdf", float(number)), ("mail.send", 0.25)):
            world.submit(job_type=job_type)
            claimed = world.claim(worker, job_type=job_type)
            world.pass_time(seconds)
            world.end(claimed)
            world.count(job_type=job_type, completions=1)

    found = reads.metrics("acme", minutes=180)

    assert found.processing_seconds_by_type == {"report.pdf": Spread(50.5, 95.0), "mail.send": Spread(0.25, 0.25)}
    assert found.processing_seconds == Spread(25.375, 90.0)


def test_r15_processing_time_is_the_same_in_all_numbers(world: World, reads: Reads) -> None:
    """It is that of the attempt that ended the job: neither those before it count, nor the wait between them."""
    worker = world.start_worker()
    job_id = world.submit()
    first = world.claim(worker)
    world.pass_time(100.0)
    world.fail(first)
    world.count(failures=1, seconds=100.0)
    world.pass_time(3600.0)
    world.stage_retries()
    second = world.claim(worker)
    world.pass_time(2.0)
    world.end(second)
    world.count(completions=1, seconds=1.5)  # of its handler alone

    metrics, timeline = reads.metrics("acme", minutes=120), reads.charts.timeline("acme", minutes=120)

    assert metrics.processing_seconds == metrics.processing_seconds_by_type["report.pdf"] == Spread(2.0, 2.0)
    assert [(one.id, one.seconds) for one in metrics.slowest] == [(job_id, 2.0)]
    assert (timeline.run_p50, timeline.run_p95) == (2.0, 2.0)


def test_r15_a_job_that_ended_without_an_attempt_has_no_processing_time(world: World, reads: Reads) -> None:
    job_id = world.submit()
    claimed = world.claim(world.start_worker())
    world.pass_time(2.0)
    world.fail(claimed)
    world.count(failures=1, seconds=2.0)
    assert reads.get(job_id, "acme").started_at is None
    world.pass_time(600.0)
    world.cancel(job_id)

    metrics = reads.metrics("acme")

    assert (metrics.processing_seconds, metrics.slowest) == (Spread(None, None), ())
    assert reads.charts.timeline("acme").run_p50 is None


def test_r15_few_ends_are_all_told_however_many_job_types_there_are(
    world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every type had an equal part of the sample, so a busy type showed its newest ends alone."""
    monkeypatch.setattr(numbers, "_SAMPLED", 40)
    slow = world.run(runs=90.0)
    for _ in range(9):
        world.run(runs=1.0)
    for kind in range(5):
        world.run(job_type=f"rare{kind}", runs=2.0)

    metrics = reads.metrics("acme")

    assert metrics.slowest[0].id == slow
    assert metrics.processing_seconds_by_type["report.pdf"] == Spread(9.9, 90.0)


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


def test_r15_what_ended_before_is_omitted(world: World, reads: Reads) -> None:
    world.run(runs=50.0)
    world.pass_time(3600.0)
    world.run(runs=2.0)

    metrics, of_a_day = reads.metrics("acme"), reads.metrics("acme", minutes=1440)

    assert (metrics.attempts_by_type, of_a_day.attempts_by_type) == ({"report.pdf": 1}, {"report.pdf": 2})
    assert ([one.seconds for one in metrics.slowest], len(of_a_day.slowest)) == ([2.0], 2)


def test_r15_the_sample_is_taken_from_each_type_and_then_from_the_busiest_of_all_the_time(
    world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers, "_CELLS", 3)
    monkeypatch.setattr(numbers, "_SAMPLED", 6)
    old = [world.run(runs=1.0) for _ in range(3)]
    world.pass_time(1200.0)
    new = [world.run(runs=2.0) for _ in range(2)]
    rare = world.run(job_type="rare", runs=90.0)
    world.pass_time(1200.0)
    world.run(runs=50.0)

    metrics = reads.metrics("acme")

    assert metrics.attempts_by_type == {"report.pdf": 6, "rare": 1}
    assert {one.id for one in metrics.slowest} == {rare, old[-1], new[-1]}
    # Each stands for those that ended with it, three and two.
    assert metrics.processing_seconds_by_type == {"report.pdf": Spread(1.4, 2.0), "rare": Spread(90.0, 90.0)}


@pytest.mark.parametrize("minutes", [0, 1441])
def test_r15_no_further_back_than_there_are_counts(world: World, reads: Reads, minutes: int) -> None:
    with pytest.raises(InvalidParameters, match="1 to 1440"):
        reads.metrics("acme", minutes=minutes)
