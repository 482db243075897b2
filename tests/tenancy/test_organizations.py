"""Organizations and their members: `fl.organizations`, `fl.members` (R5, R17, R19)."""

from datetime import timedelta
from typing import Any

import pytest

from fairlane import (
    ConfigurationError,
    JobStatus,
    OrganizationExists,
    OrganizationNotFound,
    OrganizationStatus,
    OrganizationSuspended,
    PermissionDenied,
    Role,
    StorageUnavailable,
    Submission,
)
from fairlane.domain.outcomes import Completed, Refused, Released
from fairlane.domain.reasons import ReasonCode
from fairlane.tenancy.organizations import Organizations
from tests.store.races.agreement import assert_log_agrees, steps
from tests.store.races.race import answers_at_once
from tests.store.races.scene import Scene

PENDING, QUEUED, RUNNING = JobStatus.PENDING, JobStatus.QUEUED, JobStatus.RUNNING
COMPLETED, CANCELED, DEAD_LETTER = JobStatus.COMPLETED, JobStatus.CANCELED, JobStatus.DEAD_LETTER


class TestCreate:
    def test_with_defaults(self, scene: Scene):
        made = scene.fl.organizations.create("new")
        assert (made.name, made.status, made.weight) == ("new", OrganizationStatus.ACTIVE, 1)
        assert (made.max_running, made.max_live_jobs, made.paused) == (None, None, False)
        assert made.created_at == scene.now
        assert [one.id for one in scene.fl.organizations.list()] == ["acme", "new", "rival"]

    def test_with_limits(self, scene: Scene):
        made = scene.fl.organizations.create(
            "new", name="New Inc.", weight=3, max_running=0, max_live_jobs=7, retention=timedelta(days=90)
        )
        assert (made.name, made.weight, made.max_running, made.max_live_jobs) == ("New Inc.", 3, 0, 7)
        assert made.retention == 90 * 86_400

    @pytest.mark.parametrize(
        "wrong",
        [
            {"weight": 0},
            {"weight": 1.5},
            {"weight": True},
            {"max_running": -1},
            {"max_live_jobs": "7"},
            {"retention": -1},
            {"retention": timedelta.max},
        ],
        ids=str,
    )
    def test_with_values_that_make_no_sense(self, scene: Scene, wrong: dict[str, Any]):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            scene.fl.organizations.create("new", **wrong)
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            scene.fl.organizations.update("acme", **wrong)
        with pytest.raises(OrganizationNotFound):
            scene.fl.organizations.get("new")

    def test_an_id_is_taken_once_however_many_ask_for_it(self, scene: Scene):
        answers = answers_at_once([lambda: scene.fl.organizations.create("new")] * 10)
        assert sum(isinstance(answer, OrganizationExists) for answer in answers) == 9

    def test_a_deleted_organization_s_id_stays_taken(self, scene: Scene):
        scene.fl.organizations.delete("rival")
        with pytest.raises(ConfigurationError, match="that was deleted; choose another one"):
            scene.fl.organizations.create("rival")


class TestUpdate:
    def test_what_is_omitted_stays_and_none_is_unlimited(self, scene: Scene):
        verbs = scene.fl.organizations
        verbs.update("acme", max_running=5, max_live_jobs=9)
        changed = verbs.update("acme", name="Acme Ltd.", max_running=None)
        assert (changed.name, changed.weight, changed.max_running, changed.max_live_jobs) == ("Acme Ltd.", 1, None, 9)
        assert verbs.update("acme") == changed

    def test_a_retention_may_be_given_and_taken_back(self, scene: Scene):
        verbs = scene.fl.organizations
        assert verbs.update("acme", retention=60).retention == 60
        assert verbs.update("acme", weight=2).retention == 60
        assert verbs.update("acme", retention=None).retention is None

    @pytest.mark.parametrize("name", ["nowhere", "gone"], ids=["unknown", "deleted"])
    def test_of_one_that_is_not_there(self, scene: Scene, name: str):
        verbs = scene.fl.organizations
        verbs.create("gone")
        verbs.delete("gone")
        with pytest.raises(OrganizationNotFound):
            verbs.get(name)
        for verb in (verbs.suspend, verbs.activate, verbs.delete, lambda one: verbs.update(one, weight=2)):
            with pytest.raises(OrganizationNotFound):
                verb(name)
        with pytest.raises(OrganizationNotFound):
            scene.fl.members.add(name, "ana")


class TestSuspension:
    def test_it_refuses_submissions_until_it_ends(self, scene: Scene):
        scene.fl.organizations.suspend("acme")
        with pytest.raises(OrganizationSuspended):
            scene.submit()
        scene.submit(organization="rival", user="rita")
        scene.fl.organizations.activate("acme")
        scene.submit()

    def test_it_locks_results_and_artifacts_until_it_ends(self, scene: Scene):
        job = scene.submit()
        scene.end(*scene.worker().claim(), outcome=Completed('"done"'))
        scene.fl.organizations.suspend("acme")
        for look in (scene.fl.result, lambda key, organization: scene.fl.artifact(key, "a", organization=organization)):
            with pytest.raises(OrganizationSuspended, match="its results are locked"):
                look(job.id, organization="acme")
        assert scene.get(job).status == COMPLETED
        scene.fl.organizations.activate("acme")
        assert scene.fl.result(job.id, organization="acme").value == "done"

    def test_a_pause_submits_on_and_shows(self, scene: Scene):
        scene.fl.organizations.pause("acme", user="root", reason="invoice unpaid")
        assert scene.fl.organizations.get("acme").paused
        assert not scene.fl.organizations.get("rival").paused
        scene.submit()
        assert scene.fl.organizations.resume("acme")
        assert not scene.fl.organizations.resume("acme")
        assert not scene.fl.organizations.get("acme").paused


def delete_and_leave_its_jobs(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delete acme, while an outage begins before its jobs are looked at."""

    def away(*_: object) -> None:
        raise StorageUnavailable("The database is away.")

    with monkeypatch.context() as patch:
        patch.setattr(Organizations, "_dead_letter_waiting", away)
        with pytest.raises(StorageUnavailable):
            scene.fl.organizations.delete("acme")


class TestDelete:
    def test_waiting_jobs_are_dead_lettered_and_running_ones_finish(self, scene: Scene):
        running = scene.submit()
        (claimed,) = scene.worker().claim()
        queued, scheduled = scene.submit(), scene.submit(delay=60)
        elsewhere = scene.submit(organization="rival", user="rita")
        scene.fl.organizations.delete("acme", user="root")
        scene.end(claimed)
        for job in (queued, scheduled):
            after = assert_log_agrees(scene.fl, job)
            assert (after.status, after.error_message) == (DEAD_LETTER, "Organization not found")
            assert scene.fl.history(job.id, organization="acme")[-1].actor == "root"
        assert scene.get(running).status == COMPLETED
        assert scene.get(elsewhere, "rival").status == QUEUED

    def test_more_jobs_than_a_batch_are_dead_lettered_too(self, scene: Scene, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("fairlane.tenancy.organizations._BATCH", 2)
        jobs = scene.fl.submit_many([Submission("report", organization="acme", user=None) for _ in range(5)])
        scene.fl.organizations.delete("acme")
        assert [scene.get(job).status for job in jobs] == [DEAD_LETTER] * 5

    def test_a_whole_family_is_dead_lettered_for_the_same_reason(self, scene: Scene):
        parent = Submission("report", organization="acme", user="ana")
        child = Submission("report", organization="acme", user="ana", depends_on=[parent])
        stubborn = Submission(
            "report", organization="acme", user="ana", depends_on=[child], on_parent_failure="run_anyway"
        )
        jobs = scene.fl.submit_many([parent, child, stubborn])
        scene.fl.organizations.delete("acme")
        assert {scene.get(job).error_message for job in jobs} == {"Organization not found"}

    def test_the_children_of_a_job_that_runs_on_are_dead_lettered_at_once(self, scene: Scene):
        parent = scene.submit()
        child = scene.submit(depends_on=[parent])
        (claimed,) = scene.worker().claim()
        scene.fl.organizations.delete("acme")
        scene.end(claimed)
        assert steps(scene.fl, child) == [PENDING, DEAD_LETTER]

    @pytest.mark.parametrize("order", ["paused and deleted", "deleted and paused"])
    def test_what_is_left_in_its_queue_is_refused_though_it_was_paused(
        self, scene: Scene, order: str, monkeypatch: pytest.MonkeyPatch
    ):
        job = scene.submit()
        worker = scene.worker()
        for verb in order.split(" and "):
            if verb == "paused":
                scene.fl.organizations.pause("acme")
            else:
                delete_and_leave_its_jobs(scene, monkeypatch)
        told = {one.code for one in scene.fl.explain(job.id, organization="acme").reasons}
        assert ReasonCode.ORGANIZATION_DELETED in told
        assert ReasonCode.ORGANIZATION_PAUSED not in told
        (ready,) = worker.ready()
        assert ready.decision == Refused("Organization not found")
        scene.end(ready.claimed, outcome=ready.decision)
        assert scene.get(job).error_message == "Organization not found"

    @pytest.mark.parametrize("order", ["paused and deleted", "deleted and paused"])
    def test_what_would_return_to_its_queue_ends_at_once_though_it_was_paused(self, scene: Scene, order: str):
        job = scene.submit()
        (claimed,) = scene.worker().claim()
        for verb in order.split(" and "):
            (scene.fl.organizations.pause if verb == "paused" else scene.fl.organizations.delete)("acme")
        scene.end(claimed, outcome=Released("its worker stopped"))
        assert (scene.get(job).status, scene.get(job).error_message) == (DEAD_LETTER, "Organization not found")

    def test_a_pause_of_its_queue_or_type_holds_what_is_left_of_it_as_it_holds_all(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ):
        job = scene.submit()
        worker = scene.worker()
        scene.fl.queues.pause("default")
        delete_and_leave_its_jobs(scene, monkeypatch)
        assert worker.ready() == []
        scene.fl.queues.resume("default")
        assert worker.claim_round() == [job.id]

    def test_a_deletion_that_was_cut_off_is_ended_by_another(self, scene: Scene, monkeypatch: pytest.MonkeyPatch):
        jobs = [scene.submit(delay=60) for _ in range(3)]
        monkeypatch.setattr("fairlane.tenancy.organizations._BATCH", 2)
        dead_letter, cut_off = Organizations._dead_letter_waiting, [False, True]

        def dead_letter_once(self: Organizations, *arguments: Any) -> int:
            if cut_off and cut_off.pop(0):
                raise StorageUnavailable("The database is away.")
            return dead_letter(self, *arguments)

        monkeypatch.setattr(Organizations, "_dead_letter_waiting", dead_letter_once)
        with pytest.raises(StorageUnavailable):
            scene.fl.organizations.delete("acme")
        assert sorted(scene.get(job).status for job in jobs) == [DEAD_LETTER, DEAD_LETTER, PENDING]
        scene.fl.organizations.delete("acme")
        assert {scene.get(job).status for job in jobs} == {DEAD_LETTER}
        with pytest.raises(OrganizationNotFound):
            scene.fl.organizations.delete("acme")

    def test_it_is_over_for_its_members(self, scene: Scene):
        scene.fl.organizations.delete("acme")
        with pytest.raises(OrganizationNotFound):
            scene.submit()
        assert [one.id for one in scene.fl.organizations.list()] == ["rival"]

    def test_beside_twenty_submitters_nothing_is_left_waiting(self, scene: Scene):
        def submit() -> object:
            return scene.submit(user=None)

        answers_at_once([*[submit] * 10, lambda: scene.fl.organizations.delete("acme"), *[submit] * 10])
        # What came in beside the deletion is refused at its start.
        left = {job.id for job in scene.fl.list(organization="acme", status=QUEUED, limit=100).items}
        assert set(scene.worker(slots=20).claim_round(20)) == left


class TestMembers:
    def test_adding_again_changes_the_member(self, scene: Scene):
        members = scene.fl.members
        made = members.add("rival", "ron", role="viewer", permissions=["b", "a", "a"])
        assert (made.organization, made.user, made.role, made.permissions) == ("rival", "ron", Role.VIEWER, ("a", "b"))
        changed = members.add("rival", "ron", role=Role.ADMIN)
        assert (changed.role, changed.permissions) == (Role.ADMIN, ())
        assert [member.user for member in members.list("rival")] == ["rita", "ron"]

    def test_what_an_update_leaves_out_stays_and_nobody_becomes_a_member(self, scene: Scene):
        members = scene.fl.members
        members.add("rival", "ron", role=Role.ADMIN, permissions=["a"])
        assert members.update("rival", "ron", permissions=["b"]).role == Role.ADMIN
        changed = members.update("rival", "ron", role=Role.VIEWER)
        assert (changed.role, changed.permissions) == (Role.VIEWER, ("b",))
        with pytest.raises(PermissionDenied, match="typo is not a member of organization rival"):
            members.update("rival", "typo", role=Role.VIEWER)
        assert [member.user for member in members.list("rival")] == ["rita", "ron"]

    def test_a_user_has_a_role_in_each_organization(self, scene: Scene):
        scene.fl.members.add("rival", "ana", role=Role.VIEWER)
        scene.submit()
        with pytest.raises(PermissionDenied):
            scene.submit(organization="rival")

    def test_one_who_was_removed_may_nothing_more(self, scene: Scene):
        assert scene.fl.members.remove("acme", "ana")
        assert not scene.fl.members.remove("acme", "ana")
        with pytest.raises(PermissionDenied, match="is not a member"):
            scene.submit()

    @pytest.mark.parametrize("user", ["", "x" * 201, "a\0b", "a\nb", "\ud800", ".", ".."], ids=ascii)
    def test_ids_that_can_t_be_stored_are_refused(self, scene: Scene, user: str):
        with pytest.raises(ConfigurationError, match="A user's id has 1 to 200 printable characters"):
            scene.fl.members.add("acme", user)

    @pytest.mark.parametrize("user", ["x" * 200, "ana@example.com", "domain\\ana", "a,b/c", "日本"], ids=ascii)
    def test_ids_of_all_kinds_of_hosts_are_accepted(self, scene: Scene, user: str):
        scene.fl.members.add("acme", user)
        assert scene.submit(user=user).user == user

    def test_an_unknown_role_is_a_mistake(self, scene: Scene):
        with pytest.raises(ConfigurationError, match="role must be one of viewer, member, admin, not 'owner'"):
            scene.fl.members.add("acme", "ana", role="owner")

    def test_a_right_that_only_roles_give_is_no_permission(self, scene: Scene):
        with pytest.raises(
            ConfigurationError, match=r"^audit:read is a right that a role gives \(admin\), so it is no"
        ):
            scene.fl.members.add("acme", "ana", permissions=["reports", "audit:read"])
        with pytest.raises(ConfigurationError, match=r"jobs:submit is a right that a role gives \(member or admin\)"):
            scene.fl.job_type("fax", requires_permission="jobs:submit")
        scene.fl.job_type("fax", requires_permission="payload:read")
        assert scene.fl.members.add("acme", "ana", permissions=["reports", "payload:read"]).permissions == (
            "payload:read",
            "reports",
        )
