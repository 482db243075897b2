"""Many jobs at once: `fl.bulk` (R8, R10). What is done with which jobs; how it goes on is in test_bulk_steps.py."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from fairlane import (
    BulkActionNotFound,
    InvalidParameters,
    JobStatus,
    PermissionDenied,
    Submission,
    TooManyBulkActions,
)
from fairlane.domain.bulk import MOST_WORKING, BulkAction
from fairlane.domain.outcomes import ErrorReport, Failed
from fairlane.engine.system import bulk_steps, bulk_work
from fairlane.engine.system.bulk_rows import kept_wanted, wanted_of
from fairlane.reads.jobs import Filters
from fairlane.store.statements import bulk_actions
from fairlane.store.statements.job_list import Place, WantedJobs
from tests.engine.worker_kit import until
from tests.patience import PATIENCE
from tests.store.races.scene import BROKEN, DAY, JAMMED, Scene

CANCELED, QUEUED, RUNNING = JobStatus.CANCELED, JobStatus.QUEUED, JobStatus.RUNNING


def submit(scene: Scene, number: int, user: str = "ana", **more: Any) -> list[Any]:
    return scene.fl.submit_many([Submission("report", organization="acme", user=user, **more) for _ in range(number)])


def dead_lettered(scene: Scene, number: int) -> list[Any]:
    jobs = submit(scene, number)
    claimed = scene.worker().claim(number)
    # Again, as a finisher does, while a connection that a test of faults has cut still holds a row.
    until(lambda: not any(one.is_locked for one in scene.end(*claimed, outcome=BROKEN)))
    return jobs


def all_of(
    scene: Scene, verb: str, filters: dict[str, Any] | None = None, user: str | None = "olga", **more: Any
) -> BulkAction:
    """A bulk action that comes to its end before the answer."""
    done = scene.fl.bulk.start(verb, filters or {}, organization="acme", **{"user": user, "seconds": 60.0, **more})
    assert (done.state, done.ended_at) == ("done", scene.now)
    return done


def test_all_that_fit_are_canceled_and_no_others(scene: Scene):
    mine, labeled = submit(scene, 3), submit(scene, 2, labels={"batch": "7"})
    other = scene.submit(organization="rival", user="rita", labels={"batch": "7"})
    done = all_of(scene, "cancel", {"label": {"batch": "7"}})
    assert (done.changed, done.refused, done.filters) == (2, 0, {"label": {"batch": "7"}})
    assert {scene.get(job).status for job in labeled} == {CANCELED}
    assert {scene.get(job).status for job in mine} == {QUEUED}
    assert scene.get(other, "rival").status == QUEUED


@pytest.mark.slow
def test_a_step_whose_time_is_over_before_its_first_job_is_not_the_last(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest job runs, and those behind it were canceled together, for as long as a step may take."""
    jobs = submit(scene, 150)
    running = scene.submit(priority="critical")
    (claimed,) = scene.worker().claim()
    assert claimed.id == running.id
    seconds = count()
    monkeypatch.setattr(bulk_work, "monotonic", lambda: float(next(seconds)))
    assert all_of(scene, "cancel").changed == 151
    assert {scene.get(job).status for job in jobs} == {CANCELED}


def test_waiting_jobs_are_canceled_many_in_a_transaction(scene: Scene):
    """Ten thousand of a wrong batch must not have started before their turn comes."""
    parent = scene.submit()
    child = scene.submit(depends_on=[parent.id])
    jobs = submit(scene, 150, run_at=scene.now + timedelta(days=3))
    running = scene.submit(priority="critical")
    scene.worker().claim()
    commits = list[None]()
    event.listen(scene.fl.database.engine, "commit", lambda _: commits.append(None))
    assert all_of(scene, "cancel").changed == 153
    assert len(commits) < 30
    assert {scene.get(job).status for job in (parent, child, *jobs)} == {CANCELED}
    assert scene.get(running).cancel_requested_at == scene.now
    history = scene.fl.history(jobs[0].id, organization="acme")
    assert (history[-1].actor, history[-1].message) == ("olga", "canceled with others")
    audited = scene.fl.audit.list(organization="acme", subject=str(jobs[0].id))
    assert [(one.actor, one.action) for one in audited] == [("olga", "jobs.cancel")]


def test_what_waits_for_a_retry_is_canceled_and_nothing_that_is_ready(scene: Scene):
    one, other = submit(scene, 2)
    claimed = scene.worker().claim(2)
    scene.end(*claimed, outcome=JAMMED)
    ready = scene.submit()
    done = all_of(scene, "cancel", {"waiting_for": "retry"})
    assert (done.changed, done.filters) == (2, {"waiting_for": "retry"})
    assert [scene.get(job).status for job in (one, other, ready)] == [CANCELED, CANCELED, QUEUED]


def test_what_runs_is_asked_to_stop(scene: Scene):
    (job,) = submit(scene, 1)
    scene.worker().claim()
    assert all_of(scene, "cancel").changed == 1
    assert (scene.get(job).status, scene.get(job).cancel_requested_at) == (RUNNING, scene.now)


def test_dead_letters_are_retried_and_nothing_else(scene: Scene):
    dead = dead_lettered(scene, 2)
    scene.fl.cancel(scene.submit().id, organization="acme")
    assert all_of(scene, "retry").changed == 2
    assert {scene.get(job).status for job in dead} == {QUEUED}


def test_of_dead_letters_only_those_with_an_error_that_nobody_has_decided_about_are_retried(scene: Scene):
    scene.add_type("letter")
    scene.fl.migrate()  # registers it
    decided, *dead = dead_lettered(scene, 3)
    other = scene.submit()
    jam = ErrorReport("PaperJam", "in tray 2", permanent=True, fingerprint="PaperJam in tray 2")
    scene.end(*scene.worker().claim(1), outcome=Failed(jam))
    scene.fl.dead_letters.resolve(decided.id, organization="acme")
    error = next(
        one.fingerprint for one in scene.fl.dead_letters.groups(organization="acme") if one.error_type != "PaperJam"
    )
    assert all_of(scene, "retry", {"fingerprint": error, "job_type": "letter"}).changed == 0
    done = all_of(scene, "retry", {"fingerprint": error, "job_type": "report"})
    assert (done.changed, done.passed_over) == (2, 0)
    assert {scene.get(job).status for job in dead} == {QUEUED}
    assert {scene.get(job).status for job in (decided, other)} == {JobStatus.DEAD_LETTER}


def test_what_somebody_has_decided_about_is_retried_with_no_others(scene: Scene):
    resolved, ignored, open_one = dead_lettered(scene, 3)
    scene.fl.dead_letters.resolve(resolved.id, organization="acme", note="sent by hand")
    scene.fl.dead_letters.ignore(ignored.id, organization="acme", note="the customer has left")
    done = all_of(scene, "retry", {"job_type": "report"})
    assert (done.changed, done.passed_over, done.refused) == (1, 0, 0)  # they are not among those that fit
    assert scene.get(open_one).status is QUEUED
    assert {scene.get(job).status for job in (resolved, ignored)} == {JobStatus.DEAD_LETTER}
    assert scene.fl.dead_letters.retry(resolved.id, organization="acme").status is QUEUED


def test_dead_letters_are_deleted(scene: Scene):
    dead_lettered(scene, 2)
    kept = scene.submit()
    assert all_of(scene, "delete").changed == 2
    assert [job.id for job in scene.fl.list(organization="acme").items] == [kept.id]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", []),
        ("status", iter(())),
        ("label", {}),
        ("user", ""),
        ("queue", ""),
        ("text", "  "),
        *((name, None) for name in Filters.__annotations__),
    ],
)
def test_a_filter_that_is_empty_never_means_all(scene: Scene, name: str, value: Any):
    (job,) = submit(scene, 1)
    with pytest.raises(InvalidParameters, match=rf"^The filter {name} is empty; .* leave it out for all jobs\.$"):
        scene.fl.bulk.start("cancel", {name: value}, organization="acme")
    assert scene.get(job).status == QUEUED


@pytest.mark.parametrize(
    ("verb", "status", "able"),
    [
        ("cancel", "completed", "pending, queued or running"),
        ("delete", ["completed"], "dead_letter"),
        ("retry", ["queued", "completed"], "dead_letter"),
    ],
)
def test_statuses_that_an_action_can_do_nothing_with_are_refused(scene: Scene, verb: str, status: Any, able: str):
    submit(scene, 1)
    with pytest.raises(InvalidParameters, match=rf"^A bulk {verb} takes jobs that are {able}, and none that are "):
        scene.fl.bulk.start(verb, {"status": status}, organization="acme")
    assert scene.fl.bulk.list(organization="acme") == ()


@pytest.mark.parametrize("statuses", ["queued", ["queued"], {JobStatus.QUEUED}])
def test_statuses_are_taken_as_they_were_given(scene: Scene, statuses: Any):
    running = submit(scene, 1)
    scene.worker().claim()
    submit(scene, 2)
    assert all_of(scene, "cancel", {"status": statuses}).changed == 2
    assert scene.get(running[0]).cancel_requested_at is None


def test_statuses_that_can_be_gone_through_only_once_are_no_others(scene: Scene):
    submit(scene, 1)
    scene.worker().claim()
    assert all_of(scene, "cancel", {"status": (one for one in ["queued"])}).changed == 0


def test_jobs_that_come_in_later_are_none_of_those(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bulk_steps, "BULK_STEP", 0.0)
    monkeypatch.setattr(bulk_work, "_PAGE", 1)
    submit(scene, 2)
    action = scene.fl.bulk.start("cancel", {}, organization="acme", seconds=0.0)
    scene.clock.advance(1)
    late = submit(scene, 2)
    while scene.fl.bulk.get(action.id, organization="acme").ended_at is None:
        scene.fl.bulk._steps.go_on("acme", action.id)
    assert scene.fl.bulk.get(action.id, organization="acme").changed == 2
    assert {scene.get(job).status for job in late} == {QUEUED}


def test_a_text_that_is_the_beginning_of_an_id_stays_one(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bulk_steps, "BULK_STEP", 0.0)
    monkeypatch.setattr(bulk_work, "_PAGE", 1)
    scene.add_type("feed.read")
    mine = UUID(int=0xFEED << 112 | 7 << 76 | 2 << 62)
    (named,) = scene.fl.submit_many([Submission("report", organization="acme", user="ana", id=mine)])
    other = scene.submit("feed.read")
    action = scene.fl.bulk.start("cancel", {"text": "feed"}, organization="acme", seconds=0.0)
    while scene.fl.bulk.get(action.id, organization="acme").ended_at is None:
        scene.fl.bulk._steps.go_on("acme", action.id)
    assert (scene.get(named).status, scene.get(other).status) == (CANCELED, QUEUED)


def test_what_is_not_theirs_is_refused_one_by_one(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    for module in (bulk_work, bulk_steps):  # it may take more than one step
        monkeypatch.setattr(module, "TOLD", 1)
    mine, others = submit(scene, 2), submit(scene, 2, user="bea")
    done = all_of(scene, "cancel", user="ana")
    assert (done.changed, done.refused, len(done.refusals)) == (2, 2, 1)
    assert "ask an admin" in done.refusals[0].detail
    assert {scene.get(job).status for job in mine} == {CANCELED}
    assert {scene.get(job).status for job in others} == {QUEUED}


@pytest.mark.parametrize("user", ["rita", "nobody", ""])
def test_who_is_no_member_begins_none(scene: Scene, user: str):
    submit(scene, 1)
    named = user or "''"
    sentence = rf"^{named} is not a member of organization acme; add them\."
    with pytest.raises(PermissionDenied, match=sentence):
        scene.fl.bulk.start("cancel", {}, organization="acme", user=user)
    assert scene.fl.bulk.list(organization="acme") == ()


def test_an_operator_begins_one_in_any_organization(scene: Scene):
    scene.fl.users.create("ops", operator=True)
    submit(scene, 1)
    assert all_of(scene, "cancel", user="ops").changed == 1


def test_one_that_has_gone_or_changed_meanwhile_is_passed_over(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    jobs = submit(scene, 2)
    gone = scene.submit(organization="rival", user="rita").id
    ended = scene.fl.cancel(scene.submit().id, organization="acme")
    found = [Place(scene.now, job) for job in (jobs[1].id, gone, ended.id, jobs[0].id)]
    monkeypatch.setattr(bulk_steps, "BULK_STEP", PATIENCE)  # in one step, since each would find all of them
    monkeypatch.setattr(scene.fl.bulk._steps._work, "_places", lambda *_, **__: found)
    done = all_of(scene, "cancel")
    assert (done.changed, done.passed_over, done.refused) == (2, 2, 0)


def test_children_of_dead_letters_follow_the_parent_and_are_no_refusals(scene: Scene):
    parent = scene.submit()
    child = scene.submit(depends_on=[parent.id])
    scene.end(*scene.worker().claim(1), outcome=BROKEN)
    done = all_of(scene, "retry")
    assert (done.changed, done.passed_over, done.refused) == (1, 1, 0)
    assert [scene.get(job).status for job in (parent, child)] == [QUEUED, JobStatus.PENDING]


def test_what_has_failed_again_is_not_retried_again(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bulk_steps, "BULK_STEP", 0.0)
    monkeypatch.setattr(bulk_work, "_PAGE", 1)
    old, new = dead_lettered(scene, 1), dead_lettered(scene, 1)
    action = scene.fl.bulk.start("retry", {}, organization="acme", seconds=0.0)
    scene.clock.advance(1)
    scene.end(*scene.worker().claim(1), outcome=BROKEN)
    # As if the worker that retried it had died before it could say so.
    scene.fl.database.write(lambda c: _forget_cursor(c, action), of="acme")
    while scene.fl.bulk.get(action.id, organization="acme").ended_at is None:
        scene.fl.bulk._steps.go_on("acme", action.id)
    assert [scene.get(one[0]).status for one in (old, new)] == [QUEUED, JobStatus.DEAD_LETTER]
    assert scene.fl.bulk.get(action.id, organization="acme").passed_over == 1


def _forget_cursor(connection: Any, action: BulkAction) -> None:
    bulk_actions.change(connection, "acme", action.id, {"cursor": None})


@pytest.mark.parametrize(
    ("verb", "filters", "pace"),
    [
        ("explode", {}, None),
        ("cancel", {"status": ["lost"]}, None),
        ("cancel", {"status": 5}, None),
        ("cancel", None, None),
        ("cancel", {"created_after": datetime(2026, 11, 1)}, None),  # noqa: DTZ001 - it has to have a time zone
        ("delete", {"type": "report"}, None),
        ("cancel", {}, 1.0),
        ("retry", {}, 0.0),
        ("retry", {}, -1.0),
        ("retry", {}, 1e-15),
        ("retry", {}, float("nan")),
    ],
)
def test_what_makes_no_sense_is_not_begun(scene: Scene, verb: str, filters: dict[str, Any], pace: float | None):
    dead_lettered(scene, 1)
    with pytest.raises(InvalidParameters):
        scene.fl.bulk.start(verb, filters, organization="acme", per_second=pace)
    assert scene.fl.bulk.list(organization="acme") == ()
    assert scene.fl.list(organization="acme").total == 1


def test_an_organization_has_so_many_at_work_and_no_more(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bulk_steps, "BULK_STEP", 0.0)
    monkeypatch.setattr(bulk_work, "_PAGE", 1)
    submit(scene, MOST_WORKING + 2)
    first, *_ = [scene.fl.bulk.start("cancel", {}, organization="acme", seconds=0.0) for _ in range(MOST_WORKING)]
    with pytest.raises(TooManyBulkActions, match="stop it"):
        scene.fl.bulk.start("cancel", {}, organization="acme")
    scene.fl.bulk.start("cancel", {}, organization="rival")
    scene.fl.bulk.stop(first.id, organization="acme")
    assert scene.fl.bulk.start("cancel", {}, organization="acme", seconds=60.0).state == "done"


def test_they_are_listed_newest_first_and_of_their_organization_alone(scene: Scene):
    first, second, third = (all_of(scene, "cancel") for _ in range(3))
    assert [one.id for one in scene.fl.bulk.list(organization="acme", limit=2)] == [third.id, second.id]
    assert [one.id for one in scene.fl.bulk.list(organization="acme", before=second.id)] == [first.id]
    assert scene.fl.bulk.list(organization="rival") == ()
    for key in (first.id, str(first.id), "nonsense"):
        with pytest.raises(BulkActionNotFound):
            scene.fl.bulk.get(key, organization="rival")
        with pytest.raises(BulkActionNotFound):
            scene.fl.bulk.stop(key, organization="rival")


def test_they_are_told_of_for_a_day_after_their_end(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    ended = all_of(scene, "cancel")
    monkeypatch.setattr(bulk_steps, "BULK_STEP", 0.0)
    monkeypatch.setattr(bulk_work, "_PAGE", 1)
    submit(scene, 2)
    working = scene.fl.bulk.start("cancel", {}, organization="acme", seconds=0.0)
    scene.clock.advance(DAY + 1)
    scene.cleaner().run_once()
    assert [one.id for one in scene.fl.bulk.list(organization="acme")] == [working.id]
    with pytest.raises(BulkActionNotFound, match="ended more than a day ago"):
        scene.fl.bulk.get(ended.id, organization="acme")


def _wanted() -> Iterator[st.SearchStrategy[Any]]:
    texts = st.text(max_size=9) | st.none()
    moments = st.datetimes(timezones=st.just(UTC)) | st.none()
    pairs = st.tuples(st.text(max_size=5), st.text(max_size=5))
    yield st.frozensets(st.sampled_from(JobStatus))
    yield from (texts, texts, texts)
    yield st.lists(pairs, max_size=3).map(tuple)
    yield from (moments, moments)
    yield st.tuples(st.uuids(), st.uuids()) | st.none()
    yield texts
    yield st.builds(Place, st.datetimes(timezones=st.just(UTC)), st.uuids()) | st.none()
    yield st.booleans()
    yield st.frozensets(pairs, max_size=3)
    yield moments
    yield from (texts, texts)
    yield st.booleans()
    yield moments


@pytest.mark.slow
@given(st.tuples(*_wanted()))
def test_which_jobs_it_is_about_is_kept_as_it_was(fields: tuple[Any, ...]) -> None:
    wanted = WantedJobs(*fields)
    assert wanted_of(kept_wanted(wanted)) == wanted
