"""Claims, leases and rescues: a job has one owner at a time, and a worker presumed dead overwrites nothing (R5)."""

from functools import partial
from itertools import chain
from uuid import UUID

import pytest
from sqlalchemy import Connection, select

from fairlane import JobStatus
from fairlane.domain import transitions
from fairlane.domain.outcomes import Outcome
from fairlane.store import tables
from fairlane.store.statements import attempts, workers
from fairlane.store.statements.locks import lock_job
from fairlane.store.statements.rows import select_whole
from fairlane.store.statements.transition import Change, write_all
from fairlane.store.tables import AnyRow, jobs
from tests.store.races.agreement import assert_log_agrees, steps
from tests.store.races.race import Race, at_once
from tests.store.races.scene import BROKEN, JAMMED, LEASE, Claimed, Hand, Scene, key_of

QUEUED, RUNNING, COMPLETED = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED


def rows(scene: Scene) -> list[AnyRow]:
    """Return all jobs, column by column."""
    return list(scene.fl.database.read(lambda connection: connection.execute(select_whole().order_by(jobs.c.id)).all()))


def lose(scene: Scene) -> None:
    """Let all leases run out."""
    scene.clock.advance(LEASE + 1)


def is_registered(scene: Scene, worker: Hand) -> bool:
    """Return True if the worker's row is there: the worker still may beat."""
    return worker.beat()


def test_a_doubt_that_comes_during_a_claim_is_looked_into_by_the_next_round(scene: Scene, race: Race) -> None:
    scene.submit()
    worker = scene.worker()
    claims = worker.claims()
    with race.open() as other:
        other.execute(select(tables.workers.c.id).with_for_update())
        claiming = race.waits(partial(claims.claim_in_thread, 1, frozenset()))
        claims.doubt()
    (ready,) = claiming.result()
    assert claims.is_unsure
    assert claims.claim_in_thread(0, frozenset()) == []
    assert not claims.is_unsure
    assert scene.get(ready.claimed.id).status == QUEUED


class TestTwoWorkersOneLane:
    def test_the_second_passes_by_what_the_first_is_claiming(self, scene: Scene, race: Race):
        submitted = [scene.submit().id for _ in range(4)]
        first, second = scene.worker("w1"), scene.worker("w2")
        with race.open() as claiming:
            mine = first.claiming(2)(claiming)
            theirs = race.passes(lambda: second.claim(4))
        assert [one.id for one in mine] == submitted[:2]
        assert [one.id for one in theirs.result()] == submitted[2:]

    def test_no_job_is_claimed_twice_or_left_behind(self, scene: Scene):
        submitted = {scene.submit().id for _ in range(40)}
        hands = [scene.worker(f"w{number}") for number in range(8)]

        def claim_all(hand: Hand) -> list[Claimed]:
            return list(chain.from_iterable(iter(lambda: hand.claim(2), [])))

        hauls = at_once([partial(claim_all, hand) for hand in hands])
        claimed = [one for haul in hauls for one in haul]
        assert len(claimed) == 40
        assert {one.id for one in claimed} == submitted
        assert len({one.lease_token for one in claimed}) == 40

    def test_a_claim_that_rolls_back_leaves_the_job_to_others(self, scene: Scene, race: Race):
        job = scene.submit()
        worker = scene.worker("w1")
        with race.open(commit=False) as claiming:
            assert worker.claiming()(claiming)
        (claimed,) = scene.worker("w2").claim()
        assert (claimed.id, claimed.attempt) == (job.id, 1)
        assert steps(scene.fl, job) == [QUEUED, RUNNING]


class TestALeaseThatRanOut:
    def test_its_worker_claims_nothing(self, scene: Scene):
        job = scene.submit()
        worker = scene.worker()
        lose(scene)
        assert worker.claim() == []
        assert scene.get(job).status == QUEUED

    def test_its_worker_claims_again_after_a_heartbeat(self, scene: Scene):
        job = scene.submit()
        worker = scene.worker()
        lose(scene)
        assert worker.beat()
        assert [one.id for one in worker.claim()] == [job.id]

    def test_a_rescuer_passes_by_a_worker_in_the_middle_of_a_claim(self, scene: Scene, race: Race):
        job = scene.submit()
        worker = scene.worker()
        with race.open() as claiming:
            worker.claiming()(claiming)
            lose(scene)
            early = race.passes(scene.rescue)
        assert (early.result() is None) is not race.serial
        scene.rescue()
        assert steps(scene.fl, job) == [QUEUED, RUNNING, QUEUED]
        assert not is_registered(scene, worker)

    def test_a_claim_that_waits_for_the_rescuer_finds_its_worker_gone(self, scene: Scene, race: Race):
        job = scene.submit()
        worker = scene.worker()
        lose(scene)
        with race.open() as rescuing:
            scene.rescuing()(rescuing)
            late = race.waits(worker.claim)
        assert late.result() == []
        assert scene.get(job).status == QUEUED

    def test_a_heartbeat_that_waits_for_the_rescuer_learns_that_it_was_given_up(self, scene: Scene, race: Race):
        worker = scene.worker()
        lose(scene)
        with race.open() as rescuing:
            scene.rescuing()(rescuing)
            late = race.waits(worker.beat)
        assert late.result() is False

    def test_a_rescuer_passes_by_a_worker_that_beats_at_the_last_moment(self, scene: Scene, race: Race):
        job = scene.submit()
        worker = scene.worker()
        worker.claim()
        lose(scene)
        with race.open() as beating:
            workers.beat(beating, scene.clock, worker.id, LEASE, stopping=False)
            early = race.passes(scene.rescue)
        assert early.result() is None
        assert scene.get(job).status == RUNNING


class TestAClaimThatWasCutOff:
    def test_it_is_given_back_even_if_it_is_committed_only_now(self, scene: Scene, race: Race):
        """Its connection broke during the commit; the worker's next round may be quicker than that commit."""
        job = scene.submit()
        worker = scene.worker()
        with race.open() as claiming:
            worker.claiming()(claiming)
            giving_back = race.waits(worker.give_back)
        assert giving_back.result() == 1
        assert steps(scene.fl, job) == [QUEUED, RUNNING, QUEUED]


class TestALateFinish:
    @pytest.mark.parametrize("outcome", [None, JAMMED, BROKEN], ids=["completed", "failed", "failed for good"])
    def test_it_changes_nothing_once_the_job_was_rescued(self, scene: Scene, race: Race, outcome: Outcome | None):
        job = scene.submit()
        (claimed,) = scene.worker().claim()
        lose(scene)
        with race.open() as rescuing:
            scene.rescuing()(rescuing)
            late = race.passes(lambda: scene.end(claimed, outcome=outcome))
        before, log = rows(scene), scene.fl.history(job.id, organization="acme")
        # While the rescue was under way the row was locked, so the worker tries again.
        assert [(one.transition, one.is_locked) for one in late.result()] == [(None, not race.serial)]
        assert [(one.transition, one.is_locked) for one in scene.end(claimed, outcome=outcome)] == [(None, False)]
        assert rows(scene) == before
        assert scene.fl.history(job.id, organization="acme") == log

    def test_it_changes_nothing_while_the_next_attempt_runs(self, scene: Scene):
        job = scene.submit()
        (lost,) = scene.worker("w1").claim()
        lose(scene)
        scene.rescue()
        (claimed,) = scene.worker("w2").claim()
        assert claimed.lease_token != lost.lease_token
        before = rows(scene)
        (late,) = scene.end(lost, outcome=BROKEN)
        assert (late.transition, late.is_locked) == (None, False)
        assert rows(scene) == before
        scene.end(claimed)
        assert steps(scene.fl, job) == [QUEUED, RUNNING, QUEUED, RUNNING, COMPLETED]
        assert_log_agrees(scene.fl, job)

    @pytest.mark.parametrize("proof", ["a stale lease", "no lease"])
    def test_the_one_guarded_write_changes_nothing_without_the_lease(self, scene: Scene, proof: str):
        scene.submit()
        (lost,) = scene.worker("w1").claim()
        lose(scene)
        scene.rescue()
        scene.worker("w2").claim()
        before = rows(scene)
        token = lost.lease_token if proof == "a stale lease" else None
        completion = Change("acme", lost.id, transitions.complete(scene.now, None), lease_token=token)
        written = scene.write(lambda c: write_all(c, scene.now, [completion]))
        assert (written, rows(scene)) == ({}, before)

    def test_what_an_attempt_writes_beside_its_row_is_refused_after_the_rescue(self, scene: Scene):
        job = scene.submit()
        (lost,) = scene.worker("w1").claim()
        lose(scene)
        scene.rescue()
        scene.worker("w2").claim()
        lease, now = key_of(lost), scene.now
        file = {"name": "a", "path": "p", "size": 1, "content_type": "text/plain", "sha256": "0"}
        for writing in (
            lambda c: attempts.set_progress(c, now, lease, percent=99.0, message="late"),
            lambda c: attempts.set_checkpoint(c, now, lease, "{}"),
            lambda c: attempts.add_lines(c, now, lease, [("info", "late")]),
            lambda c: attempts.set_artifact(c, now, lease, file),
        ):
            assert scene.write(writing) is False
        assert scene.get(job).progress is None
        assert scene.fl.log_lines(job.id, organization="acme") == ()

    def test_it_counts_while_nobody_has_rescued_the_job(self, scene: Scene, race: Race):
        job = scene.submit()
        worker = scene.worker()
        (claimed,) = worker.claim()
        lose(scene)
        with race.open() as finishing:
            scene.ending(claimed)(finishing)
            rescue = race.passes(scene.rescue)
        found = rescue.result()
        assert found is not None
        assert all(finished.transition is None for finished in found[1])
        assert steps(scene.fl, job) == [QUEUED, RUNNING, COMPLETED]
        scene.rescue()
        assert not is_registered(scene, worker)


class TestARescue:
    def test_a_job_whose_row_somebody_holds_is_taken_back_later(self, scene: Scene, race: Race):
        held, free = scene.submit(), scene.submit()
        worker = scene.worker()
        worker.claim(2)
        lose(scene)
        with race.open() as host:
            lock_job(host, "acme", held.id)
            early = race.passes(scene.rescue)
        early.result()
        assert steps(scene.fl, free) == [QUEUED, RUNNING, QUEUED]
        scene.rescue()
        assert steps(scene.fl, held) == [QUEUED, RUNNING, QUEUED]
        assert scene.rescue() is None

    def test_a_worker_with_more_jobs_than_a_batch_is_kept_until_all_are_taken_back(self, scene: Scene):
        submitted = [scene.submit() for _ in range(5)]
        scene.worker().claim(5)
        lose(scene)
        taken = []
        while (found := scene.rescue(batch=2)) is not None:
            taken.append(len(found[1]))
        assert taken == [2, 2, 1]
        assert {tuple(steps(scene.fl, job)) for job in submitted} == {(QUEUED, RUNNING, QUEUED)}

    def test_a_worker_that_leaves_with_a_job_still_running_is_found_by_rescuers(self, scene: Scene):
        scene.submit()
        worker = scene.worker()
        worker.claim()
        assert not scene.write(lambda connection: workers.remove(connection, worker.id))
        lose(scene)
        assert scene.rescue() is not None

    def test_a_worker_that_leaves_while_its_last_claim_is_on_its_way_is_found_by_rescuers(
        self, scene: Scene, race: Race
    ):
        """The claim only locks the worker's row, so a delete that waited for it would not look again at its jobs."""
        job = scene.submit()
        worker = scene.worker()
        with race.open() as claiming:
            worker.claiming()(claiming)
            leaving = race.waits(lambda: scene.write(lambda connection: workers.remove(connection, worker.id)))
        assert leaving.result() is False
        lose(scene)
        scene.rescue()
        assert steps(scene.fl, job) == [QUEUED, RUNNING, QUEUED]

    def test_a_worker_that_leaves_while_its_last_claim_is_on_its_way_gives_it_back(self, scene: Scene, race: Race):
        job = scene.submit()
        worker = scene.worker()
        with race.open() as claiming:
            worker.claiming()(claiming)
            leaving = race.waits(worker.leave)
        leaving.result()
        assert steps(scene.fl, job) == [QUEUED, RUNNING, QUEUED]
        assert not is_registered(scene, worker)

    def test_a_claim_that_waits_for_its_leaving_worker_finds_it_gone(
        self, scene: Scene, race: Race, monkeypatch: pytest.MonkeyPatch
    ):
        """Between giving back and removing the worker a claim would get through."""
        job = scene.submit()
        worker = scene.worker()
        late, remove = [], workers.remove

        def while_a_claim_waits(connection: Connection, worker_id: UUID) -> bool:
            late.append(race.waits(worker.claim))
            return remove(connection, worker_id)

        monkeypatch.setattr(workers, "remove", while_a_claim_waits)
        worker.leave()
        assert late[0].result() == []
        assert scene.get(job).status == QUEUED


class TestTwoRescuers:
    def test_the_second_takes_another_lost_worker(self, scene: Scene, race: Race):
        lost = [scene.worker(name) for name in ("w1", "w2")]
        for worker in lost:
            scene.submit()
            worker.claim()
        lose(scene)
        with race.open() as rescuing:
            first = scene.rescuing()(rescuing)
            second = race.passes(scene.rescue)
        found = [one for one in (first, second.result()) if one is not None]
        assert {worker_id for worker_id, _ in found} == {worker.id for worker in lost}
        assert scene.rescue() is None

    def test_the_second_finds_nothing_of_a_worker_that_is_being_rescued(self, scene: Scene, race: Race):
        job = scene.submit()
        scene.worker().claim()
        lose(scene)
        with race.open() as rescuing:
            scene.rescuing()(rescuing)
            second = race.passes(scene.rescue)
        assert second.result() is None
        assert steps(scene.fl, job) == [QUEUED, RUNNING, QUEUED]

    def test_each_job_is_rescued_once_however_many_rescuers_there_are(self, scene: Scene):
        submitted = [scene.submit() for _ in range(20)]
        for number in range(5):
            scene.worker(f"w{number}").claim(4)
        lose(scene)
        rescued = [found for found in at_once([scene.rescue] * 10) if found is not None]
        while (found := scene.rescue()) is not None:
            rescued.append(found)
        assert sum(finished.transition is not None for _, done in rescued for finished in done) == 20
        assert {tuple(steps(scene.fl, job)) for job in submitted} == {(QUEUED, RUNNING, QUEUED)}

    def test_the_third_rescue_of_a_job_buries_it(self, scene: Scene):
        job = scene.submit()
        for _ in range(3):
            scene.worker().claim()
            lose(scene)
            scene.rescue()
        after = assert_log_agrees(scene.fl, job)
        assert (after.status, after.retry_count, after.attempt) == (JobStatus.DEAD_LETTER, 0, 3)
