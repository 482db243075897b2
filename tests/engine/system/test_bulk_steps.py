"""Bulk actions go on by themselves, step by step, whatever happens to the worker of a step (R8, R10)."""

import json
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from fairlane import JobStatus, PermissionDenied, StorageUnavailable, Submission
from fairlane.domain.bulk import BulkAction
from fairlane.domain.errors import StatementTooSlow
from fairlane.domain.events import ServiceFailed
from fairlane.domain.origin import acting_from
from fairlane.domain.statuses import Role
from fairlane.engine.system import bulk_steps, bulk_work
from fairlane.engine.system.bulk_actions import BulkActions
from fairlane.reads.jobs import Matching
from fairlane.store.statements import bulk_actions
from fairlane.store.statements.locks import lock_job
from tests.engine.system.test_bulk import dead_lettered, submit
from tests.store.races.scene import Scene
from tests.store.test_read_timeout import FOR_EVER

pytestmark = pytest.mark.usefixtures("one_by_one")

LATE = bulk_actions.TAKEN_FOR.total_seconds() + 1
CANCELED, QUEUED = JobStatus.CANCELED, JobStatus.QUEUED


def begin(scene: Scene, verb: str = "cancel", **more: Any) -> BulkAction:
    """Begin a bulk action that has changed one job."""
    return scene.fl.bulk.start(
        verb, more.pop("filters", {}), organization="acme", **{"user": "olga", "seconds": 0.0, **more}
    )


def service(scene: Scene, *, has_room: bool = False) -> BulkActions:
    go_on = scene.fl.bulk._steps.go_on
    return BulkActions(scene.fl.database, go_on, scene.events.append, has_room=lambda: has_room, on_ready=lambda: None)


def now_is(scene: Scene, action: BulkAction) -> BulkAction:
    return scene.fl.bulk.get(action.id, organization="acme")


def steps(scene: Scene, action: BulkAction) -> int:
    """Go on to its end, a minute at a time; how many steps that took."""
    number = 0
    while now_is(scene, action).ended_at is None:
        number += service(scene).step()
        scene.clock.advance(60)
    return number


def statuses(scene: Scene) -> list[JobStatus]:
    return sorted(job.status for job in scene.fl.list(organization="acme").items)


def test_few_are_done_when_the_answer_comes(scene: Scene):
    submit(scene, 3)
    action = begin(scene, seconds=60.0)
    assert (action.state, action.changed, action.ended_at, action.stopped_by) == ("done", 3, scene.now, None)
    assert service(scene).step() == 0


def test_workers_do_what_is_left(scene: Scene):
    submit(scene, 3)
    action = begin(scene)
    assert (action.state, action.changed, action.ended_at) == ("working", 1, None)
    assert steps(scene, action) == 3, "of two jobs, and one that finds no other"
    assert (now_is(scene, action).state, now_is(scene, action).changed) == ("done", 3)
    assert statuses(scene) == [CANCELED] * 3


@pytest.mark.parametrize("has_room", [True, False])
def test_a_worker_rests_after_a_step_only_where_all_its_slots_are_taken(scene: Scene, has_room: bool):
    submit(scene, 3)
    action = begin(scene)
    assert service(scene, has_room=has_room).run_once() == has_room, "the next round follows at once, or not"
    assert now_is(scene, action).changed == 2


@pytest.mark.parametrize("interruption", ["none", "it is not told how far it came", "somebody else goes on"])
def test_the_pace_goes_on_from_step_to_step(scene: Scene, monkeypatch: pytest.MonkeyPatch, interruption: str):
    since, jobs = scene.now, dead_lettered(scene, 4)
    action = begin(scene, "retry", per_second=0.01)
    if interruption == "it is not told how far it came":
        Work(scene, monkeypatch, after=away)
    elif interruption == "somebody else goes on":
        Work(scene, monkeypatch, before=partial(somebody_else, scene, action))
    steps(scene, action)
    moments = [scene.get(job).next_retry_at for job in reversed(jobs)]
    assert moments == [None, *(since + timedelta(seconds=100 * place) for place in (1, 2, 3))]


def test_two_are_worked_at_by_turns(scene: Scene):
    submit(scene, 5)
    first = begin(scene, filters={"status": ["queued"]})
    scene.clock.advance(1)
    second = begin(scene)
    scene.clock.advance(1)
    for _ in range(2):
        service(scene).step()
        scene.clock.advance(1)
    assert [now_is(scene, one).changed + now_is(scene, one).passed_over for one in (first, second)] == [2, 2]


def test_organizations_take_turns_however_many_each_has(scene: Scene):
    submit(scene, 9)
    scene.fl.submit_many([Submission("report", organization="rival") for _ in range(5)])
    many = [begin(scene) for _ in range(3)]
    scene.clock.advance(1)
    one = scene.fl.bulk.start("cancel", {}, organization="rival", seconds=0.0)
    worker = service(scene)
    for _ in range(6):
        worker.step()
        scene.clock.advance(1)
    assert scene.fl.bulk.get(one.id, organization="rival").changed == 4
    assert sum(now_is(scene, action).changed for action in many) == 6


def test_one_that_somebody_is_at_is_left_to_them(scene: Scene):
    submit(scene, 3)
    action = begin(scene)
    scene.write(lambda c: bulk_actions.take(c, "acme", action.id, scene.now, uuid4()))
    assert service(scene).step() == 0
    assert not now_is(scene, action).is_waiting


def test_what_a_worker_took_and_left_another_does_in_time(scene: Scene):
    submit(scene, 3)
    action = begin(scene)
    scene.write(lambda c: bulk_actions.take(c, "acme", action.id, scene.now, uuid4()))
    scene.clock.advance(LATE)
    steps(scene, action)
    assert now_is(scene, action).changed == 3


def test_one_that_no_worker_goes_on_with_says_so(scene: Scene):
    submit(scene, 3)
    action = begin(scene)
    assert not now_is(scene, action).is_waiting
    scene.clock.advance(11)
    assert now_is(scene, action).is_waiting


def away() -> None:
    raise StorageUnavailable("away")


def somebody_else(scene: Scene, action: BulkAction) -> None:
    """Take over an action that another worker has had for too long."""
    scene.clock.advance(LATE)
    assert scene.fl.bulk._steps.go_on("acme", action.id) == 1


class Work:
    """The work of a step, with something before or after it."""

    def __init__(self, scene: Scene, monkeypatch: pytest.MonkeyPatch, **told: Any) -> None:
        self._steps = scene.fl.bulk._steps
        self._told = told
        self._work = self._steps._work
        monkeypatch.setattr(self._steps, "_work", self)

    def run(self, *given: Any, **more: Any) -> Any:
        self._steps._work = self._work
        self._told.get("before", lambda: None)()
        worked = self._work.run(*given, **more)
        self._told.get("after", lambda: None)()
        return worked


def test_a_worker_that_was_too_slow_says_nothing_of_how_far_it_came(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    submit(scene, 3)
    action = begin(scene)
    Work(scene, monkeypatch, after=partial(somebody_else, scene, action))
    scene.fl.bulk._steps.go_on("acme", action.id)
    steps(scene, action)
    assert statuses(scene) == [CANCELED] * 3
    assert now_is(scene, action).changed == 2, "of the job that the slow one changed, nobody told"


def test_one_that_is_stopped_changes_no_more(scene: Scene):
    submit(scene, 3)
    action = begin(scene)
    stopped = scene.fl.bulk.stop(action.id, organization="acme", user="ana")
    assert (stopped.state, stopped.stopped_by, stopped.ended_at) == ("stopped", "ana", scene.now)
    assert service(scene).step() == 0
    assert scene.fl.bulk.stop(action.id, organization="acme", user="olga") == stopped, "it has ended"


def test_one_that_is_stopped_during_a_step_says_how_far_that_came(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    submit(scene, 3)
    action = begin(scene)
    Work(scene, monkeypatch, before=lambda: scene.fl.bulk.stop(action.id, organization="acme"))
    scene.fl.bulk._steps.go_on("acme", action.id)
    assert (now_is(scene, action).state, now_is(scene, action).changed) == ("stopped", 2)
    assert service(scene).step() == 0
    assert scene.fl.audit.list(organization="acme")[0].after == {"changed": 2, "refused": 0}


def test_a_member_stops_their_own(scene: Scene):
    submit(scene, 2)
    action = begin(scene, user="ana")
    with pytest.raises(PermissionDenied, match="ask an admin"):
        scene.fl.bulk.stop(action.id, organization="acme", user="bea", only_own=True)
    with acting_from("a request"):
        with pytest.raises(PermissionDenied):
            scene.fl.bulk.stop(action.id, organization="acme", user="bea")
        assert scene.fl.bulk.stop(action.id, organization="acme", user="ana").state == "stopped"


@pytest.mark.parametrize("loss", ["removed", "viewer", "disabled"])
def test_it_ends_with_the_right_of_the_user_who_began_it(scene: Scene, loss: str):
    submit(scene, 3)
    with acting_from("a request"):
        action = begin(scene, user="ana")
    if loss == "removed":
        scene.fl.members.remove("acme", "ana")
    elif loss == "viewer":
        scene.fl.members.add("acme", "ana", role=Role.VIEWER)
    else:
        scene.fl.users.create("ana")
        scene.fl.users.update("ana", disabled=True)
    steps(scene, action)
    ended = now_is(scene, action)
    assert (ended.state, ended.stopped_by, ended.changed) == ("stopped", "system", 1)
    assert "may not do this any more" in str(ended.problem)
    assert statuses(scene) == [CANCELED, QUEUED, QUEUED]


@pytest.mark.parametrize(("page", "first"), [(1, 2), (100, 3)])
def test_a_job_that_is_held_is_skipped_after_a_while_and_stops_nothing_before_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, page: int, first: int
):
    if not scene.fl.database.kind.is_server:
        pytest.skip("SQLite holds no single rows")
    monkeypatch.setattr(bulk_steps, "BULK_STEP", 60.0)
    monkeypatch.setattr(bulk_work, "_PAGE", page)
    monkeypatch.setattr(scene.fl.database, "lock_seconds", 0.05)
    jobs = submit(scene, 4)
    with scene.fl.database.engine.begin() as holder:
        assert lock_job(holder, "acme", jobs[1].id) is not None
        action = begin(scene)
        assert (action.changed, action.state) == (first, "working")
        steps(scene, action)
    ended = now_is(scene, action)
    assert (ended.state, ended.changed, ended.refused) == ("done", 3, 1)
    assert (ended.refusals[0].job, "another session held it" in ended.refusals[0].detail) == (jobs[1].id, True)


def test_no_job_is_skipped_for_a_database_that_is_away(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    dead_lettered(scene, 2)
    control, away = scene.fl.bulk._steps._work._jobs, [StorageUnavailable("away")] * 6
    retry = control.retry

    def flaky(*given: Any, **more: Any) -> Any:
        if away:
            raise away.pop()
        return retry(*given, **more)

    action = begin(scene, "retry")
    monkeypatch.setattr(control, "retry", flaky)
    steps(scene, action)
    assert (now_is(scene, action).changed, now_is(scene, action).refused) == (2, 0)


def test_a_database_that_goes_away_between_two_pages_costs_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bulk_steps, "BULK_STEP", 60.0)
    monkeypatch.setattr(bulk_work, "_PAGE", 2)
    submit(scene, 5)
    work = scene.fl.bulk._steps._work
    places, asked = work._places, list[None]()

    def away(*given: Any, **more: Any) -> Any:
        asked.append(None)
        if len(asked) == 2:
            raise StorageUnavailable("away")
        return places(*given, **more)

    monkeypatch.setattr(work, "_places", away)
    action = begin(scene)
    assert (action.changed, action.state) == (2, "working")
    steps(scene, action)
    assert now_is(scene, action).changed == 5


def test_one_that_fails_again_and_again_holds_up_no_other_and_ends(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    submit(scene, 3)
    dead_lettered(scene, 2)
    broken, good = begin(scene), begin(scene, "retry")

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(scene.fl.bulk._steps._work._jobs, "cancel_waiting", fails)
    steps(scene, good)
    assert (now_is(scene, good).state, now_is(scene, broken).state) == ("done", "working")
    steps(scene, broken)
    assert (now_is(scene, broken).state, now_is(scene, broken).changed) == ("stopped", 1)
    assert "Fairlane has a bug" in str(now_is(scene, broken).problem)
    assert sum(isinstance(event, ServiceFailed) for event in scene.events) == 10


def test_one_whose_search_takes_the_database_too_long_ends(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    """Workers searched for a minute each time, for ever, and the bulk actions of all others waited."""
    submit(scene, 3)
    action = begin(scene)
    database = scene.fl.database
    never = "SELECT pg_sleep(60)" if database.kind.is_server else FOR_EVER
    search = partial(database.read, lambda c: c.exec_driver_sql(never).all(), of="acme")
    monkeypatch.setattr(scene.fl.bulk._steps._work, "_places", lambda *_, **__: search())
    monkeypatch.setattr(bulk_steps, "BULK_SEARCH", 0.05)
    assert steps(scene, action) == 0
    assert (now_is(scene, action).state, now_is(scene, action).changed) == ("stopped", 1)
    assert "its search takes the database too long" in str(now_is(scene, action).problem)


def test_slow_searches_end_one_whichever_workers_do_them(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    """Every worker counted its own slow searches, so that twenty workers searched forty times."""
    submit(scene, 3)
    action = begin(scene)

    def slow(*_: Any, **__: Any) -> None:
        raise StatementTooSlow("slow")

    monkeypatch.setattr(Matching, "places", slow)
    for _ in range(3):
        assert now_is(scene, action).state == "working"
        scene.clock.advance(60)
        with pytest.raises(StatementTooSlow):
            scene.fl._bulk_steps().go_on("acme", action.id)
    assert (now_is(scene, action).state, now_is(scene, action).changed) == ("stopped", 1)


def test_only_slow_searches_one_after_the_other_end_one(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    submit(scene, 3)
    action = begin(scene)
    errors = [StorageUnavailable("away"), StorageUnavailable("away"), *[StatementTooSlow("slow")] * 2]
    errors = [*errors, StorageUnavailable("away"), *[StatementTooSlow("slow")] * 2]

    def places(*given: Any, **more: Any) -> Any:
        if errors:
            raise errors.pop()
        return found(*given, **more)

    found = scene.fl.bulk._steps._work._places
    monkeypatch.setattr(scene.fl.bulk._steps._work, "_places", places)
    steps(scene, action)
    assert (now_is(scene, action).state, now_is(scene, action).changed) == ("done", 3)


def test_a_long_history_goes_by_steps(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    """The whole history was deleted in one long step, and another worker began the same meanwhile."""
    monkeypatch.setattr("fairlane.store.statements.cleanup._MOST", 2)
    monkeypatch.setattr("fairlane.store.statements.cleanup._PIECE", 1)
    letters = [scene.dead_letter() for _ in range(2)]
    action = scene.fl.bulk.start("delete", {"status": "dead_letter"}, organization="acme", user="olga", seconds=0.0)
    assert len(scene.fl.history(letters[1].id, organization="acme")) == 3
    steps(scene, action)
    assert (now_is(scene, action).state, now_is(scene, action).changed) == ("done", 2)
    assert scene.total() == 0


def test_one_of_a_newer_release_is_left_to_its_workers(scene: Scene):
    """A filter that was passed over would have others canceled; one that says nothing may be."""
    submit(scene, 3)
    action = begin(scene)
    row = scene.write(lambda c: bulk_actions.find(c, "acme", action.id))
    assert row is not None
    for value, state, changed in (("red", "working", 1), (None, "done", 3)):
        values = {"wanted": json.dumps({**json.loads(row.wanted), "colour": value})}
        scene.write(partial(bulk_actions.change, organization="acme", action=action.id, values=values))
        for _ in range(15):
            service(scene).step()
            scene.clock.advance(60)
        assert (now_is(scene, action).state, now_is(scene, action).changed) == (state, changed)
    failed = [one for one in scene.events if isinstance(one, ServiceFailed)]
    assert "with a filter 'colour' that this one does not know" in str(failed[-1].error)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_database_that_goes_away_in_a_step_loses_no_job(scene: Scene, monkeypatch: pytest.MonkeyPatch, moment: str):
    submit(scene, 3)
    action = begin(scene)
    Work(scene, monkeypatch, **{moment: away})
    assert service(scene).step() == 0
    steps(scene, action)
    assert statuses(scene) == [CANCELED] * 3
    assert now_is(scene, action).changed == (3 if moment == "before" else 2), "of one that was changed nobody told"


def test_one_whose_beginner_loses_the_database_has_begun(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    submit(scene, 3)
    Work(scene, monkeypatch, before=away)
    action = begin(scene)
    assert (action.state, action.changed) == ("working", 0)
    steps(scene, action)
    assert now_is(scene, action).changed == 3


def test_they_go_with_their_organization(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    submit(scene, 2)
    begin(scene)
    Work(scene, monkeypatch, before=lambda: scene.fl.organizations.delete("acme"))
    service(scene).step()
    assert service(scene).step() == 0
    assert scene.fl.bulk.list(organization="acme") == ()


def test_its_beginning_its_end_and_a_stop_stand_in_the_audit(scene: Scene):
    submit(scene, 2)
    with acting_from("token 01928f3a"):
        done = begin(scene, filters={"job_type": "report", "text": "report"})
    steps(scene, done)
    submit(scene, 2)
    stopped = begin(scene)
    scene.fl.bulk.stop(stopped.id, organization="acme", user="olga")
    entries = scene.fl.audit.list(organization="acme")
    assert [(one.action, one.subject, one.after) for one in entries if "bulk" in one.action] == [
        ("bulk_actions.stop", str(stopped.id), None),
        ("bulk_actions.start", str(stopped.id), {"verb": "cancel", "filters": [], "per_second": None}),
        ("bulk_actions.end", str(done.id), {"changed": 2, "refused": 0}),
        ("bulk_actions.start", str(done.id), {"verb": "cancel", "filters": ["job_type", "text"], "per_second": None}),
    ]
    assert [one.origin for one in entries if one.action == "jobs.cancel"] == ["library", *["token 01928f3a"] * 2]
