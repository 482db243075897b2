"""Dead letters: the view, the groups, what people decide, and the way back: `fl.dead_letters` (R8)."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection

from fairlane import (
    Fairlane,
    IllegalTransition,
    InvalidParameters,
    Job,
    JobContext,
    JobNotFound,
    JobStatus,
    OrganizationNotFound,
    Resolution,
    Submission,
    TransientError,
)
from fairlane.domain.jobs import Page, RetriedGroup
from fairlane.domain.outcomes import Completed, ErrorReport, Failed
from fairlane.engine import dead_letters as verbs
from fairlane.store.statements import dead_letters
from tests.store.races.agreement import steps
from tests.store.races.race import Race, at_once
from tests.store.races.scene import BROKEN, DAY, Scene

PENDING, QUEUED, DEAD_LETTER = JobStatus.PENDING, JobStatus.QUEUED, JobStatus.DEAD_LETTER
JAM, INK = "PaperJam in tray 2", "OutOfInk in cartridge"


def dead_lettered(
    scene: Scene,
    count: int,
    fingerprint: str = JAM,
    job_type: str = "report",
    user: str = "ana",
    organization: str = "acme",
) -> list[Job]:
    """Dead letters with one error; each a second younger than the one before."""
    submitted = scene.fl.submit_many([Submission(job_type, organization=organization, user=user) for _ in range(count)])
    worker = scene.worker(job_types=[job_type], slots=count)
    kind = fingerprint.partition(" ")[0]
    for claimed in worker.claim(count):
        scene.clock.advance(1)
        error = ErrorReport(kind, f"{kind} it is", permanent=True, fingerprint=fingerprint)
        scene.end(claimed, outcome=Failed(error))
    return [scene.get(job, organization) for job in submitted]


def ids(scene: Scene, **filters) -> list[UUID]:
    return [letter.job_id for letter in scene.fl.dead_letters.list(organization="acme", **filters).items]


class TestList:
    def test_newest_first_with_the_reason(self, scene: Scene):
        first, second = dead_lettered(scene, 2)
        newest, _ = scene.fl.dead_letters.list(organization="acme").items
        assert ids(scene) == [second.id, first.id]
        assert (newest.reason, newest.error_type, newest.fingerprint) == ("PaperJam: PaperJam it is", "PaperJam", JAM)
        assert (newest.job_type, newest.organization, newest.entered_at) == ("report", "acme", second.finished_at)
        assert (newest.resolution, newest.note, newest.resolved_by) == (Resolution.PENDING, None, None)

    @pytest.mark.parametrize("resolution", [Resolution.PENDING, None])
    def test_in_pages_that_neither_repeat_nor_skip(self, scene: Scene, resolution: Resolution | None):
        dead = dead_lettered(scene, 7)
        decide = {1: scene.fl.dead_letters.ignore, 2: scene.fl.dead_letters.resolve, 5: scene.fl.dead_letters.ignore}
        for place, decided in decide.items() if resolution is None else ():
            decided(dead[place].id, organization="acme")
        found, cursor, sizes = [], None, []
        while True:
            page = scene.fl.dead_letters.list(organization="acme", resolution=resolution, limit=3, cursor=cursor)
            found += [letter.job_id for letter in page.items]
            sizes.append((len(page.items), page.total))
            cursor = page.next_cursor
            if cursor is None:
                break
        assert found == [job.id for job in reversed(dead)]
        assert sizes == [(3, 7), (3, 7), (1, 7)]

    def test_pages_stay_in_order_where_many_fell_at_one_moment(self, scene: Scene):
        parent = scene.submit()
        fallen = scene.fl.submit_many(
            [Submission("report", organization="acme", user="ana", depends_on=[parent]) for _ in range(5)]
        )
        scene.fl.cancel(parent.id, organization="acme")
        first = scene.fl.dead_letters.list(organization="acme", limit=2)
        rest = scene.fl.dead_letters.list(organization="acme", limit=5, cursor=first.next_cursor)
        found = [letter.job_id for letter in (*first.items, *rest.items)]
        assert found == sorted((job.id for job in fallen), reverse=True)

    def test_by_resolution_and_fingerprint(self, scene: Scene):
        jammed, empty = dead_lettered(scene, 2, JAM), dead_lettered(scene, 1, INK)
        scene.fl.dead_letters.ignore(jammed[0].id, organization="acme")
        assert ids(scene) == [empty[0].id, jammed[1].id]
        assert ids(scene, fingerprint=JAM) == [jammed[1].id]
        assert ids(scene, resolution="ignored") == [jammed[0].id]
        assert len(ids(scene, resolution=None)) == 3

    def test_another_organization_sees_none_of_them(self, scene: Scene):
        dead_lettered(scene, 1)
        assert scene.fl.dead_letters.list(organization="rival").items == ()
        assert scene.fl.dead_letters.groups(organization="rival") == ()

    @pytest.mark.parametrize(
        "wrong", [{"limit": 0}, {"limit": 1001}, {"limit": "5"}, {"resolution": "lost"}, {"cursor": "page2"}], ids=str
    )
    def test_filters_that_make_no_sense_are_refused(self, scene: Scene, wrong: dict[str, Any]):
        dead_lettered(scene, 1)
        with pytest.raises(InvalidParameters):
            scene.fl.dead_letters.list(organization="acme", **wrong)


class TestGroups:
    def test_the_largest_first_with_its_first_and_last(self, scene: Scene):
        scene.add_type("letter", dedup_window=0)
        jammed, empty, letters = (
            dead_lettered(scene, 3, JAM),
            dead_lettered(scene, 2, INK),
            dead_lettered(scene, 1, JAM, "letter"),
        )
        groups = scene.fl.dead_letters.groups(organization="acme")
        assert [(group.fingerprint, group.job_type, group.count) for group in groups] == [
            (JAM, "report", 3),
            (INK, "report", 2),
            (JAM, "letter", 1),
        ]
        assert (groups[0].first_at, groups[0].last_at) == (jammed[0].finished_at, jammed[2].finished_at)
        assert groups[1].error_type == "OutOfInk"
        scene.fl.dead_letters.resolve(letters[0].id, organization="acme")
        scene.fl.dead_letters.resolve(empty[0].id, organization="acme")
        assert [group.count for group in scene.fl.dead_letters.groups(organization="acme")] == [3, 1]
        assert [group.count for group in scene.fl.dead_letters.groups(organization="acme", resolution="resolved")] == [
            1,
            1,
        ]


class TestGroupsOfAll:
    def test_by_organization_and_error_the_newest_first(self, scene: Scene):
        scene.add_type("letter", dedup_window=0)
        dead_lettered(scene, 2, JAM)
        empty, theirs = dead_lettered(scene, 1, INK), dead_lettered(scene, 2, JAM, user="rita", organization="rival")
        (last,) = dead_lettered(scene, 1, JAM, "letter")
        page = scene.fl.dead_letters.groups_of_all()
        assert [(one.organization, one.fingerprint, one.job_type, one.count) for one in page.items] == [
            ("acme", JAM, "letter", 3),
            ("rival", JAM, "report", 2),
            ("acme", INK, "report", 1),
        ]
        assert (page.total, page.total_is_capped, page.next_cursor) == (3, False, None)
        assert (page.items[1].first_at, page.items[1].last_at) == tuple(one.finished_at for one in theirs)
        assert (page.items[2].error_type, page.items[2].reason) == ("OutOfInk", "OutOfInk: OutOfInk it is")
        for job in (last, *empty):
            scene.fl.dead_letters.ignore(job.id, organization="acme")
        left = [(one.organization, one.job_type, one.count) for one in scene.fl.dead_letters.groups_of_all().items]
        assert left == [("rival", "report", 2), ("acme", "report", 2)]

    def test_in_pages_that_neither_repeat_nor_skip(self, scene: Scene):
        for number in range(5):
            dead_lettered(scene, 1, f"PaperJam in tray {number}")
        found, cursor = [], None
        while True:
            page = scene.fl.dead_letters.groups_of_all(limit=2, cursor=cursor)
            found += [one.fingerprint[-1] for one in page.items]
            assert page.total == 5
            cursor = page.next_cursor
            if cursor is None:
                break
        assert "".join(found) == "43210"

    def test_no_flood_costs_more_than_its_bound(self, scene: Scene, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(verbs, "_COUNTED", 2)
        monkeypatch.setattr(verbs, "_GROUPS_OF_ONE", 2)
        dead_lettered(scene, 1, JAM, user="rita", organization="rival")
        for number in range(3):
            dead_lettered(scene, number + 1, f"PaperJam in tray {number}")
        page = scene.fl.dead_letters.groups_of_all()
        assert [(one.organization, one.count, one.count_is_capped) for one in page.items] == [
            ("acme", 2, False),
            ("acme", 1, False),
            ("rival", 1, False),
        ]
        assert (page.total, page.total_is_capped) == (3, True)
        dead_lettered(scene, 2, "PaperJam in tray 0")
        newest, *_ = scene.fl.dead_letters.groups_of_all().items
        assert (newest.count, newest.count_is_capped) == (2, True)

    def test_those_of_a_deleted_organization_are_nobodys(self, scene: Scene):
        dead_lettered(scene, 1)
        scene.fl.organizations.delete("acme")
        assert scene.fl.dead_letters.groups_of_all() == Page((), None, 0)

    @pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 1001}, {"limit": "5"}, {"cursor": "page2"}], ids=str)
    def test_what_makes_no_sense_is_refused(self, scene: Scene, wrong: dict[str, Any]):
        with pytest.raises(InvalidParameters):
            scene.fl.dead_letters.groups_of_all(**wrong)


class TestDecisions:
    def test_a_decision_can_be_changed_and_a_letter_still_be_retried(self, scene: Scene):
        (job,) = dead_lettered(scene, 1)
        scene.fl.dead_letters.ignore(job.id, organization="acme", user="ana", note="never mind")
        scene.fl.dead_letters.resolve(job.id, organization="acme", user="olga", note="printed by hand")
        (letter,) = scene.fl.dead_letters.list(organization="acme", resolution=None).items
        assert (letter.resolution, letter.note, letter.resolved_by) == ("resolved", "printed by hand", "olga")
        decided = [entry.action for entry in scene.fl.audit.list(organization="acme")][:2]
        assert decided == ["jobs.resolve", "jobs.ignore"]
        assert scene.fl.dead_letters.retry(job.id, organization="acme", user="ana").status == QUEUED
        (letter,) = scene.fl.dead_letters.list(organization="acme", resolution=None).items
        assert (letter.resolution, letter.note, letter.resolved_by) == ("retried", None, "ana")

    def test_one_that_was_retried_is_no_dead_letter_to_decide_about(self, scene: Scene):
        (job,) = dead_lettered(scene, 1)
        scene.fl.retry(job.id, organization="acme")
        for decide in (scene.fl.dead_letters.resolve, scene.fl.dead_letters.ignore):
            with pytest.raises(JobNotFound, match="has no dead letter"):
                decide(job.id, organization="acme")
        assert ids(scene, resolution="retried") == [job.id]

    def test_one_that_fails_again_is_pending_again(self, scene: Scene):
        (job,) = dead_lettered(scene, 1)
        scene.fl.retry(job.id, organization="acme")
        scene.end(*scene.worker().claim(), outcome=Failed(ErrorReport("OutOfInk", "empty", permanent=True)))
        (letter,) = scene.fl.dead_letters.list(organization="acme").items
        assert (letter.job_id, letter.error_type, letter.resolved_by) == (job.id, "OutOfInk", None)

    def test_a_live_job_has_no_dead_letter(self, scene: Scene):
        job = scene.submit()
        for verb in (scene.fl.dead_letters.resolve, scene.fl.dead_letters.ignore, scene.fl.dead_letters.delete):
            with pytest.raises(JobNotFound, match="has no dead letter"):
                verb(job.id, organization="acme")


class TestDelete:
    def test_a_parent_stays_while_a_child_may_still_be_retried(self, scene: Scene):
        (parent,) = dead_lettered(scene, 1)
        child = scene.submit(depends_on=[parent])
        with pytest.raises(IllegalTransition, match="is dead_letter: resolve or delete that one first"):
            scene.fl.dead_letters.delete(parent.id, organization="acme")
        scene.fl.dead_letters.delete(child.id, organization="acme")
        scene.fl.dead_letters.delete(parent.id, organization="acme")
        assert scene.total() == 0

    @pytest.mark.slow
    @pytest.mark.parametrize("completes", [False, True], ids=["failed", "completed"])
    @pytest.mark.parametrize("deletes", ["person", "clean-up"])
    def test_a_job_is_not_retried_once_its_parent_was_deleted(self, scene: Scene, deletes: str, completes: bool):
        scene.add_type("letter", retention=timedelta(days=9))
        parent = scene.submit()
        child = scene.submit("letter", depends_on=[parent])
        scene.end(*scene.worker().claim(), outcome=Completed("1") if completes else BROKEN)
        if completes:
            scene.end(*scene.worker(job_types=["letter"]).claim(), outcome=BROKEN)
        else:
            scene.fl.dead_letters.resolve(parent.id, organization="acme")
        scene.fl.dead_letters.resolve(child.id, organization="acme")
        if deletes == "person":
            scene.fl.delete(parent.id, organization="acme", user="olga")
        else:
            scene.clock.advance(DAY + 1)
            assert scene.cleaner().run_once() == 1
        refused = f"A parent of job {child.id} was deleted; submit it anew."
        for parameters in (None, {"n": 2}):
            with pytest.raises(IllegalTransition, match=refused):
                scene.fl.retry(child.id, organization="acme", parameters=parameters)
        action = scene.fl.bulk.start("retry", {}, organization="acme")
        assert (action.changed, scene.get(child).status) == (0, DEAD_LETTER)
        ended, anew = scene.fl.explain(child.id, organization="acme").reasons
        assert ended.sentence.endswith("It was resolved by system.")
        assert (anew.code, anew.sentence) == (
            "parent_deleted",
            "A parent of it was deleted, so it can't be retried: submit it anew.",
        )
        letters = scene.fl.dead_letters.list(organization="acme", resolution="resolved").items
        assert [letter.parent_deleted for letter in letters if letter.job_id == child.id] == [True]

    def test_one_of_a_deleted_organization_says_so_beside_its_own_error(self, scene: Scene):
        (job,) = dead_lettered(scene, 1)
        scene.fl.organizations.delete("acme")
        with pytest.raises(OrganizationNotFound):
            scene.fl.retry(job.id, organization="acme")
        told = scene.fl.explain(job.id, organization="acme").summary
        assert "PaperJam" in told
        assert told.endswith("Organization acme was deleted, so it can't be retried.")


class TestRetryGroup:
    def test_its_jobs_become_ready_one_after_the_other(self, scene: Scene):
        jammed, empty = dead_lettered(scene, 5, JAM), dead_lettered(scene, 1, INK)
        start = scene.now
        assert scene.fl.dead_letters.retry_group(JAM, organization="acme", user="olga", per_second=2) == RetriedGroup(
            5, 0
        )
        moments = [scene.get(job).next_retry_at for job in reversed(jammed)]
        assert moments == [None, *(start + timedelta(seconds=half / 2) for half in (1, 2, 3, 4))]
        assert ids(scene) == [empty[0].id]
        ready = []
        for _ in range(5):
            ready += [claimed.id for claimed in scene.worker().claim(5)]
            scene.clock.advance(0.5)
            scene.stage()
        assert ready == [job.id for job in reversed(jammed)]

    def test_what_other_types_have_of_the_same_error_is_left_where_it_is(self, scene: Scene):
        scene.add_type("letter", dedup_window=0)
        reports, letters = dead_lettered(scene, 2, JAM), dead_lettered(scene, 1, JAM, "letter")
        assert ids(scene, fingerprint=JAM, job_type="letter") == [letters[0].id]
        assert scene.fl.dead_letters.retry_group(JAM, organization="acme", job_type="report").retried == 2
        assert ids(scene) == [letters[0].id]
        assert {scene.get(job).status for job in reports} == {QUEUED}

    def test_those_somebody_has_decided_about_are_skipped(self, scene: Scene):
        first, second = dead_lettered(scene, 2)
        scene.fl.dead_letters.resolve(first.id, organization="acme")
        assert scene.fl.dead_letters.retry_group(JAM, organization="acme").retried == 1
        assert (scene.get(first).status, scene.get(second).status) == (DEAD_LETTER, QUEUED)

    def test_one_that_is_deleted_meanwhile_is_passed_over(self, scene: Scene, monkeypatch: pytest.MonkeyPatch):
        gone, *left = dead_lettered(scene, 3)
        retry = scene.fl._jobs.retry

        def delete_and_retry(job_id: UUID, organization: str, **more: Any) -> Job:
            if job_id == gone.id:
                scene.fl.dead_letters.delete(gone.id, organization="acme")
            return retry(job_id, organization, **more)

        monkeypatch.setattr(scene.fl._jobs, "retry", delete_and_retry)
        assert scene.fl.dead_letters.retry_group(JAM, organization="acme").retried == 2
        assert {scene.get(job).status for job in left} == {QUEUED}

    def test_one_that_is_ignored_meanwhile_is_passed_over(self, scene: Scene, monkeypatch: pytest.MonkeyPatch):
        ignored, *left = dead_lettered(scene, 3)
        retry = scene.fl._jobs.retry

        def ignore_and_retry(job_id: UUID, organization: str, **more: Any) -> Job:
            if job_id == ignored.id:
                scene.fl.dead_letters.ignore(ignored.id, organization="acme", note="the customer has left")
            return retry(job_id, organization, **more)

        monkeypatch.setattr(scene.fl._jobs, "retry", ignore_and_retry)
        assert scene.fl.dead_letters.retry_group(JAM, organization="acme").retried == 2
        assert {scene.get(job).status for job in left} == {QUEUED}
        assert scene.get(ignored).status is DEAD_LETTER

    def test_to_a_stranger_its_jobs_do_not_exist(self, scene: Scene):
        (job,) = dead_lettered(scene, 1)
        with pytest.raises(JobNotFound):
            scene.fl.dead_letters.retry_group(JAM, organization="acme", user="rita")
        assert scene.get(job).status == DEAD_LETTER

    def test_an_unknown_group_is_empty(self, scene: Scene):
        assert scene.fl.dead_letters.retry_group("nothing", organization="acme") == RetriedGroup(0, 0)

    @pytest.mark.parametrize("given", [None, "", " "])
    def test_no_fingerprint_is_no_group_and_never_all(self, scene: Scene, given: Any):
        (letter,) = dead_lettered(scene, 1)
        with pytest.raises(InvalidParameters, match=r"^fingerprint is empty; give the fingerprint of a group"):
            scene.fl.dead_letters.retry_group(given, organization="acme")
        assert scene.get(letter.id).status == DEAD_LETTER

    def test_what_is_not_a_members_own_is_refused_and_holds_up_nothing(self, scene: Scene):
        (theirs,) = dead_lettered(scene, 1, user="bea")
        (mine,) = dead_lettered(scene, 1)
        later, another = dead_lettered(scene, 1, user="bea"), dead_lettered(scene, 1)
        assert scene.fl.dead_letters.retry_group(JAM, organization="acme", user="ana") == RetriedGroup(2, 2)
        assert {scene.get(job).status for job in (mine, *another)} == {QUEUED}
        assert {scene.get(job).status for job in (theirs, *later)} == {DEAD_LETTER}

    @pytest.mark.parametrize("pace", [0, -1, 1e-300, float("nan")], ids=str)
    def test_a_pace_that_makes_no_sense_is_refused(self, scene: Scene, pace: float):
        (job,) = dead_lettered(scene, 1)
        with pytest.raises(InvalidParameters, match="per_second is for retries"):
            scene.fl.dead_letters.retry_group(JAM, organization="acme", per_second=pace)
        assert scene.get(job).status == DEAD_LETTER

    def test_what_went_down_with_its_parent_is_passed_over(self, scene: Scene):
        (parent,) = dead_lettered(scene, 1)
        child = scene.submit(depends_on=[parent])
        (fallen,) = [
            one for one in scene.fl.dead_letters.groups(organization="acme") if one.error_type == "ParentEnded"
        ]
        assert scene.fl.dead_letters.retry_group(fallen.fingerprint, organization="acme").retried == 0
        assert scene.get(child).status == DEAD_LETTER
        assert scene.fl.dead_letters.retry_group(JAM, organization="acme").retried == 1
        assert scene.get(child).status == PENDING

    def test_a_family_that_fell_together_is_revived_in_whatever_order_it_is_met(self, scene: Scene):
        parent = Submission("report", organization="acme", user="ana", delay=60)
        fallen = [parent]
        for _ in range(3):
            fallen.append(Submission("report", organization="acme", user="ana", depends_on=[fallen[-1]]))
        jobs = scene.fl.submit_many(fallen)
        scene.fl.cancel(parent.id, organization="acme")
        (group,) = scene.fl.dead_letters.groups(organization="acme")
        scene.fl.dead_letters.retry_group(group.fingerprint, organization="acme")
        assert {scene.get(job).status for job in jobs[1:]} <= {PENDING, QUEUED}
        assert ids(scene) == []


class TestRaces:
    def test_a_group_skips_what_somebody_else_is_retrying(self, scene: Scene, race: Race):
        dead = dead_lettered(scene, 3)

        def retry(connection: Connection) -> None:
            now = scene.clock.now(connection)
            dead_letters.retry(connection, now, "acme", dead[1].id, actor="olga")

        with race.open() as retrying:
            retry(retrying)
            group = race.waits(lambda: scene.fl.dead_letters.retry_group(JAM, organization="acme"))
        assert group.result().retried == 2
        assert {tuple(steps(scene.fl, job))[-2:] for job in dead} == {(DEAD_LETTER, QUEUED)}

    def test_of_five_who_retry_one_group_each_job_is_retried_once(self, scene: Scene):
        dead = dead_lettered(scene, 6)
        assert sum(at_once([lambda: scene.fl.dead_letters.retry_group(JAM, organization="acme").retried] * 5)) == 6
        assert {tuple(steps(scene.fl, job))[-2:] for job in dead} == {(DEAD_LETTER, QUEUED)}

    def test_of_a_retry_and_a_decision_the_retry_stands(self, scene: Scene, race: Race):
        (job,) = dead_lettered(scene, 1)
        with race.open() as retrying:
            dead_letters.retry(retrying, scene.clock.now(retrying), "acme", job.id, actor="olga")
            late = race.waits(lambda: scene.fl.dead_letters.ignore(job.id, organization="acme"))
        with pytest.raises(JobNotFound):
            late.result()
        assert ids(scene, resolution="retried") == [job.id]


def test_a_retry_of_what_waits_for_its_next_attempt_says_when_that_is_and_what_to_do(database_url: str) -> None:
    with Fairlane(database_url) as fl:

        @fl.job_type("flaky")
        def flaky(ctx: JobContext) -> None:
            raise TransientError("later")

        fl.migrate()
        fl.organizations.create("acme")
        job = fl.submit("flaky", organization="acme")
        fl.worker().drain()
        due = fl.get(job, organization="acme").next_retry_at
        assert due is not None
        with pytest.raises(IllegalTransition) as refused:
            fl.retry(job, organization="acme")
    assert str(refused.value) == (
        f"Job {job.id} is queued and waits for its next attempt at {due:%Y-%m-%d %H:%M:%S} UTC; only a dead letter can "
        "be retried. Wait until then, or cancel the job and submit it anew."
    )
