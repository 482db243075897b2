"""Pausing queues and types, disabling and deleting types: `fl.queues`, `fl.job_types` (R14, R17)."""

import pytest

from fairlane import ConfigurationError, JobTypeDisabled, JobTypeNotFound, Submission
from fairlane.domain.metrics import PauseView
from tests.store.races.scene import DAY, Scene


class TestPauses:
    def test_they_are_listed_until_they_end(self, scene: Scene):
        for name in ("default", "bulk"):
            scene.add_type(name)
        scene.fl.migrate()  # registers them
        for pauses in (scene.fl.queues, scene.fl.job_types):
            assert pauses.names() == frozenset()
            pauses.pause("default", user="root", reason="maintenance")
            pauses.pause("default")
            pauses.pause("bulk")
            assert pauses.names() == {"default", "bulk"}
            assert pauses.resume("bulk")
            assert not pauses.resume("bulk")
        assert scene.fl.queues.names() == scene.fl.job_types.names() == {"default"}

    def test_maintenance_mode_that_is_on_keeps_its_beginning_and_its_reason_unless_there_is_a_new_one(
        self, scene: Scene
    ):
        scene.fl.maintenance.on(reason="a new release", user="olga")
        first = scene.fl.maintenance.get()
        assert first is not None
        scene.clock.advance(60)
        scene.fl.maintenance.on(user="root")
        assert scene.fl.maintenance.get() == first
        scene.fl.maintenance.on(reason="it takes longer", user="root")
        assert scene.fl.maintenance.get() == PauseView("root", first.since, "it takes longer")
        told = [(one.actor, one.action) for one in scene.fl.audit.list(organization=None)]
        assert told == [("root", "maintenance.on"), ("olga", "maintenance.on")]

    def test_a_pause_that_is_there_keeps_its_beginning_and_its_reason_unless_there_is_a_new_one(self, scene: Scene):
        scene.submit()

        def pause(*, user: str, reason: str = "") -> PauseView | None:
            scene.clock.advance(60)
            scene.fl.queues.pause("default", user=user, reason=reason)
            return scene.fl.reads.queues()[0].pause

        first = pause(reason="no paper", user="olga")
        assert first is not None
        assert pause(user="root") == first
        assert pause(reason="no ink", user="root") == PauseView("root", first.since, "no ink")

    def test_a_queue_and_a_type_of_one_name_are_different_things(self, scene: Scene):
        scene.fl.queues.pause("report")
        assert scene.fl.job_types.names() == frozenset()
        job = scene.submit()
        assert scene.worker().claim_round() == [job.id]

    def test_submissions_go_on(self, scene: Scene):
        scene.submit()
        scene.fl.queues.pause("default")
        scene.fl.job_types.pause("report")
        scene.submit()
        assert scene.total() == 2

    def test_a_paused_type_does_not_hold_up_what_is_behind_it(self, scene: Scene):
        scene.add_type("letter", dedup_window=0)
        scene.fl.submit_many(
            [Submission("report", organization="acme", user="ana", priority="critical") for _ in range(30)]
        )
        behind = scene.submit("letter", priority="low")
        scene.fl.job_types.pause("report")
        assert scene.worker(job_types=["report", "letter"]).claim_round(1) == [behind.id]


class TestJobTypes:
    @pytest.fixture(autouse=True)
    def _registered(self, scene: Scene) -> None:
        scene.add_type("letter", timeout=7, dedup_window=0)
        scene.fl.migrate()

    def test_they_are_listed_with_what_holds_of_them(self, scene: Scene):
        scene.fl.job_types.disable("letter")
        scene.fl.job_types.pause("report")
        letter, report = scene.fl.job_types.list()
        assert (letter.name, letter.enabled, letter.paused, letter.options.timeout) == ("letter", False, False, 7)
        assert (report.name, report.enabled, report.paused) == ("report", True, True)

    def test_a_disabled_one_is_not_submitted_but_runs(self, scene: Scene):
        job = scene.submit("letter")
        scene.fl.job_types.disable("letter")
        with pytest.raises(JobTypeDisabled):
            scene.submit("letter")
        assert scene.worker(job_types=["letter"]).claim_round() == [job.id]
        scene.fl.job_types.enable("letter")
        scene.submit("letter")

    def test_registering_it_again_does_not_enable_it(self, scene: Scene):
        scene.fl.job_types.disable("letter")
        scene.fl.catalogue._written.clear()
        scene.fl.migrate()
        with pytest.raises(JobTypeDisabled):
            scene.submit("letter")

    def test_one_that_is_referenced_can_t_be_deleted(self, scene: Scene):
        job = scene.submit("letter", "rival", "rita")
        with pytest.raises(ConfigurationError, match="Jobs of type letter are there"):
            scene.fl.job_types.delete("letter")
        scene.fl.cancel(job.id, organization="rival")
        with pytest.raises(ConfigurationError, match="Jobs of type letter are there"):
            scene.fl.job_types.delete("letter")
        scene.clock.advance(DAY + 1)
        assert scene.cleaner().run_once() == 1
        scene.fl.job_types.delete("letter")
        assert [view.name for view in scene.fl.job_types.list()] == ["report"]

    def test_an_unknown_one_is_an_error(self, scene: Scene):
        for verb in (scene.fl.job_types.enable, scene.fl.job_types.disable, scene.fl.job_types.delete):
            with pytest.raises(JobTypeNotFound):
                verb("fax")
