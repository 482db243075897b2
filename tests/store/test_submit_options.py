"""Options of a submission, and their inheritance: absent = inherit, None = unlimited, 0 = none (R1, R4)."""

from datetime import datetime, timedelta, timezone
from typing import Any, assert_type

import pytest

from fairlane import Job, JobContext, JobStatus, Priority, QueueFull, RateLimited
from tests.store.races.agreement import assert_log_agrees, steps
from tests.store.races.scene import JAMMED, START, Scene

PENDING, QUEUED, DEAD_LETTER = JobStatus.PENDING, JobStatus.QUEUED, JobStatus.DEAD_LETTER


def fail_once(scene: Scene) -> None:
    scene.end(*scene.worker(job_types=["report", "letter"]).claim(), outcome=JAMMED)


class TestTimeout:
    @pytest.mark.parametrize(
        ("of_type", "of_job", "seconds"),
        [
            ({}, {}, 300.0),
            ({"queue": "bulk"}, {}, 1800.0),
            ({"queue": "bulk", "timeout": 5}, {}, 5.0),
            ({"timeout": 7}, {}, 7.0),
            ({"timeout": 7}, {"timeout": 0.5}, 0.5),
            ({"timeout": 7}, {"timeout": timedelta(minutes=2)}, 120.0),
            ({"timeout": 7}, {"timeout": None}, None),
            ({"timeout": None}, {}, None),
            ({"timeout": None}, {"timeout": 3}, 3.0),
        ],
        ids=str,
    )
    def test_of_the_type_unless_the_job_has_one(
        self, scene: Scene, of_type: dict[str, Any], of_job: dict[str, Any], seconds: float | None
    ):
        scene.add_type("letter", **of_type)
        assert scene.submit("letter", **of_job).timeout == seconds


class TestRetries:
    @pytest.mark.parametrize(
        ("of_type", "of_job", "retries"),
        [
            ({}, {}, 5),
            ({"max_retries": 2}, {}, 2),
            ({"max_retries": 2}, {"max_retries": 0}, 0),
            ({"max_retries": 2}, {"max_retries": None}, None),
            ({"max_retries": None}, {}, None),
            ({"max_retries": 0}, {"max_retries": 1}, 1),
        ],
        ids=str,
    )
    def test_of_the_type_unless_the_job_has_its_own(
        self, scene: Scene, of_type: dict[str, Any], of_job: dict[str, Any], retries: int | None
    ):
        scene.add_type("letter", **of_type)
        assert scene.submit("letter", **of_job).max_retries == retries

    def test_none_allowed_means_that_the_first_failure_is_the_last(self, scene: Scene):
        job = scene.submit(max_retries=0)
        fail_once(scene)
        assert assert_log_agrees(scene.fl, job).status == DEAD_LETTER

    def test_unlimited_means_that_there_is_always_another(self, scene: Scene):
        job = scene.submit(max_retries=None)
        for _ in range(8):
            fail_once(scene)
            scene.clock.advance(7 * 3600)
            scene.stage()
        assert (scene.get(job).status, scene.get(job).retry_count) == (QUEUED, 8)


class TestLimits:
    @pytest.mark.parametrize(
        ("limit", "allowed"), [({}, 3), ({"rate_limit": None}, 3), ({"rate_limit": 2}, 2)], ids=str
    )
    def test_a_submission_rate(self, scene: Scene, limit: dict[str, Any], allowed: int):
        scene.add_type("letter", dedup_window=0, **limit)
        for _ in range(allowed):
            scene.submit("letter")
        if allowed < 3:
            with pytest.raises(RateLimited, match="ana may submit letter 2 times in 60 s"):
                scene.submit("letter")
        assert scene.total() == allowed

    def test_live_jobs_of_none_allows_none_and_unlimited_all(self, scene: Scene):
        scene.fl.organizations.update("acme", max_live_jobs=0)
        with pytest.raises(QueueFull):
            scene.submit()
        scene.fl.organizations.update("acme", weight=2)
        with pytest.raises(QueueFull):
            scene.submit()
        scene.fl.organizations.update("acme", max_live_jobs=None)
        assert scene.submit().status == QUEUED


class TestDedupWindow:
    @pytest.mark.parametrize(
        ("of_type", "of_job", "window"),
        [
            ({}, {}, 300),
            ({"dedup_window": 10}, {}, 10),
            ({"dedup_window": timedelta(minutes=1)}, {}, 60),
            ({"dedup_window": 10}, {"dedup_window": 20}, 20),
            ({"dedup_window": 10}, {"dedup_window": 0}, 0),
            ({"dedup_window": 0}, {}, 0),
            ({"dedup_window": 0}, {"dedup_window": 5}, 5),
        ],
        ids=str,
    )
    def test_of_the_type_unless_the_job_has_one(
        self, scene: Scene, of_type: dict[str, Any], of_job: dict[str, Any], window: int
    ):
        scene.add_type("letter", **of_type)
        first = scene.submit("letter", **of_job)
        if window:
            scene.clock.advance(window - 0.001)
            assert scene.submit("letter", on_duplicate="return", **of_job).id == first.id
            scene.clock.advance(0.001)
        assert scene.submit("letter", on_duplicate="return", **of_job).id != first.id

    def test_a_window_that_never_ends(self, scene: Scene):
        scene.add_type("letter", dedup_window=timedelta.max)
        first = scene.submit("letter")
        scene.clock.advance(10 * 365 * 86_400)
        assert scene.submit("letter", on_duplicate="return").id == first.id


class TestTime:
    def test_now_unless_something_else_is_said(self, scene: Scene):
        job = scene.submit()
        assert (job.status, job.run_at, job.created_at) == (QUEUED, START, START)

    @pytest.mark.parametrize("delay", [90, 90.0, timedelta(seconds=90)], ids=repr)
    def test_a_delay(self, scene: Scene, delay: Any):
        job = scene.submit(delay=delay)
        assert (job.status, job.run_at) == (PENDING, START + timedelta(seconds=90))
        assert scene.stage() == 0
        scene.clock.advance(90)
        assert scene.stage() == 1
        assert steps(scene.fl, job) == [PENDING, QUEUED]

    def test_a_delay_of_none(self, scene: Scene):
        assert scene.submit(delay=0).status == QUEUED

    def test_a_moment_in_another_zone(self, scene: Scene):
        there = datetime(2026, 11, 1, 15, 0, tzinfo=timezone(timedelta(hours=2)))
        job = scene.submit(run_at=there)
        assert (job.status, job.run_at) == (PENDING, START + timedelta(hours=1))

    def test_a_moment_that_has_passed(self, scene: Scene):
        job = scene.submit(run_at=START - timedelta(days=1))
        # Else it would be due before what others had waited for, and their wait would be told in years.
        assert (job.status, job.run_at) == (QUEUED, START)

    def test_a_child_waits_for_both_its_parent_and_its_moment(self, scene: Scene):
        parent = scene.submit()
        late, early = scene.submit(depends_on=[parent], delay=60), scene.submit(depends_on=[parent], delay=10)
        scene.clock.advance(30)
        scene.stage()
        scene.end(*scene.worker().claim())
        assert (scene.get(late).status, scene.get(early).status) == (PENDING, QUEUED)
        scene.clock.advance(30)
        scene.stage()
        assert steps(scene.fl, late) == [PENDING, QUEUED]


class TestPlace:
    def test_priority_and_queue_of_the_type_unless_the_job_has_its_own(self, scene: Scene):
        scene.add_type("letter", dedup_window=0, priority="high", queue="mail")
        inherited = scene.submit("letter")
        chosen = scene.submit("letter", priority=Priority.LOW, queue="slow")
        assert (inherited.priority, inherited.queue) == ("high", "mail")
        assert (chosen.priority, chosen.queue) == ("low", "slow")

    def test_the_most_urgent_is_claimed_first_and_then_the_oldest(self, scene: Scene):
        order = ["low", "normal", "critical", "high", "critical", "normal"]
        submitted = [scene.submit(priority=priority) for priority in order]
        claimed = [scene.worker().claim()[0].id for _ in order]
        assert [[job.id for job in submitted].index(one) for one in claimed] == [2, 4, 3, 1, 5, 0]


class TestLabels:
    def test_a_job_is_found_by_them(self, scene: Scene):
        job = scene.submit(labels={"month": "november", "straße": "日本"})
        scene.submit(labels={"month": "december"})
        assert job.labels == {"month": "november", "straße": "日本"}
        for label in (("month", "november"), ("straße", "日本"), dict(job.labels)):
            assert [one.id for one in scene.fl.list(organization="acme", label=label).items] == [job.id]

    def test_fifty_are_allowed(self, scene: Scene):
        assert len(scene.submit(labels={str(n): "x" * 200 for n in range(50)}).labels) == 50


def test_a_typed_handle_submits_by_the_handler_s_own_signature(scene: Scene):
    @scene.fl.job_type("letter")
    def letter(ctx: JobContext, to: str, copies: int = 1) -> None: ...

    job = letter.submit(organization="acme", user="ana", labels={"a": "b"})("bob", copies=2)
    assert_type(job, Job)
    assert (job.parameters, job.labels) == ({"to": "bob", "copies": 2}, {"a": "b"})
