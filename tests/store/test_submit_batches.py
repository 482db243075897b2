"""Batches: all or nothing, with the index of the refused one; and the graph that a batch forms (R1, R9)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from uuid_utils.compat import uuid7

from fairlane import (
    ConfigurationError,
    CyclicDependency,
    DuplicateJob,
    FairlaneError,
    InvalidParameters,
    Job,
    JobStatus,
    ParentNotFound,
    Submission,
    SubmissionError,
    new_id,
)
from fairlane.domain.statuses import ParentPolicy
from tests.store.races.agreement import steps
from tests.store.races.scene import BROKEN, Scene

PENDING, QUEUED, COMPLETED = JobStatus.PENDING, JobStatus.QUEUED, JobStatus.COMPLETED
CANCELED, DEAD_LETTER = JobStatus.CANCELED, JobStatus.DEAD_LETTER


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    with Scene(database_url) as scene:
        scene.add_type("letter")
        yield scene


def report(*parents: Submission | Job | UUID | str, **more) -> Submission:
    return Submission("report", organization="acme", user="ana", depends_on=parents, **more)


def letter(n: int = 0, **more) -> Submission:
    return Submission("letter", organization="acme", user="ana", parameters={"n": n}, **more)


def refused(scene: Scene, kind: type[FairlaneError], batch: Sequence[Submission]) -> SubmissionError:
    """The error with which the batch is refused; nothing of it is there."""
    before = scene.total()
    with pytest.raises(kind) as error:
        scene.fl.submit_many(batch)
    assert scene.total() == before
    assert isinstance(error.value, SubmissionError)
    return error.value


def drain(scene: Scene) -> list[UUID]:
    """Run what can be run, one by one; the ids in that order."""
    ran = []
    while claimed := scene.worker().claim():
        ran += [one.id for one in claimed]
        scene.end(*claimed)
        scene.stage()
    return ran


def test_a_large_batch_is_there_whole_and_in_its_order(scene: Scene):
    jobs = scene.fl.submit_many([letter(n, labels={"n": str(n % 3)}) for n in range(601)])
    assert [job.parameters["n"] for job in jobs] == [*range(601)]
    assert scene.total() == 601
    assert scene.fl.list(organization="acme", label=("n", "0")).total == 201
    assert {job.status for job in jobs} == {QUEUED}


class TestAllOrNothing:
    def test_the_jobs_come_back_in_the_order_of_the_submissions(self, scene: Scene):
        batch = [letter(n) for n in range(5)]
        jobs = scene.fl.submit_many(batch)
        assert [job.id for job in jobs] == [one.id for one in batch]
        assert [scene.get(job) for job in jobs] == jobs

    def test_an_empty_batch_is_no_error(self, scene: Scene):
        assert scene.fl.submit_many([]) == []

    def test_a_duplicate_of_an_earlier_job_refuses_the_whole_batch(self, scene: Scene):
        (job,) = scene.fl.submit_many([letter(1)])
        error = refused(scene, DuplicateJob, [letter(2), report(), letter(1), letter(3)])
        assert isinstance(error, DuplicateJob)
        assert (error.index, error.existing_id) == (2, job.id)
        scene.fl.submit_many([letter(2), letter(3)])

    def test_a_duplicate_within_the_batch_refuses_it_at_the_second(self, scene: Scene):
        error = refused(scene, DuplicateJob, [letter(1), letter(2), letter(1)])
        assert isinstance(error, DuplicateJob)
        # There is no such job, as nothing of the batch is there.
        assert (error.index, error.existing_id, error.existing_status) == (2, None, None)
        assert str(error) == (
            "Submissions 0 and 2 of this batch are identical; leave one out, give each a dedup_key, "
            'or submit the second with on_duplicate="return".'
        )

    def test_a_key_that_is_given_twice_is_named(self, scene: Scene):
        batch = [letter(1, dedup_key="a"), letter(2, dedup_key="a")]
        sentence = (
            "Submissions 0 and 1 of this batch have dedup_key 'a'; leave one out, give each a dedup_key of its own"
        )
        assert str(refused(scene, DuplicateJob, batch)).startswith(sentence)

    def test_a_duplicate_of_one_that_gets_an_earlier_job_names_the_earlier_job(self, scene: Scene):
        (job,) = scene.fl.submit_many([letter(1)])
        scene.worker(job_types=["letter"]).claim()
        error = refused(scene, DuplicateJob, [letter(1, on_duplicate="return"), letter(1)])
        assert isinstance(error, DuplicateJob)
        assert (error.index, error.existing_id, error.existing_status) == (1, job.id, JobStatus.RUNNING)

    def test_a_duplicate_within_the_batch_can_be_the_first_of_them(self, scene: Scene):
        first, second, third = scene.fl.submit_many([letter(1), letter(1, on_duplicate="return"), letter(2)])
        assert first == second
        assert third.id != first.id
        assert scene.total() == 2

    def test_who_comes_after_one_that_replaces_gets_the_one_that_replaced(self, scene: Scene):
        earlier = scene.submit("letter", parameters={"n": 1})
        new = letter(1, on_duplicate="replace")
        again = letter(1, on_duplicate="return")
        replacing, returned, child = scene.fl.submit_many([new, again, report(again)])
        assert (replacing.id, returned.id, child.depends_on) == (new.id, new.id, (new.id,))
        assert scene.get(earlier).status == CANCELED

    def test_two_of_a_batch_do_not_replace_each_other(self, scene: Scene):
        earlier = scene.submit("letter", parameters={"n": 1})
        batch = [letter(1, on_duplicate="replace"), letter(1, on_duplicate="replace")]
        assert refused(scene, DuplicateJob, batch).index == 1
        assert scene.get(earlier).status == QUEUED

    def test_organizations_may_be_mixed(self, scene: Scene):
        jobs = scene.fl.submit_many([report(), Submission("report", organization="rival", user="rita"), report()])
        assert [job.organization for job in jobs] == ["acme", "rival", "acme"]
        assert (scene.total(), scene.total("rival")) == (2, 1)


class TestIds:
    def test_an_id_of_one_s_own_is_the_job_s(self, scene: Scene):
        key = new_id()
        assert scene.fl.submit_many([report(id=key)])[0].id == key

    def test_the_text_of_an_id_is_the_id(self, scene: Scene):
        key = new_id()
        text: Any = str(key).upper()
        parent = report(id=text)
        assert scene.fl.submit_many([parent, report(parent, text)])[0].id == parent.id == key

    @pytest.mark.parametrize(
        "wrong",
        [uuid4(), UUID(int=7), "mine", None, UUID(int=new_id().int ^ 1 << 63)],
        ids=["random", "number", "text", "none", "of another variant"],
    )
    def test_an_id_that_is_no_uuid7_is_refused_with_what_to_do(self, scene: Scene, wrong: Any):
        with pytest.raises(SubmissionError, match=r"UUIDv7, not .*: leave id out, or .*fairlane\.new_id") as error:
            scene.fl.submit_many([report(), report(id=wrong)])
        assert (isinstance(error.value, InvalidParameters), error.value.index, scene.total()) == (True, 1, 0)

    def test_two_of_a_batch_with_one_id_are_a_mistake(self, scene: Scene):
        twin = new_id()
        with pytest.raises(ConfigurationError, match="Two submissions of the batch have the same id"):
            scene.fl.submit_many([report(id=twin), report(id=twin)])
        with pytest.raises(ConfigurationError, match="The same Submission stands twice in the batch; make one for"):
            scene.fl.submit_many([report()] * 2)

    @pytest.mark.parametrize("on_duplicate", ["reject", "replace"])
    @pytest.mark.parametrize("ended", [False, True], ids=["live", "ended"])
    def test_an_id_that_is_submitted_again_is_a_duplicate(self, scene: Scene, on_duplicate: Any, ended: bool):
        (job,) = scene.fl.submit_many([report(id=new_id())])
        if ended:
            drain(scene)
        again = [report(), report(id=job.id, on_duplicate=on_duplicate)]
        found = refused(scene, DuplicateJob, again)
        assert isinstance(found, DuplicateJob)
        status = COMPLETED if ended else QUEUED
        assert (found.existing_id, found.existing_status, found.index) == (job.id, status, 1)
        assert (scene.total(), scene.get(job).status) == (1, status)

    def test_an_id_that_is_submitted_again_returns_its_job_if_asked_to(self, scene: Scene):
        first, other = new_id(), new_id()
        scene.fl.submit_many([report(id=first)])
        drain(scene)
        scene.fl.submit_many([letter()])  # holds the deduplication key, which counts less than the id
        again = letter(id=first, on_duplicate="return")
        child = report(again, id=other)
        jobs = scene.fl.submit_many([child, again])
        assert [job.id for job in jobs] == [other, first]
        assert (jobs[0].status, jobs[1].status, jobs[1].job_type) == (QUEUED, COMPLETED, "report")
        assert scene.total() == 3

    def test_an_id_of_another_organization_is_free(self, scene: Scene):
        key = new_id()
        scene.fl.submit_many([report(id=key)])
        (job,) = scene.fl.submit_many([Submission("report", organization="rival", user="rita", id=key)])
        assert (job.id, job.organization, job.status) == (key, "rival", QUEUED)


NAMINGS: dict[str, Callable[[Submission], Submission | UUID | str]] = {
    "submission": lambda parent: parent,
    "id": lambda parent: parent.id,
    "text": lambda parent: str(parent.id).upper(),
}


class TestGraph:
    @pytest.mark.parametrize("naming", NAMINGS)
    def test_a_parent_in_the_batch_is_named_by(self, scene: Scene, naming: str):
        parent = report()
        child = report(NAMINGS[naming](parent))
        jobs = scene.fl.submit_many([child, parent])
        assert (jobs[0].depends_on, jobs[0].status, jobs[1].status) == ((parent.id,), PENDING, QUEUED)
        assert drain(scene) == [parent.id, child.id]

    def test_a_parent_that_is_there_is_named_by_job_id_or_text(self, scene: Scene):
        parent = scene.submit()
        children = scene.fl.submit_many([report(parent), report(parent.id), report(str(parent.id))])
        assert {child.depends_on for child in children} == {(parent.id,)}
        drain(scene)
        assert {tuple(steps(scene.fl, child))[:2] for child in children} == {(PENDING, QUEUED)}

    def test_a_diamond_runs_from_top_to_bottom(self, scene: Scene):
        top = report()
        left, right = report(top), report(top)
        bottom = report(left, right)
        # In the batch a child may come before its parent.
        scene.fl.submit_many([bottom, right, top, left])
        ran = drain(scene)
        assert (ran[0], set(ran[1:3]), ran[3]) == (top.id, {left.id, right.id}, bottom.id)

    def test_a_parent_named_twice_is_waited_for_once(self, scene: Scene):
        parent = report()
        child = report(parent, parent.id, str(parent.id))
        scene.fl.submit_many([parent, child])
        assert drain(scene) == [parent.id, child.id]

    def test_a_fan_of_a_hundred_comes_together_again(self, scene: Scene):
        top = report()
        fan = [report(top) for _ in range(100)]
        bottom = report(*fan)
        scene.fl.submit_many([top, *fan, bottom])
        scene.end(*scene.worker().claim())
        scene.end(*scene.worker().claim(100))
        assert steps(scene.fl, bottom.id) == [PENDING, QUEUED]

    def test_a_cycle_is_refused_and_its_place_named(self, scene: Scene):
        first, second, third = uuid7(), uuid7(), uuid7()
        batch = [
            report(),
            report(third, id=first),
            report(first, id=second),
            report(second, id=third),
            report(first),
        ]
        error = refused(scene, CyclicDependency, batch)
        assert error.index in {1, 2, 3}
        assert str(first) in str(error)

    def test_a_job_that_waits_for_itself_is_refused(self, scene: Scene):
        key = new_id()
        assert refused(scene, CyclicDependency, [report(), report(key, id=key)]).index == 1

    def test_a_parent_in_another_organization_of_the_batch_is_unknown(self, scene: Scene):
        foreign = Submission("report", organization="rival", user="rita")
        error = refused(scene, ParentNotFound, [foreign, report(foreign)])
        assert error.index == 1
        assert str(error) == f"Parent {foreign.id} is not a job of organization acme."
        assert scene.total("rival") == 0

    def test_an_unknown_parent_refuses_the_whole_batch(self, scene: Scene):
        assert refused(scene, ParentNotFound, [report(), report(uuid7()), report()]).index == 1

    def test_the_child_of_a_returned_duplicate_waits_for_the_earlier_job(self, scene: Scene):
        earlier = scene.submit("letter", parameters={"n": 0})
        again = letter(on_duplicate="return")
        returned, child = scene.fl.submit_many([again, report(again)])
        assert (returned.id, child.depends_on, child.status) == (earlier.id, (earlier.id,), PENDING)
        scene.stage()
        scene.end(*scene.worker(job_types=["letter"]).claim())
        assert steps(scene.fl, child) == [PENDING, QUEUED]


class TestParentsThatHaveEnded:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("policy", "end", "then"),
        [
            (ParentPolicy.DEAD_LETTER, COMPLETED, [QUEUED]),
            (ParentPolicy.DEAD_LETTER, DEAD_LETTER, [PENDING, DEAD_LETTER]),
            (ParentPolicy.DEAD_LETTER, CANCELED, [PENDING, DEAD_LETTER]),
            (ParentPolicy.CANCEL, DEAD_LETTER, [PENDING, CANCELED]),
            (ParentPolicy.CANCEL, CANCELED, [PENDING, CANCELED]),
            (ParentPolicy.RUN_ANYWAY, DEAD_LETTER, [QUEUED]),
            (ParentPolicy.RUN_ANYWAY, CANCELED, [QUEUED]),
        ],
        ids=lambda value: str(value).replace("/", " "),
    )
    @pytest.mark.parametrize("order", ["before the child came", "after"])
    def test_the_child_s_policy_speaks(
        self, scene: Scene, policy: ParentPolicy, end: JobStatus, then: list[JobStatus], order: str
    ):
        parent = scene.submit()
        if order == "after":
            child = scene.submit(depends_on=[parent], on_parent_failure=policy)
            self.end(scene, parent, end)
            assert steps(scene.fl, child) == [PENDING, then[-1]]
        else:
            self.end(scene, parent, end)
            child = scene.submit(depends_on=[parent], on_parent_failure=policy)
            assert steps(scene.fl, child) == then

    def end(self, scene: Scene, parent: Job, end: JobStatus) -> None:
        if end == CANCELED:
            scene.fl.cancel(parent.id, organization="acme")
        else:
            scene.end(*scene.worker().claim(), outcome=BROKEN if end == DEAD_LETTER else None)

    def test_a_dead_letter_names_the_parent(self, scene: Scene):
        parent = scene.dead_letter()
        child = scene.submit(depends_on=[parent])
        assert child.error_message == f"parent {parent.id} (report) ended as dead letter"

    def test_a_batch_under_a_dead_parent_falls_with_it(self, scene: Scene):
        parent = scene.dead_letter()
        child = report(parent)
        grandchild = report(child)
        jobs = scene.fl.submit_many([child, grandchild, report()])
        assert [job.status for job in jobs] == [DEAD_LETTER, DEAD_LETTER, QUEUED]
