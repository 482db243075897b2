"""A dead letter that is retried with other parameters: what is a duplicate of it then (R3, R8)."""

from collections.abc import Iterator
from typing import Any

import pytest

from fairlane import DuplicateJob, Job, JobContext, JobStatus
from tests.engine.sealed_engine import FIRST
from tests.store.races.scene import BROKEN, Scene


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    """An application that can encrypt, and a job type that deduplicates."""
    with Scene(database_url, encryption_keys=FIRST) as scene:
        scene.add_type("invoice", dedup_window=300)
        yield scene


def submit(scene: Scene, number: int, **more: Any) -> Job:
    return scene.submit("invoice", parameters={"n": number}, **more)


def edited(scene: Scene, before: int, after: int, **more: Any) -> Job:
    """A job that died with the one number and runs again with the other."""
    job = submit(scene, before, **more)
    scene.end(*scene.worker(job_types=["invoice"]).claim(), outcome=BROKEN)
    return scene.fl.retry(job.id, organization="acme", parameters={"n": after})


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def sealed(scene: Scene, request: pytest.FixtureRequest) -> bool:
    if request.param:
        scene.fl.keys.enable(organization="acme")
    return bool(request.param)


@pytest.mark.usefixtures("sealed")
def test_its_old_parameters_are_no_duplicate_of_it_and_its_new_ones_are(scene: Scene):
    job = edited(scene, 6, 7)
    assert submit(scene, 7, on_duplicate="return").id == job.id
    other = submit(scene, 6, on_duplicate="return")
    assert (other.id != job.id, other.status) == (True, JobStatus.QUEUED)
    with pytest.raises(DuplicateJob):
        submit(scene, 6)


def test_the_window_goes_on_from_its_submission(scene: Scene):
    edited(scene, 6, 7)
    scene.clock.advance(301)
    submit(scene, 7)


def test_it_takes_no_key_from_a_job_that_is_live(scene: Scene):
    held = submit(scene, 7)
    job = submit(scene, 6)
    first, second = scene.worker(job_types=["invoice"]).claim(2)
    scene.end(first if first.id == job.id else second, outcome=BROKEN)
    scene.fl.retry(job.id, organization="acme", parameters={"n": 7})
    assert submit(scene, 7, on_duplicate="return").id == held.id
    assert submit(scene, 6).id != job.id


def test_it_keeps_the_key_that_it_was_given(scene: Scene):
    job = edited(scene, 6, 7, dedup_key="order-17")
    assert submit(scene, 8, dedup_key="order-17", on_duplicate="return").id == job.id
    assert submit(scene, 7).id != job.id


def test_a_key_that_was_taken_over_meanwhile_stays_where_it_is(scene: Scene):
    job = submit(scene, 6)
    scene.end(*scene.worker(job_types=["invoice"]).claim(), outcome=BROKEN)
    again = submit(scene, 6)
    scene.fl.retry(job.id, organization="acme", parameters={"n": 7})
    assert submit(scene, 6, on_duplicate="return").id == again.id


def test_a_key_from_before_the_organizations_encryption_is_found(scene: Scene):
    job = submit(scene, 6)
    scene.end(*scene.worker(job_types=["invoice"]).claim(), outcome=BROKEN)
    scene.fl.keys.enable(organization="acme")
    scene.fl.retry(job.id, organization="acme", parameters={"n": 7})
    assert submit(scene, 7, on_duplicate="return").id == job.id


def test_parameters_that_the_type_takes_no_more_are_edited(scene: Scene):
    job = submit(scene, 6)
    scene.end(*scene.worker(job_types=["invoice"]).claim(), outcome=BROKEN)
    del scene.fl.catalogue._mine["invoice"]

    @scene.fl.job_type("invoice", dedup_window=300)
    def invoice(ctx: JobContext, number: str) -> None: ...

    assert scene.fl.retry(job.id, organization="acme", parameters={"number": "7"}).parameters == {"number": "7"}
