"""Many jobs at once: `fl.bulk` (R8, R10)."""

from datetime import timedelta
from typing import Any

import pytest

from fairlane import InvalidParameters, JobStatus, Submission
from fairlane.control import bulk
from tests.store.races.scene import BROKEN, Scene

NOBODY = "00000000-0000-7000-8000-000000000000"
CANCELED, QUEUED, RUNNING = JobStatus.CANCELED, JobStatus.QUEUED, JobStatus.RUNNING


def submit(scene: Scene, number: int, user: str = "ana", **more: Any) -> list[Any]:
    return scene.fl.submit_many([Submission("report", "acme", user, **more) for _ in range(number)])


def bury(scene: Scene, number: int) -> list[Any]:
    jobs = submit(scene, number)
    scene.end(*scene.worker().claim(number), outcome=BROKEN)
    return jobs


def test_all_that_fit_are_canceled_and_no_others(scene: Scene):
    mine, labeled = submit(scene, 3), submit(scene, 2, labels={"batch": "7"})
    other = scene.submit(organization="rival", user="rita", labels={"batch": "7"})
    done = scene.fl.bulk.run("cancel", "acme", {"label": {"batch": "7"}}, user="olga")
    assert (done.changed, done.refused, done.next_cursor) == (2, 0, None)
    assert {scene.get(job).status for job in labeled} == {CANCELED}
    assert {scene.get(job).status for job in mine} == {QUEUED}
    assert scene.get(other, "rival").status == QUEUED


def test_what_runs_is_asked_to_stop(scene: Scene):
    (job,) = submit(scene, 1)
    scene.worker().claim()
    assert scene.fl.bulk.run("cancel", "acme", {}, user="olga").changed == 1
    assert (scene.get(job).status, scene.get(job).cancel_requested_at) == (RUNNING, scene.now)


def test_dead_letters_are_retried_and_nothing_else(scene: Scene):
    buried = bury(scene, 2)
    scene.fl.cancel(scene.submit().id, organization="acme")
    assert scene.fl.bulk.run("retry", "acme", {}, user="olga").changed == 2
    assert {scene.get(job).status for job in buried} == {QUEUED}


def test_retried_dead_letters_become_ready_one_after_the_other_over_all_requests(scene: Scene):
    buried = bury(scene, 4)
    start, cursor, moments = scene.now, None, []
    for _ in buried:
        done = scene.fl.bulk.run("retry", "acme", {}, user="olga", cursor=cursor, seconds=0.0, per_second=2)
        cursor = done.next_cursor
    assert cursor is None
    moments = [scene.get(job).next_retry_at for job in reversed(buried)]
    assert moments == [None, *(start + timedelta(seconds=half / 2) for half in (1, 2, 3))]


@pytest.mark.parametrize(("action", "pace"), [("retry", 0), ("retry", -1), ("retry", float("nan")), ("cancel", 5)])
def test_a_pace_that_makes_no_sense_is_refused(scene: Scene, action: str, pace: float):
    bury(scene, 1)
    with pytest.raises(InvalidParameters, match="per_second is for retries"):
        scene.fl.bulk.run(action, "acme", {}, user="olga", per_second=pace)


def test_dead_letters_are_deleted(scene: Scene):
    bury(scene, 2)
    kept = scene.submit()
    assert scene.fl.bulk.run("delete", "acme", {}, user="olga").changed == 2
    assert [job.id for job in scene.fl.list(organization="acme").items] == [kept.id]


def test_a_status_that_does_not_fit_finds_nothing(scene: Scene):
    submit(scene, 1)
    assert scene.fl.bulk.run("retry", "acme", {"status": ["queued"]}, user="olga").changed == 0


def test_what_is_not_theirs_is_refused_one_by_one(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bulk, "_TOLD", 1)
    mine, others = submit(scene, 2), submit(scene, 2, user="bea")
    done = scene.fl.bulk.run("cancel", "acme", {}, user="ana")
    assert (done.changed, done.refused, len(done.errors)) == (2, 2, 1)
    assert "ask an admin" in str(done.errors[0][1])
    assert {scene.get(job).status for job in mine} == {CANCELED}
    assert {scene.get(job).status for job in others} == {QUEUED}


def test_it_stops_in_time_and_goes_on_from_there(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bulk, "_PAGE", 2)
    submit(scene, 5)
    cursor, changed = None, []
    while True:
        late = submit(scene, 1)  # comes in meanwhile, and is none of those that were asked for
        done = scene.fl.bulk.run("cancel", "acme", {}, user="olga", cursor=cursor, seconds=0.0)
        changed.append(done.changed)
        cursor = done.next_cursor
        if cursor is None:
            break
    assert sum(changed) == 6, "the five, and the one that was there when it began"
    assert set(changed) <= {0, 1}
    assert scene.get(late[0]).status == QUEUED


def test_asking_again_without_the_cursor_does_the_rest(scene: Scene):
    submit(scene, 3)
    assert scene.fl.bulk.run("cancel", "acme", {}, user="olga", seconds=0.0).changed == 1
    assert scene.fl.bulk.run("cancel", "acme", {}, user="olga").changed == 2


def test_one_that_goes_meanwhile_is_passed_over(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    jobs = submit(scene, 2)
    gone = scene.submit(organization="rival", user="rita").id
    monkeypatch.setattr(scene.fl.bulk, "_ids", lambda *_, **__: (jobs[1].id, gone, jobs[0].id))
    done = scene.fl.bulk.run("cancel", "acme", {}, user="olga")
    assert (done.changed, done.passed_over) == (2, 1)


def test_each_job_and_each_request_stand_in_the_audit(scene: Scene):
    jobs = submit(scene, 2)
    scene.fl.bulk.run("cancel", "acme", {"job_type": "report"}, user="olga")
    whole, *each = scene.fl.audit.list("acme")
    assert (whole.action, whole.actor) == ("jobs.bulk_cancel", "olga")
    assert whole.after == {"changed": 2, "refused": 0, "is_done": True, "filters": ["job_type"]}
    assert {(one.action, one.subject) for one in each} == {("jobs.cancel", str(job.id)) for job in jobs}


@pytest.mark.parametrize(
    ("action", "filters", "cursor"),
    [
        ("explode", {}, None),
        ("cancel", {}, "x"),
        ("retry", {}, "x 2026-11-26"),
        ("retry", {}, f"{NOBODY} 2026-11-26"),
        ("cancel", {"status": ["lost"]}, None),
    ],
)
def test_what_makes_no_sense_is_refused(scene: Scene, action: str, filters: dict[str, Any], cursor: str | None):
    with pytest.raises(InvalidParameters):
        scene.fl.bulk.run(action, "acme", filters, user="olga", cursor=cursor)
