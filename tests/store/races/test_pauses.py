"""Claims beside a pause or a suspension: what was claimed before runs on, nothing starts after (R5, R17)."""

from collections.abc import Callable

import pytest
from sqlalchemy import false, select

from fairlane import Fairlane, JobStatus
from fairlane.store.tables import workers
from tests.store.races.agreement import assert_log_agrees, steps
from tests.store.races.race import Race
from tests.store.races.scene import Scene

QUEUED, RUNNING, COMPLETED = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED
Verb = Callable[[Fairlane], object]

# What holds jobs back, and how it is ended.
HOLDS: dict[str, tuple[Verb, Verb]] = {
    "queue paused": (lambda fl: fl.queues.pause("default"), lambda fl: fl.queues.resume("default")),
    "type paused": (lambda fl: fl.job_types.pause("report"), lambda fl: fl.job_types.resume("report")),
    "organization paused": (lambda fl: fl.organizations.pause("acme"), lambda fl: fl.organizations.resume("acme")),
    "organization suspended": (
        lambda fl: fl.organizations.suspend("acme"),
        lambda fl: fl.organizations.activate("acme"),
    ),
}
EVERY_HOLD = pytest.mark.parametrize("hold", HOLDS)


@EVERY_HOLD
def test_nothing_starts_from_the_hold_to_its_end(scene: Scene, hold: str):
    begin, end = HOLDS[hold]
    job = scene.submit()
    worker = scene.worker()
    begin(scene.fl)
    assert worker.claim_round() == []
    assert steps(scene.fl, job) == [QUEUED]
    end(scene.fl)
    assert worker.claim_round() == [job.id]


@EVERY_HOLD
def test_a_hold_passes_by_a_claim_under_way_and_what_it_claimed_finishes(scene: Scene, race: Race, hold: str):
    begin, _ = HOLDS[hold]
    first, second = scene.submit(), scene.submit()
    worker = scene.worker()
    with race.open() as claiming:
        (claimed,) = worker.claiming()(claiming)
        holding = race.passes(lambda: begin(scene.fl))
    holding.result()
    assert worker.claim_round() == []
    scene.end(claimed)
    assert steps(scene.fl, first) == [QUEUED, RUNNING, COMPLETED]
    assert steps(scene.fl, second) == [QUEUED]


@EVERY_HOLD
def test_others_are_claimed_beside_what_is_held(scene: Scene, hold: str):
    begin, _ = HOLDS[hold]
    scene.add_type("letter", dedup_window=0)
    scene.submit()
    other = scene.submit("letter", "rival", "rita", queue="bulk")
    begin(scene.fl)
    assert scene.worker(job_types=["report", "letter"]).claim_round() == [other.id]


@EVERY_HOLD
def test_a_held_job_can_be_canceled(scene: Scene, hold: str):
    begin, end = HOLDS[hold]
    job = scene.submit()
    begin(scene.fl)
    scene.fl.cancel(job.id, organization="acme", user="ana")
    end(scene.fl)
    assert scene.worker().claim_round() == []
    assert assert_log_agrees(scene.fl, job).status == JobStatus.CANCELED


def test_maintenance_mode_waits_for_a_claim_under_way_so_that_nothing_starts_once_it_is_on(scene: Scene, race: Race):
    first, second = scene.submit(), scene.submit()
    worker = scene.worker()
    with race.open() as claiming:
        (claimed,) = worker.claiming()(claiming)
        turning_on = race.waits(scene.fl.maintenance.on)
    turning_on.result()
    assert worker.claim_round() == []
    scene.end(claimed)
    assert steps(scene.fl, first) == [QUEUED, RUNNING, COMPLETED]
    assert steps(scene.fl, second) == [QUEUED]


def test_maintenance_mode_waits_also_for_a_claim_that_has_its_snapshot_and_no_lock_on_its_worker_s_row(
    scene: Scene, race: Race
):
    scene.worker()
    nobody = select(workers.c.id).where(false()).with_for_update(read=True, key_share=True)
    with race.open() as claiming:
        claiming.execute(nobody)
        turning_on = race.waits(scene.fl.maintenance.on)
    turning_on.result()


def test_a_claim_that_hangs_keeps_nobody_from_turning_maintenance_mode_on(scene: Scene, race: Race):
    scene.submit()
    hanging, other = scene.worker("w1"), scene.worker("w2")
    with race.open() as claiming:
        hanging.claiming()(claiming)
        turning_on = race.passes(scene.fl.maintenance.on)
        assert race.serial or other.claim_round() == []
    turning_on.result()


def test_jobs_of_all_organizations_and_types_wait_in_maintenance_mode(scene: Scene):
    scene.add_type("letter", dedup_window=0)
    one, other = scene.submit(), scene.submit("letter", "rival", "rita", queue="bulk")
    worker = scene.worker(job_types=["report", "letter"])
    scene.fl.maintenance.on()
    assert worker.claim_round() == []
    scene.fl.maintenance.off()
    assert set(worker.claim_round()) == {one.id, other.id}
