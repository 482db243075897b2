"""The order of an organization's jobs: retried jobs do not go before the others for ever."""

from collections.abc import Iterator

import pytest

from fairlane import Job, JobContext, Snooze
from fairlane.testing import ManualClock
from tests.engine.worker_kit import Engine, engine, running, until


@pytest.fixture
def fl(database_url: str, clock: ManualClock) -> Iterator[Engine]:
    with engine(database_url, clock=clock, lease=86_400.0) as fl:
        yield fl


@pytest.mark.slow
@pytest.mark.parametrize("priority", ["normal", "low"])
def test_what_snoozes_again_and_again_does_not_go_before_what_came_meanwhile(
    fl: Engine, clock: ManualClock, priority: str
) -> None:
    """Three that poll take the worker's one slot whenever they may; one job came after they were submitted first."""
    starts: list[str] = []

    def waits_to_start(job: Job) -> bool:
        return fl.explain(job.id, organization="acme").place_in_lane is not None

    @fl.job_type("poll", dedup_window=0)
    def poll(ctx: JobContext) -> None:
        starts.append("poll")
        others = [job for job in polls if job.id != ctx.job_id]
        until(lambda: all(fl.look(job).status == "queued" for job in others))
        clock.advance(10)
        until(lambda: all(waits_to_start(job) for job in others))
        if "pdf" not in starts and len(starts) < 50:
            raise Snooze(9)

    @fl.job_type("pdf")
    def pdf(ctx: JobContext) -> None:
        starts.append("pdf")

    polls = [fl.give("poll") for _ in range(3)]
    clock.advance(1)
    job = fl.give("pdf", priority=priority)
    with running(fl.worker(concurrency=1)):
        assert fl.ended(job).status == "completed"
    assert starts.index("pdf") < 50


def test_what_snoozes_for_no_time_goes_behind_what_came_meanwhile(fl: Engine, clock: ManualClock) -> None:
    starts: list[str] = []

    @fl.job_type("poll", dedup_window=0)
    def poll(ctx: JobContext) -> None:
        starts.append("poll")
        clock.advance(1)
        if "pdf" not in starts and len(starts) < 20:
            raise Snooze(0)

    @fl.job_type("pdf")
    def pdf(ctx: JobContext) -> None:
        starts.append("pdf")

    for _ in range(3):
        fl.give("poll")
    clock.advance(0.5)
    job = fl.give("pdf")
    with running(fl.worker(concurrency=1)):
        assert fl.ended(job).status == "completed"
    assert starts.index("pdf") <= 3


def test_the_most_urgent_start_first_from_whichever_of_many_types(fl: Engine) -> None:
    starts: list[str] = []
    for number in range(5):

        @fl.job_type(f"type {number}", dedup_window=0)
        async def handler(ctx: JobContext) -> None:
            starts.append(fl.get(ctx.job_id, organization="acme").priority)

        for priority in ("low", "normal"):
            fl.give(f"type {number}", priority=priority)
    for name, priority in [("type 3", "critical")] * 4 + [("type 1", "high")] * 2:
        fl.give(name, priority=priority)
    fl.drain(concurrency=1)
    assert starts == ["critical"] * 4 + ["high"] * 2 + ["normal"] * 5 + ["low"] * 5
