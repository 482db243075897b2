"""R16: of a pair whose breaker lets a job be tried, exactly one starts, whichever workers race or are lost."""

from uuid import UUID, uuid4

import pytest

from fairlane import Job, JobStatus
from fairlane.domain.breaker import REST, Pair, opened
from fairlane.domain.events import BreakerClosed, BreakerOpened
from fairlane.domain.outcomes import Completed, Outcome, Refused, Released
from fairlane.engine.breakers import Breakers, Tally
from fairlane.store.statements import breakers
from tests.store.races.agreement import steps
from tests.store.races.race import Race, at_once
from tests.store.races.scene import JAMMED, LEASE, Claimed, Scene

PAIR = Pair("acme", "report")
QUEUED, RUNNING = JobStatus.QUEUED, JobStatus.RUNNING


def judge(scene: Scene) -> int:
    """Run a worker's service as a second after it has ended something; here with nothing counted."""
    service = Breakers(scene.fl.database, uuid4(), Tally(), scene.events.append)
    return sum(service.run_once() or 0 for _ in range(10))


def running(scene: Scene) -> list[Job]:
    return list(scene.fl.list(organization="acme", status=RUNNING).items)


def trial_of(scene: Scene, job_id: UUID) -> Claimed:
    """The attempt that runs, as its worker would know it."""
    (trial,) = [one.trial for one in scene.fl.job_types.breakers()]
    assert trial is not None
    assert trial.job_id == job_id
    lease = trial.lease_token
    return Claimed(
        "acme", job_id, "report", "default", "ana", None, "{}", "{}", trial.attempt, None, lease, 2, scene.now, False
    )


@pytest.fixture
def jobs(scene: Scene) -> list[Job]:
    """Jobs of a pair whose breaker has rested."""
    scene.write(lambda connection: breakers.open_one(connection, opened(PAIR, scene.now)))
    scene.clock.advance(REST.total_seconds())
    return [scene.submit() for _ in range(5)]


def test_of_many_claims_at_once_one_starts_the_trial(scene: Scene, jobs: list[Job]):
    hands = [scene.worker(f"w{number}") for number in range(8)]
    claimed = at_once([hand.claim_round for hand in hands])
    assert [len(one) for one in claimed if one] == [1]
    assert at_once([hand.claim_round for hand in hands]) == [[]] * 8
    assert [steps(scene.fl, job) for job in jobs].count([QUEUED]) == 4


def test_a_claim_passes_by_a_trial_that_another_is_beginning(scene: Scene, race: Race, jobs: list[Job]):
    scene.add_type("letter", dedup_window=0)
    other = scene.submit("letter")
    hand = scene.worker(job_types=["report", "letter"])
    with race.open() as first:
        assert breakers.lock_due(first, scene.now, [PAIR]) == {PAIR}
        claiming = race.passes(hand.claim_round)
    expected = 2 if race.serial else 1
    assert len(claiming.result()) == expected
    assert scene.get(other).status == RUNNING


def test_a_worker_without_the_type_holds_up_no_trial(scene: Scene, jobs: list[Job]):
    scene.add_type("letter", dedup_window=0)
    scene.submit("letter")
    hand = scene.worker(job_types=["letter"])
    assert len(hand.claim_round()) == 1
    assert len(scene.worker().claim_round()) == 1


def test_after_the_trial_s_worker_was_lost_exactly_one_other_starts(scene: Scene, jobs: list[Job]):
    lost = scene.worker("lost")
    (first,) = lost.claim_round()
    scene.clock.advance(LEASE + 1)
    hands = [scene.worker(f"w{number}") for number in range(4)]
    assert at_once([hand.claim_round for hand in hands]) == [[]] * 4, "until it is known to be lost"
    scene.rescue()
    assert scene.get(first).status == QUEUED
    assert at_once([hand.claim_round for hand in hands]) == [[]] * 4, "until it is judged"
    assert sum(at_once([lambda: judge(scene)] * 3)) == 1
    claimed = at_once([hand.claim_round for hand in hands])
    assert [len(one) for one in claimed if one] == [1]
    assert not [event for event in scene.events if isinstance(event, BreakerOpened | BreakerClosed)]


@pytest.mark.parametrize("end", [Released("released at shutdown"), Refused("Permission denied")], ids=str)
def test_a_trial_that_says_nothing_of_the_handler_is_followed_by_another(scene: Scene, jobs: list[Job], end: Outcome):
    hand = scene.worker()
    (first,) = hand.claim_round()
    scene.end(trial_of(scene, first), outcome=end)
    assert judge(scene) == 1
    assert len(hand.claim_round()) == 1


def test_a_canceled_trial_is_followed_by_another(scene: Scene, jobs: list[Job]):
    hand = scene.worker()
    (first,) = hand.claim_round()
    scene.fl.cancel(first, organization="acme")
    scene.end(trial_of(scene, first), outcome=JAMMED)
    assert scene.get(first).status == JobStatus.CANCELED
    judge(scene)
    assert len(hand.claim_round()) == 1


def test_a_trial_whose_job_was_deleted_is_followed_by_another(scene: Scene, jobs: list[Job]):
    hand = scene.worker()
    (first,) = hand.claim_round()
    scene.end(trial_of(scene, first), outcome=Refused("Permission denied"))
    scene.fl.dead_letters.delete(first, organization="acme")
    judge(scene)
    assert len(hand.claim_round()) == 1


@pytest.mark.parametrize(("outcome", "starts"), [(Completed(), 4), (JAMMED, 0)], ids=["completed", "failed"])
def test_however_many_judge_a_trial_it_is_told_once(scene: Scene, jobs: list[Job], outcome: Outcome, starts: int):
    hand = scene.worker()
    (first,) = hand.claim_round()
    scene.end(trial_of(scene, first), outcome=outcome)
    assert sum(at_once([lambda: judge(scene)] * 4)) == 1
    assert len([one for one in scene.events if isinstance(one, BreakerOpened | BreakerClosed)]) == 1
    assert len(hand.claim_round()) == starts


def test_a_breaker_that_is_closed_beside_its_trial_lets_all_start(scene: Scene, race: Race, jobs: list[Job]):
    with race.open() as claiming:
        breakers.lock_due(claiming, scene.now, [PAIR])
        closing = race.waits(lambda: scene.fl.job_types.close_breaker("report", organization="acme", user="olga"))
    assert closing.result()
    assert len(scene.worker().claim_round()) == 5
    assert scene.events[-1] == BreakerClosed("acme", "report", "olga")
    assert not scene.fl.job_types.close_breaker("report", organization="acme")


def test_a_trial_in_one_of_two_queues_is_the_only_one(scene: Scene, jobs: list[Job]):
    for _ in range(3):
        scene.submit(queue="bulk")
    hands = [scene.worker(f"w{number}") for number in range(4)]
    claimed: list[UUID] = [one for found in at_once([hand.claim_round for hand in hands]) for one in found]
    assert len(claimed) == 1
