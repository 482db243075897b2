"""Deleting a job type beside its submission: no job is left of a type that is not there (R14)."""

import pytest

from fairlane import ConfigurationError, Fairlane, JobTypeNotFound
from fairlane.store.statements import job_types
from tests.store.races.race import Race
from tests.store.races.scene import Scene


@pytest.fixture(autouse=True)
def registered(scene: Scene) -> None:
    scene.fl.migrate()


def names(fl: Fairlane) -> list[str]:
    return [view.name for view in fl.job_types.list()]


def test_a_delete_that_waits_for_a_submission_is_refused(scene: Scene, race: Race):
    with race.open() as submitting:
        job = scene.submit(connection=submitting)
        delete = race.waits(lambda: scene.fl.job_types.delete("report"))
    with pytest.raises(ConfigurationError, match="Jobs of type report are there"):
        delete.result()
    assert (names(scene.fl), scene.get(job).job_type) == (["report"], "report")


def test_a_delete_that_waits_for_a_submission_that_is_rolled_back_goes_on(scene: Scene, race: Race):
    with race.open(commit=False) as submitting:
        scene.submit(connection=submitting)
        delete = race.waits(lambda: scene.fl.job_types.delete("report"))
    delete.result()
    assert names(scene.fl) == []


def test_submissions_do_not_wait_for_each_other(scene: Scene, race: Race):
    with race.open() as submitting:
        scene.submit(connection=submitting)
        other = race.passes(scene.submit)
        switch = race.passes(lambda: scene.fl.job_types.enable("report"))
    switch.result()
    assert other.result().job_type == "report"


def test_a_process_without_the_handler_that_waits_for_the_delete_learns_that_the_type_is_gone(scene: Scene, race: Race):
    with Fairlane(scene.fl.settings, clock=scene.clock) as web:
        with race.open() as deleting:
            assert job_types.remove(deleting, "report")
            submit = race.waits(lambda: web.submit("report", organization="acme"))
        with pytest.raises(JobTypeNotFound):
            submit.result()
    assert scene.total() == 0


@pytest.mark.parametrize("borrowed", [False, True])
def test_a_process_with_the_handler_registers_it_again(scene: Scene, race: Race, borrowed: bool):
    def submit() -> None:
        if not borrowed:
            scene.submit()
            return
        with race.open() as theirs:
            scene.submit(connection=theirs)

    with race.open() as deleting:
        assert job_types.remove(deleting, "report")
        submitting = race.waits(submit)
    submitting.result()
    assert (names(scene.fl), scene.total()) == (["report"], 1)
